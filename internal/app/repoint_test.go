package app

import (
	"context"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/cloud"
	"dbops/internal/config"
	"dbops/internal/creds"
	"dbops/internal/encore"
	"dbops/internal/op"
	"dbops/internal/pg"
	"dbops/internal/sandbox/awsid"
	"dbops/internal/sandbox/gcpapi"
	"dbops/internal/sandbox/pki"
	"dbops/internal/sandbox/rdsapi"
	"dbops/internal/sandbox/secretsapi/awssm"
	"dbops/internal/sandbox/secretsapi/gcpsm"
	played "dbops/internal/sandbox/stage"
	"dbops/internal/secret"
	"dbops/internal/upgrade"
)

const adminPassword = "correct-horse-battery"

// pair are two instances of a cloud that have the same roles, one of a newer major, and the secret manager of that cloud.
type pair struct {
	*played.Stage
	cfg   *config.Config
	place string
}

// newPair plays them. The container shop-api has a credential in the secret manager, which names the first one.
func newPair(t *testing.T, kind cloud.Kind) *pair {
	t.Helper()
	p := &pair{Stage: clouds.Get(t, kind)}
	admin, inst := "orders_admin", &config.Instance{}
	dir := t.TempDir()
	passwordFile, ca := filepath.Join(dir, "admin"), filepath.Join(dir, "ca.pem")
	must(t, os.WriteFile(passwordFile, []byte(adminPassword), 0o600))
	for name, major := range map[string]string{"orders": "16", "orders-pg18": "18"} {
		if kind == cloud.CloudSQL {
			var n int
			_, err := fmt.Sscan(major, &n)
			must(t, err)
			_, err = p.Google.Adopt(t.Context(), gcpapi.Attributes{Project: played.Project, Name: name, Major: n, Availability: "ZONAL", Password: secret.New(adminPassword)})
			must(t, err)
			continue
		}
		seed := rdsapi.Seed{Password: secret.New(adminPassword)}
		c := &seed.Create
		c.DBInstanceIdentifier, c.EngineVersion, c.MasterUsername = &name, &major, &admin
		c.BackupRetentionPeriod, c.MultiAZ, c.DeletionProtection = new(int32(1)), new(false), new(false)
		_, err := p.RDS.Adopt(t.Context(), seed)
		must(t, err)
	}
	p.cfg = &config.Config{Path: filepath.Join(dir, "dbops.yaml")}
	if kind == cloud.RDS {
		must(t, os.WriteFile(ca, p.RDS.CABundle(), 0o600))
		inst.RDS = &config.RDS{Region: "eu-west-1", Identifier: "orders", Profile: "played", Endpoint: p.URL, CAFile: ca}
		p.cfg.Endpoints.AWSSecretsManager, p.place = p.awsSecrets(t), "aws-sm:eu-west-1/prod/shop-api"
	} else {
		admin = "postgres"
		inst.CloudSQL = &config.CloudSQL{Project: played.Project, Region: "europe-west1", Instance: "orders", Endpoint: p.URL}
		p.cfg.Endpoints.GCPSecretManager, p.place = p.googleSecrets(t), "gcp-sm:projects/"+played.Project+"/secrets/shop-api"
	}
	inst.Logins = map[config.Access]*config.Login{}
	for _, access := range []config.Access{config.Read, config.Admin} {
		inst.Logins[access] = &config.Login{User: admin, Secret: "file:" + passwordFile}
	}
	p.cfg.Environments = map[string]*config.Environment{"prod": {
		Name: "prod", Instances: map[string]*config.Instance{"main": inst},
		Databases:  map[string]*config.Database{"shop": {Instance: "main", Name: "shop"}},
		Containers: map[string]*config.Container{"shop-api": {Databases: []string{"shop"}, Access: config.Write, Delivery: []string{p.place}}},
	}}
	verifier, err := pg.Verifier(secret.New("of-the-container-0123456789"))
	must(t, err)
	for _, name := range []string{"orders", "orders-pg18"} {
		p.exec(t, name, "postgres", "CREATE DATABASE shop", "CREATE ROLE c_shop_api", "CREATE ROLE shop_api_b IN ROLE c_shop_api",
			"CREATE ROLE shop_api_a LOGIN IN ROLE c_shop_api PASSWORD '"+verifier+"'", "GRANT ALL ON DATABASE shop TO c_shop_api")
	}
	return p
}

func (p *pair) exec(t *testing.T, instance, database string, statements ...string) {
	t.Helper()
	conn, err := p.Server(instance).DB(t.Context(), database)
	must(t, err)
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	for _, s := range statements {
		_, err := conn.Exec(t.Context(), s)
		must(t, err)
	}
}

func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s.URL
}

func (p *pair) awsSecrets(t *testing.T) string {
	t.Helper()
	keys, err := awsid.Open(awsid.Config{Account: "123456789012", Region: "eu-west-1", Principals: []awsid.Principal{{Name: "user/secrets", Allow: awsid.Actions("secretsmanager:*")}}})
	must(t, err)
	id, key, _ := keys.Credentials("user/secrets")
	before, err := os.ReadFile(p.Keys)
	must(t, err)
	must(t, os.WriteFile(p.Keys, []byte(string(before)+"[default]\naws_access_key_id = "+id+"\naws_secret_access_key = "+key.Reveal()+"\n"), 0o600))
	api, err := awssm.New(awssm.Config{Keys: keys})
	must(t, err)
	return serve(t, awsid.Front(map[string]http.Handler{"secretsmanager": api}))
}

