package dial

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"testing"

	"cloud.google.com/go/cloudsqlconn/errtype"
	"google.golang.org/api/googleapi"

	"dbops/internal/fault"
)

func TestConnectorErrorsSayWhatToDo(t *testing.T) {
	api := func(code int) error {
		return errtype.NewRefreshError("failed to get instance metadata", "p:r:i", fmt.Errorf("get: %w", &googleapi.Error{Code: code, Message: "no"}))
	}
	refused := &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	for _, c := range []struct {
		name     string
		err      error
		want     fault.Kind
		wantHint bool
	}{
		{"no valid credentials", api(http.StatusUnauthorized), fault.Denied, true},
		{"a missing permission", api(http.StatusForbidden), fault.Denied, true},
		{"no such instance", api(http.StatusNotFound), fault.NotFound, true},
		{"the quota is used up", api(http.StatusTooManyRequests), fault.Throttled, true},
		{"the control plane has trouble", api(http.StatusServiceUnavailable), fault.Unavailable, true},
		{"the control plane is not reached", errtype.NewRefreshError("failed", "p:r:i", refused), fault.Unavailable, true},
		{"an address that the instance does not have", errtype.NewConfigError("no PRIVATE IP", "p:r:i"), fault.Invalid, true},
		{"the instance is not reached", errtype.NewDialError("failed to dial", "p:r:i", refused), fault.Unavailable, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := explainConnector("p:r:i", c.err)
			if got := fault.KindOf(err); got != c.want {
				t.Errorf("kind %s, want %s: %v", got, c.want, err)
			}
			if got := fault.HintOf(err) != ""; got != c.wantHint {
				t.Errorf("hint %q", fault.HintOf(err))
			}
		})
	}
	if got := fault.PermissionOf(explainConnector("p:r:i", api(http.StatusForbidden))); got != "cloudsql.instances.connect" {
		t.Errorf("permission %q", got)
	}
}

func TestAClosedConnectorRefuses(t *testing.T) {
	c := NewConnector(ConnectorOptions{})
	for range 2 {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Dial(t.Context(), Route{Project: "p", Region: "r", Instance: "i"}); err == nil {
		t.Error("it dialled")
	}
}

func TestWithoutGoogleCredentialsTheErrorSaysHowToGetThem(t *testing.T) {
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nonexistent/key.json")
	c := NewConnector(ConnectorOptions{})
	defer c.Close()
	_, err := c.Dial(t.Context(), Route{Project: "p", Region: "r", Instance: "i"})
	if fault.KindOf(err) != fault.Denied || fault.HintOf(err) == "" {
		t.Errorf("%v, hint %q", err, fault.HintOf(err))
	}
}
