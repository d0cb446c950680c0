package gcpclient

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"cloud.google.com/go/auth"
	"github.com/googleapis/gax-go/v2/apierror"
	"google.golang.org/api/googleapi"

	"dbops/internal/cloud"
	"dbops/internal/fault"
)

// Question is what Google Cloud was asked, for the sake of a good error.
type Question struct {
	Op         string // what was being done, to what
	Permission string // that it needs, when the answer does not name it
	Role       string // that holds the permission
	API        string // sqladmin.googleapis.com
	Project    string
}

// Fault is err, of the SDK or of the credentials below it, as a *fault.Error for q; the SDK's error stays in the chain. It is nil
// for nil, and err itself if that is a *fault.Error already. ctx is the caller's: it tells a person's interrupt from a slow
// network.
func (c *Client) Fault(ctx context.Context, q Question, err error) error {
	if err == nil {
		return nil
	}
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return fault.New(fault.Interrupted, q.Op, cloud.Because("interrupted", err))
	}
	if creds, ok := credentialsIn(err); ok {
		c.Forget()
		return credentialsFault(q, creds)
	}
	if api, ok := errors.AsType[*googleapi.Error](err); ok {
		if api.Code == http.StatusUnauthorized {
			c.Forget()
		}
		return apiFault(q, api, err)
	}
	if what, why := cloud.Unreached(err); what != "" {
		return fault.New(fault.Unavailable, q.Op, cloud.Because(why, err)).Hint("%s", reachHint(what))
	}
	return fault.New(fault.Internal, q.Op, cloud.Because(err.Error(), err))
}

// Expired tells whether err is that the credentials in use are none, or none any more, and not that they may not do something.
func Expired(err error) bool {
	if _, ok := credentialsIn(err); ok {
		return true
	}
	api, ok := errors.AsType[*googleapi.Error](err)
	return ok && api.Code == http.StatusUnauthorized
}

// credentialsIn finds the error of credentials, marked by this package or by the library where others use it.
func credentialsIn(err error) (*credentialsError, bool) {
	if creds, ok := errors.AsType[*credentialsError](err); ok {
		return creds, true
	}
	if token, ok := errors.AsType[*auth.Error](err); ok {
		return &credentialsError{token}, true
	}
	return nil, false
}

// apiFault is an error that an API of Google answered with.
func apiFault(q Question, api *googleapi.Error, err error) error {
	reason := reasonOf(api)
	text := strings.TrimRight(strings.TrimSpace(api.Message), ".")
	if text == "" {
		text = "the answer is none of Google's: " + strconv.Itoa(api.Code) + " " + http.StatusText(api.Code)
	} else if reason != "" {
		text += " (" + reason + ")"
	}
	if api.Code == http.StatusConflict && exists(reason) {
		err = errors.Join(err, cloud.ErrExists)
	}
	f := fault.New(kindOf(api.Code, reason), q.Op, cloud.Because(text, err))
	switch f.Kind {
	case fault.Denied:
		return denied(f, q, api, reason)
	case fault.NotFound:
		return f.Hint("check the name and the project %s", q.Project)
	case fault.Throttled:
		return f.Hint("the quota of %s is used up; wait a minute", q.API)
	case fault.Busy:
		return f.Hint("wait until what is under way has ended")
	case fault.Stale:
		return f.Hint("read it again, then repeat")
	case fault.Unavailable:
		return f.Hint("Google Cloud has trouble; see https://status.cloud.google.com")
	default:
		return f
	}
}

// denied says which of the many reasons it was.
func denied(f *fault.Error, q Question, api *googleapi.Error, reason string) error {
	switch {
	case api.Code == http.StatusUnauthorized:
		return f.Hint(loginHint)
	case reason == "SERVICE_DISABLED", reason == "accessNotConfigured":
		return f.Hint("gcloud services enable %s --project %s", q.API, q.Project)
	case reason == "ACCESS_TOKEN_SCOPE_INSUFFICIENT", reason == "insufficientPermissions":
		return f.Hint("log in with the cloud-platform scope: gcloud auth application-default login")
	case reason == "USER_PROJECT_DENIED":
		return f.Missing("serviceusage.services.use").
			Hint("the quota project of the credentials refuses: gcloud auth application-default set-quota-project %s", q.Project)
	}
	permission := permissionIn(api)
	if permission == "" {
		permission = q.Permission
	}
	if permission == q.Permission && q.Role != "" {
		return f.Missing(permission).
			Hint("grant the identity in use %s, which holds %s, on project %s; Google answers the same when there is no such thing", q.Role, permission, q.Project)
	}
	return f.Missing(permission).Hint("grant the identity in use a role that holds %s on project %s", permission, q.Project)
}

const loginHint = "gcloud auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS"

