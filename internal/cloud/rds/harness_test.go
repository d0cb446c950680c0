package rds

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"

	"dbops/internal/cloud/cloudtest"
	"dbops/internal/sandbox/awsid"
	"dbops/internal/sandbox/cwapi"
	"dbops/internal/sandbox/play"
	"dbops/internal/sandbox/rdsapi"
	"dbops/internal/sandbox/world"
	"dbops/internal/secret"
)

// played is a played AWS with two instances on real servers.
type played struct {
	url    string
	keys   *awsid.Keys
	faults *play.Faults
	api    *rdsapi.API
	lost   cloudtest.Loser
}

func playAWS(t *testing.T) *played {
	t.Helper()
	a := emptyAWS(t)
	a.adopt(t, "orders-prod", "14", true)
	a.adopt(t, "billing-prod", "15", true)
	return a
}

// emptyAWS is one without instances.
func emptyAWS(t *testing.T) *played {
	t.Helper()
	dir, err := os.MkdirTemp("", "dbops-rds-test-") // t.TempDir is closed to the servers' user
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	w, err := world.Open(t.Context(), world.Options{Dir: filepath.Join(dir, "world"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	a := &played{faults: &play.Faults{}}
	a.keys, err = awsid.Open(awsid.Config{Account: "123456789012", Region: "eu-west-1", Principals: []awsid.Principal{
		{Name: "user/dbops", Allow: awsid.Actions("rds:*", "rds-db:connect", "cloudwatch:GetMetricData")},
		{Name: "user/watcher", Allow: awsid.Actions("cloudwatch:GetMetricData")},
		{Name: "user/reader", Allow: awsid.Actions("rds:DescribeDBInstances")},
		{Name: "user/some", Allow: []awsid.Rule{{Action: "rds:Describe*", Resource: "*:db:orders-*"}}},
		{Name: "user/nobody"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if a.api, err = rdsapi.New(t.Context(), rdsapi.Config{World: w, Keys: a.keys, Dir: dir, Pace: 0.0001, Faults: a.faults}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.api.Close)
	watch := cwapi.New(cwapi.Config{Keys: a.keys, Faults: a.faults, Series: map[string]cwapi.Series{rdsapi.MetricNamespace: a.api.Metric}})
	services := map[string]http.Handler{"rds": a.api, "sts": a.keys.STS(a.faults), cwapi.Scope: watch}
	server := httptest.NewServer(a.lost.Front(awsid.Front(services)))
	t.Cleanup(server.Close)
	a.url = server.URL
	return a
}

// adopt makes an instance on a real server.
func (a *played) adopt(t *testing.T, id, version string, protected bool) {
	t.Helper()
	a.adoptLike(t, id, version, protected, func(*sdk.CreateDBInstanceInput) {})
}

// adoptLike makes an instance with something changed.
func (a *played) adoptLike(t *testing.T, id, version string, protected bool, change func(*sdk.CreateDBInstanceInput)) {
	t.Helper()
	seed := rdsapi.Seed{
		Create: sdk.CreateDBInstanceInput{
			DBInstanceIdentifier: &id, EngineVersion: &version, MasterUsername: new("orders_admin"), BackupRetentionPeriod: new(int32(7)),
			MultiAZ: new(true), DeletionProtection: &protected, EnableIAMDatabaseAuthentication: new(true),
			Tags: []types.Tag{{Key: new("environment"), Value: new("prod")}},
		},
		Password: secret.New("correct-horse-battery"),
	}
	change(&seed.Create)
	if _, err := a.api.Adopt(t.Context(), seed); err != nil {
		t.Fatal(err)
	}
}

// as is a provider with the access key of somebody, from the files and variables a person would have.
func (a *played) as(t *testing.T, who string) *Provider {
	t.Helper()
	id, key, ok := a.keys.Credentials(who)
	if !ok {
		t.Fatalf("nobody is called %s", who)
	}
	file := filepath.Join(t.TempDir(), "credentials")
	if err := os.WriteFile(file, []byte("[played]\naws_access_key_id = "+id+"\naws_secret_access_key = "+key.Reveal()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	p, err := New(t.Context(), Options{
		Region: "eu-west-1", Profile: "played", Endpoint: a.url, HTTPClient: &http.Client{Transport: transport},
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// cleared takes the faults back and tells how often they would still have been used.
func cleared(f *play.Faults) (left int) {
	for _, one := range f.List() {
		left += one.Count
	}
	f.Clear()
	return left
}

// query asks a server and returns the first text of its last answer.
func query(t *testing.T, s *world.Server, sql string) (text string) {
	t.Helper()
	conn, err := s.DB(t.Context(), "postgres")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	answers, err := conn.PgConn().Exec(t.Context(), sql).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if last := answers[len(answers)-1]; len(last.Rows) > 0 {
		text = string(last.Rows[0][0])
	}
	return text
}
