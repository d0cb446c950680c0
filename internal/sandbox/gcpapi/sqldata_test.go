package gcpapi

import (
	"context"
	"crypto/md5"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/dial"
	"dbops/internal/fault"
	"dbops/internal/pg"
	"dbops/internal/sandbox/pki"
	"dbops/internal/sandbox/play"
	"dbops/internal/secret"
)

// trusted is the only CA that this test binary takes for one of the system's.
//
//nolint:gochecknoglobals // the system's CAs are read once, before the first test that needs them
var trusted *pki.CA

// trustOurs makes the system's CAs the test's own: the clients of the SQL Data API take no others.
func trustOurs() (remove func(), err error) {
	if trusted, err = pki.NewCA(pkix.Name{CommonName: "sandbox web CA"}, time.Hour); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "gcpapi-ca-")
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "ca.pem")
	if err := errors.Join(os.WriteFile(file, trusted.CertPEM, 0o600), os.Setenv("SSL_CERT_FILE", file), os.Setenv("SSL_CERT_DIR", dir)); err != nil {
		return nil, err
	}
	return func() { _ = os.RemoveAll(dir) }, nil
}

// web serves a cloud over TLS and HTTP/2, as Google does, with a certificate of a CA.
func web(t *testing.T, c *cloud, ca *pki.CA) string {
	t.Helper()
	leaf, err := ca.Issue(time.Hour, func(x *x509.Certificate) { x.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} })
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(c.Server)
	srv.EnableHTTP2, srv.TLS = true, &tls.Config{Certificates: []tls.Certificate{leaf.TLS}, MinVersion: tls.VersionTLS12}
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug) // handshakes that are refused are meant to be
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv.URL
}

// dataConfig logs in through the SQL Data API, as dbops does.
func dataConfig(t *testing.T, d *dial.Connector, r dial.Route) *pgconn.Config {
	t.Helper()
	cfg, err := pg.Config(pg.Params{
		Host: "instance", Port: 5432, Database: "postgres", User: "postgres", Password: secret.New("postgres-pw"), SSLMode: "disable",
		RequireAuth: "scram-sha-256", Dial: func(ctx context.Context, _, _ string) (net.Conn, error) { return d.Dial(ctx, r) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestTheSQLDataAPICarriesSessionsWithoutANetworkPath(t *testing.T) {
	c := theCloud(t)
	url := web(t, c, trusted)
	keys := filepath.Join(t.TempDir(), "key.json")
	if err := c.Identity().WriteKey(robot, keys, c.http.URL+"/token"); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", keys)
	name := c.adopt(t, Attributes{NoBackups: true})
	open := func(endpoint string) *dial.Connector {
		d := dial.NewConnector(dial.ConnectorOptions{AdminEndpoint: endpoint, Dial: func(_ context.Context, _, addr string) (net.Conn, error) {
			t.Errorf("%s was connected to", addr)
			return nil, errors.New("no network path")
		}})
		t.Cleanup(func() { _ = d.Close() })
		return d
	}
	d, route := open(url), dial.Route{Project: project, Region: region, Instance: name, Address: dial.AddressData}
	login := func(d *dial.Connector, r dial.Route) error {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		conn, err := pgconn.ConnectConfig(ctx, dataConfig(t, d, r))
		if err != nil {
			return err
		}
		_, err = conn.Exec(ctx, "select 1").ReadAll()
		return errors.Join(err, conn.Close(ctx))
	}
	check := func(what string, err error, kind fault.Kind, words, hint string) {
		t.Helper()
		f, ok := errors.AsType[*fault.Error](err)
		if !ok {
			t.Errorf("%s: not a fault: %v", what, err)
			return
		}
		if f.Kind != kind || !strings.Contains(f.Error(), words) || !strings.Contains(fault.HintOf(f), hint) {
			t.Errorf("%s: %s: %v; hint %q", what, f.Kind, f, fault.HintOf(f))
		}
	}

	c.OfferData(project, name, true)
	if err := login(d, route); err != nil {
		t.Fatal(err)
	}
	// pgconn dials once more after a wait that was cut short: with a connector of its own, so that it takes nothing of what follows.
	conn, err := pgconn.ConnectConfig(t.Context(), dataConfig(t, open(url), route))
	if err != nil {
		t.Fatal(err)
	}
	got, err := conn.Exec(t.Context(), "select md5(string_agg(g::text, ',')), string_agg(g::text, ',') from generate_series(1, 500000) g").ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if sum := fmt.Sprintf("%x", md5.Sum(got[0].Rows[0][1])); sum != string(got[0].Rows[0][0]) {
		t.Errorf("%d bytes with the sum %s came, not %s", len(got[0].Rows[0][1]), sum, got[0].Rows[0][0])
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := conn.Exec(ctx, "select pg_sleep(300)").ReadAll(); !pgconn.Timeout(err) {
		t.Errorf("a wait does not end with its context: %v", err)
	}

	for effect, want := range map[play.Effect]fault.Kind{play.Throttle: fault.Throttled, play.Unavailable: fault.Unavailable, play.Deny: fault.Denied} {
		c.faults.Add(play.Fault{Service: faultService, Action: dataAction, Target: name, Effect: effect})
		fresh := open(url) // one that was told to slow down does not ask again for a while
		err := login(fresh, route)
		c.faults.Clear()
		check(string(effect), err, want, "through the SQL Data API", "")
		if effect == play.Deny && fault.PermissionOf(err) != "cloudsql.instances.connect" {
			t.Errorf("permission %q", fault.PermissionOf(err))
		}
	}
	elsewhere := route
	elsewhere.Instance = "nobody"
	check("no such instance", login(d, elsewhere), fault.NotFound, "does not exist", "check project, region and instance")

	c.OfferData(project, name, false)
	for range 2 { // the connector remembers it
		check("another edition", login(d, route), fault.Invalid, "does not offer the SQL Data API", "another address")
	}
	c.OfferData(project, name, true)

	stranger, err := pki.NewCA(pkix.Name{CommonName: "somebody in between"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	err = login(open(web(t, c, stranger)), route)
	check("a certificate of nobody's", err, fault.Unavailable, "certificate", "")
}
