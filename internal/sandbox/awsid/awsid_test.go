package awsid_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/feature/rds/auth"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"dbops/internal/sandbox/awsid"
	"dbops/internal/sandbox/play"
)

const (
	account = "123456789012"
	region  = "eu-west-1"
)

func open(t *testing.T, cfg awsid.Config) *awsid.Keys {
	t.Helper()
	cfg.Account, cfg.Region = account, region
	if cfg.Principals == nil {
		cfg.Principals = []awsid.Principal{
			{Name: "user/alice", Allow: awsid.Actions("rds:*", "rds-db:connect")},
			{Name: "user/bob", Allow: awsid.Actions("rds:Describe*")},
		}
	}
	k, err := awsid.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func creds(t *testing.T, k *awsid.Keys, name string) aws.CredentialsProvider {
	t.Helper()
	id, sec, ok := k.Credentials(name)
	if !ok {
		t.Fatalf("no principal %s", name)
	}
	return credentials.NewStaticCredentialsProvider(id, sec.Reveal(), "")
}

func stsClient(url string, p aws.CredentialsProvider, opts ...func(*sts.Options)) *sts.Client {
	o := sts.Options{Region: region, BaseEndpoint: &url, Credentials: p, RetryMaxAttempts: 1}
	return sts.New(o, opts...)
}

func code(err error) string {
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		return e.ErrorCode()
	}
	if e, ok := errors.AsType[*awsid.Error](err); ok {
		return e.Code
	}
	return ""
}

