// Package pki is the sandbox's certificate authorities.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // Cloud SQL names certificates by their SHA-1 fingerprint
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// CA signs certificates. It marshals to JSON with its key, so that a sandbox comes back with the same authorities.
type CA struct {
	CertPEM []byte `json:"cert_pem"`
	KeyPEM  []byte `json:"key_pem"`

	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// Leaf is a certificate with its key.
type Leaf struct {
	TLS     tls.Certificate
	Cert    *x509.Certificate
	CertPEM []byte // the leaf, then its CA
	KeyPEM  []byte // PKCS#8
}

// NewCA makes an authority that is valid from an hour ago for ttl.
func NewCA(subject pkix.Name, ttl time.Duration) (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	t := &x509.Certificate{
		SerialNumber: serial(), Subject: subject,
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(ttl),
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	keyPEM, err := marshalKey(key)
	if err != nil {
		return nil, err
	}
	ca := &CA{CertPEM: certPEM(der), KeyPEM: keyPEM}
	return ca, ca.load()
}

// load parses the PEM fields once.
func (ca *CA) load() error {
	if ca.cert != nil {
		return nil
	}
	pair, err := tls.X509KeyPair(ca.CertPEM, ca.KeyPEM)
	if err != nil {
		return fmt.Errorf("load certificate authority: %w", err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return errors.New("load certificate authority: its key is not ECDSA")
	}
	ca.cert, ca.key = pair.Leaf, key
	return nil
}

// Open checks an authority that came from JSON and makes it ready. The other methods need it.
func (ca *CA) Open() error { return ca.load() }

// Certificate returns the authority's own certificate.
func (ca *CA) Certificate() *x509.Certificate { return ca.cert }

// Pool returns a pool that trusts only this authority.
func (ca *CA) Pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(ca.cert)
	return p
}

// Sign issues a certificate for pub, valid from five minutes ago for ttl; shape sets names and usages. It returns DER.
func (ca *CA) Sign(pub crypto.PublicKey, ttl time.Duration, shape func(*x509.Certificate)) ([]byte, error) {
	now := time.Now()
	t := &x509.Certificate{
		SerialNumber: serial(), NotBefore: now.Add(-5 * time.Minute), NotAfter: now.Add(ttl),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
	}
	shape(t)
	return x509.CreateCertificate(rand.Reader, t, ca.cert, pub, ca.key)
}

// Issue makes a key and signs a certificate for it, as [CA.Sign] does.
func (ca *CA) Issue(ttl time.Duration, shape func(*x509.Certificate)) (Leaf, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Leaf{}, err
	}
	der, err := ca.Sign(&key.PublicKey, ttl, shape)
	if err != nil {
		return Leaf{}, err
	}
	keyPEM, err := marshalKey(key)
	if err != nil {
		return Leaf{}, err
	}
	chain := append(certPEM(der), ca.CertPEM...)
	pair, err := tls.X509KeyPair(chain, keyPEM)
	if err != nil {
		return Leaf{}, err
	}
	return Leaf{TLS: pair, Cert: pair.Leaf, CertPEM: chain, KeyPEM: keyPEM}, nil
}

// Fingerprint is the SHA-1 of a certificate in hex, as Cloud SQL names it.
func Fingerprint(c *x509.Certificate) string {
	sum := sha1.Sum(c.Raw) //nolint:gosec // the clouds' own naming
	return hex.EncodeToString(sum[:])
}

func certPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func marshalKey(key *ecdsa.PrivateKey) ([]byte, error) {
	b, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: b}), nil
}

func serial() *big.Int {
	b := make([]byte, 15)
	_, _ = rand.Read(b)
	return new(big.Int).SetBytes(b)
}
