package dial

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"dbops/internal/fault"
	"dbops/internal/sandbox/pki"
)

// playedCloud is an Admin API, a login service and instances, as far as the connector sees them.
type playedCloud struct {
	api       *httptest.Server
	ca        *pki.CA
	ttl       atomic.Int64 // of client certificates
	down      atomic.Bool  // the API hangs up
	expired   atomic.Bool  // the login service refuses
	certs     atomic.Int32 // that were made
	mu        sync.Mutex
	address   string // of the instance now
	refused   atomic.Int32
	listening map[string]string // address to where it really is; "": refused
}

var instance = Route{Project: "p", Region: "r", Instance: "i"}

func playCloud(t *testing.T) (*playedCloud, *Connector) {
	t.Helper()
	leakless(t)
	ca, err := pki.NewCA(pkix.Name{CommonName: "p:i"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	c := &playedCloud{ca: ca, address: "10.0.0.1", listening: map[string]string{}}
	c.ttl.Store(int64(time.Hour))
	c.api = httptest.NewServer(http.HandlerFunc(c.answer))
	t.Cleanup(c.api.Close)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "google.json")
	b, err := json.Marshal(map[string]string{
		"type": "service_account", "client_email": "robot@p.iam.gserviceaccount.com", "private_key_id": "1", "token_uri": c.api.URL + "/token",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", file)
	connector := NewConnector(ConnectorOptions{AdminEndpoint: c.api.URL, Dial: c.dial})
	t.Cleanup(func() {
		_ = connector.Close()
		http.DefaultTransport.(interface{ CloseIdleConnections() }).CloseIdleConnections()
	})
	return c, connector
}

func (c *playedCloud) answer(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	say := func(v any) { _ = json.NewEncoder(w).Encode(v) }
	switch {
	case r.URL.Path == "/token" && c.expired.Load():
		w.WriteHeader(http.StatusBadRequest)
		say(map[string]string{"error": "invalid_grant", "error_description": "Token has been expired or revoked."})
	case r.URL.Path == "/token":
		say(map[string]any{"access_token": "t", "token_type": "Bearer", "expires_in": 3600})
	case c.down.Load(): // not 503: the library would try that five times
		c.refused.Add(1)
		panic(http.ErrAbortHandler)
	case strings.HasSuffix(r.URL.Path, "/connectSettings"):
		c.mu.Lock()
		defer c.mu.Unlock()
		say(map[string]any{
			"backendType": "SECOND_GEN", "region": "r", "databaseVersion": "POSTGRES_15",
			"ipAddresses": []map[string]string{{"type": "PRIMARY", "ipAddress": c.address}}, "serverCaCert": map[string]string{"cert": string(c.ca.CertPEM)},
		})
	default: // generateEphemeralCert
		var q struct {
			PublicKey string `json:"public_key"`
		}
		_ = json.NewDecoder(r.Body).Decode(&q)
		block, _ := pem.Decode([]byte(q.PublicKey))
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		der, err := c.ca.Sign(key, time.Duration(c.ttl.Load()), func(*x509.Certificate) {})
		if err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		c.certs.Add(1)
		say(map[string]any{"ephemeralCert": map[string]string{"cert": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}})
	}
}

// dial is the network: only the addresses that listen are there.
func (c *playedCloud) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	host, _, _ := net.SplitHostPort(addr)
	c.mu.Lock()
	at := c.listening[host]
	c.mu.Unlock()
	if at == "" {
		return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
	}
	return (&net.Dialer{}).DialContext(ctx, network, at)
}

func (c *playedCloud) at(address, real string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listening[address] = real
}

func (c *playedCloud) move(address string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.address = address
}

// instance serves an instance that says its name; a mute one accepts, and that is all.
func (c *playedCloud) instance(t *testing.T, says string) (addr string) {
	t.Helper()
	return c.instanceThatTrusts(t, c.ca, says)
}

func (c *playedCloud) instanceThatTrusts(t *testing.T, clients *pki.CA, says string) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := c.ca.Issue(time.Hour, func(x *x509.Certificate) { x.Subject = pkix.Name{CommonName: "p:i"} })
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(leaf.CertPEM, leaf.KeyPEM)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(clients.CertPEM)
	cfg := &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, MinVersion: tls.VersionTLS13}
	var wg sync.WaitGroup
	wg.Go(func() {
		var open []net.Conn
		for {
			conn, err := ln.Accept()
			if err != nil {
				for _, o := range open {
					_ = o.Close()
				}
				return
			}
			open = append(open, conn)
			if says != "" {
				wg.Go(func() { _, _ = io.WriteString(tls.Server(conn, cfg), says) })
			}
		}
	})
	t.Cleanup(func() { _ = ln.Close(); wg.Wait() })
	return ln.Addr().String()
}

// reaches dials, and returns what the instance says.
func reaches(t *testing.T, c *Connector) (string, error) {
	t.Helper()
	conn, err := c.Dial(t.Context(), instance)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	said := make([]byte, 1)
	_, err = io.ReadFull(conn, said)
	return string(said), err
}

func TestAnInstanceIsReachedAgainWhileTheAPIIsDown(t *testing.T) {
	cloud, c := playCloud(t)
	a := cloud.instance(t, "a")
	cloud.at("10.0.0.1", a)
	if got, err := reaches(t, c); got != "a" || err != nil {
		t.Fatalf("%q %v", got, err)
	}
	cloud.down.Store(true)
	cloud.expired.Store(true)
	cloud.at("10.0.0.1", "") // it restarts
	if _, err := reaches(t, c); !errors.Is(err, syscall.ECONNREFUSED) || fault.HintOf(err) == "" {
		t.Errorf("%v", err)
	}
	cloud.at("10.0.0.1", a)
	for range 3 {
		if got, err := reaches(t, c); got != "a" || err != nil {
			t.Errorf("%q %v", got, err)
		}
	}
	// An instance that nobody has reached yet cannot be: that is told at once.
	other := instance
	other.Instance = "another"
	if _, err := c.Dial(t.Context(), other); fault.KindOf(err) != fault.Unavailable && fault.KindOf(err) != fault.Denied || fault.HintOf(err) == "" {
		t.Errorf("%s %v", fault.KindOf(err), err)
	}
}

