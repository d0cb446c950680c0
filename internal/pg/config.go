// Package pg holds the small PostgreSQL helpers that several rooms use.
//
// [Config] builds a connection from fields, so that no variable of the environment can weaken or redirect it; [StandardLogin]
// reads the standard PG variables where a person means them to be read.
package pg

import (
	"context"
	"crypto/x509"
	"fmt"
	"maps"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/secret"
)

// Params describe one connection completely.
type Params struct {
	Host     string // a name or an address; TLS verifies it
	Port     uint16
	Database string
	User     string
	Password secret.Value // or a login token

	// SSLMode is disable (the dialer's connection is encrypted already, or nothing leaves this machine), require, verify-ca or
	// verify-full. There is no default, and nothing falls back to plaintext.
	SSLMode string
	// CAFile holds the CA certificates to trust (PEM); empty means the system's.
	CAFile string
	// CAs are what CAFile holds, for many connections that share them: then the file is not read.
	CAs *x509.CertPool
	// RequireAuth lists the authentication methods to accept, as libpq's require_auth. Empty accepts all.
	RequireAuth string
	// Dial opens the network connection. Nil dials TCP directly.
	Dial pgconn.DialFunc
	// Runtime parameters of the session.
	Runtime map[string]string
	// ConnectTimeout of one attempt. Defaults to 15 s.
	ConnectTimeout time.Duration
}

// Config returns the connection that p describes. Every key that pgconn would take from the environment or from files of the
// home folder is pinned, and there is exactly one host and no fallback.
func Config(p Params) (*pgconn.Config, error) {
	switch p.SSLMode {
	case "disable", "require", "verify-ca", "verify-full":
	default:
		return nil, fmt.Errorf("sslmode %q: want disable, require, verify-ca or verify-full", p.SSLMode)
	}
	timeout := p.ConnectTimeout
	if timeout <= 0 {
		timeout = 15 * time.Second
	}
	mode, ca := p.SSLMode, p.CAFile
	if p.CAs != nil {
		ca = ""
		if mode == "require" { // as libpq does when it has a CA
			mode = "verify-ca"
		}
	} else if ca == "" && (p.SSLMode == "verify-ca" || p.SSLMode == "verify-full") {
		ca = "system" // makes pgconn verify in full, which is right for a public CA
	}
	pinned := [][2]string{
		{"host", p.Host},
		{"port", strconv.Itoa(int(p.Port))},
		{"dbname", p.Database},
		{"user", p.User},
		{"password", ""},
		{"passfile", ""},
		{"sslmode", mode},
		{"sslrootcert", ca},
		{"sslcert", ""},
		{"sslkey", ""},
		{"sslpassword", ""},
		{"sslcertmode", "disable"},
		{"sslsni", "1"},
		{"sslnegotiation", "postgres"},
		{"channel_binding", "prefer"},
		{"require_auth", p.RequireAuth},
		{"target_session_attrs", "any"},
		{"min_protocol_version", "3.0"},
		{"max_protocol_version", "3.0"},
		{"connect_timeout", strconv.Itoa(int(timeout.Seconds()))},
	}
	var s strings.Builder
	for _, kv := range pinned {
		fmt.Fprintf(&s, "%s=%s ", kv[0], quote(kv[1]))
	}
	cfg, err := pgconn.ParseConfig(s.String())
	if err != nil {
		return nil, fmt.Errorf("connection to %s: %w", net.JoinHostPort(p.Host, strconv.Itoa(int(p.Port))), err)
	}
	cfg.Password = p.Password.Reveal()
	cfg.Fallbacks = nil
	if p.CAs != nil && cfg.TLSConfig != nil {
		cfg.TLSConfig.RootCAs = p.CAs
	}
	cfg.RuntimeParams = map[string]string{} // drops what PGOPTIONS, PGTZ and PGAPPNAME put there
	maps.Copy(cfg.RuntimeParams, p.Runtime)
	if p.Dial != nil {
		cfg.DialFunc = p.Dial
		// The dialer resolves the name, or does not need it at all.
		cfg.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil }
	}
	return cfg, nil
}

// LoadCAs reads CA certificates (PEM) from a file.
func LoadCAs(file string) (*x509.CertPool, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read CA certificates: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("read CA certificates: %s holds none", file)
	}
	return pool, nil
}

// quote makes s a value of a keyword/value connection string.
func quote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}
