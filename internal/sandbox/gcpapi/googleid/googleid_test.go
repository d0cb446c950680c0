package googleid

import (
	"encoding/json"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
	"golang.org/x/oauth2/jwt"
)

const (
	robot  = "robot@shop-prod.iam.gserviceaccount.com"
	person = "dev@example.com"
)

// clock is a clock that a test moves.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func open(t *testing.T, dir string, c *clock) *Directory {
	t.Helper()
	d, err := Open(Options{Dir: dir, Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// served starts a directory with one service account and returns its key file's configuration.
func served(t *testing.T, c *clock) (*Directory, *jwt.Config, string) {
	t.Helper()
	dir := t.TempDir()
	d := open(t, dir, c)
	if err := d.Grant(robot, "roles/cloudsql.client"); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(d)
	t.Cleanup(srv.Close)
	file := filepath.Join(dir, "key.json")
	if err := d.WriteKey(robot, file, srv.URL+"/token"); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	conf, err := google.JWTConfigFromJSON(b, ScopeSQLAdmin, ScopeSQLLogin)
	if err != nil {
		t.Fatal(err)
	}
	return d, conf, srv.URL
}

func TestGoogleLibraryExchangesAKeyForAToken(t *testing.T) {
	t.Parallel()
	d, conf, url := served(t, &clock{time.Now()})
	tok, err := conf.TokenSource(t.Context()).Token()
	if err != nil {
		t.Fatal(err)
	}
	b, err := d.Check(tok.AccessToken)
	if err != nil {
		t.Fatal(err)
	}
	if b.Email != robot || !b.May(ScopeSQLLogin) || b.May(ScopePlatform) {
		t.Errorf("bearer %+v", b)
	}
	if left := time.Until(tok.Expiry); left < 55*time.Minute || left > time.Hour {
		t.Errorf("the client believes that it lasts %v", left)
	}
	for path, field := range map[string]string{
		"/tokeninfo?access_token=" + tok.AccessToken: "email",
		"/oauth2/v3/userinfo":                        "email",
	} {
		if got := get(t, url+path, tok.AccessToken)[field]; got != robot {
			t.Errorf("%.12s: %s is %v", path, field, got)
		}
	}
	if got := get(t, url+"/tokeninfo?access_token=nonsense", "")["error"]; got != "invalid_token" {
		t.Errorf("tokeninfo of nonsense: %v", got)
	}
}

func get(t *testing.T, url, token string) map[string]any {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var out map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestAnAssertionIsRefused(t *testing.T) {
	t.Parallel()
	_, other, _ := served(t, &clock{time.Now()})
	for name, tc := range map[string]struct {
		breaks func(*Directory, *clock, *jwt.Config)
		want   string
	}{
		"when the audience is another service":           {func(_ *Directory, _ *clock, c *jwt.Config) { c.Audience = "https://oauth2.googleapis.com/token" }, "audience"},
		"when it asks for another person's identity":     {func(_ *Directory, _ *clock, c *jwt.Config) { c.Subject = person }, "delegation"},
		"when somebody else's key signed it":             {func(_ *Directory, _ *clock, c *jwt.Config) { c.PrivateKey = other.PrivateKey }, "Signature"},
		"when its key id is unknown":                     {func(_ *Directory, _ *clock, c *jwt.Config) { c.PrivateKeyID = "x" }, "account not found"},
		"when the service account was removed":           {func(d *Directory, _ *clock, _ *jwt.Config) { _ = d.Remove(robot) }, "account not found"},
		"when the sandbox's clock is two hours ahead":    {func(_ *Directory, c *clock, _ *jwt.Config) { c.t = c.t.Add(2 * time.Hour) }, "short-lived"},
		"when the sandbox's clock is two hours behind":   {func(_ *Directory, c *clock, _ *jwt.Config) { c.t = c.t.Add(-2 * time.Hour) }, "short-lived"},
		"when it names no scope":                         {func(_ *Directory, _ *clock, c *jwt.Config) { c.Scopes = nil }, "scope"},
		"when it lasts longer than an hour":              {func(_ *Directory, _ *clock, c *jwt.Config) { c.Expires = 3 * time.Hour }, "short-lived"},
		"when it claims to come from an unknown account": {func(_ *Directory, _ *clock, c *jwt.Config) { c.Email = "no@x.iam.gserviceaccount.com" }, "account not found"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clk := &clock{time.Now()}
			d, conf, _ := served(t, clk)
			tc.breaks(d, clk, conf)
			_, err := conf.TokenSource(t.Context()).Token()
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want an error with %q", err, tc.want)
			}
		})
	}
}

func TestATokenExpires(t *testing.T) {
	t.Parallel()
	clk := &clock{time.Now()}
	d, _, _ := served(t, clk)
	tok, err := d.Token(robot, 10*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	clk.t = clk.t.Add(9 * time.Minute)
	if _, err := d.Check(tok.Reveal()); err != nil {
		t.Errorf("after nine minutes: %v", err)
	}
	clk.t = clk.t.Add(time.Minute)
	if _, err := d.Check(tok.Reveal()); err == nil {
		t.Error("it is good after ten minutes")
	}
}

func TestAForgedTokenIsRefused(t *testing.T) {
	t.Parallel()
	d, _, _ := served(t, &clock{time.Now()})
	stranger, _, _ := served(t, &clock{time.Now()})
	if err := stranger.Grant(person, "roles/owner"); err != nil {
		t.Fatal(err)
	}
	tok, err := stranger.Token(person, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{tok.Reveal(), "", "ya29.", "ya29.e30.e30", "a.b.c", strings.Repeat("a", 9000)} {
		if b, err := d.Check(s); err == nil {
			t.Errorf("%.10s… is accepted for %s", s, b.Email)
		}
	}
}

func TestPrincipalsAndTokensOutliveARestart(t *testing.T) {
	t.Parallel()
	dir, clk := t.TempDir(), &clock{time.Now()}
	d := open(t, dir, clk)
	if err := d.Grant(person, "cloudsql.users.*", "roles/cloudsql.instanceUser"); err != nil {
		t.Fatal(err)
	}
	tok, err := d.Token(person, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	again := open(t, dir, clk)
	if b, err := again.Check(tok.Reveal()); err != nil || b.Email != person {
		t.Errorf("bearer %+v, %v", b, err)
	}
	for permission, want := range map[string]bool{
		"cloudsql.users.update": true, "cloudsql.instances.login": true, "cloudsql.instances.update": false,
	} {
		if got := again.Allowed(person, permission); got != want {
			t.Errorf("%s: %v, want %v", permission, got, want)
		}
	}
	info, err := os.Stat(filepath.Join(dir, stateFile))
	if err != nil || info.Mode().Perm() != fs.FileMode(0o600) {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestGrantRefusesMistakes(t *testing.T) {
	t.Parallel()
	d := open(t, t.TempDir(), &clock{time.Now()})
	if err := d.Grant(person, "roles/cloudsql.boss"); err == nil {
		t.Error("an unknown role is granted")
	}
	if err := d.Grant("Dev@example.com"); err == nil {
		t.Error("an address in upper case is a principal")
	}
	if err := d.WriteKey(person, filepath.Join(t.TempDir(), "k"), "http://x/token"); err == nil {
		t.Error("a person has a key")
	}
}

func TestSelfSignedAssertionIsABearerOfItsScopes(t *testing.T) {
	t.Parallel()
	d, _, _ := served(t, &clock{time.Now()})
	b, err := os.ReadFile(keyFile(t, d))
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		source func() (oauth2.TokenSource, error)
		scope  string
	}{
		"by scope": {func() (oauth2.TokenSource, error) { return google.JWTAccessTokenSourceWithScope(b, ScopePlatform) }, ScopePlatform},
		"by audience": {func() (oauth2.TokenSource, error) {
			return google.JWTAccessTokenSourceFromJSON(b, "https://sqladmin.googleapis.com/")
		}, ScopeSQLAdmin},
		"not for another service": {func() (oauth2.TokenSource, error) {
			return google.JWTAccessTokenSourceFromJSON(b, "https://storage.googleapis.com/")
		}, ""},
	} {
		src, err := tc.source()
		if err != nil {
			t.Fatal(err)
		}
		tok, err := src.Token()
		if err != nil {
			t.Fatal(err)
		}
		bearer, err := d.Check(tok.AccessToken)
		if good := err == nil && bearer.May(tc.scope); good != (tc.scope != "") {
			t.Errorf("%s: %+v, %v", name, bearer, err)
		}
	}
}

func keyFile(t *testing.T, d *Directory) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "key.json")
	if err := d.WriteKey(robot, file, "http://127.0.0.1/token"); err != nil {
		t.Fatal(err)
	}
	return file
}

func FuzzCheck(f *testing.F) {
	d, err := Open(Options{Dir: f.TempDir()})
	if err != nil {
		f.Fatal(err)
	}
	if err := d.Grant(person, "roles/owner"); err != nil {
		f.Fatal(err)
	}
	tok, err := d.Token(person, time.Hour)
	if err != nil {
		f.Fatal(err)
	}
	f.Add("ya29.e30.AA")
	f.Add("eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJ4In0.AA")
	f.Fuzz(func(t *testing.T, s string) {
		if b, err := d.Check(s); err == nil && s != tok.Reveal() {
			t.Errorf("accepted for %s", b.Email)
		}
	})
}