func TestSTSTellsWhoSigned(t *testing.T) {
	t.Parallel()
	k := open(t, awsid.Config{})
	faults := &play.Faults{}
	srv := httptest.NewServer(awsid.Front(map[string]http.Handler{"sts": k.STS(faults)}))
	defer srv.Close()
	ctx := t.Context()

	for _, name := range k.Names() {
		out, err := stsClient(srv.URL, creds(t, k, name)).GetCallerIdentity(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		if want := "arn:aws:iam::" + account + ":" + name; *out.Arn != want || *out.Account != account || !strings.HasPrefix(*out.UserId, "AIDA") {
			t.Errorf("caller of %s is %s %s %s", name, *out.Arn, *out.Account, *out.UserId)
		}
	}

	id, sec, _ := k.Credentials("user/alice")
	_, err := stsClient(srv.URL, credentials.NewStaticCredentialsProvider(id, "wrong", "")).GetCallerIdentity(ctx, nil)
	if code(err) != "SignatureDoesNotMatch" {
		t.Errorf("wrong secret: %v", err)
	}
	_, err = stsClient(srv.URL, credentials.NewStaticCredentialsProvider("AKIAUNKNOWN", sec.Reveal(), "")).GetCallerIdentity(ctx, nil)
	if code(err) != "InvalidClientTokenId" {
		t.Errorf("unknown key: %v", err)
	}
	_, err = stsClient(srv.URL, credentials.NewStaticCredentialsProvider(id, sec.Reveal(), "session")).GetCallerIdentity(ctx, nil)
	if code(err) != "InvalidClientTokenId" {
		t.Errorf("session token that nobody issued: %v", err)
	}
	_, err = stsClient(srv.URL, creds(t, k, "user/alice")).GetSessionToken(ctx, nil)
	if code(err) != "NotImplemented" || !strings.Contains(err.Error(), "sandbox: not emulated") {
		t.Errorf("an operation that is not played: %v", err)
	}
	_, err = stsClient(srv.URL, aws.AnonymousCredentials{}).GetCallerIdentity(ctx, nil)
	if code(err) != "MissingAuthenticationToken" {
		t.Errorf("unsigned: %v", err)
	}

	for effect, want := range map[play.Effect]string{play.Throttle: "Throttling", play.Deny: "AccessDenied", play.Unavailable: "ServiceUnavailable"} {
		faults.Add(play.Fault{Service: "sts", Effect: effect, Count: 1})
		if _, err := stsClient(srv.URL, creds(t, k, "user/alice")).GetCallerIdentity(ctx, nil); code(err) != want {
			t.Errorf("%s: %v", effect, err)
		}
	}
	faults.Add(play.Fault{Service: "sts", Effect: play.Drop, Count: 1})
	if _, err := stsClient(srv.URL, creds(t, k, "user/alice")).GetCallerIdentity(ctx, nil); !errors.Is(err, io.EOF) {
		t.Errorf("drop: %v", err)
	}
}

func TestAPresignedRequestIsAcceptedWhileItIsFresh(t *testing.T) {
	t.Parallel()
	now := time.Now()
	k := open(t, awsid.Config{Now: func() time.Time { return now }})
	srv := httptest.NewServer(k.STS(&play.Faults{}))
	defer srv.Close()
	p, err := sts.NewPresignClient(stsClient(srv.URL, creds(t, k, "user/bob"))).PresignGetCallerIdentity(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	get := func(url string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(b)
	}
	if status, body := get(p.URL); status != 200 || !strings.Contains(body, "user/bob") {
		t.Errorf("fresh: %d %s", status, body)
	}
	if status, body := get(p.URL + "&Extra=1"); status != 403 || !strings.Contains(body, "SignatureDoesNotMatch") {
		t.Errorf("changed: %d %s", status, body)
	}
	now = now.Add(16 * time.Minute)
	if status, body := get(p.URL); status != 403 || !strings.Contains(body, "Signature expired") {
		t.Errorf("stale: %d %s", status, body)
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	k := open(t, awsid.Config{})
	c, err := creds(t, k, "user/alice").Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	body := []byte("Action=DescribeDBInstances&Version=2014-10-31")
	tests := map[string]struct {
		at      time.Time
		region  string
		service string
		length  int64 // signed content-length
		change  func(*http.Request)
		body    string // what arrives
		code    string
	}{
		"as the Go SDK signs, with content-length":    {length: int64(len(body))},
		"as botocore signs, without content-length":   {},
		"five minutes ago is still good":              {at: time.Now().Add(-4*time.Minute - 50*time.Second)},
		"six minutes ago is too old":                  {at: time.Now().Add(-6 * time.Minute), code: "SignatureDoesNotMatch"},
		"six minutes ahead is too early":              {at: time.Now().Add(6 * time.Minute), code: "SignatureDoesNotMatch"},
		"another region":                              {region: "us-east-1", code: "SignatureDoesNotMatch"},
		"another service":                             {service: "ec2", code: "SignatureDoesNotMatch"},
		"another body":                                {body: "Action=DeleteDBInstance", code: "SignatureDoesNotMatch"},
		"a header that was not signed does not count": {change: func(r *http.Request) { r.Header.Set("Accept-Encoding", "gzip") }},
		"a signed header that changed":                {change: func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, code: "SignatureDoesNotMatch"},
		"an AWS header that was not signed":           {change: func(r *http.Request) { r.Header.Set("X-Amz-Target", "x") }, code: "SignatureDoesNotMatch"},
		"another host":                                {change: func(r *http.Request) { r.Host = "elsewhere:1" }, code: "SignatureDoesNotMatch"},
		"another path":                                {change: func(r *http.Request) { r.URL.Path = "/x" }, code: "SignatureDoesNotMatch"},
		"another query":                               {change: func(r *http.Request) { r.URL.RawQuery = "a=b" }, code: "SignatureDoesNotMatch"},
		"a date that is no date":                      {change: func(r *http.Request) { r.Header.Set("X-Amz-Date", "today") }, code: "IncompleteSignature"},
		"a signature that was cut off": {change: func(r *http.Request) {
			a := r.Header.Get("Authorization")
			r.Header.Set("Authorization", a[:strings.LastIndex(a, ", Signature=")])
		}, code: "IncompleteSignature"},
		"an empty prefix of the signature": {change: func(r *http.Request) {
			a := r.Header.Get("Authorization")
			r.Header.Set("Authorization", a[:len(a)-4])
		}, code: "SignatureDoesNotMatch"},
		"basic authentication": {change: func(r *http.Request) { r.SetBasicAuth("a", "b") }, code: "IncompleteSignature"},
		"no authentication":    {change: func(r *http.Request) { r.Header.Del("Authorization") }, code: "MissingAuthenticationToken"},
		"a scope with few parts": {change: func(r *http.Request) {
			r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=x")
		}, code: "IncompleteSignature"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tt.at.IsZero() {
				tt.at = time.Now()
			}
			if tt.region == "" {
				tt.region = region
			}
			if tt.service == "" {
				tt.service = "rds"
			}
			r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1:4000/", bytes.NewReader(body))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.ContentLength = tt.length
			if err := v4.NewSigner().SignHTTP(t.Context(), c, r, sum(body), tt.service, tt.region, tt.at); err != nil {
				t.Fatal(err)
			}
			r.ContentLength = int64(len(body))
			if tt.change != nil {
				tt.change(r)
			}
			arrived := body
			if tt.body != "" {
				arrived = []byte(tt.body)
			}
			caller, err := k.Verify(r, arrived, "rds")
			if code(err) != tt.code {
				t.Fatalf("got %v, want %q", err, tt.code)
			}
			if err == nil && caller.ARN() != "arn:aws:iam::"+account+":user/alice" {
				t.Errorf("caller is %s", caller.ARN())
			}
		})
	}
}

func TestCheckToken(t *testing.T) {
	t.Parallel()
	now := time.Now()
	k := open(t, awsid.Config{Now: func() time.Time { return now }, Principals: []awsid.Principal{
		{Name: "user/alice", Allow: awsid.Actions("rds-db:connect")},
		{Name: "user/bob", Allow: awsid.Actions("rds:*")},
		{Name: "user/carol", Allow: []awsid.Rule{{Action: "rds-db:connect", Resource: "arn:aws:rds-db:*:*:dbuser:db-1/app"}}},
	}})
	const endpoint = "127.0.0.1:5432"
	token := func(t *testing.T, who, endpoint, region, user string) string {
		t.Helper()
		tok, err := auth.BuildAuthToken(t.Context(), endpoint, region, user, creds(t, k, who))
		if err != nil {
			t.Fatal(err)
		}
		return tok
	}
	type bearer struct{ who, endpoint, region, user string }
	alice := bearer{"user/alice", endpoint, region, "app"}
	tests := []struct {
		name     string
		of       bearer
		edit     [2]string // replaced in the token
		password string    // in place of a token
		resource string    // of the instance
		after    time.Duration
		want     string // part of the error; empty: accepted
	}{
		{name: "the right token", of: alice},
		{name: "fourteen minutes old", of: alice, after: 14 * time.Minute},
		{name: "sixteen minutes old", of: alice, after: 16 * time.Minute, want: "expired"},
		{name: "for another port", of: bearer{"user/alice", "127.0.0.1:5433", region, "app"}, want: "endpoint"},
		{name: "for another host", of: bearer{"user/alice", "db.example.com:5432", region, "app"}, want: "endpoint"},
		{name: "for another role", of: bearer{"user/alice", endpoint, region, "other"}, want: `user "other"`},
		{name: "for another role, edited", of: bearer{"user/alice", endpoint, region, "other"}, edit: [2]string{"DBUser=other", "DBUser=app"}, want: "SignatureDoesNotMatch"},
		{name: "for another region", of: bearer{"user/alice", endpoint, "us-east-1", "app"}, want: "region"},
		{name: "with a longer life", of: alice, edit: [2]string{"Expires=900", "Expires=9000"}, want: "900"},
		{name: "of somebody who may not connect", of: bearer{"user/bob", endpoint, region, "app"}, want: "rds-db:connect"},
		{name: "of somebody who may connect as this role", of: bearer{"user/carol", endpoint, region, "app"}, resource: "db-1"},
		{name: "of somebody who may connect elsewhere", of: bearer{"user/carol", endpoint, region, "app"}, resource: "db-2", want: "dbuser:db-2/app"},
		{name: "a password", password: "hunter2%", want: "not a presigned"},
		{name: "nothing", want: "not a presigned"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tok := tt.password
			if tt.of.who != "" {
				tok = strings.Replace(token(t, tt.of.who, tt.of.endpoint, tt.of.region, tt.of.user), tt.edit[0], tt.edit[1], 1)
			}
			login := awsid.Login{Endpoint: endpoint, Role: "app", ResourceID: tt.resource}
			now = time.Now().Add(tt.after)
			defer func() { now = time.Now() }()
			err := k.CheckToken(login, tok)
			switch {
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("got %v, want %q", err, tt.want)
			case err != nil && strings.Contains(err.Error(), "hunter2"):
				t.Errorf("the password is in the error: %v", err)
			}
		})
	}
}

func TestAuthorize(t *testing.T) {
	t.Parallel()
	const db = "arn:aws:rds:eu-west-1:123456789012:db:orders"
	tests := []struct {
		name        string
		allow, deny []awsid.Rule
		action      string
		want        string
	}{
		{name: "nothing is allowed by default", action: "rds:DescribeDBInstances", want: "because no identity-based policy allows the rds:DescribeDBInstances action"},
		{name: "a named action", allow: awsid.Actions("rds:DescribeDBInstances"), action: "rds:DescribeDBInstances"},
		{name: "case does not matter in actions", allow: awsid.Actions("RDS:describedbinstances"), action: "rds:DescribeDBInstances"},
		{name: "a wildcard", allow: awsid.Actions("rds:Describe*"), action: "rds:DescribeDBInstances"},
		{name: "a wildcard that does not cover it", allow: awsid.Actions("rds:Describe*"), action: "rds:DeleteDBInstance", want: "no identity-based policy"},
		{name: "a wildcard in the middle", allow: awsid.Actions("rds:*DB*ance?"), action: "rds:DescribeDBInstances"},
		{name: "deny wins", allow: awsid.Actions("*"), deny: awsid.Actions("rds:Delete*"), action: "rds:DeleteDBInstance", want: "with an explicit deny in an identity-based policy"},
		{name: "deny of something else", allow: awsid.Actions("*"), deny: awsid.Actions("rds:Delete*"), action: "rds:ModifyDBInstance"},
		{name: "on this resource", allow: []awsid.Rule{{Action: "rds:*", Resource: "arn:aws:rds:*:*:db:orders"}}, action: "rds:ModifyDBInstance"},
		{name: "on another resource", allow: []awsid.Rule{{Action: "rds:*", Resource: "arn:aws:rds:*:*:db:order"}}, action: "rds:ModifyDBInstance", want: "no identity-based policy"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			k := open(t, awsid.Config{})
			if !k.SetRules("user/alice", tt.allow, tt.deny) {
				t.Fatal("no alice")
			}
			c, err := creds(t, k, "user/alice").Retrieve(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequest(http.MethodPost, "http://h/", http.NoBody)
			if err := v4.NewSigner().SignHTTP(t.Context(), c, r, sum(nil), "rds", region, time.Now()); err != nil {
				t.Fatal(err)
			}
			caller, err := k.Verify(r, nil, "rds")
			if err != nil {
				t.Fatal(err)
			}
			err = caller.Authorize(tt.action, db)
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			want := "AccessDenied: User: arn:aws:iam::123456789012:user/alice is not authorized to perform: " + tt.action + " on resource: " + db
			if err == nil || !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestKeysComeBackFromDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, again := open(t, awsid.Config{Dir: dir}), open(t, awsid.Config{Dir: dir})
	for _, n := range first.Names() {
		id1, s1, _ := first.Credentials(n)
		id2, s2, ok := again.Credentials(n)
		if !ok || id1 != id2 || !s1.Equal(s2.Reveal()) {
			t.Errorf("%s has another key after opening again", n)
		}
	}
	info, err := os.Stat(filepath.Join(dir, "aws-keys.json"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("keys are readable by others: %v", info.Mode())
	}
	gone := open(t, awsid.Config{Dir: dir, Principals: []awsid.Principal{{Name: "user/bob"}}})
	if _, _, ok := gone.Credentials("user/alice"); ok {
		t.Error("a principal that is no longer wanted still has a key")
	}
}

func FuzzCheckToken(f *testing.F) {
	k, err := awsid.Open(awsid.Config{Account: account, Region: region, Principals: []awsid.Principal{{Name: "user/a", Allow: awsid.Actions("*")}}})
	if err != nil {
		f.Fatal(err)
	}
	id, _, _ := k.Credentials("user/a")
	f.Add("h:1/?Action=connect&DBUser=u&X-Amz-Expires=900&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-SignedHeaders=host&X-Amz-Date=20260101T000000Z&X-Amz-Credential=" + id + "/20260101/eu-west-1/rds-db/aws4_request&X-Amz-Signature=x")
	f.Add("%")
	f.Fuzz(func(t *testing.T, token string) {
		if k.CheckToken(awsid.Login{Endpoint: "h:1", Role: "u", ResourceID: "db-1"}, token) == nil {
			t.Fatal("a token without the secret was accepted")
		}
	})
}

func FuzzAuthorization(f *testing.F) {
	f.Add("AWS4-HMAC-SHA256 Credential=a/20260101/eu-west-1/rds/aws4_request, SignedHeaders=host;x-amz-date, Signature=00", "a=b")
	f.Fuzz(func(t *testing.T, header, query string) {
		k, err := awsid.Open(awsid.Config{Account: account, Region: region})
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest(http.MethodPost, "http://h/", http.NoBody)
		r.Header.Set("Authorization", header)
		r.URL.RawQuery = query
		if _, err := k.Verify(r, nil, "rds"); err == nil {
			t.Fatal("accepted without a key")
		}
	})
}

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}
