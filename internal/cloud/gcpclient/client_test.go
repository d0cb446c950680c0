package gcpclient

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"cloud.google.com/go/auth"
	"go.uber.org/goleak"
	"google.golang.org/api/googleapi"
	sqladmin "google.golang.org/api/sqladmin/v1"

	"dbops/internal/fault"
)

// TestMain takes the environment of the person who runs the tests away.
func TestMain(m *testing.M) {
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(name, "GOOGLE_") || strings.HasPrefix(name, "GCE_") || strings.HasPrefix(name, "CLOUDSDK_") || strings.HasSuffix(strings.ToLower(name), "_proxy") {
			_ = os.Unsetenv(name)
		}
	}
	home, err := os.MkdirTemp("", "gcpclient")
	if err != nil {
		panic(err)
	}
	_ = os.Setenv("HOME", home)
	goleak.VerifyTestMain(m,
		// Google's libraries keep idle connections in transports of their own, which nobody can close.
		goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"),
		goleak.Cleanup(func(code int) {
			_ = os.RemoveAll(home)
			os.Exit(code)
		}))
}

// google plays the token endpoint, tokeninfo, the metadata server and the Admin API.
type google struct {
	*httptest.Server
	token     http.HandlerFunc
	tokenInfo http.HandlerFunc
	api       http.HandlerFunc
	asked     []string
}

func play(t *testing.T) *google {
	t.Helper()
	g := &google{
		token: func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"access_token":"ya29.hunter2","token_type":"Bearer","expires_in":3599}`))
		},
		api: func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"name":"main"}`)) },
	}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.asked = append(g.asked, r.Method+" "+r.URL.Path)
		w.Header().Set("Content-Type", "application/json")
		switch {
		case r.URL.Path == "/token":
			g.token(w, r)
		case r.URL.Path == "/tokeninfo":
			g.tokenInfo(w, r)
		case strings.HasPrefix(r.URL.Path, "/computeMetadata/"):
			w.Header().Set("Metadata-Flavor", "Google")
			switch {
			case strings.HasSuffix(r.URL.Path, "/email"):
				_, _ = w.Write([]byte("builder@shop.iam.gserviceaccount.com"))
			case strings.HasSuffix(r.URL.Path, "/token"):
				g.token(w, r)
			case strings.HasSuffix(r.URL.Path, "/universe-domain"), strings.HasSuffix(r.URL.Path, "/universe_domain"):
				_, _ = w.Write([]byte("googleapis.com"))
			}
		default:
			if r.Header.Get("Authorization") != "Bearer ya29.hunter2" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			g.api(w, r)
		}
	}))
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		g.Close()
	})
	return g
}

// credentialsOf makes a credentials file the Application Default Credentials.
func credentialsOf(t *testing.T, file map[string]any) {
	t.Helper()
	b, err := json.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	useFile(t, string(b))
}

func useFile(t *testing.T, text string) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "adc.json")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", name)
}

func (g *google) serviceAccount(t *testing.T) map[string]any {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	b, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]any{
		"type": "service_account", "project_id": "shop", "client_email": "Deploy@shop.iam.gserviceaccount.com", "private_key_id": "1",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: b})), "token_uri": g.URL + "/token",
	}
}

func user() map[string]any {
	return map[string]any{"type": "authorized_user", "client_id": "c", "client_secret": "hunter2", "refresh_token": "hunter2"}
}

var question = Question{
	Op: "describe Cloud SQL instance shop/main", Permission: "cloudsql.instances.get", Role: "roles/cloudsql.viewer",
	API: "sqladmin.googleapis.com", Project: "shop",
}

func (g *google) ask(t *testing.T, c *Client) error {
	t.Helper()
	opts, _, err := c.Options()
	if err != nil {
		return c.Fault(t.Context(), question, err)
	}
	api, err := sqladmin.NewService(t.Context(), opts...)
	if err != nil {
		return c.Fault(t.Context(), question, err)
	}
	return c.Fault(t.Context(), question, Read(t.Context(), func(ctx context.Context) error {
		_, err := api.Instances.Get("shop", "main").Context(ctx).Do()
		return err
	}))
}

func check(t *testing.T, err error, kind fault.Kind, text, hint string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	if fault.KindOf(err) != kind {
		t.Errorf("kind %s, want %s: %v", fault.KindOf(err), kind, err)
	}
	if !strings.Contains(err.Error(), text) {
		t.Errorf("got  %v\nwant %s", err, text)
	}
	if !strings.Contains(fault.HintOf(err), hint) {
		t.Errorf("hint %q, want %q", fault.HintOf(err), hint)
	}
	if all := err.Error() + fault.HintOf(err); strings.ContainsAny(all, "\n\t") || strings.Contains(all, "hunter2") {
		t.Errorf("not one line without secrets: %q", all)
	}
}

