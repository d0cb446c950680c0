package cloudsql

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/charmbracelet/x/exp/golden"
	"go.uber.org/goleak"
	sqladmin "google.golang.org/api/sqladmin/v1"

	"dbops/internal/cloud"
	"dbops/internal/cloud/gcpclient"
	"dbops/internal/fault"
)

func TestMain(m *testing.M) {
	// Google's libraries keep idle connections in transports of their own, which nobody can close.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

// recorded answers as the Admin API does. A request without an answer is denied.
type recorded struct {
	answers map[string]string // a file or a text, by the path after the project and the query

	mu    sync.Mutex
	asked []string
}

func (r *recorded) RoundTrip(req *http.Request) (*http.Response, error) {
	key := strings.TrimPrefix(req.URL.Path, "/v1/projects/shop-prod/")
	q := req.URL.Query()
	for _, name := range []string{"alt", "prettyPrint", "maxResults"} {
		q.Del(name)
	}
	if len(q) > 0 {
		key += "?" + q.Encode()
	}
	r.mu.Lock()
	r.asked = append(r.asked, key)
	r.mu.Unlock()
	w := httptest.NewRecorder()
	w.Header().Set("Content-Type", "application/json")
	switch file := r.answers[key]; {
	case strings.HasPrefix(file, `{"error":{"code":404`):
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.WriteString(file)
	case strings.HasPrefix(file, `{"error":{"code":409`):
		w.WriteHeader(http.StatusConflict)
		_, _ = w.WriteString(file)
	case strings.HasPrefix(file, "{"):
		_, _ = w.WriteString(file)
	case file == "hang":
		<-req.Context().Done()
		return nil, req.Context().Err()
	case file != "":
		b, err := os.ReadFile(filepath.Join("testdata", file))
		if err != nil {
			return nil, err
		}
		_, _ = w.Write(b)
	default:
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.WriteString(`{"error":{"code":403,"message":"The client is not authorized to make this request.","errors":[{"reason":"notAuthorized"}]}}`)
	}
	resp := w.Result()
	resp.Request = req
	return resp, nil
}

func provider(t *testing.T, answers map[string]string) (*Provider, *recorded) {
	t.Helper()
	r := &recorded{answers: answers}
	p, err := New(t.Context(), Options{Project: "shop-prod", Endpoint: "http://sqladmin.test", HTTPClient: &http.Client{Transport: r}})
	if err != nil {
		t.Fatal(err)
	}
	return p, r
}

func TestGetTellsEverything(t *testing.T) {
	t.Parallel()
	p, _ := provider(t, map[string]string{
		"instances/main":                       "main.json",
		"operations?instance=main":             `{"items":[{"targetId":"main","operationType":"BACKUP_VOLUME","status":"PENDING"}]}`,
		"instances/main/getLatestRecoveryTime": `{"earliestRecoveryTime":"2026-11-20T02:10:00Z","latestRecoveryTime":"2026-11-21T06:55:00.5Z"}`,
	})
	live, err := p.Get(t.Context(), "main")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(live.TLS.CACert, "-----BEGIN CERTIFICATE-----") {
		t.Errorf("the CA certificate is %q", live.TLS.CACert)
	}
	requireGolden(t, live)
}

func TestListFollowsThePagesAndLeavesOutOtherEngines(t *testing.T) {
	t.Parallel()
	p, _ := provider(t, map[string]string{
		"instances":             `{"items":[` + file(t, "main.json") + `],"nextPageToken":"2"}`,
		"instances?pageToken=2": "list-2.json",
		"operations":            "operations.json",
	})
	all, err := p.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, live := range all {
		live.Raw = nil // in the golden file of one instance
	}
	requireGolden(t, all)
}

func file(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func requireGolden(t *testing.T, v any) {
	t.Helper()
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(b), "hunter2") {
		t.Error("it holds a secret")
	}
	golden.RequireEqual(t, append(b, '\n'))
}

func TestRegionsThatCloudSQLCannotReachAreNotPassedOverInSilence(t *testing.T) {
	t.Parallel()
	p, _ := provider(t, map[string]string{
		"instances": `{"items":[{"name":"main","databaseVersion":"POSTGRES_15"}],"warnings":[
			{"code":"REGION_UNREACHABLE","region":"us-east1"},{"code":"REGION_UNREACHABLE","region":"asia-east1"},
			{"code":"REGION_UNREACHABLE","region":"us-east1"},{"code":"MAX_RESULTS_EXCEEDS_LIMIT"}]}`,
	})
	all, err := p.List(t.Context())
	if len(all) != 1 || all[0].Name != "main" {
		t.Errorf("got %v", all)
	}
	if fault.KindOf(err) != fault.Unavailable || !strings.Contains(err.Error(), "cannot reach asia-east1, us-east1;") {
		t.Errorf("got %v", err)
	}
}

func TestWhatMayNotBeAskedStaysEmpty(t *testing.T) {
	t.Parallel()
	for name, aside := range map[string]string{"is denied": "", "does not answer": "hang"} {
		t.Run("because it "+name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p, r := provider(t, map[string]string{
					"instances/main": "main.json", "operations?instance=main": aside, "instances/main/getLatestRecoveryTime": aside,
				})
				start := time.Now()
				live, err := p.Get(t.Context(), "main")
				if err != nil {
					t.Fatal(err)
				}
				if live.State != cloud.Available || live.RawState != "RUNNABLE" || !live.Backups.LatestRestorable.IsZero() {
					t.Errorf("it knows %s and %s", live.RawState, live.Backups.LatestRestorable)
				}
				if took := time.Since(start); took > asideTimeout {
					t.Errorf("it took %s", took)
				}
				if len(r.asked) != 3 {
					t.Errorf("it asked %q", r.asked)
				}
			})
		})
	}
}

func TestASlowAPIIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, _ := provider(t, map[string]string{"instances": "hang", "instances/main": "hang"})
		for name, ask := range map[string]func() error{
			"Get":  func() error { _, err := p.Get(t.Context(), "main"); return err },
			"List": func() error { _, err := p.List(t.Context()); return err },
		} {
			start := time.Now()
			if err := ask(); fault.KindOf(err) != fault.Unavailable {
				t.Errorf("%s: %v", name, err)
			}
			if took := time.Since(start); took != gcpclient.Timeout {
				t.Errorf("%s took %s", name, took)
			}
		}
	})
}

func TestGetRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, instance, answer string
		kind                   fault.Kind
		text                   string
	}{
		{"the empty name, which would list all", "", "list-2.json", fault.Invalid, "its name is empty"},
		{"another engine", "legacy", `{"name":"legacy","databaseVersion":"MYSQL_8_0","instanceType":"CLOUD_SQL_INSTANCE"}`, fault.Invalid, "it is mysql_8_0 cloud_sql_instance, not a PostgreSQL instance"},
		{"a stand-in for a server elsewhere", "x", `{"name":"x","databaseVersion":"POSTGRES_14","instanceType":"ON_PREMISES_INSTANCE"}`, fault.Invalid, "on_premises_instance"},
		{"what is denied", "main", "", fault.Denied, "describe Cloud SQL instance shop-prod/main: The client is not authorized"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p, _ := provider(t, map[string]string{"instances/" + c.instance: c.answer})
			_, err := p.Get(t.Context(), c.instance)
			if fault.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.text) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestADeniedListNamesItsPermission(t *testing.T) {
	t.Parallel()
	p, _ := provider(t, nil)
	_, err := p.List(t.Context())
	if got := fault.PermissionOf(err); fault.KindOf(err) != fault.Denied || got != "cloudsql.instances.list" {
		t.Errorf("permission %q, %v", got, err)
	}
}

func TestWithoutAProjectNothingIsAsked(t *testing.T) {
	t.Parallel()
	if _, err := New(t.Context(), Options{}); fault.KindOf(err) != fault.Config {
		t.Errorf("got %v", err)
	}
}

func TestEveryWordIsAState(t *testing.T) {
	t.Parallel()
	for word, want := range map[string]cloud.State{
		"RUNNABLE": cloud.Available, "SUSPENDED": cloud.Failed, "FAILED": cloud.Failed, "PENDING_CREATE": cloud.Creating,
		"PENDING_DELETE": cloud.Deleting, "MAINTENANCE": cloud.Modifying, "ONLINE_MAINTENANCE": cloud.Modifying, "REPAIRING": cloud.Modifying,
		"SQL_INSTANCE_STATE_UNSPECIFIED": cloud.Unknown, "": cloud.Unknown, "NEW": cloud.Unknown,
	} {
		if got := state(word, "ALWAYS"); got != want {
			t.Errorf("%q is %s, want %s", word, got, want)
		}
	}
	if got := state("RUNNABLE", "NEVER"); got != cloud.Stopped {
		t.Errorf("never to run is %s", got)
	}
	for kind, want := range map[string]cloud.State{
		"RESTART": cloud.Restarting, "FAILOVER": cloud.Restarting, "CREATE": cloud.Creating, "DELETE": cloud.Deleting, "CLONE": cloud.Modifying, "NEW": cloud.Modifying,
	} {
		if got := operationState(kind); got != want {
			t.Errorf("during %s it is %s, want %s", kind, got, want)
		}
	}
}

func TestAWindowIsAnHour(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		day, hour int64
		want      string
	}{
		{1, 0, "mon:00:00-mon:01:00"}, {6, 23, "sat:23:00-sun:00:00"}, {7, 3, "sun:03:00-sun:04:00"}, {7, 23, "sun:23:00-mon:00:00"},
	} {
		if got := window(c.day, c.hour); got != c.want {
			t.Errorf("day %d, hour %d: %s, want %s", c.day, c.hour, got, c.want)
		}
	}
	if m := maintenance(&sqladmin.DatabaseInstance{}, &sqladmin.MaintenanceWindow{}); m.Window != "" {
		t.Errorf("no window is %q", m.Window)
	}
}

func TestPrincipalIsTheDatabaseUser(t *testing.T) {
	name := filepath.Join(t.TempDir(), "sa.json")
	text := `{"type":"impersonated_service_account","service_account_impersonation_url":"https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/Deploy@shop-prod.iam.gserviceaccount.com:generateAccessToken",
		"source_credentials":{"type":"authorized_user","client_id":"c","client_secret":"s","refresh_token":"r"}}`
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", name)
	p, err := New(t.Context(), Options{Project: "shop-prod"})
	if err != nil {
		t.Fatal(err)
	}
	got, err := p.Principal(context.Background())
	if err != nil || got != "deploy@shop-prod.iam" {
		t.Errorf("got %q, %v", got, err)
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere")
	if p, err = New(t.Context(), Options{Project: "shop-prod"}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Principal(t.Context()); fault.KindOf(err) != fault.Denied || !strings.Contains(fault.HintOf(err), "gcloud auth") {
		t.Errorf("got %v", err)
	}
}
