package awssm

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"dbops/internal/fault"
	"dbops/internal/sandbox/play"
	"dbops/internal/secret"
)

var api = secret.Ref{Scheme: secret.SchemeAWS, Name: "prod/api"}

// rotating is a played secret with a current and a pending version.
func rotating(t *testing.T, source *Source) (one, two secret.Version) {
	t.Helper()
	ctx := t.Context()
	if err := source.Create(ctx, api); err != nil {
		t.Fatal(err)
	}
	one, err := source.Stage(ctx, api, "one", secret.New(pw+"1"))
	if err != nil {
		t.Fatal(err)
	}
	two, err = source.Stage(ctx, api, "two", secret.New(pw+"2"))
	if err != nil {
		t.Fatal(err)
	}
	return one, two
}

// calls are those of the store that ask for something, with the action that does it.
func calls(t *testing.T, source *Source, one, two secret.Version) map[string]func() error {
	t.Helper()
	ctx := t.Context()
	return map[string]func() error{
		"DescribeSecret":           func() error { _, err := source.Inspect(ctx, api); return err },
		"GetSecretValue":           func() error { _, err := source.Read(ctx, api, one.ID); return err },
		"CreateSecret":             func() error { return source.Create(ctx, secret.Ref{Scheme: secret.SchemeAWS, Name: "prod/new"}) },
		"PutSecretValue":           func() error { _, err := source.Stage(ctx, api, "three", secret.New(pw+"3")); return err },
		"UpdateSecretVersionStage": func() error { return source.Promote(ctx, api, one.ID, two.ID) },
	}
}

func check(t *testing.T, err error, kind fault.Kind, text, hint string) {
	t.Helper()
	if err == nil || fault.KindOf(err) != kind || !strings.Contains(err.Error(), text) || !strings.Contains(fault.HintOf(err), hint) {
		t.Errorf("got %v, hint %q, want %s with %q and %q", err, fault.HintOf(err), kind, text, hint)
	}
	if err != nil && strings.Contains(err.Error()+fault.HintOf(err), pw) {
		t.Error("the error holds the secret")
	}
}

func TestTroubleSaysWhatToDo(t *testing.T) {
	t.Setenv("AWS_MAX_ATTEMPTS", "1")
	s := start(t)
	source := s.as(t, "user/dbops", Options{Region: "eu-west-1"})
	one, two := rotating(t, source)
	for action, call := range calls(t, source, one, two) {
		for effect, kind := range map[play.Effect]fault.Kind{
			play.Deny: fault.Denied, play.Throttle: fault.Throttled, play.Unavailable: fault.Unavailable, play.Drop: fault.Unavailable,
		} {
			t.Run(action+" "+string(effect), func(t *testing.T) {
				s.faults.Add(play.Fault{Service: "secretsmanager", Action: action, Effect: effect})
				defer s.faults.Clear()
				err := call()
				check(t, err, kind, "secret aws-sm:prod/", "")
				if effect == play.Deny && (fault.PermissionOf(err) != "secretsmanager:"+action || !strings.Contains(fault.HintOf(err), action)) {
					t.Errorf("missing %q, hint %q", fault.PermissionOf(err), fault.HintOf(err))
				}
			})
		}
	}
	h, err := source.Inspect(t.Context(), api)
	if err != nil || h.Current.ID != one.ID || h.Pending.ID != two.ID || h.Previous.ID != "" {
		t.Errorf("afterwards: %+v, %v", h, err)
	}
	t.Run("retire is denied", func(t *testing.T) {
		s.faults.Add(play.Fault{Action: "UpdateSecretVersionStage", Effect: play.Deny})
		defer s.faults.Clear()
		check(t, source.Retire(t.Context(), api, two.ID), fault.Denied, "", "secretsmanager:UpdateSecretVersionStage")
	})
	t.Run("dates may not be seen", func(t *testing.T) {
		s.faults.Add(play.Fault{Action: "ListSecretVersionIds", Effect: play.Deny})
		defer s.faults.Clear()
		h, err := source.Inspect(t.Context(), api)
		if err != nil || h.Current.ID != one.ID || !h.Current.Created.IsZero() {
			t.Errorf("%+v, %v", h, err)
		}
	})
}

func TestALostAnswerMakesNoSecondVersion(t *testing.T) {
	s := start(t)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	lost := 0
	source := s.with(t, "user/dbops", Options{Region: "eu-west-1", HTTPClient: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		resp, err := transport.RoundTrip(r)
		if target := r.Header.Get("X-Amz-Target"); err == nil && lost < 2 && (strings.HasSuffix(target, "PutSecretValue") || strings.HasSuffix(target, "CreateSecret")) {
			lost++
			_ = resp.Body.Close()
			return nil, io.ErrUnexpectedEOF
		}
		return resp, err
	})}})
	one, _ := rotating(t, source)
	if lost != 2 {
		t.Errorf("%d answers were lost", lost)
	}
	out, err := source.api.ListSecretVersionIds(t.Context(), &sdk.ListSecretVersionIdsInput{SecretId: &api.Name, IncludeDeprecated: new(true)})
	if err != nil || len(out.Versions) != 2 || one.ID != secret.TokenID("one") {
		t.Errorf("%d versions, %v", len(out.Versions), err)
	}
}

