package pg

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"

	"dbops/internal/secret"
)

// The exchange of RFC 7677, section 3: its proof and its signature must fit the verifier.
func TestVerifierOfRFC7677(t *testing.T) {
	t.Parallel()
	decode := func(s string) []byte {
		b, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	v, err := verifier(secret.New("pencil"), decode("W22ZaJ0SNY7soEsUEjb6gQ=="), 4096)
	if err != nil {
		t.Fatal(err)
	}
	keys, ok := strings.CutPrefix(v, "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$")
	stored, server, two := strings.Cut(keys, ":")
	if !ok || !two {
		t.Fatalf("shape of %s", v)
	}
	const message = "n=user,r=rOprNGfwEbeRWgbNEkqO" +
		",r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096" +
		",c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
	sign := func(key []byte) []byte {
		m := hmac.New(sha256.New, key)
		m.Write([]byte(message))
		return m.Sum(nil)
	}
	if got := base64.StdEncoding.EncodeToString(sign(decode(server))); got != "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=" {
		t.Errorf("server signature %s", got)
	}
	clientKey, proof := sign(decode(stored)), decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
	for i := range clientKey {
		clientKey[i] ^= proof[i]
	}
	if sum := sha256.Sum256(clientKey); base64.StdEncoding.EncodeToString(sum[:]) != stored {
		t.Error("the client's proof does not fit the stored key")
	}
}

func TestVerifierIsSaltedAnew(t *testing.T) {
	t.Parallel()
	a, errA := Verifier(secret.New("same"))
	b, errB := Verifier(secret.New("same"))
	if errA != nil || errB != nil || a == b {
		t.Errorf("%v, %v, equal: %t", errA, errB, a == b)
	}
}

func TestVerifierRefusesWhatClientsReadDifferently(t *testing.T) {
	t.Parallel()
	for name, password := range map[string]string{"nothing": "", "an umlaut": "hunter2ä", "a tab": "hunter2\t", "a broken byte": "hunter2\xff"} {
		if v, err := Verifier(secret.New(password)); err == nil || v != "" || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %s, %v", name, v, err)
		}
	}
}
