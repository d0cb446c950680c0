package dial

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	sqladmin "google.golang.org/api/sqladmin/v1"

	"dbops/internal/fault"
	"dbops/internal/sandbox/gcpapi/googleid"
	"dbops/internal/sandbox/pki"
)

// everyAddress tells of an instance that has every kind of address.
func everyAddress(t *testing.T) (url string) {
	t.Helper()
	ca, err := pki.NewCA(pkix.Name{CommonName: "instance CA"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	identity, err := googleid.Open(googleid.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	answer := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case identity.Serves(r.URL.Path):
			identity.ServeHTTP(w, r)
		case strings.HasSuffix(r.URL.Path, "/connectSettings"):
			answer(w, &sqladmin.ConnectSettings{
				BackendType: "SECOND_GEN", DatabaseVersion: "POSTGRES_16", Region: "europe-west1", ServerCaCert: &sqladmin.SslCert{Cert: string(ca.CertPEM)},
				IpAddresses: []*sqladmin.IpMapping{{Type: "PRIMARY", IpAddress: "203.0.113.7"}, {Type: "PRIVATE", IpAddress: "10.8.0.7"}},
				PscEnabled:  true, DnsName: "abc.xyz.europe-west1.sql.goog.",
			})
		case strings.HasSuffix(r.URL.Path, ":generateEphemeralCert"):
			var in sqladmin.GenerateEphemeralCertRequest
			if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
				t.Error(err)
			}
			block, _ := pem.Decode([]byte(in.PublicKey))
			key, err := x509.ParsePKIXPublicKey(block.Bytes)
			if err != nil {
				t.Error(err)
			}
			der, err := ca.Sign(key, time.Hour, func(*x509.Certificate) {})
			if err != nil {
				t.Error(err)
			}
			answer(w, &sqladmin.GenerateEphemeralCertResponse{EphemeralCert: &sqladmin.SslCert{
				Cert: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
			}})
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(srv.Close)
	key := filepath.Join(dir, "key.json")
	const robot = "robot@shop-prod.iam.gserviceaccount.com"
	if err := errors.Join(identity.Grant(robot, "roles/cloudsql.client"), identity.WriteKey(robot, key, srv.URL+"/token")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", key)
	return srv.URL
}

// The connector takes the address that is asked for, and goes the way below; what the way says is told.
func TestTheConnectorGoesToTheAddressThatIsAskedFor(t *testing.T) {
	url := everyAddress(t)
	var mu sync.Mutex
	var asked []string
	below := func(_ context.Context, network, addr string) (net.Conn, error) {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, network+" "+addr)
		return nil, fault.Newf(fault.Unavailable, "reach "+addr+" via ssh bastion", "the bastion sleeps").Hint("wake it")
	}
	c := NewConnector(ConnectorOptions{AdminEndpoint: url, Dial: below})
	t.Cleanup(func() { _ = c.Close() })
	for address, want := range map[string]string{
		"": "tcp 203.0.113.7:3307", "public": "tcp 203.0.113.7:3307", "private": "tcp 10.8.0.7:3307", "psc": "tcp abc.xyz.europe-west1.sql.goog:3307",
	} {
		asked = nil
		_, err := c.Dial(t.Context(), Route{Project: "shop-prod", Region: "europe-west1", Instance: "main", Address: address})
		if len(asked) == 0 || asked[0] != want {
			t.Errorf("%q: it went to %q, not to %q: %v", address, asked, want, err)
			continue
		}
		if f, ok := errors.AsType[*fault.Error](err); !ok || f.Kind != fault.Unavailable || !strings.Contains(f.Error(), "the bastion sleeps") || fault.HintOf(f) != "wake it" {
			t.Errorf("%q: %v", address, err)
		}
	}
}