func TestCredentialsThatAreMissingOrExpiredSayHowToGetThem(t *testing.T) {
	t.Run("nobody has logged in", func(t *testing.T) {
		t.Setenv("GCE_METADATA_HOST", "")
		t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
		check(t, play(t).ask(t, New(Options{})), fault.Denied, "no Google credentials were found", "gcloud auth application-default login")
	})
	t.Run("the file does not exist", func(t *testing.T) {
		t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/adc.json")
		check(t, play(t).ask(t, New(Options{})), fault.Denied, "cannot be used: open /nowhere/adc.json", "GOOGLE_APPLICATION_CREDENTIALS")
	})
	t.Run("the file is broken", func(t *testing.T) {
		useFile(t, `{"type":"service_account","private_key":"hunter2`)
		check(t, play(t).ask(t, New(Options{})), fault.Denied, "cannot be used", "gcloud auth application-default login")
	})
	t.Run("the key in the file is broken", func(t *testing.T) {
		g := play(t)
		file := g.serviceAccount(t)
		file["private_key"] = "hunter2"
		credentialsOf(t, file)
		check(t, g.ask(t, New(Options{Endpoint: g.URL + "/"})), fault.Denied, "cannot be used", "gcloud auth application-default login")
	})
	t.Run("the login has expired", func(t *testing.T) {
		g := play(t)
		g.token = func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte("{\n\"error\":\"invalid_grant\",\"error_description\":\"Token has been expired or revoked.\",\"error_subtype\":\"invalid_rapt\"}"))
		}
		credentialsOf(t, g.serviceAccount(t))
		err := g.ask(t, New(Options{Endpoint: g.URL + "/"}))
		check(t, err, fault.Denied, "expired or revoked (invalid_grant, invalid_rapt, Token has been expired or revoked.)", "gcloud auth application-default login")
		if _, ok := errors.AsType[*auth.Error](err); !ok {
			t.Error("the SDK's error is not in the chain")
		}
	})
	t.Run("the login service is down", func(t *testing.T) {
		g := play(t)
		g.token = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }
		credentialsOf(t, g.serviceAccount(t))
		check(t, g.ask(t, New(Options{Endpoint: g.URL + "/"})), fault.Unavailable, "login service has trouble", "status.cloud.google.com")
	})
	t.Run("the login service is out of reach", func(t *testing.T) {
		g := play(t)
		file := g.serviceAccount(t)
		file["token_uri"] = "http://127.0.0.1:1/token"
		credentialsOf(t, file)
		check(t, g.ask(t, New(Options{Endpoint: g.URL + "/"})), fault.Unavailable, "no Google credentials: nobody listens at 127.0.0.1:1", "endpoint")
	})
	t.Run("a service account may not be impersonated", func(t *testing.T) {
		g := play(t)
		g.api = func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte("{\n \"error\": {\"code\": 403, \"message\": \"Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist).\", \"status\": \"PERMISSION_DENIED\"}}"))
		}
		credentialsOf(t, map[string]any{
			"type": "impersonated_service_account", "source_credentials": g.serviceAccount(t),
			"service_account_impersonation_url": g.URL + "/v1/projects/-/serviceAccounts/ops@shop.iam.gserviceaccount.com:generateAccessToken",
		})
		err := g.ask(t, New(Options{Endpoint: g.URL + "/"}))
		check(t, err, fault.Denied, "Permission 'iam.serviceAccounts.getAccessToken' denied", "impersonate")
		if got := fault.PermissionOf(err); got != "iam.serviceAccounts.getAccessToken" {
			t.Errorf("permission %q", got)
		}
	})
	t.Run("the API does not take the token", func(t *testing.T) {
		g := play(t)
		g.api = func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write([]byte(`{"error":{"code":401,"message":"Request had invalid authentication credentials.","errors":[{"reason":"authError"}],"status":"UNAUTHENTICATED"}}`))
		}
		credentialsOf(t, g.serviceAccount(t))
		err := g.ask(t, New(Options{Endpoint: g.URL + "/"}))
		check(t, err, fault.Denied, "invalid authentication credentials (authError)", "gcloud auth application-default login")
		if fault.PermissionOf(err) != "" {
			t.Error("it blames a permission")
		}
	})
}

