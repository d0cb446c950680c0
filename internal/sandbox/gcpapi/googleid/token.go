package googleid

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"dbops/internal/secret"
)

// accessTokenPrefix starts every access token, as the real ones.
const accessTokenPrefix = "ya29."

// maxToken bounds what is decoded of a token or an assertion.
const maxToken = 8 << 10

// claims are what an access token says. The names are short because connectors put the token into certificates' requests.
type claims struct {
	Email   string   `json:"e"`
	Expires int64    `json:"x"` // Unix seconds
	Scopes  []string `json:"s"`
	Nonce   []byte   `json:"n"`
}

// Token makes an access token for a principal that lasts ttl, as if it had logged in. Without scopes it is good for all.
func (d *Directory) Token(email string, ttl time.Duration, scopes ...string) (secret.Value, error) {
	if len(scopes) == 0 {
		scopes = []string{ScopePlatform, ScopeSQLAdmin, ScopeSQLLogin}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.state.Principals[email] == nil {
		return secret.Value{}, fmt.Errorf("token for %s: %w", email, errUnknown)
	}
	return d.sign(email, d.opts.Now().Add(ttl), scopes)
}

// sign makes a token. The caller holds the lock.
func (d *Directory) sign(email string, expires time.Time, scopes []string) (secret.Value, error) {
	c := claims{Email: email, Expires: expires.Unix(), Scopes: scopes, Nonce: make([]byte, 8)}
	_, _ = rand.Read(c.Nonce)
	b, err := json.Marshal(c)
	if err != nil {
		return secret.Value{}, err
	}
	body := base64.RawURLEncoding.EncodeToString(b)
	return secret.New(accessTokenPrefix + body + "." + d.mac(body)), nil
}

func (d *Directory) mac(body string) string {
	h := hmac.New(sha256.New, d.state.SigningKey)
	h.Write([]byte(body))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// Check tells who bears a token: an access token, or an assertion that a service account signed for a played service.
func (d *Directory) Check(token string) (Bearer, error) {
	if len(token) > maxToken {
		return Bearer{}, errors.New("the token is too long")
	}
	if !strings.HasPrefix(token, accessTokenPrefix) {
		return d.checkSelfSigned(token)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	body, mac, ok := strings.Cut(strings.TrimPrefix(token, accessTokenPrefix), ".")
	if !ok || !hmac.Equal([]byte(mac), []byte(d.mac(body))) {
		return Bearer{}, errors.New("the token was not made here")
	}
	b, err := base64.RawURLEncoding.DecodeString(body)
	if err != nil {
		return Bearer{}, fmt.Errorf("decode token: %w", err)
	}
	var c claims
	if err := json.Unmarshal(b, &c); err != nil {
		return Bearer{}, fmt.Errorf("decode token: %w", err)
	}
	if d.state.Principals[c.Email] == nil {
		return Bearer{}, errUnknown
	}
	bearer := Bearer{Email: c.Email, Scopes: c.Scopes, Expires: time.Unix(c.Expires, 0)}
	if !d.opts.Now().Before(bearer.Expires) {
		return Bearer{}, errors.New("the token has expired")
	}
	return bearer, nil
}

// checkSelfSigned accepts what Google's libraries send for some services in place of an access token: an assertion that names
// its scopes or the service.
func (d *Directory) checkSelfSigned(token string) (Bearer, error) {
	a, err := d.verify(token)
	if err != nil {
		return Bearer{}, err
	}
	b := Bearer{Email: a.Issuer, Scopes: strings.Fields(a.Scope), Expires: time.Unix(a.Expires, 0)}
	switch a.Audience {
	case "":
	case "https://sqladmin.googleapis.com/":
		b.Scopes = append(b.Scopes, ScopeSQLAdmin)
	case "https://secretmanager.googleapis.com/":
		b.Scopes = append(b.Scopes, ScopePlatform)
	default:
		return Bearer{}, errors.New("the token is for another service")
	}
	return b, nil
}
