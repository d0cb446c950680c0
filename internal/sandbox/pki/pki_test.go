package pki

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"net"
	"strings"
	"testing"
	"time"
)

func authority(t *testing.T) *CA {
	t.Helper()
	ca, err := NewCA(pkix.Name{CommonName: "test root", Organization: []string{"test"}}, 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func server(t *testing.T, ca *CA) Leaf {
	t.Helper()
	leaf, err := ca.Issue(time.Hour, func(c *x509.Certificate) {
		c.Subject = pkix.Name{CommonName: "db"}
		c.DNSNames, c.IPAddresses = []string{"db.example"}, []net.IP{net.IPv4(127, 0, 0, 1)}
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	})
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

// verify checks a certificate as a client does.
func verify(leaf *x509.Certificate, ca *CA, name string) error {
	_, err := leaf.Verify(x509.VerifyOptions{Roots: ca.Pool(), DNSName: name})
	return err
}

func TestALeafIsTrustedByWhoTrustsItsAuthority(t *testing.T) {
	t.Parallel()
	ca, other := authority(t), authority(t)
	leaf := server(t, ca)
	for _, name := range []string{"db.example", "127.0.0.1"} {
		if err := verify(leaf.Cert, ca, name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := verify(leaf.Cert, ca, "another.example"); err == nil {
		t.Error("it is trusted under another name")
	}
	if err := verify(leaf.Cert, other, "db.example"); err == nil {
		t.Error("it is trusted by who trusts another authority of the same name")
	}
	if _, err := leaf.Cert.Verify(x509.VerifyOptions{Roots: ca.Pool(), CurrentTime: time.Now().Add(2 * time.Hour)}); err == nil {
		t.Error("it is trusted for ever")
	}
	if cert := ca.Certificate(); !cert.IsCA || cert.Subject.CommonName != "test root" || leaf.Cert.IsCA {
		t.Errorf("authority %+v, leaf %+v", cert.Subject, leaf.Cert.Subject)
	}
	if again := server(t, ca); again.Cert.SerialNumber.Cmp(leaf.Cert.SerialNumber) == 0 || again.Cert.SerialNumber.Sign() <= 0 {
		t.Errorf("serial numbers %v and %v", leaf.Cert.SerialNumber, again.Cert.SerialNumber)
	}
}

func TestALeafsFilesArePairAndChain(t *testing.T) {
	t.Parallel()
	ca := authority(t)
	leaf := server(t, ca)
	pair, err := tls.X509KeyPair(leaf.CertPEM, leaf.KeyPEM)
	if err != nil {
		t.Fatal(err)
	}
	if len(pair.Certificate) != 2 || !pair.Leaf.Equal(leaf.Cert) || string(pair.Certificate[1]) != string(ca.Certificate().Raw) {
		t.Errorf("a chain of %d certificates", len(pair.Certificate))
	}
	if block, rest := pem.Decode(leaf.KeyPEM); block == nil || block.Type != "PRIVATE KEY" || len(rest) > 0 {
		t.Error("the key is not one in PKCS#8")
	}
}

func TestAnAuthorityComesBackFromJSON(t *testing.T) {
	t.Parallel()
	ca := authority(t)
	before := server(t, ca)
	b, err := json.Marshal(ca)
	if err != nil {
		t.Fatal(err)
	}
	var back CA
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := back.Open(); err != nil {
			t.Fatal(err)
		}
	}
	if err := verify(before.Cert, &back, "db.example"); err != nil {
		t.Errorf("a certificate from before: %v", err)
	}
	if err := verify(server(t, &back).Cert, ca, "db.example"); err != nil {
		t.Errorf("a certificate from after: %v", err)
	}
}

func TestAnAuthorityThatIsNoneIsRefused(t *testing.T) {
	t.Parallel()
	ca, other := authority(t), authority(t)
	for name, bad := range map[string]CA{
		"nothing":              {},
		"no key":               {CertPEM: ca.CertPEM},
		"another's key":        {CertPEM: ca.CertPEM, KeyPEM: other.KeyPEM},
		"a torn certificate":   {CertPEM: ca.CertPEM[:len(ca.CertPEM)/2], KeyPEM: ca.KeyPEM},
		"a key of another use": {CertPEM: ca.KeyPEM, KeyPEM: ca.CertPEM},
	} {
		if err := bad.Open(); err == nil || strings.Contains(err.Error(), "PRIVATE") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAFingerprintIsSHA1InHex(t *testing.T) {
	t.Parallel()
	// The example of the standard.
	if got := Fingerprint(&x509.Certificate{Raw: []byte("abc")}); got != "a9993e364706816aba3e25717850c26c9cd0d89d" {
		t.Error(got)
	}
}
