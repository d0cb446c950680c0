package edge

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"

	"github.com/jackc/pgx/v5/pgproto3"
)

// The request codes of the startup phase.
const (
	cancelRequest = 80877102
	sslRequest    = 80877103
	gssRequest    = 80877104

	maxStartup   = 10000 // bytes; PostgreSQL's own limit
	tlsHandshake = 0x16  // the first byte of a TLS record, and of no startup packet
	alpn         = "postgresql"
)

// started is a client that has said what it wants.
type started struct {
	net.Conn
	tls    bool            // the edge ends its TLS
	cert   tls.Certificate // that it saw then
	proven bool            // it has shown a certificate of its own
	code   uint32          // the protocol version, or cancelRequest
	packet []byte          // as it came, with its length
}

// startup answers requests for encryption until the client says who it is, or what to cancel.
func (s *session) startup(ctx context.Context, out outer) (*started, error) {
	c := &started{Conn: s.client}
	for range 4 { // GSS, TLS and the startup itself: whoever asks more often plays
		first := make([]byte, 1, 8)
		if _, err := io.ReadFull(c, first); err != nil {
			return nil, err
		}
		if first[0] == tlsHandshake && s.edge.cfg.Direct && out.offerTLS && c.Conn == s.client {
			if err := s.encrypt(ctx, c, &prefixed{Conn: s.client, prefix: first}); err != nil {
				return nil, err
			}
			if c.Conn.(*tls.Conn).ConnectionState().NegotiatedProtocol != alpn { //nolint:forcetypeassert // encrypt made it
				return nil, errors.New("direct TLS without ALPN")
			}
			continue
		}
		code, packet, err := readPacket(c, first)
		if err != nil {
			return nil, err
		}
		switch {
		case code == sslRequest && out.offerTLS && c.Conn == s.client:
			if _, err := c.Write([]byte{'S'}); err != nil {
				return nil, err
			}
			if err := s.encrypt(ctx, c, s.client); err != nil {
				return nil, err
			}
		case code == sslRequest, code == gssRequest:
			if _, err := c.Write([]byte{'N'}); err != nil {
				return nil, err
			}
		case code == cancelRequest, code>>16 == 3:
			c.code, c.packet = code, packet
			return c, nil
		default:
			return nil, fatal(c, "0A000", fmt.Sprintf("unsupported frontend protocol %d.%d: server supports 3.0 to 3.2", code>>16, code&0xffff))
		}
	}
	return nil, errors.New("too many requests for encryption")
}

// encrypt ends the client's TLS on raw.
func (s *session) encrypt(ctx context.Context, c *started, raw net.Conn) error {
	cert := s.edge.certificate()
	t := tls.Server(raw, s.tlsConfig(cert))
	if err := t.HandshakeContext(ctx); err != nil {
		return err
	}
	c.Conn, c.tls, c.cert, c.proven = t, true, *cert, len(t.ConnectionState().PeerCertificates) > 0
	return nil
}

// readPacket reads a startup packet of which some bytes have been read, and not one byte more: what follows may be TLS.
func readPacket(r io.Reader, begun []byte) (code uint32, packet []byte, err error) {
	head := make([]byte, 8)
	n := copy(head, begun)
	if _, err := io.ReadFull(r, head[n:]); err != nil {
		return 0, nil, err
	}
	length := binary.BigEndian.Uint32(head)
	if length < 8 || length > maxStartup {
		return 0, nil, fmt.Errorf("a startup packet of %d bytes", length)
	}
	packet = slices.Grow(head, int(length)-8)[:length]
	_, err = io.ReadFull(r, packet[8:])
	return binary.BigEndian.Uint32(head[4:]), packet, err
}

// parameters are those of a startup message of any minor version; the server judges the version and the rest.
func parameters(packet []byte) (map[string]string, error) {
	body := slices.Clone(packet[4:])
	binary.BigEndian.PutUint32(body, pgproto3.ProtocolVersion30) // the only one that every decoder knows
	var m pgproto3.StartupMessage
	if err := m.Decode(body); err != nil {
		return nil, errors.New("invalid startup packet layout")
	}
	return m.Parameters, nil
}

// prefixed gives back a byte that was read to see what comes.
type prefixed struct {
	net.Conn
	prefix []byte
}

func (p *prefixed) Read(b []byte) (int, error) {
	if len(p.prefix) > 0 {
		n := copy(b, p.prefix)
		p.prefix = p.prefix[n:]
		return n, nil
	}
	return p.Conn.Read(b)
}
