package proxy

import (
	"encoding/binary"
	"io"
	"net"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
)

// startupPacket is a startup packet with names and values.
func startupPacket(version uint32, pairs ...string) []byte {
	b := binary.BigEndian.AppendUint32(make([]byte, 4), version)
	for _, p := range pairs {
		b = append(append(b, p...), 0)
	}
	b = append(b, 0)
	binary.BigEndian.PutUint32(b, uint32(len(b)))
	return b
}

func message(kind byte, body string) []byte {
	b := binary.BigEndian.AppendUint32([]byte{kind}, uint32(4+len(body)))
	return append(b, body...)
}

// readUntil reads messages up to one of the wanted type.
func readUntil[T pgproto3.BackendMessage](tb testing.TB, c io.Reader) T {
	tb.Helper()
	var seen []pgproto3.BackendMessage
	f := pgproto3.NewFrontend(oneByte{c}, nil) // reads nothing beyond a message
	for {
		m, err := f.Receive()
		if err != nil {
			var want T
			tb.Fatalf("waiting for %T: %v after %v", want, err, seen)
		}
		if w, ok := m.(T); ok {
			return w
		}
		seen = append(seen, m)
	}
}

type oneByte struct{ io.Reader }

func (o oneByte) Read(p []byte) (int, error) { return o.Reader.Read(p[:min(1, len(p))]) }

// login speaks the startup of a client on c.
func login(tb testing.TB, c net.Conn, database string) *pgproto3.BackendKeyData {
	tb.Helper()
	_, err := c.Write(append(startupPacket(196608, "user", "me", "database", database), message('p', proxyPassword+"\x00")...))
	must(tb, err)
	key := readUntil[*pgproto3.BackendKeyData](tb, c)
	readUntil[*pgproto3.ReadyForQuery](tb, c)
	return key
}