// kindOf knows the answers of the Cloud SQL Admin API and of Secret Manager.
func kindOf(code int, reason string) fault.Kind {
	switch code {
	case http.StatusUnauthorized:
		return fault.Denied
	case http.StatusForbidden:
		if isRateReason(reason) {
			return fault.Throttled
		}
		return fault.Denied
	case http.StatusNotFound:
		return fault.NotFound
	case http.StatusConflict:
		switch {
		case exists(reason):
			return fault.Invalid
		case strings.EqualFold(reason, "aborted"):
			return fault.Stale
		}
		return fault.Busy
	case http.StatusPreconditionFailed:
		return fault.Stale
	case http.StatusTooManyRequests:
		return fault.Throttled
	case http.StatusRequestTimeout:
		return fault.Unavailable
	case http.StatusBadRequest:
		switch reason {
		case "invalidState", "operationInProgress", "failedPrecondition", "FAILED_PRECONDITION", "invalidOperation", "instanceNotRunning":
			return fault.Busy
		}
	}
	if code >= http.StatusInternalServerError || code < http.StatusBadRequest {
		return fault.Unavailable
	}
	return fault.Invalid
}

// exists tells whether a name is taken.
func exists(reason string) bool {
	switch reason {
	case "instanceAlreadyExists", "sslCertAlreadyExists", "alreadyExists", "ALREADY_EXISTS":
		return true
	}
	return false
}

func isRateReason(reason string) bool {
	switch reason {
	case "rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded", "dailyLimitExceeded", "RATE_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED":
		return true
	}
	return false
}

// reasonOf is the API's word for what went wrong: of the details, else of the first error, else the canonical status.
func reasonOf(api *googleapi.Error) string {
	if a := detailsOf(api); a != nil && a.Reason() != "" && a.Reason() != "IAM_PERMISSION_DENIED" {
		return a.Reason()
	}
	if len(api.Errors) > 0 && api.Errors[0].Reason != "" {
		return api.Errors[0].Reason
	}
	var body struct {
		Error struct {
			Status string `json:"status"`
		} `json:"error"`
	}
	_ = json.Unmarshal([]byte(api.Body), &body) // a body that is no JSON has no status
	return body.Error.Status
}

// detailsOf is an answer with its details; the SDK's clients have parsed them already, below the error. Nil without any.
func detailsOf(api *googleapi.Error) *apierror.APIError {
	if a, ok := errors.AsType[*apierror.APIError](api); ok {
		return a
	}
	a, _ := apierror.FromError(api)
	return a
}

var permissionText = regexp.MustCompile(`(?:[Pp]ermission|Required) '?([a-z][A-Za-z0-9]*(?:\.[A-Za-z0-9]+){2,})`)

// permissionIn is the IAM permission that an answer names.
func permissionIn(api *googleapi.Error) string {
	if a := detailsOf(api); a != nil && a.Metadata()["permission"] != "" {
		return a.Metadata()["permission"]
	}
	if m := permissionText.FindStringSubmatch(api.Message); m != nil {
		return m[1]
	}
	return ""
}

// statusText is how the credentials library tells an answer it did not like.
var statusText = regexp.MustCompile(`(?s)status code (\d{3}): (\{.*)`)

// credentialsFault is that there are no credentials, or none any more.
func credentialsFault(q Question, err *credentialsError) error {
	deny := func(why, hint string) *fault.Error {
		return fault.New(fault.Denied, q.Op, cloud.Because(why, err)).Hint("%s", hint)
	}
	text := err.Error()
	if strings.Contains(text, "could not find default credentials") {
		return deny("no Google credentials were found", loginHint)
	}
	if token, ok := errors.AsType[*auth.Error](err); ok {
		if token.Temporary() {
			return fault.New(fault.Unavailable, q.Op, cloud.Because("Google's login service has trouble", err)).
				Hint("try again in a minute; see https://status.cloud.google.com")
		}
		return deny("the Google credentials are expired or revoked"+oauthReason(token.Body), loginHint)
	}
	if m := statusText.FindStringSubmatch(text); m != nil { // impersonation, workload identity
		var body struct {
			Error struct {
				Message string `json:"message"`
			} `json:"error"`
		}
		if json.Unmarshal([]byte(m[2]), &body) == nil && body.Error.Message != "" {
			f := deny("no Google credentials: "+body.Error.Message, "check the service account that the credentials impersonate, and who may")
			if p := permissionText.FindStringSubmatch(body.Error.Message); p != nil {
				f = f.Missing(p[1])
			}
			return f
		}
	}
	if what, why := cloud.Unreached(err); what != "" {
		return fault.New(fault.Unavailable, q.Op, cloud.Because("no Google credentials: "+why, err)).Hint("%s", reachHint(what))
	}
	return deny("the Google credentials cannot be used: "+strings.TrimPrefix(text, "credentials: "), loginHint)
}

// oauthReason is what a token endpoint answered, in brackets.
func oauthReason(body []byte) string {
	var b struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
		Subtype     string `json:"error_subtype"`
	}
	if json.Unmarshal(body, &b) != nil || b.Error == "" {
		return ""
	}
	words := []string{b.Error}
	for _, w := range []string{b.Subtype, b.Description} {
		if w != "" {
			words = append(words, w)
		}
	}
	return " (" + strings.Join(words, ", ") + ")"
}

func reachHint(what cloud.Obstacle) string {
	switch what {
	case cloud.NoSuchHost, cloud.NoLookup:
		return "check the network and the VPN"
	case cloud.WrongCA, cloud.WrongName, cloud.Expired, cloud.TLSFailed:
		return "something between here and Google answers in its place; if it is your company's proxy, add its CA to the system's (SSL_CERT_FILE)"
	case cloud.Refused:
		return "check the endpoint in dbops.yaml and the proxy variables of the environment"
	default:
		return "check the network and the VPN, then try again"
	}
}
