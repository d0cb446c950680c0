package awsclient

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials/ssocreds"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"dbops/internal/cloud"
	"dbops/internal/fault"
)

// Fault is err, of the SDK or of the chain below it, as a *fault.Error for op; the SDK's error stays in the chain. It is nil for
// nil, and err itself if that is a *fault.Error already. ctx is the caller's: it tells a person's interrupt from a slow network.
func (c *Client) Fault(ctx context.Context, op string, err error) error {
	if err == nil {
		return nil
	}
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return fault.New(fault.Interrupted, op, cloud.Because("interrupted", err))
	}
	if creds, ok := errors.AsType[*credentialsError](err); ok {
		c.chain.forget()
		return c.credentialsFault(op, creds)
	}
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return c.apiFault(op, api, err)
	}
	if what, why := cloud.Unreached(err); what != "" {
		return fault.New(fault.Unavailable, op, cloud.Because(why, err)).Hint("%s", reachHint(what))
	}
	if statusOf(err) != 0 {
		return strange(op, err)
	}
	return fault.New(fault.Internal, op, cloud.Because(err.Error(), err))
}

// strange is an answer that is none of AWS's: a proxy's, or that of a wrong endpoint.
func strange(op string, err error) error {
	status := statusOf(err)
	text := fmt.Sprintf("the answer is none of AWS's: HTTP status %d %s", status, http.StatusText(status))
	return fault.New(fault.Unavailable, op, cloud.Because(text, err)).
		Hint("check the endpoint in dbops.yaml and in AWS_ENDPOINT_URL, and the proxy variables of the environment")
}

// NeedRegion is a fault.Config unless a region is known: the one that was asked for, or the configuration's. Without one the SDK
// would sign for no region, and the answer would blame the signature.
func (c *Client) NeedRegion(op, asked string) error {
	if asked != "" || c.Config.Region != "" {
		return nil
	}
	return fault.Newf(fault.Config, op, "no AWS region is known").Hint("name the region in dbops.yaml, or set AWS_REGION")
}

