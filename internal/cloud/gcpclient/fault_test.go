package gcpclient

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	secretmanager "cloud.google.com/go/secretmanager/apiv1"
	"cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"google.golang.org/api/googleapi"
	sqladmin "google.golang.org/api/sqladmin/v1"

	"dbops/internal/fault"
)

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answer(status int, body string, header map[string]string, count *int) roundTrip {
	return func(r *http.Request) (*http.Response, error) {
		*count++
		w := httptest.NewRecorder()
		for k, v := range header {
			w.Header().Set(k, v)
		}
		w.WriteHeader(status)
		_, _ = w.WriteString(body)
		resp := w.Result()
		resp.Request = r
		return resp, nil
	}
}

// get asks the Admin API for one instance through transport.
func get(ctx context.Context, t *testing.T, transport http.RoundTripper) error {
	t.Helper()
	c := New(Options{Endpoint: "http://sqladmin.test/", HTTPClient: &http.Client{Transport: transport}})
	opts, _, err := c.Options()
	if err != nil {
		t.Fatal(err)
	}
	api, err := sqladmin.NewService(ctx, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return c.Fault(ctx, question, Read(ctx, func(ctx context.Context) error {
		_, err := api.Instances.Get("shop", "main").Context(ctx).Do()
		return err
	}))
}

// body is an error of the Admin API.
func body(code int, reason, message string) string {
	return fmt.Sprintf(`{"error":{"code":%d,"message":%q,"errors":[{"message":%q,"domain":"global","reason":%q}]}}`, code, message, message, reason)
}

// detailed is an error with details, as Google's newer front ends make them.
func detailed(code int, status, message, reason, metadata string) string {
	return fmt.Sprintf(`{"error":{"code":%d,"message":%q,"status":%q,"details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":%q,"domain":"googleapis.com","metadata":{%s}}]}}`, code, message, status, reason, metadata)
}

func TestAnswersOfTheAdminAPI(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name       string
		status     int
		body       string
		kind       fault.Kind
		text       string
		permission string
		hint       string
		attempts   int
	}{
		{"there is no such instance", 404, body(404, "instanceDoesNotExist", "The Cloud SQL instance does not exist."), fault.NotFound, "The Cloud SQL instance does not exist (instanceDoesNotExist)", "", "project shop", 1},
		{"a permission is missing and not named", 403, body(403, "notAuthorized", "The client is not authorized to make this request."), fault.Denied, "not authorized to make this request (notAuthorized)", "cloudsql.instances.get", "roles/cloudsql.viewer", 1},
		{"a permission is missing and named in the text", 403, body(403, "forbidden", "Required 'cloudsql.operations.list' permission for 'projects/shop'"), fault.Denied, "", "cloudsql.operations.list", "holds cloudsql.operations.list on project shop", 1},
		{"a permission is missing and named without quotes", 403, body(403, "forbidden", "boss::NOT_AUTHORIZED: Not authorized to access resource. Possibly missing permission cloudsql.instances.login on resource instances/main"), fault.Denied, "", "cloudsql.instances.login", "", 1},
		{"a permission is missing and named in the details", 403, detailed(403, "PERMISSION_DENIED", "Permission 'x' denied", "IAM_PERMISSION_DENIED", `"permission":"cloudsql.instances.list"`), fault.Denied, "(PERMISSION_DENIED)", "cloudsql.instances.list", "", 1},
		{"the API is switched off", 403, detailed(403, "PERMISSION_DENIED", "Cloud SQL Admin API has not been used in project 1 before or it is disabled.", "SERVICE_DISABLED", ""), fault.Denied, "disabled (SERVICE_DISABLED)", "", "gcloud services enable sqladmin.googleapis.com --project shop", 1},
		{"the API is switched off, in older words", 403, body(403, "accessNotConfigured", "Access Not Configured."), fault.Denied, "", "", "gcloud services enable", 1},
		{"the token has too few scopes", 403, detailed(403, "PERMISSION_DENIED", "Request had insufficient authentication scopes.", "ACCESS_TOKEN_SCOPE_INSUFFICIENT", ""), fault.Denied, "", "", "cloud-platform scope", 1},
		{"the quota project refuses", 403, detailed(403, "PERMISSION_DENIED", "Caller does not have required permission to use project x.", "USER_PROJECT_DENIED", ""), fault.Denied, "", "serviceusage.services.use", "set-quota-project shop", 1},
		{"the token is not taken", 401, body(401, "authError", "Invalid Credentials"), fault.Denied, "", "", "gcloud auth application-default login", 1},
		{"the quota is used up", 429, body(429, "rateLimitExceeded", "Quota exceeded"), fault.Throttled, "", "", "quota of sqladmin.googleapis.com", 4},
		{"the quota is used up, in older words", 403, body(403, "rateLimitExceeded", "Rate Limit Exceeded"), fault.Throttled, "", "", "", 4},
		{"an operation runs", 409, body(409, "operationInProgress", "Operation failed because another operation was already in progress."), fault.Busy, "", "", "wait", 1},
		{"the instance exists", 409, body(409, "instanceAlreadyExists", "The Cloud SQL instance already exists."), fault.Invalid, "", "", "", 1},
		{"the client certificate exists", 409, body(409, "sslCertAlreadyExists", "The SSL certificate already exists."), fault.Invalid, "", "", "", 1},
		{"the state forbids it", 400, body(400, "invalidState", "The instance is not in a state to do that."), fault.Busy, "", "", "", 1},
		{"the settings have changed", 412, body(412, "staleData", "Condition does not match."), fault.Stale, "", "", "read it again", 1},
		{"the request is wrong", 400, body(400, "invalid", "Invalid request: bad tier."), fault.Invalid, "Invalid request: bad tier (invalid)", "", "", 1},
		{"the service is down", 503, body(503, "backendError", "Backend Error"), fault.Unavailable, "", "", "status.cloud.google.com", 4},
		{"the service fails", 500, body(500, "internalError", "Internal error"), fault.Unavailable, "", "", "", 4},
		{"a time-out at the service", 408, "", fault.Unavailable, "none of Google's: 408 Request Timeout", "", "", 4},
		{"a proxy answers", 502, "<html>hunter2</html>", fault.Unavailable, "none of Google's: 502 Bad Gateway", "", "", 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { // the pauses between attempts take no time
				attempts := 0
				err := get(t.Context(), t, answer(c.status, c.body, nil, &attempts))
				check(t, err, c.kind, c.text, c.hint)
				if got := fault.PermissionOf(err); got != c.permission {
					t.Errorf("permission %q, want %q", got, c.permission)
				}
				if attempts != c.attempts {
					t.Errorf("%d attempts, want %d", attempts, c.attempts)
				}
				if api, ok := errors.AsType[*googleapi.Error](err); !ok || api.Code != c.status {
					t.Errorf("the SDK's error is not in the chain: %v", api)
				}
			})
		})
	}
}