func TestAFullSecretIsNotTriedAgain(t *testing.T) {
	s := start(t)
	transport, puts := &http.Transport{}, 0
	t.Cleanup(transport.CloseIdleConnections)
	source := s.with(t, "user/dbops", Options{Region: "eu-west-1", HTTPClient: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		if strings.HasSuffix(r.Header.Get("X-Amz-Target"), "PutSecretValue") {
			puts++
		}
		return transport.RoundTrip(r)
	})}})
	_, two := rotating(t, source)
	for i := range 98 {
		if _, err := source.api.PutSecretValue(t.Context(), &sdk.PutSecretValueInput{
			SecretId: &api.Name, SecretString: new(fmt.Sprint(i)), VersionStages: []string{"BUSY"},
		}); err != nil {
			t.Fatal(err)
		}
	}
	before := puts
	_, err := source.Stage(t.Context(), api, "three", secret.New(pw))
	check(t, err, fault.Busy, "a quota is used up", "list-secret-version-ids --include-deprecated --secret-id prod/api")
	if puts != before+1 {
		t.Errorf("it was tried %d times", puts-before)
	}
	if h, err := source.Inspect(t.Context(), api); err != nil || h.Pending.ID != two.ID {
		t.Errorf("%+v, %v", h, err)
	}
}

func TestADeletedSecretIsNotWritten(t *testing.T) {
	s := start(t)
	source := s.as(t, "user/dbops", Options{Region: "eu-west-1"})
	one, two := rotating(t, source)
	if _, err := source.api.DeleteSecret(t.Context(), &sdk.DeleteSecretInput{SecretId: &api.Name}); err != nil {
		t.Fatal(err)
	}
	all := calls(t, source, one, two)
	all["CreateSecret"] = func() error { return source.Create(t.Context(), api) }
	all["Retire"] = func() error { return source.Retire(t.Context(), api, two.ID) }
	for action, call := range all {
		t.Run(action, func(t *testing.T) {
			check(t, call(), fault.Busy, "waits for the end of its recovery window", "aws secretsmanager restore-secret --secret-id prod/api")
		})
	}
}

func TestASecretIsNamedByItsARNOnlyIfItExists(t *testing.T) {
	s := start(t)
	source := s.as(t, "user/dbops", Options{})
	arn := secret.Ref{Scheme: secret.SchemeAWS, Name: "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/api-AbCdEf"}
	check(t, source.Create(t.Context(), arn), fault.Config, "AWS chooses the ARN", "aws-sm:NAME")
	out, err := s.as(t, "user/dbops", Options{Region: "eu-west-1"}).api.CreateSecret(t.Context(), &sdk.CreateSecretInput{Name: &api.Name})
	if err != nil {
		t.Fatal(err)
	}
	arn.Name = *out.ARN
	if err := source.Create(t.Context(), arn); err != nil {
		t.Error(err)
	}
	if _, err := source.Stage(t.Context(), arn, "one", secret.New(pw)); err != nil {
		t.Error(err)
	}
}

func TestASecretThatSomebodyElseWrites(t *testing.T) {
	t.Setenv("AWS_MAX_ATTEMPTS", "1")
	for _, c := range []struct {
		name, action, answer string
		status               int
		kind                 fault.Kind
		text, hint           string
		permission           string
	}{
		{"AWS rotates it", "DescribeSecret", `{"Name":"prod/api","RotationEnabled":true}`, 200, fault.Blocked, "AWS rotates it", "cancel-rotate-secret --secret-id prod/api", ""},
		{"RDS owns it", "DescribeSecret", `{"Name":"prod/api","OwningService":"rds"}`, 200, fault.Blocked, "manages it for rds", "a secret of your own", ""},
		{
			"the key may not be used", "PutSecretValue", `{"__type":"AccessDeniedException","Message":"Access to KMS is not allowed"}`, 400,
			fault.Denied, "Access to KMS is not allowed", "kms:GenerateDataKey", "kms:Decrypt",
		},
		{
			"the key is disabled", "PutSecretValue", `{"__type":"EncryptionFailure","Message":"The key is disabled"}`, 400,
			fault.Denied, "cannot encrypt it: The key is disabled", "must be enabled", "kms:GenerateDataKey",
		},
		{
			"somebody was faster, but where?", "UpdateSecretVersionStage", `{"__type":"InvalidParameterException","Message":"The staging label AWSCURRENT is not attached"}`, 400,
			fault.Stale, "AWS refused: The staging label AWSCURRENT is not attached", "make a new plan", "",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := start(t)
			transport := &http.Transport{}
			t.Cleanup(transport.CloseIdleConnections)
			one, two := rotating(t, s.as(t, "user/dbops", Options{Region: "eu-west-1"}))
			source := s.with(t, "user/dbops", Options{Region: "eu-west-1", HTTPClient: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
				if !strings.HasSuffix(r.Header.Get("X-Amz-Target"), c.action) {
					return transport.RoundTrip(r)
				}
				return &http.Response{
					StatusCode: c.status, Header: http.Header{"Content-Type": {"application/x-amz-json-1.1"}},
					Body: io.NopCloser(bytes.NewReader([]byte(c.answer))), Request: r,
				}, nil
			})}})
			_, err := source.Stage(t.Context(), api, "three", secret.New(pw))
			if c.action == "UpdateSecretVersionStage" {
				err = source.Promote(t.Context(), api, one.ID, two.ID)
			}
			check(t, err, c.kind, c.text, c.hint)
			if fault.PermissionOf(err) != c.permission {
				t.Errorf("missing %q, want %q", fault.PermissionOf(err), c.permission)
			}
		})
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
