package cloud

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"dbops/internal/sandbox/pki"
)

func TestBecauseIsOneLineAndKeepsTheChain(t *testing.T) {
	t.Parallel()
	err := Because("first\n\tsecond   third ", io.EOF)
	if err.Error() != "first second third" || !errors.Is(err, io.EOF) {
		t.Errorf("got %q", err)
	}
	if got := Because(strings.Repeat("ä", 500), io.EOF).Error(); len([]rune(got)) != maxText+4 || !strings.HasSuffix(got, " ...") {
		t.Errorf("a long text is not cut: %d", len([]rune(got)))
	}
	if got := Because(" ", io.EOF).Error(); got != "no reason was given" {
		t.Errorf("an empty text: %q", got)
	}
}

// Each failure is made on a real socket, as a client sees it.
func TestUnreachedSaysWhatFailed(t *testing.T) {
	t.Parallel()
	ca, other := newCA(t, "the CA"), newCA(t, "another CA")
	good := issue(t, ca, "localhost", time.Hour)
	for _, c := range []struct {
		name string
		err  error
		what Obstacle
		why  string
	}{
		{"nobody listens", get(t, "http://"+closedPort(t), nil), Refused, "nobody listens at 127.0.0.1:"},
		{"the certificate has another name", get(t, "https://"+serve(t, good), pool(ca)), WrongName, "the server's certificate is for localhost, not for 127.0.0.1"},
		{"another CA signed it", get(t, "https://"+serve(t, issue(t, other, "127.0.0.1", time.Hour)), pool(ca)), WrongCA, "a CA called another CA, which is not trusted here"},
		{"the certificate is too old", get(t, "https://"+serve(t, issue(t, ca, "127.0.0.1", -time.Minute)), pool(ca)), Expired, "not now"},
		{"the server speaks no TLS", get(t, "https://"+servePlain(t, "SSH-2.0-x\r\n"), pool(ca)), TLSFailed, "does not speak TLS"},
		{"the server hangs up", get(t, "http://"+servePlain(t, ""), nil), Cut, "was cut"},
		{"the server wants a client certificate", get(t, "https://"+serveStrict(t, issue(t, ca, "127.0.0.1", time.Hour)), pool(ca)), TLSFailed, "ended the TLS handshake"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if c.err == nil {
				t.Fatal("it was reached")
			}
			what, why := Unreached(fmt.Errorf("asking: %w", c.err))
			if what != c.what || !strings.Contains(why, c.why) {
				t.Errorf("got %q: %q, want %q: %q; from %v", what, why, c.what, c.why, c.err)
			}
		})
	}
}

func TestUnreachedKnowsTheErrorsThatNeedANetwork(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		what Obstacle
		why  string
	}{
		{&net.DNSError{Name: "db.example", Err: "no such host", IsNotFound: true}, NoSuchHost, "there is no host db.example"},
		{&net.DNSError{Name: "db.example", Err: "i/o timeout", IsTimeout: true}, NoLookup, "could not be looked up"},
		{context.DeadlineExceeded, TimedOut, "no answer in time"},
		{&net.OpError{Op: "dial", Addr: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 5432}, Err: timeout{}}, TimedOut, "no answer in time at 10.0.0.1:5432"},
		{x509.HostnameError{Host: "x"}, WrongName, "for somebody else, not for x"},
		{x509.HostnameError{Host: "x", Certificate: &x509.Certificate{Subject: pkix.Name{CommonName: "p:i"}}}, WrongName, "for p:i, not for x"},
		{x509.HostnameError{Host: "x", Certificate: &x509.Certificate{DNSNames: []string{"a", "b", "c", "d", "e"}}}, WrongName, "for a, b, c, d, ..., not for x"},
		{x509.CertificateInvalidError{Reason: x509.NotAuthorizedToSign}, TLSFailed, "not acceptable"},
		{&tls.CertificateVerificationError{Err: errors.New("pinned to another key")}, TLSFailed, "pinned to another key"},
		{errors.New("something else"), "", ""},
		{nil, "", ""},
	} {
		if what, why := Unreached(c.err); what != c.what || !strings.Contains(why, c.why) {
			t.Errorf("%v: got %q: %q", c.err, what, why)
		}
	}
}

type timeout struct{}

func (timeout) Error() string   { return "i/o timeout" }
func (timeout) Timeout() bool   { return true }
func (timeout) Temporary() bool { return true }

func newCA(t *testing.T, name string) *pki.CA {
	t.Helper()
	ca, err := pki.NewCA(pkix.Name{CommonName: name}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func issue(t *testing.T, ca *pki.CA, host string, ttl time.Duration) tls.Certificate {
	t.Helper()
	leaf, err := ca.Issue(ttl, func(c *x509.Certificate) {
		if ip := net.ParseIP(host); ip != nil {
			c.IPAddresses = []net.IP{ip}
		} else {
			c.DNSNames = []string{host}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return leaf.TLS
}

func pool(ca *pki.CA) *tls.Config {
	return &tls.Config{RootCAs: ca.Pool(), MinVersion: tls.VersionTLS13}
}

func get(t *testing.T, url string, c *tls.Config) error {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: c}
	t.Cleanup(transport.CloseIdleConnections)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := transport.RoundTrip(req)
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
	return err
}

func closedPort(t *testing.T) string {
	t.Helper()
	ln := listen(t)
	_ = ln.Close()
	return ln.Addr().String()
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func serve(t *testing.T, cert tls.Certificate) string {
	t.Helper()
	return serveTLS(t, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13})
}

func serveStrict(t *testing.T, cert tls.Certificate) string {
	t.Helper()
	return serveTLS(t, &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS13})
}

func serveTLS(t *testing.T, c *tls.Config) string {
	t.Helper()
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.TLS = c
	s.Config.ErrorLog = nil
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// servePlain says hello to the first client and hangs up.
func servePlain(t *testing.T, hello string) string {
	t.Helper()
	ln := listen(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		_, _ = conn.Read(make([]byte, 1024))
		_, _ = io.WriteString(conn, hello)
		_ = conn.Close()
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		<-done
	})
	return ln.Addr().String()
}
