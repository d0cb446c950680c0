package world

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/sandbox/pki"
	"dbops/internal/secret"
)

func TestSmoke(t *testing.T) {
	for _, major := range []int{14, 15, 16, 17, 18} {
		smoke(t, major)
	}
}

func smoke(t *testing.T, major int) {
	dir, err := os.MkdirTemp("", "world")
	if err != nil {
		t.Fatal(err)
	}
	_ = os.Chmod(dir, 0o755)
	t.Cleanup(func() { os.RemoveAll(dir) })
	ctx := t.Context()
	w, err := Open(ctx, Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	ca, err := pki.NewCA(pkix.Name{CommonName: "ca"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := ca.Issue(time.Hour, func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} })
	if err != nil {
		t.Fatal(err)
	}
	st := time.Now()
	s, err := w.Create(ctx, Spec{ID: "a", Major: major, Master: "postgres", MasterPassword: secret.New("hunter2hunter2"), SuperGroup: "rds_superuser", IAMGroup: "rds_iam", Listen: "127.0.0.1:0"}, leaf.TLS)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d created in %v: %s at %s", major, time.Since(st), s.Version(), s.Addr())
	cfg, _ := pgx.ParseConfig("postgres://postgres:hunter2hunter2@" + s.Addr() + "/postgres?sslmode=require&channel_binding=require")
	cfg.TLSConfig = &tls.Config{RootCAs: ca.Pool(), ServerName: "127.0.0.1"}
	c, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Exec(ctx, "create table x (n int)"); err != nil {
		t.Fatal(err)
	}
	st = time.Now()
	b, err := w.Backup(ctx, "a", "b1")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("backup %v %+v", time.Since(st), b)
	c.Exec(ctx, "insert into x values (1)")
	time.Sleep(20 * time.Millisecond)
	var at time.Time
	c.QueryRow(ctx, "select clock_timestamp()").Scan(&at)
	time.Sleep(20 * time.Millisecond)
	c.Exec(ctx, "insert into x values (2)")
	st = time.Now()
	r, err := w.Restore(ctx, b, at, Spec{ID: "r", Master: "postgres", Listen: "127.0.0.1:0"}, leaf.TLS)
	if err != nil {
		t.Fatal(err)
	}
	db, err := r.DB(ctx, "postgres")
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if err := db.QueryRow(ctx, "select max(n) from x").Scan(&n); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	db.Close(ctx)
	t.Logf("restore %v", time.Since(st))
	c.Close(ctx)
	st = time.Now()
	if err := s.Failover(ctx, 100*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	t.Logf("failover %v", time.Since(st))
	c, err = pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	c.Close(ctx)
	if err := w.Remove(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	r2, err := w.Restore(ctx, b, time.Now(), Spec{ID: "r2", Master: "postgres", Listen: "127.0.0.1:0"}, leaf.TLS)
	if err != nil {
		t.Fatal(err)
	}
	db, _ = r2.DB(ctx, "postgres")
	if err := db.QueryRow(ctx, "select max(n) from x").Scan(&n); err != nil || n != 2 {
		t.Fatal(n, err)
	}
	db.Close(ctx)
}
