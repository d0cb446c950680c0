package awsclient

import (
	"context"
	"crypto/sha1" // how the AWS CLI names its cache
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"go.uber.org/goleak"

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
	} {
		_ = os.Setenv(name, value)
	}
	goleak.VerifyTestMain(m)
}

// configure makes text the AWS configuration, in a home folder of its own.
func configure(t *testing.T, text string) (home string) {
	t.Helper()
	home = t.TempDir()
	t.Setenv("HOME", home)
	file := filepath.Join(home, "config")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_CONFIG_FILE", file)
	return home
}

// describe asks RDS for one instance through the configuration o, and translates the failure.
func describe(t *testing.T, o Options, endpoint string) error {
	t.Helper()
	c, err := Load(t.Context(), o)
	if err != nil {
		return err
	}
	return ask(t.Context(), c, endpoint)
}

func ask(ctx context.Context, c *Client, endpoint string) error {
	name := "orders"
	_, err := rds.NewFromConfig(c.Config, func(r *rds.Options) { r.BaseEndpoint = &endpoint }).
		DescribeDBInstances(ctx, &rds.DescribeDBInstancesInput{DBInstanceIdentifier: &name})
	return c.Fault(ctx, "describe orders", err)
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
	if strings.ContainsAny(err.Error()+fault.HintOf(err), "\n\t") {
		t.Errorf("not one line: %q", err)
	}
}

func TestAProfileThatDoesNotExistIsAMistakeOfTheConfiguration(t *testing.T) {
	configure(t, "[profile prod]\nregion = eu-west-1\n")
	_, err := Load(t.Context(), Options{Profile: "prdo"})
	check(t, err, fault.Config, "there is no profile prdo", "aws configure list-profiles")
	if !errors.As(err, new(config.SharedConfigProfileNotExistError)) {
		t.Error("the SDK's error is not in the chain")
	}
}

func TestAConfigurationThatCannotBeReadIsAMistakeOfTheConfiguration(t *testing.T) {
	configure(t, "[default]\nretry_mode = bogus\n")
	_, err := Load(t.Context(), Options{})
	check(t, err, fault.Config, "read the AWS configuration: ", "~/.aws/config")
	configure(t, "[profile a]\nsource_profile = b\nrole_arn = arn:aws:iam::1:role/x\n")
	_, err = Load(t.Context(), Options{Profile: "a"})
	check(t, err, fault.Config, "there is no profile b", "aws configure list-profiles")
}