func TestALoginInAnotherTerminalIsSeen(t *testing.T) {
	g := play(t)
	credentialsOf(t, g.serviceAccount(t))
	c := New(Options{Endpoint: g.URL + "/"})
	ok := g.token
	g.token = func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"error":"invalid_grant"}`))
	}
	_, before, err := c.Options()
	if err != nil {
		t.Fatal(err)
	}
	check(t, g.ask(t, c), fault.Denied, "expired or revoked", "login")
	g.token = ok
	credentialsOf(t, g.serviceAccount(t))
	_, after, err := c.Options()
	if err != nil {
		t.Fatal(err)
	}
	if before == after {
		t.Error("the credentials are still the same")
	}
	if err := g.ask(t, c); err != nil {
		t.Error(err)
	}
}

// The SDK writes into the credentials that it is given: the race detector sees it if they are shared.
func TestClientsOfOneLoginAreMadeAtTheSameTime(t *testing.T) {
	g := play(t)
	credentialsOf(t, g.serviceAccount(t))
	c := New(Options{Endpoint: g.URL + "/"})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			opts, _, err := c.Options()
			if err == nil {
				_, err = sqladmin.NewService(t.Context(), opts...)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestPrincipal(t *testing.T) {
	tell := func(body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodPost || r.URL.RawQuery != "" || r.PostFormValue("access_token") != "ya29.hunter2" {
				w.WriteHeader(http.StatusBadRequest)
			}
			_, _ = w.Write([]byte(body))
		}
	}
	t.Run("a service account is in the file", func(t *testing.T) {
		g := play(t)
		credentialsOf(t, g.serviceAccount(t))
		got, err := New(Options{TokenInfo: g.URL + "/tokeninfo"}).Principal(t.Context(), question)
		if err != nil || got != "deploy@shop.iam.gserviceaccount.com" || len(g.asked) != 0 {
			t.Errorf("got %q, %v, asked %v", got, err, g.asked)
		}
	})
	t.Run("an impersonated one is in the file", func(t *testing.T) {
		g := play(t)
		credentialsOf(t, map[string]any{
			"type": "impersonated_service_account", "source_credentials": user(),
			"service_account_impersonation_url": "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/ops@shop.iam.gserviceaccount.com:generateAccessToken",
		})
		got, err := New(Options{TokenInfo: g.URL + "/tokeninfo"}).Principal(t.Context(), question)
		if err != nil || got != "ops@shop.iam.gserviceaccount.com" {
			t.Errorf("got %q, %v", got, err)
		}
	})
	// The token endpoint of a person's login is fixed in the SDK: these take a token that is there already.
	for _, c := range []struct {
		name, body string
		status     int
		want       string
		kind       fault.Kind
		hint       string
	}{
		{"a person is told by the token", `{"email":"Ada.Lovelace@Example.com","email_verified":"true"}`, 200, "ada.lovelace@example.com", "", ""},
		{"a token that does not tell", `{"scope":"x"}`, 200, "", fault.Config, "set user beside iam: true"},
		{"an answer that is no JSON", `<html>`, 200, "", fault.Internal, ""},
		{"a token that is not taken", `{"error":"invalid_token","error_description":"Invalid Value"}`, 400, "", fault.Denied, "gcloud auth application-default login"},
		{"a service that is down", ``, 503, "", fault.Unavailable, "set user under logins"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := play(t)
			g.tokenInfo = func(w http.ResponseWriter, r *http.Request) {
				if c.status != http.StatusOK {
					w.WriteHeader(c.status)
				}
				tell(c.body)(w, r)
			}
			cl := New(Options{TokenInfo: g.URL + "/tokeninfo"})
			cl.creds = auth.NewCredentials(&auth.CredentialsOptions{TokenProvider: fixedToken("ya29.hunter2"), JSON: []byte(`{"type":"authorized_user"}`)})
			got, err := cl.Principal(t.Context(), question)
			if c.kind != "" {
				check(t, err, c.kind, "", c.hint)
				return
			}
			if err != nil || got != c.want {
				t.Fatalf("got %q, %v", got, err)
			}
			if _, err := cl.Principal(t.Context(), question); err != nil || len(g.asked) != 1 {
				t.Errorf("it asked %v", g.asked)
			}
		})
	}
}

// The SDK looks for the metadata server once in a process: a process of its own finds the played one.
func TestOnGooglesMachinesTheMetadataServerKnowsThePrincipal(t *testing.T) {
	if os.Getenv("DBOPS_TEST_ON_GOOGLE") == "" {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
		cmd.Env = append(os.Environ(), "DBOPS_TEST_ON_GOOGLE=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	g := play(t)
	g.tokenInfo = func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"scope":"x"}`)) }
	t.Setenv("GCE_METADATA_HOST", strings.TrimPrefix(g.URL, "http://"))
	got, err := New(Options{TokenInfo: g.URL + "/tokeninfo"}).Principal(t.Context(), question)
	if err != nil || got != "builder@shop.iam.gserviceaccount.com" {
		t.Errorf("got %q, %v", got, err)
	}
}

type fixedToken string

func (f fixedToken) Token(context.Context) (*auth.Token, error) {
	return &auth.Token{Value: string(f)}, nil
}

func TestFileEmail(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{
		"": "", "{": "", `{}`: "", `{"client_email":"a@b"}`: "a@b",
		`{"service_account_impersonation_url":"https://x/serviceAccounts/a@b:generateAccessToken"}`: "a@b",
		`{"service_account_impersonation_url":"https://x/serviceAccounts/a@b:generateIdToken"}`:     "",
		`{"service_account_impersonation_url":"nonsense"}`:                                          "",
	} {
		if got := fileEmail([]byte(file)); got != want {
			t.Errorf("%s: %q, want %q", file, got, want)
		}
	}
}

func TestAnAPIErrorStaysInTheChain(t *testing.T) {
	g := play(t)
	g.api = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }
	credentialsOf(t, g.serviceAccount(t))
	err := g.ask(t, New(Options{Endpoint: g.URL + "/"}))
	if api, ok := errors.AsType[*googleapi.Error](err); !ok || api.Code != http.StatusNotFound {
		t.Errorf("got %v", err)
	}
}
