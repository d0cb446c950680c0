package proxy

import (
	"crypto/tls"
	"crypto/x509/pkix"
	"os"
	"testing"
)

// noTLS stands for a proxy without TLS.
var noTLS = &tls.Config{MinVersion: tls.VersionTLS13}

func pkixName(cn string) pkix.Name { return pkix.Name{CommonName: cn} }

func writeFile(tb testing.TB, name string, content []byte) {
	tb.Helper()
	must(tb, os.WriteFile(name, content, 0o644))
}
