package awssm

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"go.uber.org/goleak"

	"dbops/internal/cloud/awsclient"
	"dbops/internal/fault"
	"dbops/internal/sandbox/awsid"
	"dbops/internal/sandbox/play"
	played "dbops/internal/sandbox/secretsapi/awssm"
	"dbops/internal/secret"
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
	} {
		_ = os.Setenv(name, value)
	}
	goleak.VerifyTestMain(m)
}

// store is a played Secrets Manager in eu-west-1.
type store struct {
	url    string
	keys   *awsid.Keys
	faults *play.Faults
}

func start(t *testing.T) *store {
	t.Helper()
	s := &store{faults: &play.Faults{}}
	var err error
	s.keys, err = awsid.Open(awsid.Config{Account: "123456789012", Region: "eu-west-1", Principals: []awsid.Principal{
		{Name: "user/dbops", Allow: awsid.Actions("secretsmanager:*")},
		{Name: "user/nobody"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	api, err := played.New(played.Config{Keys: s.keys, Faults: s.faults})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(awsid.Front(map[string]http.Handler{"secretsmanager": api}))
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

func (s *store) as(t *testing.T, who string, o Options) *Source {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	o.HTTPClient = &http.Client{Transport: transport}
	return s.with(t, who, o)
}

// with is as, through an HTTP client of one's own.
func (s *store) with(t *testing.T, who string, o Options) *Source {
	t.Helper()
	id, key, ok := s.keys.Credentials(who)
	if !ok {
		t.Fatalf("nobody is called %s", who)
	}
	file := filepath.Join(t.TempDir(), "credentials")
	if err := os.WriteFile(file, []byte("[played]\naws_access_key_id = "+id+"\naws_secret_access_key = "+key.Reveal()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
	o.Profile, o.Endpoint = "played", s.url
	source, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return source
}

const pw = "correct-horse-battery"

func TestThePlayedSecretsManager(t *testing.T) {
	s := start(t)
	source := s.as(t, "user/dbops", Options{Region: "eu-west-1"})
	arn := ""
	for name, text := range map[string]string{
		"prod/orders": pw, "prod/json": `{"username":"orders","password":"` + pw + `","port":5432}`, "prod/newline": pw + "\n",
	} {
		out, err := source.api.CreateSecret(t.Context(), &sdk.CreateSecretInput{Name: &name, SecretString: &text})
		if err != nil {
			t.Fatal(err)
		}
		if name == "prod/orders" {
			arn = *out.ARN
		}
	}
	if _, err := source.api.CreateSecret(t.Context(), &sdk.CreateSecretInput{Name: new("prod/bytes"), SecretBinary: []byte(pw)}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, ref string
		kind      fault.Kind
		text      string
	}{
		{"a name", "aws-sm:prod/orders", "", ""},
		{"a name with its region", "aws-sm:eu-west-1/prod/orders", "", ""},
		{"an ARN", "aws-sm:" + arn, "", ""},
		{"a field", "aws-sm:prod/json#password", "", ""},
		{"a newline at the end", "aws-sm:prod/newline", "", ""},
		{"bytes", "aws-sm:prod/bytes", "", ""},
		{"a JSON object as a whole", "aws-sm:prod/json", fault.Config, "not one password"},
		{"a missing field", "aws-sm:prod/json#pass", fault.NotFound, `no field "pass"`},
		{"a missing secret", "aws-sm:prod/missing", fault.NotFound, "read secret aws-sm:prod/missing: "},
		{"only a region", "aws-sm:eu-west-1/", fault.Config, "its name is missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := secret.ParseRef(c.ref)
			if err != nil {
				t.Fatal(err)
			}
			v, err := source.Get(t.Context(), r)
			if c.kind == "" {
				if err != nil || !v.Equal(pw) {
					t.Errorf("%v, or another text", err)
				}
				return
			}
			if fault.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.text) || fault.HintOf(err) == "" && c.kind != fault.NotFound {
				t.Errorf("got %v, hint %q", err, fault.HintOf(err))
			}
			if strings.Contains(err.Error()+fault.HintOf(err), pw) {
				t.Error("the error holds the secret")
			}
		})
	}
	ref := secret.Ref{Scheme: secret.SchemeAWS, Name: "prod/orders"}
	t.Run("a region of the reference is enough", func(t *testing.T) {
		if v, err := s.as(t, "user/dbops", Options{}).Get(t.Context(), secret.Ref{Scheme: secret.SchemeAWS, Name: "eu-west-1/prod/orders"}); err != nil || !v.Equal(pw) {
			t.Error(err)
		}
	})
	t.Run("no region at all", func(t *testing.T) {
		if _, err := s.as(t, "user/dbops", Options{}).Get(t.Context(), ref); fault.KindOf(err) != fault.Config || !strings.Contains(err.Error(), "region") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a permission is missing", func(t *testing.T) {
		_, err := s.as(t, "user/nobody", Options{Region: "eu-west-1"}).Get(t.Context(), ref)
		if fault.KindOf(err) != fault.Denied || fault.PermissionOf(err) != "secretsmanager:GetSecretValue" {
			t.Errorf("got %v", err)
		}
	})
	t.Run("the new version is read at once", func(t *testing.T) {
		if _, err := source.api.PutSecretValue(t.Context(), &sdk.PutSecretValueInput{SecretId: &ref.Name, SecretString: new("second")}); err != nil {
			t.Fatal(err)
		}
		if v, err := source.Get(t.Context(), ref); err != nil || !v.Equal("second") {
			t.Errorf("an old version, or %v", err)
		}
	})
	t.Run("a deleted secret can be restored", func(t *testing.T) {
		if _, err := source.api.DeleteSecret(t.Context(), &sdk.DeleteSecretInput{SecretId: &ref.Name}); err != nil {
			t.Fatal(err)
		}
		_, err := source.Get(t.Context(), ref)
		if fault.KindOf(err) != fault.NotFound || fault.HintOf(err) != "aws secretsmanager restore-secret --secret-id prod/orders" {
			t.Errorf("got %v, hint %q", err, fault.HintOf(err))
		}
	})
}

func TestASilentServiceIsGivenUp(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "x")
	synctest.Test(t, func(t *testing.T) {
		s, err := New(t.Context(), Options{Region: "eu-west-1", HTTPClient: &http.Client{Transport: silent{}}})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		_, err = s.Get(context.Background(), secret.Ref{Scheme: secret.SchemeAWS, Name: "x"})
		if fault.KindOf(err) != fault.Unavailable || time.Since(start) != awsclient.Timeout {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
	})
}

type silent struct{}

func (silent) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

func TestLocate(t *testing.T) {
	t.Parallel()
	for name, want := range map[string][2]string{
		"orders":                {"", "orders"},
		"prod/orders":           {"", "prod/orders"},
		"eu-west-1/orders":      {"eu-west-1", "orders"},
		"us-gov-east-1/a/b":     {"us-gov-east-1", "a/b"},
		"us-isob-east-1/a":      {"us-isob-east-1", "a"},
		"ap-southeast-4/a":      {"ap-southeast-4", "a"},
		"eu-west-1/eu-west-1/a": {"eu-west-1", "eu-west-1/a"},
		"eu-west-1":             {"", "eu-west-1"},
		"eu-west-1/":            {"eu-west-1", ""},
		"team-a-1/orders":       {"", "team-a-1/orders"},
		"rds!db-1234/x":         {"", "rds!db-1234/x"},
		"arn:aws:secretsmanager:eu-central-1:123456789012:secret:prod/orders-AbCdEf": {"eu-central-1", "arn:aws:secretsmanager:eu-central-1:123456789012:secret:prod/orders-AbCdEf"},
		"arn:aws:ssm:eu-central-1:123456789012:parameter:x":                          {"", "arn:aws:ssm:eu-central-1:123456789012:parameter:x"},
	} {
		if region, id := locate(name); region != want[0] || id != want[1] {
			t.Errorf("%s is %q in %q, want %q", name, id, region, want)
		}
	}
}
