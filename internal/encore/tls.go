package encore

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/tailscale/hujson"
)

// tls is what a runtime makes of tls_config.
type tls struct {
	does string
	cas  int
}

// What the runtimes do, by whether there is a CA.
const (
	tlsCAOnly  = "checks the CA, not the host name"
	tlsFull    = "checks the CA and the host name"
	tlsNoName  = "checks the CA, not the host name (switched off)"
	tlsNothing = "encrypts, and checks nothing (switched off)"
	tlsPrefer  = "prefers TLS, checks nothing, may go without"
	tlsOff     = "no TLS"
	tlsUnsaid  = "checks the CA; the host name in TypeScript only"
)

func (c *Infra) tls(server *hujson.Object, at, host string) (tls, error) {
	v, err := member(server, at, "tls_config")
	if err != nil {
		return tls{}, err
	}
	if v == nil {
		c.unverified(at, host)
		return tls{does: tlsPrefer}, nil
	}
	at = below(at, "tls_config")
	o, err := object(v, at)
	if err != nil {
		return tls{}, err
	}
	ca, err := textOf(o, at, "ca")
	if err != nil {
		return tls{}, err
	}
	flags := map[string]bool{}
	for _, name := range []string{"disabled", "disable_tls_hostname_verification", "disable_ca_validation"} {
		if flags[name], err = truth(o, at, name); err != nil {
			return tls{}, err
		}
		if flags[name] && c.lang == Go {
			c.warn("%s is ignored by the Go runtime", below(at, name))
		}
	}
	if wrong, err := member(o, at, "disable_ca_verification"); err == nil && wrong != nil {
		c.warn("%s is ignored by both runtimes, whatever the documentation says: they read disable_ca_validation",
			below(at, "disable_ca_verification"))
	}
	t := tls{cas: len(certificates(ca))}
	switch {
	case flags["disabled"] && c.lang != Go:
		t.does = tlsOff
		c.warn("%s is true: passwords and data cross the network in the clear", below(at, "disabled"))
	case ca == "":
		t.does = tlsPrefer
		c.unverified(at, host)
	case c.lang == "":
		t.does = tlsUnsaid
	case c.lang == Go:
		t.does = tlsCAOnly
	case flags["disable_ca_validation"]:
		t.does = tlsNothing
	case flags["disable_tls_hostname_verification"]:
		t.does = tlsNoName
	default:
		t.does = tlsFull
	}
	if ca != "" {
		if _, err := checkCA(ca, c.lang); err != nil {
			c.warn("%s: %v", below(at, "ca"), err)
		}
		c.warnings = append(c.warnings, caWarnings(host, c.lang, t.does)...)
	}
	return t, nil
}

func (c *Infra) unverified(at, host string) {
	if !local(host) {
		c.warn("%s has no ca: the runtime prefers TLS, checks nobody's certificate, and goes on without TLS if the server says so", at)
	}
}

// caWarnings say how far a CA can be relied on.
func caWarnings(host string, lang Language, does string) []string {
	var out []string
	name, _ := splitHost(host)
	rds := strings.HasSuffix(name, ".rds.amazonaws.com")
	if lang == Go && rds {
		out = append(out, "the Go runtime checks the CA and not the host name (sslmode=verify-ca): the CA of RDS vouches for every instance of the region, "+
			"also for those of others")
	}
	if lang == TypeScript && does == tlsFull && net.ParseIP(name) != nil {
		out = append(out, "the TypeScript runtime checks the host name: the certificate must name the address "+name+
			"; that of a Cloud SQL instance with a CA of its own does not, and needs disable_tls_hostname_verification")
	}
	return out
}

// certificates are the certificates of a PEM text that can be read.
func certificates(text string) []*x509.Certificate {
	var out []*x509.Certificate
	for block, rest := pem.Decode([]byte(text)); block != nil; block, rest = pem.Decode(rest) {
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil && block.Type == "CERTIFICATE" {
			out = append(out, cert)
		}
	}
	return out
}

// checkCA refuses what the runtime of lang would not make sense of, and returns text ending in one newline.
func checkCA(text string, lang Language) (string, error) {
	n := 0
	rest := []byte(text)
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return "", errors.New("it holds something that is no certificate")
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return "", fmt.Errorf("its certificate %d cannot be read", n+1)
		}
		n++
	}
	switch {
	case n == 0:
		return "", errors.New("it holds no certificate in PEM format")
	case lang == TypeScript && n > 1:
		return "", fmt.Errorf("it holds %d certificates, and the TypeScript runtime takes the first one only", n)
	}
	return strings.TrimRight(text, "\r\n ") + "\n", nil
}

// splitHost is a host without and with its port; a socket's path has none.
func splitHost(host string) (name, port string) {
	if strings.HasPrefix(host, "/") {
		return host, ""
	}
	if h, p, err := net.SplitHostPort(host); err == nil {
		return h, p
	}
	if inner, ok := strings.CutPrefix(host, "["); ok && strings.HasSuffix(inner, "]") {
		return strings.TrimSuffix(inner, "]"), ""
	}
	return host, ""
}

// local tells whether nothing of a session leaves the machine.
func local(host string) bool {
	name, _ := splitHost(host)
	ip := net.ParseIP(name)
	return strings.HasPrefix(name, "/") || strings.EqualFold(name, "localhost") || (ip != nil && ip.IsLoopback())
}
