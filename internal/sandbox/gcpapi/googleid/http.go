package googleid

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	jwtGrant    = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	maxFormBody = 64 << 10
)

// Serves tells whether path belongs to the identity service.
func (*Directory) Serves(path string) bool {
	switch path {
	case "/token", "/tokeninfo", "/oauth2/v1/tokeninfo", "/oauth2/v3/tokeninfo",
		"/userinfo", "/v1/userinfo", "/oauth2/v2/userinfo", "/oauth2/v3/userinfo":
		return true
	}
	return false
}

// ServeHTTP serves /token (the exchange of a signed assertion for an access token), /tokeninfo and /userinfo.
func (d *Directory) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxFormBody)
	if err := r.ParseForm(); err != nil {
		refuse(w, http.StatusBadRequest, "invalid_request", "Could not read the form.")
		return
	}
	switch {
	case r.URL.Path == "/token":
		d.exchange(w, r)
	case strings.HasSuffix(r.URL.Path, "/tokeninfo"):
		d.tokenInfo(w, r.Form.Get("access_token"))
	default:
		d.userInfo(w, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	}
}

func (d *Directory) exchange(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		refuse(w, http.StatusMethodNotAllowed, "invalid_request", "Use POST.")
		return
	}
	if g := r.PostForm.Get("grant_type"); g != jwtGrant {
		refuse(w, http.StatusBadRequest, "unsupported_grant_type", "Invalid grant_type: "+g)
		return
	}
	a, err := d.verify(r.PostForm.Get("assertion"))
	if err != nil {
		refuse(w, http.StatusBadRequest, "invalid_grant", err.Error())
		return
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	switch {
	case a.Audience != scheme+"://"+r.Host+"/token":
		refuse(w, http.StatusBadRequest, "invalid_grant", "Invalid JWT: Failed audience check.")
		return
	case a.TargetAudience != "":
		refuse(w, http.StatusNotImplemented, "invalid_request", "sandbox: not emulated: ID tokens (target_audience)")
		return
	case a.Scope == "":
		refuse(w, http.StatusBadRequest, "invalid_scope", "Empty or missing scope not allowed.")
		return
	}
	d.mu.Lock()
	token, err := d.sign(a.Issuer, d.opts.Now().Add(d.opts.TokenTTL), strings.Fields(a.Scope))
	d.mu.Unlock()
	if err != nil {
		refuse(w, http.StatusInternalServerError, "internal_failure", err.Error())
		return
	}
	answer(w, http.StatusOK, map[string]any{
		"access_token": token.Reveal(), "token_type": "Bearer", "expires_in": int(d.opts.TokenTTL / time.Second),
	})
}

func (d *Directory) tokenInfo(w http.ResponseWriter, token string) {
	b, err := d.Check(token)
	if err != nil {
		refuse(w, http.StatusBadRequest, "invalid_token", "Invalid Value")
		return
	}
	answer(w, http.StatusOK, map[string]any{
		"azp": subject(b.Email), "aud": subject(b.Email), "sub": subject(b.Email), "scope": strings.Join(b.Scopes, " "),
		"exp":        strconv.FormatInt(b.Expires.Unix(), 10),
		"expires_in": strconv.FormatInt(int64(b.Expires.Sub(d.opts.Now())/time.Second), 10),
		"email":      b.Email, "email_verified": "true", "access_type": "online",
	})
}

func (d *Directory) userInfo(w http.ResponseWriter, token string) {
	b, err := d.Check(token)
	if err != nil {
		w.Header().Set("WWW-Authenticate", `Bearer realm="https://accounts.google.com/", error="invalid_token"`)
		refuse(w, http.StatusUnauthorized, "invalid_request", "Invalid Credentials")
		return
	}
	answer(w, http.StatusOK, map[string]any{"sub": subject(b.Email), "id": subject(b.Email), "email": b.Email, "email_verified": true})
}

// subject is the number that stands for a principal. It is always the same for one email.
func subject(email string) string {
	n := uint64(14695981039346656037)
	for _, c := range []byte(email) {
		n = (n ^ uint64(c)) * 1099511628211
	}
	return "1" + strconv.FormatUint(1e19+n%9e18, 10)
}

func refuse(w http.ResponseWriter, status int, code, description string) {
	answer(w, status, map[string]any{"error": code, "error_description": description})
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client is gone if it fails
}
