package pg

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"dbops/internal/secret"
)

// What PostgreSQL itself uses for a verifier.
const (
	scramIterations = 4096
	scramSalt       = 16 // bytes
)

// Verifier is the SCRAM-SHA-256 verifier of a password (RFC 5802, RFC 7677), as PostgreSQL keeps it: what ALTER ROLE ... PASSWORD
// is given, so that the server and its log never see the password. Two calls give two verifiers. The password must be printable
// ASCII: clients do not agree on the normal form of other characters. The error holds no part of it.
func Verifier(password secret.Value) (string, error) {
	salt := make([]byte, scramSalt)
	_, _ = rand.Read(salt) // never fails
	return verifier(password, salt, scramIterations)
}

func verifier(password secret.Value, salt []byte, iterations int) (string, error) {
	if password.IsZero() {
		return "", errors.New("make a password verifier: the password is empty, and PostgreSQL refuses such logins")
	}
	text := password.Reveal()
	if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
		return "", errors.New("make a password verifier: the password holds characters that are not printable ASCII")
	}
	salted, err := pbkdf2.Key(sha256.New, text, salt, iterations, sha256.Size)
	if err != nil {
		return "", fmt.Errorf("make a password verifier: %w", err)
	}
	sign := func(key []byte, text string) []byte {
		m := hmac.New(sha256.New, key)
		m.Write([]byte(text))
		return m.Sum(nil)
	}
	stored := sha256.Sum256(sign(salted, "Client Key"))
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", iterations, b64(salt), b64(stored[:]), b64(sign(salted, "Server Key"))), nil
}
