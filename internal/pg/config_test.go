package pg

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dbops/internal/secret"
)

func TestConfigIgnoresTheEnvironment(t *testing.T) {
	for name, value := range map[string]string{
		"PGHOST": "evil.example.com", "PGPORT": "1", "PGUSER": "evil", "PGPASSWORD": "evil", "PGDATABASE": "evil",
		"PGSSLMODE": "disable", "PGSSLROOTCERT": "/nonexistent", "PGSSLCERT": "/nonexistent", "PGSSLKEY": "/nonexistent",
		"PGOPTIONS": "-c default_transaction_read_only=off", "PGAPPNAME": "evil", "PGTZ": "Mars/Olympus",
		"PGTARGETSESSIONATTRS": "standby", "PGREQUIREAUTH": "none", "PGCHANNELBINDING": "require",
		"PGSSLNEGOTIATION": "direct", "PGMINPROTOCOLVERSION": "3.2", "PGSSLCERTMODE": "require", "PGCONNECT_TIMEOUT": "999",
	} {
		t.Setenv(name, value)
	}
	passfile := filepath.Join(t.TempDir(), "pgpass")
	if err := os.WriteFile(passfile, []byte("*:*:*:*:from-the-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PGPASSFILE", passfile)

	cfg, err := Config(Params{
		Host: "db.example.com", Port: 6000, Database: `o'bri\en`, User: "me", SSLMode: "verify-full",
		Runtime: map[string]string{"default_transaction_read_only": "on"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Host != "db.example.com" || cfg.Port != 6000 || cfg.User != "me" || cfg.Database != `o'bri\en` {
		t.Errorf("connects to %s:%d as %s, database %s", cfg.Host, cfg.Port, cfg.User, cfg.Database)
	}
	if cfg.Password != "" {
		t.Error("took a password from the environment")
	}
	if cfg.TLSConfig == nil || cfg.TLSConfig.InsecureSkipVerify || cfg.TLSConfig.ServerName != "db.example.com" {
		t.Errorf("TLS is not verified in full: %+v", cfg.TLSConfig)
	}
	if len(cfg.Fallbacks) != 0 {
		t.Errorf("%d fallbacks", len(cfg.Fallbacks))
	}
	if len(cfg.RuntimeParams) != 1 || cfg.RuntimeParams["default_transaction_read_only"] != "on" {
		t.Errorf("runtime parameters %v", cfg.RuntimeParams)
	}
	if cfg.ValidateConnect != nil || cfg.RequireAuth != "" || cfg.SSLNegotiation != "postgres" || cfg.MinProtocolVersion != "3.0" {
		t.Errorf("the environment changed the session: %+v", cfg)
	}
}

func TestConfigRefusesModesThatFallBackToPlaintext(t *testing.T) {
	for _, mode := range []string{"", "allow", "prefer", "verify"} {
		if _, err := Config(Params{Host: "h", Port: 1, SSLMode: mode}); err == nil || !strings.Contains(err.Error(), "sslmode") {
			t.Errorf("sslmode %q: %v", mode, err)
		}
	}
}

func TestSharedCAsAreVerifiedAgainst(t *testing.T) {
	cas := x509.NewCertPool()
	for mode, full := range map[string]bool{"require": false, "verify-ca": false, "verify-full": true} {
		cfg, err := Config(Params{Host: "h", Port: 1, SSLMode: mode, CAs: cas, CAFile: "/nonexistent"})
		if err != nil {
			t.Fatal(err)
		}
		if cfg.TLSConfig.RootCAs != cas {
			t.Errorf("%s: other CAs are trusted", mode)
		}
		if !full && cfg.TLSConfig.VerifyPeerCertificate == nil {
			t.Errorf("%s: the certificate is not verified", mode)
		}
		if cfg.TLSConfig.InsecureSkipVerify == full {
			t.Errorf("%s: the host name is verified: %t", mode, !cfg.TLSConfig.InsecureSkipVerify)
		}
	}
}

func TestConfigKeepsPasswordsOutOfErrors(t *testing.T) {
	_, err := Config(Params{Host: "h", Port: 1, SSLMode: "verify-ca", CAFile: "/nonexistent/ca.pem", Password: secret.New("hunter2")})
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error %v", err)
	}
}

func TestStandardLogin(t *testing.T) {
	passfile := filepath.Join(t.TempDir(), "pgpass")
	if err := os.WriteFile(passfile, []byte("db:5432:shop:ann:from-file\n*:*:*:bob:any\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name           string
		env            map[string]string
		user           string
		wantUser, want string
	}{
		{"PGUSER and PGPASSWORD", map[string]string{"PGUSER": "ann", "PGPASSWORD": "pw"}, "", "ann", "pw"},
		{"the user of the configuration wins over PGUSER", map[string]string{"PGUSER": "ann", "PGPASSWORD": "pw"}, "carl", "carl", "pw"},
		{"a line of the password file", map[string]string{"PGUSER": "ann", "PGPASSFILE": passfile}, "", "ann", "from-file"},
		{"a wildcard line of the password file", map[string]string{"PGPASSFILE": passfile}, "bob", "bob", "any"},
		{"a password file that is missing", map[string]string{"PGUSER": "ann", "PGPASSFILE": passfile + "x"}, "", "ann", ""},
		{"nobody", map[string]string{"PGPASSWORD": "pw"}, "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			user, pw, err := StandardLogin(func(k string) string { return c.env[k] }, "db", 5432, "shop", c.user)
			if err != nil || user != c.wantUser || pw.Reveal() != c.want {
				t.Errorf("user %q, password right: %t, error %v", user, pw.Reveal() == c.want, err)
			}
		})
	}
}

func TestEnvironKeepsNoConnectionVariables(t *testing.T) {
	got := strings.Join(Environ([]string{"PATH=/bin", "PGHOST=x", "PGPASSWORD=y", "PGSERVICE=z", "PGTZ=UTC", "PGOPTIONS=-c a=b"}), " ")
	if got != "PATH=/bin PGTZ=UTC" {
		t.Error(got)
	}
	for _, name := range Variables() {
		if left := Environ([]string{name + "=x"}); len(left) != 0 {
			t.Errorf("%s is among what is taken away, and is kept", name)
		}
	}
}

func TestMajorIn(t *testing.T) {
	for path, want := range map[string]int{
		"/usr/lib/postgresql/15/bin/psql": 15, "/usr/pgsql-9/bin/psql": 9, "/opt/homebrew/opt/postgresql@17/bin/psql": 17, "/x/psql": 0,
	} {
		if got := majorIn(path); got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
}
