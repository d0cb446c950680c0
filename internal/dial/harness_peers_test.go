//go:build peers

package dial

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/fault"
	"dbops/internal/pg"
	"dbops/internal/sandbox/island"
	"dbops/internal/sandbox/pgtest"
	"dbops/internal/sandbox/pki"
)

const (
	dbHost    = "db.island.test"    // what the server's certificate is for
	otherHost = "other.island.test" // the same server, by another name
	dbAddr    = "10.213.7.5"
	hereAddr  = "10.213.7.2" // of the bastion itself
)

// islandServer is an island with a PostgreSQL server on it, which shows a certificate for [dbHost].
type islandServer struct {
	*island.Island
	server *pgtest.Server
	ca     string
	db     *island.Gate // between island and server
}

// certify makes the package's server show a certificate for [dbHost], once, and returns the CA of it.
var certify = sync.OnceValues(func() ([]byte, error) {
	ca, err := pki.NewCA(pkix.Name{CommonName: "island CA"}, time.Hour)
	if err != nil {
		return nil, err
	}
	leaf, err := ca.Issue(time.Hour, func(x *x509.Certificate) { x.DNSNames = []string{dbHost} })
	if err != nil {
		return nil, err
	}
	return ca.CertPEM, certified.World.SetCertificate(leaf.TLS)
})

var certified *pgtest.Server // for certify

// startIsland puts the package's server on an island, with what else is to be there.
func startIsland(t *testing.T, spec island.Spec) *islandServer {
	t.Helper()
	certified = pgtest.Start(t, 16)
	ca, err := certify()
	if err != nil {
		t.Fatal(err)
	}
	out := &islandServer{server: certified, ca: filepath.Join(t.TempDir(), "ca.pem")}
	writeFile(t, out.ca, string(ca))
	spec.Addresses = append(spec.Addresses, dbAddr, hereAddr)
	spec.Hosts = map[string]string{dbHost: dbAddr, otherHost: dbAddr}
	if spec.Bridges == nil {
		spec.Bridges = map[string]string{}
	}
	spec.Bridges[dbAddr+":5432"] = "db"
	out.Island = island.Start(t, spec)
	out.db = island.NewBridge(t, out.Socket("db"), "tcp", net.JoinHostPort(certified.Host, strconv.Itoa(int(certified.Port))))
	return out
}

// config logs in to the server by a name, the way that dial goes.
func (s *islandServer) config(t *testing.T, host string, dial Func) *pgconn.Config {
	t.Helper()
	cfg, err := pg.Config(pg.Params{
		Host: host, Port: 5432, Database: "postgres", User: pgtest.User, Password: s.server.Password,
		SSLMode: "verify-full", CAFile: s.ca, Dial: dial, RequireAuth: "scram-sha-256",
	})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// query logs in, asks one question, and logs out.
func query(ctx context.Context, cfg *pgconn.Config) error {
	conn, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "select 1").ReadAll()
	return errors.Join(err, conn.Close(ctx))
}

// wantNoWay fails a test whose server can be reached without the way under test.
func (s *islandServer) wantNoWay(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	to := func(addr string) Func {
		return func(ctx context.Context, network, _ string) (net.Conn, error) { return Direct()(ctx, network, addr) }
	}
	for _, addr := range []string{dbHost + ":5432", dbAddr + ":5432"} {
		if err := query(ctx, s.config(t, dbHost, to(addr))); err == nil {
			t.Fatalf("%s can be reached from here", addr)
		}
	}
}

// wantFault fails unless err is a fault of that kind with those words, and a hint with the others.
func wantFault(t *testing.T, err error, kind fault.Kind, words, hint []string) {
	t.Helper()
	if err == nil {
		t.Fatal("it worked")
	}
	f, ok := errors.AsType[*fault.Error](err)
	if !ok {
		t.Fatalf("not a fault: %v", err)
	}
	if f.Kind != kind {
		t.Errorf("kind %s, want %s: %v", f.Kind, kind, err)
	}
	wantWords(t, "error", f.Error(), words)
	wantWords(t, "hint", fault.HintOf(f), hint)
}
