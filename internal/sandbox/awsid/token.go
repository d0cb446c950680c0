package awsid

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// Login is a database login with an IAM token.
type Login struct {
	Endpoint   string // host:port of the instance, as its description says
	Role       string // who wants to log in
	ResourceID string // db-…: the instance in the resource of rds-db:connect
}

const (
	tokenLife = 15 * time.Minute
	tokenMax  = 8 << 10
)

// CheckToken checks the token of a login as RDS does: it is a request for exactly this endpoint and role, signed less than
// fifteen minutes ago for rds-db in this region, by a principal who may connect. The error says which of these is wrong; it
// holds no part of the signature.
func (k *Keys) CheckToken(login Login, token string) error {
	if len(token) > tokenMax {
		return errors.New("token is too long")
	}
	u, err := url.Parse("http://" + token)
	if err != nil {
		return errors.New("token is not a presigned request")
	}
	q := u.Query()
	switch {
	case q.Get("Action") != "connect":
		return errors.New("token is not a presigned connect request")
	case u.Host != login.Endpoint:
		return fmt.Errorf("token is for endpoint %q, not %q", u.Host, login.Endpoint)
	case q.Get("DBUser") != login.Role:
		return fmt.Errorf("token is for user %q, not %q", q.Get("DBUser"), login.Role)
	}
	if n := q.Get("X-Amz-Expires"); n != "900" {
		return fmt.Errorf("token is valid for %q seconds, not 900", n)
	}
	r := &http.Request{Method: http.MethodGet, URL: u, Host: u.Host, Header: http.Header{}}
	if u.Path == "" {
		u.Path = "/"
	}
	caller, err := k.Verify(r, nil, "rds-db")
	if err != nil {
		return fmt.Errorf("token: %w", err)
	}
	resource := fmt.Sprintf("arn:aws:rds-db:%s:%s:dbuser:%s/%s", k.region, k.account, login.ResourceID, login.Role)
	return caller.Authorize("rds-db:connect", resource)
}