func TestAFailoverIsFollowedByTheNextConnection(t *testing.T) {
	cloud, c := playCloud(t)
	c.patience = 200 * time.Millisecond
	cloud.at("10.0.0.1", cloud.instance(t, "a"))
	cloud.at("10.0.0.2", cloud.instance(t, "b"))
	if got, err := reaches(t, c); got != "a" || err != nil {
		t.Fatalf("%q %v", got, err)
	}
	cloud.at("10.0.0.1", cloud.instance(t, "")) // accepts, and is mute
	cloud.move("10.0.0.2")
	if _, err := reaches(t, c); err == nil {
		t.Error("the old address answered")
	}
	if got, err := reaches(t, c); got != "b" || err != nil {
		t.Errorf("%q %v", got, err)
	}
	cloud.at("10.0.0.2", "")
	cloud.at("10.0.0.3", cloud.instance(t, "c"))
	cloud.move("10.0.0.3")
	if _, err := reaches(t, c); err == nil {
		t.Error("the old address answered")
	}
	if got, err := reaches(t, c); got != "c" || err != nil {
		t.Errorf("%q %v", got, err)
	}
}

func TestACertificateIsRenewedBeforeItExpires(t *testing.T) {
	soon := refreshBuffer + 2*time.Second // the library takes it for expired in two seconds
	cloud, c := playCloud(t)
	cloud.ttl.Store(int64(soon))
	cloud.at("10.0.0.1", cloud.instance(t, "a"))
	if got, err := reaches(t, c); got != "a" || err != nil {
		t.Fatalf("%q %v", got, err)
	}
	cloud.ttl.Store(int64(time.Hour))
	eventually(t, func() error {
		if n := cloud.certs.Load(); n != 2 {
			return fmt.Errorf("%d certificates were made, and nobody has connected again", n)
		}
		return nil
	})
	if _, err := reaches(t, c); err != nil || cloud.certs.Load() != 2 {
		t.Errorf("%v, and the connection made a certificate of its own", err)
	}

	cloud, c = playCloud(t)
	cloud.ttl.Store(int64(soon))
	cloud.at("10.0.0.1", cloud.instance(t, "a"))
	if got, err := reaches(t, c); got != "a" || err != nil {
		t.Fatalf("%q %v", got, err)
	}
	cloud.down.Store(true)
	eventually(t, func() error {
		if cloud.refused.Load() == 0 {
			return errors.New("no renewal was tried")
		}
		return nil
	})
	if got, err := reaches(t, c); got != "a" || err != nil {
		t.Errorf("what is good for minutes was thrown away: %q %v", got, err)
	}
}

func TestACertificateThatExpiresIsRenewedAndServesUntilThen(t *testing.T) {
	cloud, c := playCloud(t)
	cloud.at("10.0.0.1", cloud.instance(t, "a"))
	for range 3 {
		if got, err := reaches(t, c); got != "a" || err != nil {
			t.Fatalf("%q %v", got, err)
		}
	}
	if n := cloud.certs.Load(); n != 1 {
		t.Errorf("%d certificates for three connections", n)
	}
	if left := time.Until(c.CertificateUntil(instance)); left < 50*time.Minute || left > time.Hour {
		t.Errorf("it is good for %s", left)
	}
	if until := c.CertificateUntil(Route{Project: "p", Region: "r", Instance: "another"}); !until.IsZero() {
		t.Errorf("one that was not made is good until %s", until)
	}

	cloud, c = playCloud(t)
	cloud.at("10.0.0.1", cloud.instance(t, "a"))
	cloud.ttl.Store(int64(3 * time.Minute)) // about to expire
	for range 3 {
		if got, err := reaches(t, c); got != "a" || err != nil {
			t.Fatalf("%q %v", got, err)
		}
	}
	if n := cloud.certs.Load(); n != 3 {
		t.Errorf("%d certificates for three connections with one that is about to expire", n)
	}
	cloud.down.Store(true)
	if got, err := reaches(t, c); got != "a" || err != nil {
		t.Errorf("with the API down: %q %v", got, err)
	}
	c.api.now = func() time.Time { return time.Now().Add(5 * time.Minute) }
	if _, err := reaches(t, c); fault.KindOf(err) != fault.Unavailable || fault.HintOf(err) == "" {
		t.Errorf("when it has expired: %s %v", fault.KindOf(err), err)
	}
	cloud.down.Store(false)
	c.api.now = time.Now
	if got, err := reaches(t, c); got != "a" || err != nil {
		t.Errorf("when the API is back: %q %v", got, err)
	}
}

func TestALoginThatIsRenewedIsFound(t *testing.T) {
	cloud, c := playCloud(t)
	cloud.at("10.0.0.1", cloud.instance(t, "a"))
	cloud.expired.Store(true)
	for range 2 {
		_, err := reaches(t, c)
		if fault.KindOf(err) != fault.Denied || !strings.Contains(fault.HintOf(err), "gcloud auth application-default login") {
			t.Errorf("%s %v (%s)", fault.KindOf(err), err, fault.HintOf(err))
		}
	}
	cloud.expired.Store(false)
	if got, err := reaches(t, c); got != "a" || err != nil {
		t.Errorf("%q %v", got, err)
	}
}
