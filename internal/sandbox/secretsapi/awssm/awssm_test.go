package awssm_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go"

	"dbops/internal/sandbox/awsid"
	"dbops/internal/sandbox/play"
	"dbops/internal/sandbox/secretsapi/awssm"
)

// played is a Secrets Manager of its own.
type played struct {
	keys   *awsid.Keys
	faults *play.Faults
	dir    string
	url    string
	log    logBuffer
	clock  atomic.Int64 // nanoseconds ahead of the real time
}

// logBuffer is a buffer that may be read while it is written.
type logBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func start(t *testing.T) *played {
	t.Helper()
	p := &played{faults: &play.Faults{}, dir: t.TempDir()}
	now := func() time.Time { return time.Now().Add(time.Duration(p.clock.Load())) }
	var err error
	p.keys, err = awsid.Open(awsid.Config{Account: "123456789012", Region: "eu-west-1", Principals: []awsid.Principal{
		{Name: "user/dbops", Allow: awsid.Actions("secretsmanager:*")},
		{Name: "user/reader", Allow: []awsid.Rule{{Action: "secretsmanager:GetSecretValue", Resource: "arn:aws:secretsmanager:*:*:secret:app/*"}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	api, err := awssm.New(awssm.Config{
		Keys: p.keys, Dir: p.dir, Faults: p.faults, Now: now,
		Log: slog.New(slog.NewTextHandler(&p.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(awsid.Front(map[string]http.Handler{"secretsmanager": api}))
	t.Cleanup(srv.Close)
	p.url = srv.URL
	return p
}

func (p *played) client(t *testing.T, who string) *sm.Client {
	t.Helper()
	id, sec, ok := p.keys.Credentials(who)
	if !ok {
		t.Fatalf("no principal %s", who)
	}
	return sm.New(sm.Options{
		Region: "eu-west-1", BaseEndpoint: &p.url, Credentials: credentials.NewStaticCredentialsProvider(id, sec.Reveal(), ""), RetryMaxAttempts: 1,
	})
}

func token(n int) *string { return new(fmt.Sprintf("00000000-0000-4000-8000-%012d", n)) }

func create(t *testing.T, c *sm.Client, name, text string) *sm.CreateSecretOutput {
	t.Helper()
	out, err := c.CreateSecret(t.Context(), &sm.CreateSecretInput{Name: &name, SecretString: &text, ClientRequestToken: token(1)})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func put(t *testing.T, c *sm.Client, name, text string, n int, stages ...string) {
	t.Helper()
	_, err := c.PutSecretValue(t.Context(), &sm.PutSecretValueInput{SecretId: &name, SecretString: &text, ClientRequestToken: token(n), VersionStages: stages})
	if err != nil {
		t.Fatal(err)
	}
}

// stages are the labels of a secret, by the number of the version.
func stages(t *testing.T, c *sm.Client, name string) map[int][]string {
	t.Helper()
	d, err := c.DescribeSecret(t.Context(), &sm.DescribeSecretInput{SecretId: &name})
	if err != nil {
		t.Fatal(err)
	}
	out := map[int][]string{}
	for id, labels := range d.VersionIdsToStages {
		var n int
		if _, err := fmt.Sscanf(id[24:], "%d", &n); err != nil {
			t.Fatal(err)
		}
		slices.Sort(labels)
		out[n] = labels
	}
	return out
}

func text(t *testing.T, c *sm.Client, in *sm.GetSecretValueInput) string {
	t.Helper()
	out, err := c.GetSecretValue(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return aws.ToString(out.SecretString)
}

func code(err error) string {
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		return e.ErrorCode()
	}
	return fmt.Sprint(err)
}

func TestLabelsMove(t *testing.T) {
	t.Parallel()
	p := start(t)
	c := p.client(t, "user/dbops")
	create(t, c, "app/db", "one")
	want := func(m map[int][]string) {
		t.Helper()
		if got := stages(t, c, "app/db"); !reflect.DeepEqual(got, m) {
			t.Fatalf("labels are %v, want %v", got, m)
		}
	}
	want(map[int][]string{1: {"AWSCURRENT"}})
	put(t, c, "app/db", "two", 2)
	want(map[int][]string{1: {"AWSPREVIOUS"}, 2: {"AWSCURRENT"}})
	put(t, c, "app/db", "three", 3, "AWSPENDING")
	want(map[int][]string{1: {"AWSPREVIOUS"}, 2: {"AWSCURRENT"}, 3: {"AWSPENDING"}})

	move := func(stage string, from, to int) error {
		in := &sm.UpdateSecretVersionStageInput{SecretId: new("app/db"), VersionStage: &stage}
		if from > 0 {
			in.RemoveFromVersionId = token(from)
		}
		if to > 0 {
			in.MoveToVersionId = token(to)
		}
		_, err := c.UpdateSecretVersionStage(t.Context(), in)
		return err
	}
	for name, err := range map[string]error{
		"without naming the present version": move("AWSCURRENT", 0, 3),
		"naming another version":             move("AWSCURRENT", 1, 3),
		"to nowhere":                         move("AWSCURRENT", 2, 0),
	} {
		if e, ok := errors.AsType[*types.InvalidParameterException](err); !ok {
			t.Errorf("moving AWSCURRENT %s: %v", name, err)
		} else if strings.Contains(name, "without") && !strings.Contains(e.ErrorMessage(), *token(2)) {
			t.Errorf("the error does not name the version: %v", err)
		}
	}
	if _, ok := errors.AsType[*types.ResourceNotFoundException](move("AWSCURRENT", 2, 9)); !ok {
		t.Error("a label moved to a version that does not exist")
	}
	want(map[int][]string{1: {"AWSPREVIOUS"}, 2: {"AWSCURRENT"}, 3: {"AWSPENDING"}})

	if err := move("AWSCURRENT", 2, 3); err != nil {
		t.Fatal(err)
	}
	want(map[int][]string{2: {"AWSPREVIOUS"}, 3: {"AWSCURRENT", "AWSPENDING"}})
	if err := move("AWSPENDING", 3, 0); err != nil {
		t.Fatal(err)
	}
	if err := move("AWSCURRENT", 3, 2); err != nil { // back
		t.Fatal(err)
	}
	want(map[int][]string{2: {"AWSCURRENT"}, 3: {"AWSPREVIOUS"}})

	if got := text(t, c, &sm.GetSecretValueInput{SecretId: new("app/db")}); got != "two" {
		t.Errorf("current is %q", got)
	}
	if got := text(t, c, &sm.GetSecretValueInput{SecretId: new("app/db"), VersionStage: new("AWSPREVIOUS")}); got != "three" {
		t.Errorf("previous is %q", got)
	}
	if got := text(t, c, &sm.GetSecretValueInput{SecretId: new("app/db"), VersionId: token(1)}); got != "one" {
		t.Errorf("a version without labels is %q", got)
	}
	_, err := c.GetSecretValue(t.Context(), &sm.GetSecretValueInput{SecretId: new("app/db"), VersionId: token(1), VersionStage: new("AWSCURRENT")})
	if _, ok := errors.AsType[*types.InvalidRequestException](err); !ok {
		t.Errorf("version and label that do not belong together: %v", err)
	}

	list := func(deprecated bool) int {
		out, err := c.ListSecretVersionIds(t.Context(), &sm.ListSecretVersionIdsInput{SecretId: new("app/db"), IncludeDeprecated: &deprecated})
		if err != nil {
			t.Fatal(err)
		}
		return len(out.Versions)
	}
	if list(false) != 2 || list(true) != 3 {
		t.Errorf("versions: %d with labels, %d in all", list(false), list(true))
	}
}

func TestRequestsAreIdempotent(t *testing.T) {
	t.Parallel()
	p := start(t)
	c := p.client(t, "user/dbops")
	first := create(t, c, "s", "one")
	if again := create(t, c, "s", "one"); *again.ARN != *first.ARN || *again.VersionId != *first.VersionId {
		t.Errorf("the second creation answers %v, not %v", again, first)
	}
	_, err := c.CreateSecret(t.Context(), &sm.CreateSecretInput{Name: new("s"), SecretString: new("other"), ClientRequestToken: token(1)})
	if _, ok := errors.AsType[*types.ResourceExistsException](err); !ok {
		t.Errorf("the same token with another secret: %v", err)
	}
	_, err = c.CreateSecret(t.Context(), &sm.CreateSecretInput{Name: new("s"), SecretString: new("one")}) // the SDK makes a token
	if _, ok := errors.AsType[*types.ResourceExistsException](err); !ok {
		t.Errorf("the same name with another token: %v", err)
	}
	put(t, c, "s", "two", 2)
	put(t, c, "s", "three", 3)
	put(t, c, "s", "two", 2) // a late retry does not move AWSCURRENT back
	if got := text(t, c, &sm.GetSecretValueInput{SecretId: new("s")}); got != "three" {
		t.Errorf("after a retry the current secret is %q", got)
	}
	_, err = c.PutSecretValue(t.Context(), &sm.PutSecretValueInput{SecretId: new("s"), SecretString: new("x"), ClientRequestToken: token(2)})
	if _, ok := errors.AsType[*types.ResourceExistsException](err); !ok {
		t.Errorf("changing a version: %v", err)
	}
}

func TestSecretsAreFoundByNameAndARN(t *testing.T) {
	t.Parallel()
	p := start(t)
	c := p.client(t, "user/dbops")
	out := create(t, c, "app/db", "one")
	for _, id := range []string{"app/db", *out.ARN, (*out.ARN)[:len(*out.ARN)-7]} {
		if got := text(t, c, &sm.GetSecretValueInput{SecretId: &id}); got != "one" {
			t.Errorf("%s is %q", id, got)
		}
	}
	binary := []byte{0, 1, 0xff}
	_, err := c.CreateSecret(t.Context(), &sm.CreateSecretInput{Name: new("bin"), SecretBinary: binary, Description: new("d"), Tags: []types.Tag{{Key: new("a"), Value: new("b")}}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.GetSecretValue(t.Context(), &sm.GetSecretValueInput{SecretId: new("bin")})
	if err != nil || !bytes.Equal(got.SecretBinary, binary) || got.SecretString != nil {
		t.Errorf("binary secret: %v %v", got, err)
	}
	if time.Since(*got.CreatedDate).Abs() > time.Minute {
		t.Errorf("created at %v", got.CreatedDate)
	}
	if _, err := c.TagResource(t.Context(), &sm.TagResourceInput{SecretId: new("bin"), Tags: []types.Tag{{Key: new("a"), Value: new("c")}, {Key: new("x"), Value: new("")}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.UntagResource(t.Context(), &sm.UntagResourceInput{SecretId: new("bin"), TagKeys: []string{"x"}}); err != nil {
		t.Fatal(err)
	}
	d, err := c.DescribeSecret(t.Context(), &sm.DescribeSecretInput{SecretId: new("bin")})
	if err != nil || len(d.Tags) != 1 || *d.Tags[0].Value != "c" || *d.Description != "d" || d.LastAccessedDate == nil {
		t.Errorf("description: %+v %v", d, err)
	}
}

func TestListsHavePagesAndFilters(t *testing.T) {
	t.Parallel()
	p := start(t)
	c := p.client(t, "user/dbops")
	for i := range 7 {
		create(t, c, fmt.Sprintf("app/%d", i), "x")
	}
	create(t, c, "other", "x")
	pages := sm.NewListSecretsPaginator(c, &sm.ListSecretsInput{
		MaxResults: new(int32(3)), Filters: []types.Filter{{Key: types.FilterNameStringTypeName, Values: []string{"app/"}}},
	})
	var names []string
	for pages.HasMorePages() {
		out, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range out.SecretList {
			names = append(names, *s.Name)
		}
	}
	if len(names) != 7 || slices.Contains(names, "other") {
		t.Errorf("listed %v", names)
	}
	_, err := c.ListSecrets(t.Context(), &sm.ListSecretsInput{Filters: []types.Filter{{Key: types.FilterNameStringTypeOwningService, Values: []string{"x"}}}})
	if code(err) != "InvalidParameterException" || !strings.Contains(err.Error(), "sandbox: not emulated") {
		t.Errorf("a filter that is not played: %v", err)
	}
}

func TestADeletedSecretCanComeBackForAWhile(t *testing.T) {
	t.Parallel()
	p := start(t)
	c := p.client(t, "user/dbops")
	create(t, c, "s", "one")
	del := func(in *sm.DeleteSecretInput) error {
		in.SecretId = new("s")
		_, err := c.DeleteSecret(t.Context(), in)
		return err
	}
	if err := del(&sm.DeleteSecretInput{RecoveryWindowInDays: new(int64(3))}); code(err) != "InvalidParameterException" {
		t.Errorf("three days: %v", err)
	}
	if err := del(&sm.DeleteSecretInput{RecoveryWindowInDays: new(int64(7))}); err != nil {
		t.Fatal(err)
	}
	_, err := c.GetSecretValue(t.Context(), &sm.GetSecretValueInput{SecretId: new("s")})
	if code(err) != "InvalidRequestException" || !strings.Contains(err.Error(), "marked for deletion") {
		t.Errorf("reading a deleted secret: %v", err)
	}
	_, err = c.CreateSecret(t.Context(), &sm.CreateSecretInput{Name: new("s"), SecretString: new("x")})
	if code(err) != "InvalidRequestException" {
		t.Errorf("creating it again: %v", err)
	}
	if _, err := c.RestoreSecret(t.Context(), &sm.RestoreSecretInput{SecretId: new("s")}); err != nil {
		t.Fatal(err)
	}
	if got := text(t, c, &sm.GetSecretValueInput{SecretId: new("s")}); got != "one" {
		t.Errorf("restored: %q", got)
	}
	if err := del(&sm.DeleteSecretInput{RecoveryWindowInDays: new(int64(7))}); err != nil {
		t.Fatal(err)
	}
	p.clock.Store(int64(8 * 24 * time.Hour))
	// The clock of the store runs ahead, not the one that checks signatures.
	_, err = c.DescribeSecret(t.Context(), &sm.DescribeSecretInput{SecretId: new("s")})
	if _, ok := errors.AsType[*types.ResourceNotFoundException](err); !ok {
		t.Errorf("after its recovery window: %v", err)
	}
	create(t, c, "s", "two")
	if err := del(&sm.DeleteSecretInput{ForceDeleteWithoutRecovery: new(true)}); err != nil {
		t.Fatal(err)
	}
	if err := del(&sm.DeleteSecretInput{ForceDeleteWithoutRecovery: new(true)}); err != nil {
		t.Errorf("deleting for good what does not exist: %v", err)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	p := start(t)
	c := p.client(t, "user/dbops")
	create(t, c, "s", "1")
	for i := 2; i <= 100; i++ {
		put(t, c, "s", "x", i)
	}
	_, err := c.PutSecretValue(t.Context(), &sm.PutSecretValueInput{SecretId: new("s"), SecretString: new("x"), ClientRequestToken: token(101)})
	if _, ok := errors.AsType[*types.LimitExceededException](err); !ok {
		t.Errorf("version 101 within a day: %v", err)
	}
	p.clock.Store(int64(25 * time.Hour))
	put(t, c, "s", "x", 101)
	if got := stages(t, c, "s"); !reflect.DeepEqual(got, map[int][]string{100: {"AWSPREVIOUS"}, 101: {"AWSCURRENT"}}) {
		t.Errorf("labels are %v", got)
	}
	var labels []string
	for i := range 21 {
		labels = append(labels, fmt.Sprint("label", i))
	}
	p.clock.Store(int64(50 * time.Hour))
	_, err = c.PutSecretValue(t.Context(), &sm.PutSecretValueInput{SecretId: new("s"), SecretString: new("x"), ClientRequestToken: token(102), VersionStages: labels})
	if _, ok := errors.AsType[*types.LimitExceededException](err); !ok {
		t.Errorf("too many labels: %v", err)
	}
	_, err = c.PutSecretValue(t.Context(), &sm.PutSecretValueInput{SecretId: new("s"), SecretString: new(strings.Repeat("x", 65537)), ClientRequestToken: token(103)})
	if code(err) != "InvalidParameterException" {
		t.Errorf("a long secret: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	p := start(t)
	c := p.client(t, "user/dbops")
	create(t, c, "app/db", "one")
	create(t, c, "elsewhere", "one")
	reader := p.client(t, "user/reader")

	if got := text(t, reader, &sm.GetSecretValueInput{SecretId: new("app/db")}); got != "one" {
		t.Errorf("the reader reads %q", got)
	}
	_, err := reader.GetSecretValue(t.Context(), &sm.GetSecretValueInput{SecretId: new("elsewhere")})
	if code(err) != "AccessDeniedException" || !strings.Contains(err.Error(), "user/reader is not authorized to perform: secretsmanager:GetSecretValue on resource: arn:aws:secretsmanager:eu-west-1:123456789012:secret:elsewhere-") {
		t.Errorf("another secret: %v", err)
	}
	_, err = reader.PutSecretValue(t.Context(), &sm.PutSecretValueInput{SecretId: new("app/db"), SecretString: new("x")})
	if code(err) != "AccessDeniedException" {
		t.Errorf("writing: %v", err)
	}
	_, err = c.GetSecretValue(t.Context(), &sm.GetSecretValueInput{SecretId: new("none")})
	if _, ok := errors.AsType[*types.ResourceNotFoundException](err); !ok {
		t.Errorf("a missing secret: %v", err)
	}
	_, err = c.CreateSecret(t.Context(), &sm.CreateSecretInput{Name: new("a b"), SecretString: new("x")})
	if code(err) != "InvalidParameterException" {
		t.Errorf("a bad name: %v", err)
	}
	_, err = c.CreateSecret(t.Context(), &sm.CreateSecretInput{Name: new("k"), KmsKeyId: new("alias/x"), SecretString: new("x")})
	if code(err) != "InvalidParameterException" || !strings.Contains(err.Error(), "sandbox: not emulated: KmsKeyId") {
		t.Errorf("a field that is not played: %v", err)
	}
	_, err = c.RotateSecret(t.Context(), &sm.RotateSecretInput{SecretId: new("app/db")})
	if code(err) != "NotImplemented" || !strings.Contains(err.Error(), "sandbox: not emulated") {
		t.Errorf("an operation that is not played: %v", err)
	}
	id, _, _ := p.keys.Credentials("user/dbops")
	wrong := sm.New(sm.Options{Region: "eu-west-1", BaseEndpoint: &p.url, Credentials: credentials.NewStaticCredentialsProvider(id, "wrong", ""), RetryMaxAttempts: 1})
	if _, err := wrong.ListSecrets(t.Context(), nil); code(err) != "InvalidSignatureException" {
		t.Errorf("a wrong key: %v", err)
	}
	for effect, want := range map[play.Effect]string{
		play.Throttle: "ThrottlingException", play.Deny: "AccessDeniedException", play.Unavailable: "ServiceUnavailableException",
	} {
		p.faults.Add(play.Fault{Service: "secretsmanager", Target: "app/db", Effect: effect, Count: 1})
		if _, err := c.DescribeSecret(t.Context(), &sm.DescribeSecretInput{SecretId: new("app/db")}); code(err) != want {
			t.Errorf("%s: %v", effect, err)
		}
	}
	p.faults.Add(play.Fault{Service: "secretsmanager", Effect: play.Throttle, Count: 2})
	patient := p.client(t, "user/dbops")
	_, err = patient.ListSecrets(t.Context(), nil, func(o *sm.Options) { o.RetryMaxAttempts = 5 })
	if err != nil {
		t.Errorf("the SDK did not retry a throttled request: %v", err)
	}
}

func TestSecretsOutliveTheProcessAndStayOutOfTheLog(t *testing.T) {
	t.Parallel()
	p := start(t)
	c := p.client(t, "user/dbops")
	const hidden = "correct horse battery staple"
	create(t, c, "s", hidden)
	put(t, c, "s", hidden+"2", 2)
	_, _ = c.PutSecretValue(context.WithoutCancel(t.Context()), &sm.PutSecretValueInput{SecretId: new("s"), SecretString: new(hidden + "3"), ClientRequestToken: token(2)})
	if text(t, c, &sm.GetSecretValueInput{SecretId: new("s")}) != hidden+"2" {
		t.Error("wrong secret")
	}
	if l := p.log.String(); strings.Contains(l, "horse") || !strings.Contains(l, "PutSecretValue") {
		t.Errorf("the log holds secrets, or nothing: %s", l)
	}

	info, err := os.Stat(filepath.Join(p.dir, "aws-secrets.json"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the store is readable by others: %v %v", info, err)
	}
	again, err := awssm.New(awssm.Config{Keys: p.keys, Dir: p.dir})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(again)
	defer srv.Close()
	p.url = srv.URL
	if got := text(t, p.client(t, "user/dbops"), &sm.GetSecretValueInput{SecretId: new("s"), VersionStage: new("AWSPREVIOUS")}); got != hidden {
		t.Error("the previous version did not come back")
	}
}
