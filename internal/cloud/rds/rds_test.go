package rds

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/charmbracelet/x/exp/golden"
	"go.uber.org/goleak"

	"dbops/internal/cloud"
	"dbops/internal/cloud/awsclient"
	"dbops/internal/fault"
)

// TestMain takes the environment of the person who runs the tests away.
func TestMain(m *testing.M) {
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "AWS_") || strings.HasSuffix(strings.ToLower(name), "_proxy") {
			_ = os.Unsetenv(name)
		}
	}
	for name, value := range map[string]string{
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "hunter2",
	} {
		_ = os.Setenv(name, value)
	}
	goleak.VerifyTestMain(m)
}

// recorded answers as RDS does, from testdata. An action without an answer is denied.
type recorded struct {
	answers map[string]string // a file by action, and by action with marker or identifier

	mu    sync.Mutex
	asked []string
}

func (r *recorded) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := req.ParseForm(); err != nil {
		return nil, err
	}
	form := req.PostForm
	action := form.Get("Action")
	r.mu.Lock()
	r.asked = append(r.asked, action)
	r.mu.Unlock()
	w := httptest.NewRecorder()
	file := ""
	for _, key := range []string{action + " " + form.Get("DBInstanceIdentifier") + form.Get("Marker"), action} {
		if f, ok := r.answers[key]; ok && file == "" {
			file = f
		}
	}
	switch {
	case strings.HasPrefix(file, "<"):
		_, _ = w.WriteString(file)
	case file == "throttle":
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.WriteString(`<ErrorResponse><Error><Type>Sender</Type><Code>Throttling</Code><Message>Rate exceeded</Message></Error></ErrorResponse>`)
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
		_, _ = w.WriteString(`<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>User: me is not authorized to perform: rds:` + action + `</Message></Error></ErrorResponse>`)
	}
	resp := w.Result()
	resp.Request = req
	return resp, nil
}

func (r *recorded) count(action string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, a := range r.asked {
		if a == action {
			n++
		}
	}
	return n
}

func provider(t *testing.T, answers map[string]string) (*Provider, *recorded) {
	t.Helper()
	r := &recorded{answers: answers}
	p, err := New(t.Context(), Options{Region: "eu-west-1", Endpoint: "http://rds.test", HTTPClient: &http.Client{Transport: r}})
	if err != nil {
		t.Fatal(err)
	}
	return p, r
}

// one is the answer of RDS about the one instance of a page.
func one(t *testing.T, file, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	for part := range strings.SplitSeq(string(b), "<DBInstance>") {
		if body, _, ok := strings.Cut(part, "</DBInstance>"); ok && strings.Contains(body, "<DBInstanceIdentifier>"+name+"</DBInstanceIdentifier>") {
			return "<DescribeDBInstancesResponse><DescribeDBInstancesResult><DBInstances><DBInstance>" + body +
				"</DBInstance></DBInstances></DescribeDBInstancesResult></DescribeDBInstancesResponse>"
		}
	}
	t.Fatalf("%s holds no %s", file, name)
	return ""
}

func TestGetTellsEverything(t *testing.T) {
	t.Parallel()
	p, _ := provider(t, map[string]string{
		"DescribeDBInstances orders-prod":   one(t, "describe.xml", "orders-prod"),
		"DescribePendingMaintenanceActions": "maintenance.xml",
		"DescribeDBParameters":              "parameters.xml",
	})
	live, err := p.Get(t.Context(), "orders-prod")
	if err != nil {
		t.Fatal(err)
	}
	requireGolden(t, live)
}

func TestListFollowsThePagesAndLeavesOutOtherEngines(t *testing.T) {
	t.Parallel()
	p, r := provider(t, map[string]string{
		"DescribeDBInstances ":              "describe.xml",
		"DescribeDBInstances page-2":        "describe-2.xml",
		"DescribePendingMaintenanceActions": "maintenance.xml",
	})
	all, err := p.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, live := range all {
		live.Raw = nil // in the golden file of one instance
	}
	requireGolden(t, all)
	if n := r.count("DescribeDBParameters"); n != 0 {
		t.Errorf("it asked %d times for parameters", n)
	}
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

func TestWhatMayNotBeAskedStaysEmpty(t *testing.T) {
	t.Parallel()
	answers := map[string]string{"DescribeDBInstances": one(t, "describe.xml", "orders-prod")}
	for name, aside := range map[string]string{"is denied": "", "does not answer": "hang", "is throttled": "throttle"} {
		t.Run("because it "+name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				all := map[string]string{"DescribeDBInstances": answers["DescribeDBInstances"]}
				if aside != "" {
					all["DescribeDBParameters"], all["DescribePendingMaintenanceActions"] = aside, aside
				}
				p, r := provider(t, all)
				start := time.Now()
				live, err := p.Get(t.Context(), "orders-prod")
				if err != nil {
					t.Fatal(err)
				}
				if live.TLS.Mode != "" || live.TLS.Required || live.Maintenance.Pending != nil {
					t.Errorf("it knows %+v and %v", live.TLS, live.Maintenance.Pending)
				}
				if took := time.Since(start); took > asideTimeout {
					t.Errorf("it took %s", took)
				}
				if n := r.count("DescribeDBParameters"); n != 1 {
					t.Errorf("it asked %d times for parameters", n)
				}
			})
		})
	}
}

func TestASlowRegionIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, _ := provider(t, map[string]string{"DescribeDBInstances": "hang"})
		for name, ask := range map[string]func() error{
			"Get":  func() error { _, err := p.Get(t.Context(), "orders"); return err },
			"List": func() error { _, err := p.List(t.Context()); return err },
		} {
			start := time.Now()
			if err := ask(); fault.KindOf(err) != fault.Unavailable {
				t.Errorf("%s: %v", name, err)
			}
			if took := time.Since(start); took != awsclient.Timeout {
				t.Errorf("%s took %s", name, took)
			}
		}
	})
}

func TestGetRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, instance string
		answers        map[string]string
		kind           fault.Kind
		text           string
	}{
		{"the empty name, which would list all", "", map[string]string{"DescribeDBInstances": "describe.xml"}, fault.Invalid, "its identifier is empty"},
		{"another engine", "legacy", map[string]string{"DescribeDBInstances": one(t, "describe-2.xml", "legacy")}, fault.Invalid, "its engine is mysql, not PostgreSQL"},
		{"what is denied", "orders", nil, fault.Denied, "describe RDS instance eu-west-1/orders: User: me is not authorized"},
		{"an answer about nobody", "orders", map[string]string{"DescribeDBInstances": "<DescribeDBInstancesResponse><DescribeDBInstancesResult><DBInstances/></DescribeDBInstancesResult></DescribeDBInstancesResponse>"}, fault.NotFound, "describes 0 instances"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p, _ := provider(t, c.answers)
			_, err := p.Get(t.Context(), c.instance)
			if fault.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.text) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestEveryStatusIsAState(t *testing.T) {
	t.Parallel()
	for status, want := range map[string]cloud.State{
		"available": cloud.Available, "storage-optimization": cloud.Modifying, "rebooting": cloud.Restarting, "storage-full": cloud.Failed,
		"configuring-something-new": cloud.Modifying, "incompatible-something-new": cloud.Failed, "something-new": cloud.Unknown, "": cloud.Unknown,
	} {
		if got := state(status); got != want {
			t.Errorf("%q is %s, want %s", status, got, want)
		}
	}
	if len(states) != 34 {
		t.Errorf("the table has %d statuses", len(states))
	}
}

func TestLoginToken(t *testing.T) {
	t.Parallel()
	p, r := provider(t, nil)
	before := time.Now().UTC().Truncate(time.Second)
	token, err := p.LoginToken(t.Context(), "orders-prod.c9akciq32.eu-west-1.rds.amazonaws.com:5432", "api role")
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse("https://" + token.Reveal())
	if err != nil {
		t.Fatal("it is no URL")
	}
	q := u.Query()
	signed, err := time.Parse("20060102T150405Z", q.Get("X-Amz-Date"))
	if err != nil || signed.Before(before) {
		t.Errorf("signed at %q", q.Get("X-Amz-Date"))
	}
	for _, c := range [][2]string{
		{u.Host, "orders-prod.c9akciq32.eu-west-1.rds.amazonaws.com:5432"},
		{q.Get("Action"), "connect"},
		{q.Get("DBUser"), "api role"},
		{q.Get("X-Amz-Expires"), "900"},
		{strings.Join(strings.Split(q.Get("X-Amz-Credential"), "/")[2:], "/"), "eu-west-1/rds-db/aws4_request"},
	} {
		if c[0] != c[1] {
			t.Errorf("got %q, want %q", c[0], c[1])
		}
	}
	if len(r.asked) != 0 {
		t.Errorf("it asked RDS: %v", r.asked)
	}
}

func TestWhatCannotBeRightIsRefused(t *testing.T) {
	t.Parallel()
	p, _ := provider(t, nil)
	for _, c := range []struct {
		endpoint, user string
		kind           fault.Kind
	}{
		{"orders.test", "api", fault.Invalid},
		{":5432", "api", fault.Invalid},
		{"orders.test:", "api", fault.Invalid},
		{"orders.test:5432", "", fault.Config},
	} {
		if _, err := p.LoginToken(t.Context(), c.endpoint, c.user); fault.KindOf(err) != c.kind {
			t.Errorf("%s as %q: %v", c.endpoint, c.user, err)
		}
	}
	p.aws.Config.Region = ""
	if _, err := p.LoginToken(t.Context(), "orders.test:5432", "api"); fault.KindOf(err) != fault.Config {
		t.Errorf("without a region: %v", err)
	}
	_, one := p.Get(t.Context(), "orders")
	_, all := p.List(t.Context())
	if fault.KindOf(one) != fault.Config || fault.KindOf(all) != fault.Config {
		t.Errorf("without a region: %v, %v", one, all)
	}
}

func TestLoginTokenWithoutCredentialsSaysHowToLogIn(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(file, []byte("[profile prod]\nregion = eu-west-1\nsso_start_url = https://x\nsso_region = eu-west-1\nsso_account_id = 1\nsso_role_name = ops\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_CONFIG_FILE", file)
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("HOME", t.TempDir())
	p, err := New(t.Context(), Options{Region: "eu-west-1", Profile: "prod"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.LoginToken(context.Background(), "orders.test:5432", "api")
	if fault.KindOf(err) != fault.Denied || fault.HintOf(err) != "aws sso login --profile prod" {
		t.Errorf("got %v, hint %q", err, fault.HintOf(err))
	}
}
