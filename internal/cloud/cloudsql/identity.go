package cloudsql

import (
	"context"

	"dbops/internal/cloud/gcpclient"
)

// Identity is the e-mail address of the identity in use, once Google has given a token for its credentials.
func (p *Provider) Identity(ctx context.Context) (string, error) {
	ask, cancel := context.WithTimeout(ctx, gcpclient.Timeout)
	defer cancel()
	return p.google.Identity(ask, p.question("ask Google who is asking", ""))
}

// ForgetLogin makes the next login find the Google credentials anew, after a server refused those in use.
func (p *Provider) ForgetLogin() { p.google.Forget() }