func isType[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

func statusOf(err error) int {
	if r, ok := errors.AsType[*smithyhttp.ResponseError](err); ok && r.Response != nil && r.Response.Response != nil {
		return r.HTTPStatusCode()
	}
	return 0
}

// apiFault is an error that a service of AWS answered with.
func (c *Client) apiFault(op string, api smithy.APIError, err error) error {
	code := api.ErrorCode()
	text := api.ErrorMessage()
	if code == "UnknownError" { // the SDK's word for an answer without an error in it
		return strange(op, err)
	}
	if text == "" || text == "UnknownError" {
		text = "AWS gave no reason"
	}
	text = strings.TrimRight(strings.TrimSpace(text), ".") + " (" + code + ")"
	if exists(code) {
		err = errors.Join(err, cloud.ErrExists)
	}
	f := fault.New(kindOf(code, statusOf(err), api.ErrorFault()), op, cloud.Because(text, err))
	switch f.Kind {
	case fault.Denied:
		if isCredentialCode(code) {
			c.chain.forget()
			return f.Hint("%s", c.renewHint(code))
		}
		permission := permissionIn(api.ErrorMessage())
		if permission == "" {
			permission = permissionOf(err)
		}
		if permission == "" {
			return f.Hint("%s shows the identity in use", c.cli("sts get-caller-identity"))
		}
		return f.Missing(permission).
			Hint("allow %s to the identity in use (%s shows it)", permission, c.cli("sts get-caller-identity"))
	case fault.NotFound:
		return f.Hint("check the name, the region and the account (%s)", c.cli("sts get-caller-identity"))
	case fault.Throttled:
		return f.Hint("AWS limits requests of this account; wait a minute")
	case fault.Busy:
		return f.Hint("wait until what is under way has ended")
	case fault.Unavailable:
		return f.Hint("AWS has trouble in this region; see https://health.aws.amazon.com")
	default:
		return f
	}
}

// kindOf knows the codes of RDS, Secrets Manager, STS and SSO, and the families that AWS builds new ones from.
func kindOf(code string, status int, side smithy.ErrorFault) fault.Kind {
	if k, ok := kinds[code]; ok {
		return k
	}
	if _, ok := retry.DefaultThrottleErrorCodes[code]; ok {
		return fault.Throttled
	}
	name := strings.TrimSuffix(strings.TrimSuffix(code, "Fault"), "Exception")
	switch {
	case strings.HasSuffix(name, "NotFound"):
		return fault.NotFound
	case strings.HasPrefix(name, "AccessDenied"), strings.Contains(name, "KMSKeyNotAccessible"):
		return fault.Denied
	case strings.HasPrefix(name, "Invalid") && strings.HasSuffix(name, "State"):
		return fault.Busy
	case side == smithy.FaultServer, status >= http.StatusInternalServerError:
		return fault.Unavailable
	case status == http.StatusTooManyRequests:
		return fault.Throttled
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return fault.Denied
	}
	return fault.Invalid
}

// exists tells whether a name is taken: DBInstanceAlreadyExists, ResourceExistsException.
func exists(code string) bool {
	return strings.HasSuffix(strings.TrimSuffix(strings.TrimSuffix(code, "Fault"), "Exception"), "Exists")
}

var kinds = map[string]fault.Kind{
	"UnauthorizedOperation": fault.Denied,
	"NotAuthorized":         fault.Denied,
	"AuthorizationError":    fault.Denied,
	"ForbiddenException":    fault.Denied,
	"UnauthorizedException": fault.Denied,
	"OptInRequired":         fault.Denied,
	"DecryptionFailure":     fault.Denied,

	"ExpiredToken":                        fault.Denied,
	"ExpiredTokenException":               fault.Denied,
	"RequestExpired":                      fault.Denied,
	"TokenRefreshRequired":                fault.Denied,
	"InvalidClientTokenId":                fault.Denied,
	"UnrecognizedClientException":         fault.Denied,
	"InvalidAccessKeyId":                  fault.Denied,
	"SignatureDoesNotMatch":               fault.Denied,
	"InvalidSignatureException":           fault.Denied,
	"IncompleteSignature":                 fault.Denied,
	"IncompleteSignatureException":        fault.Denied,
	"RequestTimeTooSkewed":                fault.Denied,
	"MissingAuthenticationToken":          fault.Denied,
	"AuthFailure":                         fault.Denied,
	"MissingAuthenticationTokenException": fault.Denied,

	"OperationInProgress":             fault.Busy,
	"OperationInProgressException":    fault.Busy,
	"ConcurrentModification":          fault.Stale,
	"ConcurrentModificationException": fault.Stale,
	"PreconditionFailed":              fault.Stale,
	"PreconditionNotMetException":     fault.Stale,

	"ServiceUnavailable":          fault.Unavailable,
	"ServiceUnavailableException": fault.Unavailable,
	"InternalFailure":             fault.Unavailable,
	"InternalError":               fault.Unavailable,
	"InternalServiceError":        fault.Unavailable,
	"RequestTimeout":              fault.Unavailable,
	"RequestTimeoutException":     fault.Unavailable,
}

// isCredentialCode tells whether the credential itself is at fault, and not what it may do.
func isCredentialCode(code string) bool {
	switch code {
	case "ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired", "InvalidClientTokenId",
		"UnrecognizedClientException", "InvalidAccessKeyId", "MissingAuthenticationToken", "MissingAuthenticationTokenException",
		"AuthFailure":
		return true
	}
	return isSignatureCode(code)
}

func isSignatureCode(code string) bool {
	switch code {
	case "SignatureDoesNotMatch", "InvalidSignatureException", "IncompleteSignature", "IncompleteSignatureException",
		"RequestTimeTooSkewed":
		return true
	}
	return false
}

func (c *Client) renewHint(code string) string {
	if isSignatureCode(code) {
		return "check this machine's clock and the secret access key; then log in again: " + c.cli("sso login")
	}
	return "the credentials are expired or wrong; log in again: " + c.cli("sso login") + ", or " + c.cli("configure") + " for access keys"
}

var notAuthorized = regexp.MustCompile(`not authorized to perform:? ([a-z0-9-]+:[A-Za-z0-9*]+)`)

// permissionIn is the IAM action that a message of AWS names.
func permissionIn(message string) string {
	if m := notAuthorized.FindStringSubmatch(message); m != nil {
		return m[1]
	}
	if strings.Contains(message, "KMS") {
		return "kms:Decrypt"
	}
	return ""
}

// permissionOf is the IAM action of the operation that failed; the two have one name in the services that dbops uses.
func permissionOf(err error) string {
	o, ok := errors.AsType[*smithy.OperationError](err)
	if !ok {
		return ""
	}
	prefix, ok := map[string]string{"RDS": "rds", "Secrets Manager": "secretsmanager", "STS": "sts", "ECS": "ecs", "CloudWatch": "cloudwatch"}[o.ServiceID]
	if !ok {
		return ""
	}
	return prefix + ":" + o.OperationName
}

// credentialsFault is a chain that ended without credentials.
func (c *Client) credentialsFault(op string, err *credentialsError) error {
	text := err.Error()
	if api, ok := errors.AsType[smithy.APIError](err); ok && permissionIn(api.ErrorMessage()) != "" {
		return c.apiFault(op, api, err) // sts:AssumeRole is refused
	}
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(text, w) {
				return true
			}
		}
		return false
	}
	f := func(why, hint string) error {
		return fault.New(fault.Denied, op, cloud.Because(why, err)).Hint("%s", hint)
	}
	switch {
	case isType[*ssocreds.InvalidTokenError](err), has("SSO token", "operation error SSO OIDC"), has("operation error SSO:") && statusOf(err) == http.StatusUnauthorized:
		return f("the AWS SSO session has expired", c.cli("sso login"))
	case has("operation error SSO:") && statusOf(err) == http.StatusForbidden:
		return f("the SSO user may not use this account and role", "check sso_account_id and sso_role_name of the profile, or ask for the permission set")
	case has("please reauthenticate", "login token"):
		return f("the AWS login session has expired", c.cli("login"))
	case has("EC2 IMDS", "ec2imds"):
		return f("no AWS credentials were found", c.cli("sso login")+", "+c.cli("configure")+", or set AWS_PROFILE")
	case has("process provider error"):
		return f("the credential_process of the profile failed: "+last(err), "run the credential_process of ~/.aws/config by hand")
	}
	if what, why := cloud.Unreached(err); what != "" {
		return fault.New(fault.Unavailable, op, cloud.Because("no credentials: "+why, err)).Hint("%s", reachHint(what))
	}
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return c.apiFault(op, api, err)
	}
	return f("no AWS credentials: "+last(err), c.cli("sts get-caller-identity")+" shows what is wrong with them")
}

// last is the text of the innermost error of a chain, which is the only one that says what happened.
func last(err error) string {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err.Error()
		}
		err = next
	}
}

// cli is a command of the AWS CLI for the profile in use.
func (c *Client) cli(command string) string {
	if c.profile == "" {
		return "aws " + command
	}
	return "aws " + command + " --profile " + c.profile
}

func reachHint(what cloud.Obstacle) string {
	switch what {
	case cloud.NoSuchHost, cloud.NoLookup:
		return "check the region, the network and the VPN"
	case cloud.WrongCA, cloud.WrongName, cloud.Expired, cloud.TLSFailed:
		return "something between here and AWS answers in its place; if it is your company's proxy, name its CA in AWS_CA_BUNDLE"
	case cloud.Refused:
		return "check the endpoint in dbops.yaml and in AWS_ENDPOINT_URL, and the proxy variables of the environment"
	default:
		return "check the network and the VPN, then try again"
	}
}
