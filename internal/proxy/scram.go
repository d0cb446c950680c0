package proxy

import (
	"bytes"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"dbops/internal/secret"
)

const (
	scramPlain = "SCRAM-SHA-256"
	scramPlus  = "SCRAM-SHA-256-PLUS"

	iterationsMax = 10_000_000 // that a server may ask for, as in pgconn
)

// scramKeys remembers what was derived from passwords, by instance: PostgreSQL asks for 4096 rounds of hashing, which are the dearest part of
// a login, and always the same ones until the password changes. There is one for each instance, as salts are the server's to choose.
type scramKeys struct{ m sync.Map }

// scramKey stands for a password as far as one server's salt goes.
type scramKey struct {
	password       secret.Value
	salt           string
	iterations     int
	client, server secret.Value
}

// of returns the key for that password and salt, made now if it is another one than before.
func (k *scramKeys) of(instance, password, salt string, iterations int) (*scramKey, error) {
	if v, ok := k.m.Load(instance); ok {
		if key, ok := v.(*scramKey); ok && key.salt == salt && key.iterations == iterations && key.password.Equal(password) {
			return key, nil
		}
	}
	salted, err := pbkdf2.Key(sha256.New, password, []byte(salt), iterations, sha256.Size)
	if err != nil {
		return nil, err
	}
	key := &scramKey{
		password: secret.New(password), salt: salt, iterations: iterations,
		client: secret.New(string(mac(salted, "Client Key"))), server: secret.New(string(mac(salted, "Server Key"))),
	}
	k.m.Store(instance, key)
	return key, nil
}

func (k *scramKeys) drop(instance string) { k.m.Delete(instance) }

// scram is one exchange (RFC 5802 and 7677) from the client's side. The server's name for the user is in the startup message.
type scram struct {
	header  string // what is said about channel binding
	binding []byte // of the connection, if it is used
	nonce   string
	first   string // our first message without header
	expect  []byte // the server's signature
}

// newScram decides on channel binding as libpq does by default: it is used where the server offers it inside TLS.
func newScram(offered []string, t *tls.Conn) (s *scram, mechanism string) {
	s, mechanism = &scram{header: "n,,", nonce: rand.Text()}, scramPlain
	if t != nil {
		s.header = "y,,"
		if hash := endPoint(t); hash != nil && slices.Contains(offered, scramPlus) {
			s.header, s.binding, mechanism = "p=tls-server-end-point,,", hash, scramPlus
		}
	}
	s.first = "n=,r=" + s.nonce
	return s, mechanism
}

// answer is our second message. keyOf returns the key for a salt.
func (s *scram) answer(server []byte, keyOf func(salt string, iterations int) (*scramKey, error)) (string, error) {
	f := bytes.SplitN(server, []byte{','}, 4)
	if len(f) != 3 || !bytes.HasPrefix(f[0], []byte("r=")) || !bytes.HasPrefix(f[1], []byte("s=")) || !bytes.HasPrefix(f[2], []byte("i=")) {
		return "", errors.New("the server's SCRAM message cannot be read")
	}
	nonce := string(f[0][2:])
	if len(nonce) <= len(s.nonce) || nonce[:len(s.nonce)] != s.nonce {
		return "", errors.New("the server's SCRAM message is no answer to ours")
	}
	salt, err := base64.StdEncoding.DecodeString(string(f[1][2:]))
	if err != nil {
		return "", errors.New("the server's SCRAM salt cannot be read")
	}
	iterations, err := strconv.Atoi(string(f[2][2:]))
	if err != nil || iterations < 1 || iterations > iterationsMax {
		return "", fmt.Errorf("the server wants %q rounds of SCRAM hashing, and 1 to %d are accepted", f[2][2:], iterationsMax)
	}
	key, err := keyOf(string(salt), iterations)
	if err != nil {
		return "", err
	}
	final := "c=" + base64.StdEncoding.EncodeToString(append([]byte(s.header), s.binding...)) + ",r=" + nonce
	all := s.first + "," + string(server) + "," + final
	client := []byte(key.client.Reveal())
	stored := sha256.Sum256(client)
	proof := make([]byte, len(client))
	subtle.XORBytes(proof, client, mac(stored[:], all))
	s.expect = mac([]byte(key.server.Reveal()), all)
	return final + ",p=" + base64.StdEncoding.EncodeToString(proof), nil
}

// verify tells whether the server has shown that it knows the password, too.
func (s *scram) verify(server []byte) bool {
	signature, ok := bytes.CutPrefix(server, []byte("v="))
	if !ok {
		return false
	}
	got, err := base64.StdEncoding.DecodeString(string(signature))
	return err == nil && hmac.Equal(got, s.expect)
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// endPoint is the hash of the server's certificate that RFC 5929 defines; nil where it defines none.
func endPoint(t *tls.Conn) []byte {
	certs := t.ConnectionState().PeerCertificates
	if len(certs) == 0 {
		return nil
	}
	switch certs[0].SignatureAlgorithm {
	case x509.MD5WithRSA, x509.SHA1WithRSA, x509.ECDSAWithSHA1, x509.SHA256WithRSA, x509.SHA256WithRSAPSS, x509.ECDSAWithSHA256:
		sum := sha256.Sum256(certs[0].Raw)
		return sum[:]
	case x509.SHA384WithRSA, x509.SHA384WithRSAPSS, x509.ECDSAWithSHA384:
		sum := sha512.Sum384(certs[0].Raw)
		return sum[:]
	case x509.SHA512WithRSA, x509.SHA512WithRSAPSS, x509.ECDSAWithSHA512:
		sum := sha512.Sum512(certs[0].Raw)
		return sum[:]
	default:
		return nil
	}
}