func TestMissingAndExpiredCredentialsSayHowToGetThem(t *testing.T) {
	portal := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.Contains(r.URL.RawQuery, "role_name=gone"):
			w.Header().Set("x-amzn-errortype", "ForbiddenException")
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte(`{"message":"No access"}`))
		case strings.Contains(r.URL.RawQuery, "role_name="):
			w.Header().Set("x-amzn-errortype", "UnauthorizedException")
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write([]byte(`{"message":"Session token not found or invalid"}`))
		case r.URL.Path == "/token":
			w.Header().Set("x-amzn-errortype", "InvalidGrantException")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"error":"invalid_grant","error_description":"Invalid refresh token provided"}`))
		default: // STS
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte(`<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>User: arn:aws:iam::1:user/me is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::2:role/ops</Message></Error></ErrorResponse>`))
		}
	}))
	t.Cleanup(portal.Close)
	const start = "https://example.awsapps.com/start"
	sso := func(role string) string {
		return "[profile prod]\nregion = eu-west-1\nsso_start_url = " + start + "\nsso_region = eu-west-1\nsso_account_id = 123456789012\nsso_role_name = " + role + "\n"
	}
	session := "[profile prod]\nregion = eu-west-1\nsso_session = corp\nsso_account_id = 123456789012\nsso_role_name = ops\n" +
		"[sso-session corp]\nsso_region = eu-west-1\nsso_start_url = " + start + "\nsso_registration_scopes = sso:account:access\n"
	for _, c := range []struct {
		name       string
		config     string
		token      string // expiry of the cached SSO token; empty: there is none
		session    string // what the cache is named after
		kind       fault.Kind
		text, hint string
		permission string
	}{
		{"nothing is configured", "[profile prod]\nregion = eu-west-1\n", "", "", fault.Denied, "describe orders: no AWS credentials were found", "aws sso login --profile prod", ""},
		{"nobody has logged in by SSO", sso("ops"), "", "", fault.Denied, "the AWS SSO session has expired", "aws sso login --profile prod", ""},
		{"the SSO session has expired", sso("ops"), "-1h", start, fault.Denied, "the AWS SSO session has expired", "aws sso login --profile prod", ""},
		{"the SSO session was ended by an administrator", sso("ops"), "1h", start, fault.Denied, "the AWS SSO session has expired", "aws sso login --profile prod", ""},
		{"the role was taken away", sso("gone"), "1h", start, fault.Denied, "may not use this account and role", "sso_role_name", ""},
		{"the named session has expired and cannot be renewed", session, "-1h", "corp", fault.Denied, "the AWS SSO session has expired", "aws sso login --profile prod", ""},
		{"nobody has logged in to the named session", session, "", "", fault.Denied, "the AWS SSO session has expired", "aws sso login --profile prod", ""},
		{"nobody has logged in by aws login", "[profile prod]\nregion = eu-west-1\nlogin_session = arn:aws:iam::1:user/me\n", "", "", fault.Denied, "the AWS login session has expired", "aws login --profile prod", ""},
		{"the program that gives credentials fails", "[profile prod]\nregion = eu-west-1\ncredential_process = /bin/false\n", "", "", fault.Denied, "credential_process of the profile failed", "~/.aws/config", ""},
		{
			"a role may not be assumed",
			"[profile prod]\nregion = eu-west-1\nrole_arn = arn:aws:iam::2:role/ops\nsource_profile = me\n[profile me]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = hunter2\n",
			"", "", fault.Denied, "not authorized to perform: sts:AssumeRole", "allow sts:AssumeRole", "sts:AssumeRole",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			home := configure(t, c.config)
			t.Setenv("AWS_ENDPOINT_URL_SSO", portal.URL)
			t.Setenv("AWS_ENDPOINT_URL_SSO_OIDC", portal.URL)
			t.Setenv("AWS_ENDPOINT_URL_STS", portal.URL)
			if c.token != "" {
				cacheToken(t, home, c.session, c.token)
			}
			err := describe(t, Options{Profile: "prod"}, "http://127.0.0.1:1")
			check(t, err, c.kind, c.text, c.hint)
			if got := fault.PermissionOf(err); got != c.permission {
				t.Errorf("permission %q, want %q", got, c.permission)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Error("the error holds a secret")
			}
		})
	}
}

func cacheToken(t *testing.T, home, name, in string) {
	t.Helper()
	d, err := time.ParseDuration(in)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha1.Sum([]byte(name))
	dir := filepath.Join(home, ".aws", "sso", "cache")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf(`{"accessToken":"hunter2","expiresAt":%q,"clientId":"c","clientSecret":"hunter2","refreshToken":"hunter2","registrationExpiresAt":%q}`,
		time.Now().Add(d).UTC().Format(time.RFC3339), time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	if err := os.WriteFile(filepath.Join(dir, hex.EncodeToString(sum[:])+".json"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestALoginInAnotherTerminalIsSeen(t *testing.T) {
	var seen []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, rest, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
		key, _, _ := strings.Cut(rest, "/")
		if seen = append(seen, key); key == "AKIDOLD" {
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte(`<ErrorResponse><Error><Type>Sender</Type><Code>ExpiredToken</Code><Message>The security token included in the request is expired</Message></Error></ErrorResponse>`))
			return
		}
		_, _ = w.Write([]byte(`<DescribeDBInstancesResponse><DescribeDBInstancesResult><DBInstances/></DescribeDBInstancesResult></DescribeDBInstancesResponse>`))
	}))
	t.Cleanup(server.Close)
	login := func(key string) string {
		return "[default]\nregion = eu-west-1\naws_access_key_id = " + key + "\naws_secret_access_key = hunter2\naws_session_token = hunter2\n"
	}
	home := configure(t, login("AKIDOLD"))
	c, err := Load(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	check(t, ask(t.Context(), c, server.URL), fault.Denied, "is expired (ExpiredToken)", "log in again: aws sso login")
	if err := os.WriteFile(filepath.Join(home, "config"), []byte(login("AKIDNEW")), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := ask(t.Context(), c, server.URL); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(seen, " "); got != "AKIDOLD AKIDNEW" {
		t.Errorf("signed with %s", got)
	}
}

func TestWithoutARegionItSaysWhereToNameIt(t *testing.T) {
	configure(t, "[default]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = hunter2\n")
	c, err := Load(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	check(t, c.NeedRegion("list", ""), fault.Config, "list: no AWS region is known", "AWS_REGION")
	if err := c.NeedRegion("list", "eu-west-1"); err != nil {
		t.Error(err)
	}
}

func TestAPersonsRetrySettingsWin(t *testing.T) {
	configure(t, "[default]\nregion = eu-west-1\n")
	c, err := Load(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if c.Config.RetryMaxAttempts != maxAttempts || c.Config.RetryMode != "" {
		t.Errorf("by default %d attempts, %s", c.Config.RetryMaxAttempts, c.Config.RetryMode)
	}
	t.Setenv("AWS_MAX_ATTEMPTS", "2")
	t.Setenv("AWS_RETRY_MODE", "adaptive")
	if c, err = Load(t.Context(), Options{}); err != nil {
		t.Fatal(err)
	}
	if c.Config.RetryMaxAttempts != 2 || c.Config.RetryMode != "adaptive" {
		t.Errorf("by the environment %d attempts, %s", c.Config.RetryMaxAttempts, c.Config.RetryMode)
	}
}
