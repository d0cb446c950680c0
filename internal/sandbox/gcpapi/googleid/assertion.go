package googleid

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"
)

// assertion is the payload of a JWT that a service account signed.
type assertion struct {
	Issuer   string `json:"iss"`
	Subject  string `json:"sub"`
	Audience string `json:"aud"`
	Scope    string `json:"scope"`
	Issued   int64  `json:"iat"`
	Expires  int64  `json:"exp"`

	TargetAudience string `json:"target_audience"` // asks for an ID token
}

// refusal is a cause in Google's own words.
type refusal string

func (r refusal) Error() string { return string(r) }

const clockSkew = 5 * time.Minute

// verify checks the signature and the times of a JWT. What it is for is the caller's to check.
func (d *Directory) verify(jwt string) (assertion, error) {
	var a assertion
	if len(jwt) > maxToken {
		return a, errors.New("the assertion is too long")
	}
	signed, signature, ok := cutLast(jwt, ".")
	head, payload, ok2 := strings.Cut(signed, ".")
	if !ok || !ok2 {
		return a, errors.New("not a JWT")
	}
	var h struct {
		Algorithm string `json:"alg"`
		KeyID     string `json:"kid"`
	}
	if err := decodePart(head, &h); err != nil {
		return a, fmt.Errorf("header of the JWT: %w", err)
	}
	if h.Algorithm != "RS256" {
		return a, fmt.Errorf("algorithm %.20q of the JWT: want RS256", h.Algorithm)
	}
	if err := decodePart(payload, &a); err != nil {
		return a, fmt.Errorf("payload of the JWT: %w", err)
	}
	key, err := d.publicKey(a.Issuer, h.KeyID)
	if err != nil {
		return a, err
	}
	sig, err := base64.RawURLEncoding.DecodeString(signature)
	if err != nil {
		return a, fmt.Errorf("signature of the JWT: %w", err)
	}
	sum := sha256.Sum256([]byte(signed))
	if err := rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], sig); err != nil {
		return a, refusal("Invalid JWT Signature.")
	}
	now, issued, expires := d.opts.Now(), time.Unix(a.Issued, 0), time.Unix(a.Expires, 0)
	switch {
	case a.Subject != "" && a.Subject != a.Issuer:
		return a, errors.New("domain-wide delegation is not emulated")
	case !now.Before(expires.Add(clockSkew)) || now.Before(issued.Add(-clockSkew)) || expires.Sub(issued) > time.Hour:
		return a, refusal("Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. " +
			"Check your iat and exp values in the JWT claim.")
	}
	return a, nil
}

func (d *Directory) publicKey(email, id string) (*rsa.PublicKey, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.state.Principals[email]
	if p == nil || p.Keys[id] == "" {
		return nil, refusal("Invalid grant: account not found")
	}
	block, _ := pem.Decode([]byte(p.Keys[id]))
	if block == nil {
		return nil, errors.New("the stored key is not PEM")
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(*rsa.PublicKey)
	if !ok {
		return nil, errors.New("the stored key is not RSA")
	}
	return key, nil
}

func decodePart(part string, v any) error {
	b, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}
