//go:build peers

package gcpapi

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	sqladmin "google.golang.org/api/sqladmin/v1"

	"dbops/internal/pg"
	"dbops/internal/sandbox/gcpapi/googleid"
)

// authProxy is the real Cloud SQL Auth Proxy.
func authProxy(t *testing.T) string {
	t.Helper()
	path := os.Getenv("DBOPS_PEER_CLOUD_SQL_PROXY")
	if path == "" {
		t.Fatal("DBOPS_PEER_CLOUD_SQL_PROXY names no program: GOBIN=$PWD/.cache/bin go install " +
			"github.com/GoogleCloudPlatform/cloud-sql-proxy/v2@v2.27.0, then set it to .cache/bin/cloud-sql-proxy")
	}
	return path
}

// psql runs the real psql and returns what it prints.
func psql(t *testing.T, env []string, conninfo, query string) (string, error) {
	t.Helper()
	path := os.Getenv("DBOPS_PEER_PSQL")
	if path == "" {
		var err error
		if path, err = pg.Tool("psql"); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "-XAtw", "-c", query, conninfo)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "PGCONNECT_TIMEOUT=20"}, env...)
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// log keeps what a program prints.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// wants waits until the program has printed text.
func (l *log) wants(t *testing.T, text string) {
	t.Helper()
	for start := time.Now(); !strings.Contains(l.String(), text); pause(t, 20*time.Millisecond) {
		if time.Since(start) > 30*time.Second {
			t.Fatalf("no %q in: %s", text, l)
		}
	}
}

// proxied starts the proxy for one instance and returns its port and what it prints.
func proxied(t *testing.T, c *cloud, name string, args ...string) (string, *log) {
	t.Helper()
	free, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(free.Addr().String())
	_ = free.Close()
	out := new(log)
	args = append([]string{
		"--sqladmin-api-endpoint", c.http.URL, "--enable-builtin-metrics=false", "--address", "127.0.0.1", "--port", port,
	}, args...)
	cmd := exec.CommandContext(t.Context(), authProxy(t), append(args, project+":"+region+":"+name)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-ended
	})
	out.wants(t, "ready for new connections")
	return port, out
}

func TestPeerAuthProxyServesPsql(t *testing.T) {
	t.Parallel()
	c := theCloud(t)
	name := c.iam(t)
	key := filepath.Join(t.TempDir(), "key.json")
	if err := c.Identity().WriteKey(robot, key, c.http.URL+"/token"); err != nil {
		t.Fatal(err)
	}
	port, out := proxied(t, c, name, "--credentials-file", key, "--run-connection-test")
	out.wants(t, "Connection test passed")
	conninfo := func(port, user, mode string) string {
		return fmt.Sprintf("host=127.0.0.1 port=%s user=%s dbname=postgres sslmode=%s", port, user, mode)
	}
	// prefer sends an SSLRequest through the tunnel, which is refused: the encryption ended before.
	for _, mode := range []string{"disable", "prefer"} {
		got, err := psql(t, []string{"PGPASSWORD=postgres-pw"}, conninfo(port, "postgres", mode), "SELECT current_user")
		if err != nil || got != "postgres" {
			t.Errorf("with a password, sslmode %s: %s, %v", mode, got, err)
		}
	}
	if got, err := psql(t, []string{"PGPASSWORD=wrong"}, conninfo(port, "postgres", "disable"), "SELECT 1"); err == nil || !strings.Contains(got, "password authentication failed") {
		t.Errorf("with a wrong password: %s, %v", got, err)
	}
	port, _ = proxied(t, c, name, "--credentials-file", key, "--auto-iam-authn")
	user := googleid.DatabaseUser(robot)
	if got, err := psql(t, nil, conninfo(port, user, "disable"), "SELECT current_user"); err != nil || got != user {
		t.Errorf("with an identity: %s, %v", got, err)
	}
	if got, err := psql(t, nil, conninfo(port, person, "disable"), "SELECT 1"); err == nil {
		t.Errorf("as somebody else: %s", got)
	}
}

func TestPeerAuthProxySaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	c := theCloud(t)
	name := c.adopt(t, Attributes{NoBackups: true})
	const guest = "guest@shop-prod.iam.gserviceaccount.com"
	if err := c.Identity().Grant(guest); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(t.TempDir(), "key.json")
	if err := c.Identity().WriteKey(guest, key, c.http.URL+"/token"); err != nil {
		t.Fatal(err)
	}
	_, out := proxied(t, c, name, "--credentials-file", key, "--run-connection-test")
	out.wants(t, "missing permission cloudsql.instances.get")
}

func TestPeerPsqlVerifiesTheServer(t *testing.T) {
	t.Parallel()
	c := theCloud(t)
	name := c.adopt(t, Attributes{NoBackups: true})
	svc := c.api(t, admin)
	db, err := svc.Instances.Get(project, name).Do()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	roots := func(file string) string {
		settings, err := svc.Connect.Get(project, name).Do()
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, file)
		if err := os.WriteFile(path, []byte(settings.ServerCaCert.Cert), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	env := []string{"PGPASSWORD=postgres-pw"}
	conninfo := func(mode, roots string) string {
		return fmt.Sprintf("host=%s port=5432 user=postgres dbname=postgres channel_binding=require sslmode=%s sslrootcert=%s",
			db.IpAddresses[0].IpAddress, mode, roots)
	}
	first := roots("first.pem")
	if got, err := psql(t, env, conninfo("verify-ca", first), "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"); err != nil || got != "t" {
		t.Errorf("verify-ca: %s, %v", got, err)
	}
	// The per-instance CA names project:instance only, so that no client can verify the host's name.
	if got, err := psql(t, env, conninfo("verify-full", first), "SELECT 1"); err == nil {
		t.Errorf("verify-full: %s", got)
	}
	must(t, svc)(svc.Instances.AddServerCa(project, name).Do())
	must(t, svc)(svc.Instances.RotateServerCa(project, name, &sqladmin.InstancesRotateServerCaRequest{}).Do())
	if got, err := psql(t, env, conninfo("verify-ca", first), "SELECT 1"); err == nil || !strings.Contains(got, "certificate verify failed") {
		t.Errorf("the old authority after the rotation: %s, %v", got, err)
	}
	if got, err := psql(t, env, conninfo("verify-ca", roots("second.pem")), "SELECT 1"); err != nil {
		t.Errorf("the new authority: %s, %v", got, err)
	}
}