func TestAnswersOfSecretManager(t *testing.T) {
	t.Parallel()
	q := Question{Op: "read secret", Permission: "secretmanager.versions.access", Role: "roles/secretmanager.secretAccessor", API: "secretmanager.googleapis.com", Project: "shop"}
	for _, c := range []struct {
		status     int
		body       string
		kind       fault.Kind
		permission string
	}{
		{404, `{"error":{"code":404,"message":"Secret [projects/1/secrets/x] not found or has no versions.","status":"NOT_FOUND"}}`, fault.NotFound, ""},
		{403, detailed(403, "PERMISSION_DENIED", "Permission 'secretmanager.versions.access' denied for resource 'projects/shop/secrets/x/versions/latest' (or it may not exist).", "IAM_PERMISSION_DENIED", `"permission":"secretmanager.versions.access"`), fault.Denied, "secretmanager.versions.access"},
		{400, `{"error":{"code":400,"message":"Secret Version [projects/1/secrets/x/versions/1] is in DISABLED state.","status":"FAILED_PRECONDITION"}}`, fault.Busy, ""},
		{400, `{"error":{"code":400,"message":"bad","status":"INVALID_ARGUMENT"}}`, fault.Invalid, ""},
		{409, `{"error":{"code":409,"message":"etag","status":"ABORTED"}}`, fault.Stale, ""},
		{429, `{"error":{"code":429,"message":"x","status":"RESOURCE_EXHAUSTED"}}`, fault.Throttled, ""},
		{503, `{"error":{"code":503,"message":"x","status":"UNAVAILABLE"}}`, fault.Unavailable, ""},
	} {
		t.Run(string(c.kind), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				n := 0
				cl := New(Options{Endpoint: "http://secretmanager.test", HTTPClient: &http.Client{Transport: answer(c.status, c.body, nil, &n)}})
				opts, _, err := cl.Options()
				if err != nil {
					t.Fatal(err)
				}
				api, err := secretmanager.NewRESTClient(t.Context(), opts...)
				if err != nil {
					t.Fatal(err)
				}
				_, err = api.AccessSecretVersion(t.Context(), &secretmanagerpb.AccessSecretVersionRequest{Name: "projects/shop/secrets/x/versions/latest"}, Retry())
				err = cl.Fault(t.Context(), q, err)
				check(t, err, c.kind, "read secret: ", "")
				if got := fault.PermissionOf(err); got != c.permission {
					t.Errorf("permission %q, want %q", got, c.permission)
				}
				if _, ok := errors.AsType[*googleapi.Error](err); !ok {
					t.Error("the SDK's error is not in the chain")
				}
				if want := map[bool]int{true: 4, false: 1}[c.status == 429 || c.status == 503]; n != want {
					t.Errorf("%d attempts, want %d", n, want)
				}
			})
		})
	}
}

func TestAServiceThatRecoversIsAskedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := 0
		start := time.Now()
		err := get(t.Context(), t, roundTrip(func(r *http.Request) (*http.Response, error) {
			if n < 2 {
				return answer(429, body(429, "rateLimitExceeded", "x"), map[string]string{"Retry-After": "3"}, &n)(r)
			}
			return answer(200, `{"name":"main"}`, nil, &n)(r)
		}))
		if err != nil || n != 3 {
			t.Errorf("%d attempts, %v", n, err)
		}
		if took := time.Since(start); took != 6*time.Second {
			t.Errorf("it took %s, not what the service asked for", took)
		}
	})
}

func TestAPauseIsNeverLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := 0
		start := time.Now()
		check(t, get(t.Context(), t, answer(429, body(429, "x", "x"), map[string]string{"Retry-After": "86400"}, &n)), fault.Throttled, "", "")
		if took := time.Since(start); took != 3*maxPause {
			t.Errorf("it took %s", took)
		}
	})
}

func TestWhatDoesNotAnswerIsUnavailable(t *testing.T) {
	t.Parallel()
	refused := roundTrip(func(r *http.Request) (*http.Response, error) {
		addr := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8080}
		return nil, &url.Error{Op: "Get", URL: r.URL.String(), Err: &net.OpError{Op: "dial", Net: "tcp", Addr: addr, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}}
	})
	silent := roundTrip(func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	})
	synctest.Test(t, func(t *testing.T) {
		check(t, get(t.Context(), t, refused), fault.Unavailable, "nobody listens at 127.0.0.1:8080", "endpoint in dbops.yaml")

		slow, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		check(t, get(slow, t, silent), fault.Unavailable, "no answer in time", "VPN")

		ctx, stop := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, stop)
		check(t, get(ctx, t, silent), fault.Interrupted, "shop/main: interrupted", "")
	})
}

func TestAFaultStaysWhatItIs(t *testing.T) {
	t.Parallel()
	c := New(Options{})
	f := fault.Newf(fault.Config, "op", "x")
	if got := c.Fault(t.Context(), question, fmt.Errorf("deep: %w", f)); !errors.Is(got, f) || got.Error() != f.Error() {
		t.Errorf("got %v", got)
	}
	if got := c.Fault(t.Context(), question, nil); got != nil {
		t.Errorf("nil became %v", got)
	}
	if got := c.Fault(t.Context(), question, errors.New("odd\nthing")); fault.KindOf(got) != fault.Internal || !strings.HasSuffix(got.Error(), ": odd thing") {
		t.Errorf("got %v", got)
	}
}
