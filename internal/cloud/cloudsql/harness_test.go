package cloudsql

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"dbops/internal/cloud/cloudtest"
	"dbops/internal/sandbox/gcpapi"
	"dbops/internal/sandbox/play"
	"dbops/internal/sandbox/world"
	"dbops/internal/secret"
)

const (
	robot  = "robot@shop-prod.iam.gserviceaccount.com"
	viewer = "viewer@shop-prod.iam.gserviceaccount.com"
	nobody = "nobody@shop-prod.iam.gserviceaccount.com"
)

// played is a played Google Cloud with two instances on real servers.
type played struct {
	url    string
	api    *gcpapi.Server
	faults *play.Faults
	lost   cloudtest.Loser
}

func playGoogle(t *testing.T, pace play.Pace) *played {
	t.Helper()
	g := emptyGoogle(t, pace)
	g.adopt(t, "main", 15, true)
	g.adopt(t, "audit", 16, true)
	return g
}

// emptyGoogle is one without instances.
func emptyGoogle(t *testing.T, pace play.Pace) *played {
	t.Helper()
	dir, err := os.MkdirTemp("", "dbops-cloudsql-test-") // t.TempDir is closed to the servers' user
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
	g := &played{faults: &play.Faults{}}
	g.api, err = gcpapi.New(t.Context(), gcpapi.Config{
		World: w, Dir: filepath.Join(dir, "google"), Projects: []string{"shop-prod"}, Pace: pace, Faults: g.faults,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.api.Close(); err != nil {
			t.Error(err)
		}
	})
	for email, role := range map[string]string{robot: "roles/cloudsql.admin", viewer: "roles/cloudsql.viewer", nobody: "roles/cloudsql.client"} {
		if err := g.api.Identity().Grant(email, role); err != nil {
			t.Fatal(err)
		}
	}
	server := httptest.NewServer(g.lost.Front(g.api))
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		server.CloseClientConnections()
		server.Close()
	})
	g.url = server.URL
	return g
}

// adopt makes an instance on a real server.
func (g *played) adopt(t *testing.T, name string, major int, protected bool) {
	t.Helper()
	_, err := g.api.Adopt(t.Context(), gcpapi.Attributes{
		Project: "shop-prod", Name: name, Major: major, Availability: "REGIONAL", Labels: map[string]string{"environment": "prod"},
		Flags: map[string]string{"cloudsql.iam_authentication": "on"}, Password: secret.New("postgres-pw"), DeletionProtection: protected,
	})
	if err != nil {
		t.Fatal(err)
	}
}

// as is a provider with the key file of a service account, found as a person's would be.
func (g *played) as(t *testing.T, email string) *Provider {
	t.Helper()
	file := filepath.Join(t.TempDir(), "key.json")
	if err := g.api.Identity().WriteKey(email, file, g.url+"/token"); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", file)
	p, err := New(t.Context(), Options{Project: "shop-prod", Endpoint: g.url, TokenInfo: g.url + "/tokeninfo", UserAgent: "dbops-test"})
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
