package bench

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"dbops/internal/sandbox/pki"
)

// standIn is a server for more sessions than PostgreSQL has memory for here: it logs everybody in, answers each query with one row, and
// is reached as an instance of Cloud SQL, with an Admin API of its own, and as a plain server.
type standIn struct {
	admin string // URL
	plain string // host:port

	tls       *tls.Config
	listeners []net.Listener
	wg        sync.WaitGroup
	mu        sync.Mutex
	open      map[net.Conn]struct{}
}

const standInAddress = "127.77.77.77"

func newStandIn(b *testing.B, dir string) *standIn {
	b.Helper()
	ca, err := pki.NewCA(pkix.Name{CommonName: "stand-in"}, 24*time.Hour)
	must(b, err)
	must(b, os.WriteFile(filepath.Join(dir, "many.pem"), ca.CertPEM, 0o600))
	leaf, err := ca.Issue(24*time.Hour, func(c *x509.Certificate) {
		c.Subject, c.IPAddresses = pkix.Name{CommonName: "shop-prod:shop-main"}, []net.IP{net.ParseIP(standInAddress)}
	})
	must(b, err)
	pair, err := tls.X509KeyPair(leaf.CertPEM, leaf.KeyPEM)
	must(b, err)
	s := &standIn{open: map[net.Conn]struct{}{}, tls: &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}}}

	connector := s.tls.Clone()
	connector.ClientAuth, connector.ClientCAs = tls.RequireAndVerifyClientCert, ca.Pool()
	s.listen(b, net.JoinHostPort(standInAddress, "3307"), func(c net.Conn) error { return s.serve(c, connector) })
	s.plain = s.listen(b, net.JoinHostPort(standInAddress, "0"), func(c net.Conn) error { return s.serve(c, nil) })

	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { adminAPI(w, r, ca) }))
	s.admin = api.URL
	b.Cleanup(func() {
		api.Close()
		for _, ln := range s.listeners {
			_ = ln.Close()
		}
		s.mu.Lock()
		for c := range s.open {
			_ = c.Close()
		}
		s.mu.Unlock()
		s.wg.Wait()
	})
	return s
}

// adminAPI answers the two questions of a connector.
func adminAPI(w http.ResponseWriter, r *http.Request, ca *pki.CA) {
	answer := func(v any) { _ = json.NewEncoder(w).Encode(v) }
	switch {
	case strings.HasSuffix(r.URL.Path, "/connectSettings"):
		answer(map[string]any{
			"kind": "sql#connectSettings", "backendType": "SECOND_GEN", "databaseVersion": "POSTGRES_15", "region": "europe-west1",
			"ipAddresses":  []any{map[string]string{"type": "PRIMARY", "ipAddress": standInAddress}},
			"serverCaCert": map[string]string{"cert": string(ca.CertPEM)}, "serverCaMode": "GOOGLE_MANAGED_INTERNAL_CA",
		})
	case strings.HasSuffix(r.URL.Path, ":generateEphemeralCert"):
		var in struct {
			Key string `json:"public_key"`
		}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		block, _ := pem.Decode([]byte(in.Key))
		if block == nil {
			http.Error(w, "no key", http.StatusBadRequest)
			return
		}
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		der, err := ca.Sign(key, 12*time.Hour, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		answer(map[string]any{"ephemeralCert": map[string]string{"cert": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}})
	default:
		http.NotFound(w, r)
	}
}

func (s *standIn) listen(b *testing.B, addr string, serve func(net.Conn) error) string {
	b.Helper()
	ln, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", addr)
	must(b, err)
	s.listeners = append(s.listeners, ln)
	s.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.open[c] = struct{}{}
			s.mu.Unlock()
			s.wg.Go(func() {
				_ = serve(c)
				_ = c.Close()
				s.mu.Lock()
				delete(s.open, c)
				s.mu.Unlock()
			})
		}
	})
	return ln.Addr().String()
}

// serve is one session. outer is the connector's TLS; without it the client asks for TLS as PostgreSQL's do.
func (s *standIn) serve(c net.Conn, outer *tls.Config) error {
	conn := c
	if outer != nil {
		conn = tls.Server(c, outer)
	}
	for {
		var head [8]byte
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			return err
		}
		body := make([]byte, max(8, int(binary.BigEndian.Uint32(head[:])))-8)
		if _, err := io.ReadFull(conn, body); err != nil {
			return err
		}
		if binary.BigEndian.Uint32(head[4:]) != 80877103 { // SSLRequest
			break
		}
		if outer != nil {
			return errors.New("TLS inside of TLS")
		}
		if _, err := conn.Write([]byte{'S'}); err != nil {
			return err
		}
		conn = tls.Server(c, s.tls)
	}
	if _, err := conn.Write(welcome()); err != nil {
		return err
	}
	for {
		var head [5]byte
		if _, err := io.ReadFull(conn, head[:]); err != nil || head[0] == 'X' {
			return err
		}
		if _, err := io.CopyN(io.Discard, conn, int64(binary.BigEndian.Uint32(head[1:]))-4); err != nil {
			return err
		}
		if head[0] == 'Q' {
			if _, err := conn.Write(oneRow()); err != nil {
				return err
			}
		}
	}
}

func encoded(messages ...pgproto3.BackendMessage) (out []byte) {
	for _, m := range messages {
		out, _ = m.Encode(out)
	}
	return out
}

func welcome() []byte {
	out := encoded(&pgproto3.AuthenticationOk{})
	for name, value := range map[string]string{
		"server_version": "15.18", "server_encoding": "UTF8", "client_encoding": "UTF8", "DateStyle": "ISO, MDY", "TimeZone": "UTC",
		"integer_datetimes": "on", "standard_conforming_strings": "on", "session_authorization": benchRole, "is_superuser": "off",
		"IntervalStyle": "postgres", "application_name": "", "in_hot_standby": "off", "default_transaction_read_only": "off",
	} {
		out = append(out, encoded(&pgproto3.ParameterStatus{Name: name, Value: value})...)
	}
	return append(out, encoded(&pgproto3.BackendKeyData{ProcessID: 1, SecretKey: []byte{1, 2, 3, 4}}, &pgproto3.ReadyForQuery{TxStatus: 'I'})...)
}

func oneRow() []byte {
	return encoded(
		&pgproto3.RowDescription{Fields: []pgproto3.FieldDescription{{Name: []byte("text"), DataTypeOID: 25, DataTypeSize: -1, TypeModifier: -1}}},
		&pgproto3.DataRow{Values: [][]byte{[]byte(strings.Repeat("x", 1000))}},
		&pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")}, &pgproto3.ReadyForQuery{TxStatus: 'I'},
	)
}
