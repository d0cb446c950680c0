package rds

import (
	"context"
	"net"

	"github.com/aws/aws-sdk-go-v2/feature/rds/auth"

	"dbops/internal/cloud/awsclient"
	"dbops/internal/fault"
	"dbops/internal/secret"
)

// LoginToken is a token to send in place of user's password to the instance that listens on endpoint, its own host:port whatever
// the way there. It is good for logging in for 15 minutes, or until the credentials it was made with expire. It is signed here:
// RDS is not asked, so a user that may not log in learns so from the server. Without credentials it is a fault.Denied.
func (p *Provider) LoginToken(ctx context.Context, endpoint, user string) (secret.Value, error) {
	op := "make a login token for " + user + " on " + endpoint
	host, port, err := net.SplitHostPort(endpoint)
	if err != nil || host == "" || port == "" {
		return secret.Value{}, fault.Newf(fault.Invalid, op, "the endpoint is not host:port")
	}
	if user == "" {
		return secret.Value{}, fault.Newf(fault.Config, op, "no login role is named").Hint("set user beside iam: true under logins in dbops.yaml")
	}
	if err := p.aws.NeedRegion(op, ""); err != nil {
		return secret.Value{}, err
	}
	ask, cancel := context.WithTimeout(ctx, awsclient.Timeout)
	defer cancel()
	token, err := auth.BuildAuthToken(ask, endpoint, p.aws.Config.Region, user, p.aws.Config.Credentials)
	if err != nil {
		return secret.Value{}, p.aws.Fault(ctx, op, err)
	}
	return secret.New(token), nil
}

// ForgetLogin makes the next token from credentials that are read anew, after a server refused one.
func (p *Provider) ForgetLogin() { p.aws.Forget() }
