package gcpclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"

	"cloud.google.com/go/compute/metadata"

	"dbops/internal/cloud"
	"dbops/internal/fault"
)

// Principal is the e-mail address of the identity whose credentials are in use, in lower case. A service account's, impersonated
// or not, is in the credentials file; for all others Google is asked whose the access token is, and on Google's machines the
// metadata server. It is asked once for the same credentials. An identity that has no address, such as a federated one that
// impersonates nobody, is a fault.Config.
func (c *Client) Principal(ctx context.Context, q Question) (string, error) {
	creds, err := c.credentials()
	if err != nil {
		return "", c.Fault(ctx, q, err)
	}
	c.mu.Lock()
	known := c.principal
	c.mu.Unlock()
	if known != "" {
		return known, nil
	}
	email := fileEmail(creds.JSON())
	if email == "" {
		token, err := creds.Token(ctx)
		if err != nil {
			return "", c.Fault(ctx, q, err)
		}
		if email, err = c.tokenEmail(ctx, token.Value); err != nil {
			return "", c.Fault(ctx, q, err)
		}
	}
	if email == "" && creds.JSON() == nil && metadata.OnGCE() {
		if email, err = metadata.EmailWithContext(ctx, "default"); err != nil {
			return "", c.Fault(ctx, q, err)
		}
	}
	if !strings.Contains(email, "@") {
		return "", fault.Newf(fault.Config, q.Op, "Google does not tell whose the credentials in use are").
			Hint("set user beside iam: true under logins in dbops.yaml")
	}
	email = strings.ToLower(email)
	c.mu.Lock()
	c.principal = email
	c.mu.Unlock()
	return email, nil
}

// Identity is [Client.Principal] after Google has taken the credentials for those of that identity, and given a token.
func (c *Client) Identity(ctx context.Context, q Question) (string, error) {
	creds, err := c.credentials()
	if err != nil {
		return "", c.Fault(ctx, q, err)
	}
	if _, err = creds.Token(ctx); err == nil {
		err = ctx.Err() // a token that is known already is given to everybody
	}
	if err != nil {
		return "", c.Fault(ctx, q, err)
	}
	return c.Principal(ctx, q)
}

// fileEmail is the service account that a credentials file is about; empty if it is about somebody else.
func fileEmail(file []byte) string {
	var f struct {
		ClientEmail string `json:"client_email"`
		Impersonate string `json:"service_account_impersonation_url"`
	}
	if len(file) == 0 || json.Unmarshal(file, &f) != nil {
		return ""
	}
	if f.ClientEmail != "" {
		return f.ClientEmail
	}
	// https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/NAME@PROJECT.iam.gserviceaccount.com:generateAccessToken
	account, verb, ok := strings.Cut(path.Base(f.Impersonate), ":")
	if !ok || verb != "generateAccessToken" {
		return ""
	}
	return account
}

// tokenEmail asks whose token is. The token travels in the body: addresses are logged.
func (c *Client) tokenEmail(ctx context.Context, token string) (string, error) {
	form := url.Values{"access_token": {token}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.opts.TokenInfo, strings.NewReader(form.Encode()))
	if err != nil {
		return "", errors.New("the URL of tokeninfo cannot be read")
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	client := c.opts.HTTPClient
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return "", err
	}
	if resp.StatusCode >= http.StatusInternalServerError {
		return "", fault.New(fault.Unavailable, "ask whose the Google credentials are",
			cloud.Because("tokeninfo has trouble", fmt.Errorf("HTTP status %d", resp.StatusCode))).
			Hint("try again in a minute, or set user under logins in dbops.yaml")
	}
	if resp.StatusCode != http.StatusOK {
		return "", &credentialsError{fmt.Errorf("tokeninfo answered %d%s", resp.StatusCode, oauthReason(body))}
	}
	var info struct {
		Email string `json:"email"`
	}
	if err := json.Unmarshal(body, &info); err != nil {
		return "", fmt.Errorf("read the answer of tokeninfo: %w", err)
	}
	return info.Email, nil
}