func (p *pair) googleSecrets(t *testing.T) string {
	t.Helper()
	must(t, p.Google.Identity().Grant("robot@"+played.Project+".iam.gserviceaccount.com", "roles/cloudsql.admin", "roles/secretmanager.admin"))
	api, err := gcpsm.New(gcpsm.Options{Identity: p.Google.Identity(), Projects: map[string]string{played.Project: "123456789012"}})
	must(t, err)
	return serve(t, api) + "/"
}

// holds is what the container is told now.
func holds(t *testing.T, a *App, place string) string {
	t.Helper()
	store, ref, err := a.place(t.Context(), place)
	must(t, err)
	held, err := store.Inspect(t.Context(), ref)
	must(t, err)
	if held.Pending.ID != "" {
		t.Errorf("%s holds a pending version", place)
	}
	v, err := store.Read(t.Context(), ref, held.Current.ID)
	must(t, err)
	return v.Reveal()
}

// On both clouds everything that names an instance names another one after a switch, twice, and the first one again after the way back.
func TestASwitchOnBothClouds(t *testing.T) {
	for _, kind := range []cloud.Kind{cloud.RDS, cloud.CloudSQL} {
		t.Run(string(kind), func(t *testing.T) {
			p := newPair(t, kind)
			m := newMachine(t, "")
			a := m.app(t, p.cfg)
			at, err := a.address(t.Context(), prodMain)
			must(t, err)
			const text = `{ "username":"shop_api_a", "password":"of-the-container-0123456789", "host":"%s", "port": %d, "dbname":"shop", "x": [1.0] }`
			store, ref, err := a.place(t.Context(), p.place)
			must(t, err)
			must(t, store.Create(t.Context(), ref))
			v, err := store.Stage(t.Context(), ref, "the first one", secret.New(fmt.Sprintf(text, at.Host, at.Port)))
			must(t, err)
			must(t, store.Promote(t.Context(), ref, "", v.ID))

			who := clients{a}
			look, err := who.Look(t.Context(), prodMain)
			if err != nil || len(look.Clients) != 2 || !strings.Contains(look.Clients[1], "shop-api: "+p.place) || len(look.Cannot) > 0 {
				t.Errorf("%+v, %v", look, err)
			}
			session := &op.Session{Plan: &op.Plan{Target: prodMain}, Run: "r1"}
			old, newer := upgrade.Server{Name: "orders"}, upgrade.Server{Name: "orders-pg18"}
			is := func(name, major string) {
				t.Helper()
				live, err := a.get(t.Context(), "prod", "main")
				if err != nil || live.Name != name {
					t.Fatalf("the provider has %+v, %v", live, err)
				}
				want := fmt.Sprintf(text, live.Endpoints[0].Host, live.Endpoints[0].Port)
				if got := holds(t, a, p.place); got != want {
					t.Errorf("the container is told another address than %s: %t", live.Endpoints[0].Host, strings.Contains(got, live.Endpoints[0].Host))
				}
				for _, l := range []struct {
					what string
					open func() (*pgx.Conn, error)
				}{
					{"for admin", func() (*pgx.Conn, error) { return a.credentials().Connect(t.Context(), prodMain, "shop") }},
					{"as the container", func() (*pgx.Conn, error) {
						return a.credentials().Login(t.Context(), prodMain, "shop", creds.Login{User: "shop_api_a", Password: secret.New("of-the-container-0123456789")})
					}},
				} {
					conn, err := l.open()
					must(t, err)
					var n string
					must(t, conn.QueryRow(t.Context(), "select current_setting('server_version_num')::int / 10000").Scan(&n))
					must(t, conn.Close(t.Context()))
					if n != major {
						t.Errorf("%s it is a server of %s, not %s", l.what, n, major)
					}
				}
			}
			is("orders", "16")
			for range 2 {
				out, err := who.Switch(t.Context(), session, old, newer)
				must(t, err)
				if !strings.HasPrefix(out.Text, "1 containers log in at ") || len(out.Changes) != 2 {
					t.Errorf("%+v", out)
				}
				is("orders-pg18", "18")
			}
			for range 2 {
				_, err := who.Switch(t.Context(), session, newer, old)
				must(t, err)
				is("orders", "16")
			}
		})
	}
}

// The infra config of an app of Encore names another host, with the CA of that where it had one, and nothing else in it changes.
func TestAnInfraConfigIsRedirected(t *testing.T) {
	t.Parallel()
	authority, err := pki.NewCA(pkix.Name{CommonName: "new"}, time.Hour)
	must(t, err)
	old, err := pki.NewCA(pkix.Name{CommonName: "old"}, time.Hour)
	must(t, err)
	quote := func(ca *pki.CA) string {
		b, err := json.Marshal(string(ca.CertPEM))
		must(t, err)
		return string(b)
	}
	for _, language := range []string{string(encore.Go), string(encore.TypeScript)} {
		at := config.EncorePlace{Path: filepath.Join(t.TempDir(), "infra.config.json"), Language: language}
		place := encoreStore{secret.File{}, at}
		text := `{"sql_servers": [{"host": "old:5432", "tls_config": {"ca": ` + quote(old) + `}, "databases": {"shop": {"username": "u", "password": "p"}}},
			{"host": "old:1", "databases": {"other": {"username": "u", "password": "p"}}}]}`
		must(t, os.WriteFile(at.Path, []byte(text), 0o600))
		given := string(authority.CertPEM)
		if language == string(encore.TypeScript) {
			given += string(old.CertPEM)
		}
		for range 2 {
			must(t, place.Redirect(t.Context(), []string{"shop"}, func(host string) (string, bool) { return "new:6543", strings.HasPrefix(host, "old:") }, given))
			got, err := os.ReadFile(at.Path)
			if want := strings.NewReplacer("old:5432", "new:6543", quote(old), quote(authority)).Replace(text); err != nil || string(got) != want {
				t.Errorf("%s: %s, %v", language, got, err)
			}
		}
	}
}
