// Package awssm plays AWS Secrets Manager: secrets, their versions and staging labels, over its JSON protocol.
//
// Versions never change; labels move between them, AWSCURRENT only together with AWSPREVIOUS, and a label that sits on one
// version moves to another only when the caller names the one it sits on. Secrets are in the store's file, readable by the
// owner only, and never in a log or an error.
package awssm

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"dbops/internal/sandbox/awsid"
	"dbops/internal/sandbox/play"
)

// service is the name in signatures, permissions and faults.
const service = "secretsmanager"

// Config is what an [API] stands on.
type Config struct {
	Keys   *awsid.Keys  // also says account and region
	Dir    string       // where the secrets are kept; empty: nowhere
	Faults *play.Faults // service "secretsmanager"; nil: none
	Log    *slog.Logger // defaults to discarding
	Now    func() time.Time
}

// API is the played Secrets Manager.
type API struct {
	keys   *awsid.Keys
	dir    string
	faults *play.Faults
	log    *slog.Logger
	now    func() time.Time
	ops    map[string]operation

	mu      sync.Mutex
	secrets map[string]*record // by name
}

// New brings back the secrets of cfg.Dir.
func New(cfg Config) (*API, error) {
	a := &API{keys: cfg.Keys, dir: cfg.Dir, faults: cfg.Faults, log: cfg.Log, now: cfg.Now, secrets: map[string]*record{}}
	if a.faults == nil {
		a.faults = &play.Faults{}
	}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	if a.now == nil {
		a.now = time.Now
	}
	if _, err := play.Load(cfg.Dir, storeFile, &a.secrets); err != nil {
		return nil, fmt.Errorf("open the played Secrets Manager: %w", err)
	}
	a.ops = map[string]operation{
		"CreateSecret":             op(a.createSecret, func(in *createInput) string { return in.Name }),
		"DescribeSecret":           op(a.describeSecret, func(in *secretInput) string { return in.SecretID }),
		"ListSecrets":              op(a.listSecrets, func(*listInput) string { return "" }),
		"DeleteSecret":             op(a.deleteSecret, func(in *deleteInput) string { return in.SecretID }),
		"RestoreSecret":            op(a.restoreSecret, func(in *secretInput) string { return in.SecretID }),
		"TagResource":              op(a.tagResource, func(in *tagInput) string { return in.SecretID }),
		"UntagResource":            op(a.untagResource, func(in *untagInput) string { return in.SecretID }),
		"GetSecretValue":           op(a.getSecretValue, func(in *getInput) string { return in.SecretID }),
		"PutSecretValue":           op(a.putSecretValue, func(in *putInput) string { return in.SecretID }),
		"UpdateSecretVersionStage": op(a.updateSecretVersionStage, func(in *stageInput) string { return in.SecretID }),
		"ListSecretVersionIds":     op(a.listSecretVersionIDs, func(in *versionsInput) string { return in.SecretID }),
	}
	return a, nil
}

// operation is one action: decode makes its input, about names the secret it is about, do does it under the lock.
type operation struct {
	decode func([]byte) (any, error)
	about  func(any) string
	do     func(any) (any, error)
}

func op[I, O any](do func(*I) (*O, error), about func(*I) string) operation {
	return operation{
		decode: func(body []byte) (any, error) {
			in := new(I)
			return in, awsid.DecodeJSON(body, in)
		},
		about: func(in any) string {
			i, _ := in.(*I)
			return about(i)
		},
		do: func(in any) (any, error) {
			i, ok := in.(*I)
			if !ok {
				return nil, fmt.Errorf("a %T is not a %T", in, i)
			}
			return do(i)
		},
	}
}

// ServeHTTP answers one request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	action := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "secretsmanager.")
	out, err := a.serve(r, action)
	if err != nil {
		a.log.LogAttrs(r.Context(), slog.LevelDebug, "secretsmanager request refused", slog.String("action", action), slog.String("code", awsid.SpokenJSON(err).Code))
	} else {
		a.log.LogAttrs(r.Context(), slog.LevelDebug, "secretsmanager request", slog.String("action", action))
	}
	awsid.WriteJSON(w, out, err)
}

func (a *API) serve(r *http.Request, action string) (any, error) {
	body, err := awsid.ReadBody(r)
	if err != nil {
		return nil, err
	}
	caller, err := a.keys.Verify(r, body, service)
	if err != nil {
		return nil, err
	}
	o, ok := a.ops[action]
	if !ok {
		return nil, awsid.NotEmulated("secretsmanager " + action)
	}
	in, err := o.decode(body)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.purge()
	name, resource := a.resource(o.about(in))
	if err := caller.Authorize(service+":"+action, resource); err != nil {
		return nil, err
	}
	if err := awsid.Injected(a.faults, caller, service, action, name, resource); err != nil {
		return nil, err
	}
	return o.do(in)
}

// resource is the name and the ARN of the secret that id means, also if there is none.
func (a *API) resource(id string) (name, arn string) {
	if id == "" {
		return "", "*"
	}
	if s := a.find(id); s != nil {
		return s.Name, s.ARN
	}
	if strings.HasPrefix(id, "arn:") {
		return id, id
	}
	return id, a.arn(id)
}

func fail(code, format string, args ...any) error { return awsid.Newf(400, code, format, args...) }

func invalidParameter(format string, args ...any) error {
	return fail("InvalidParameterException", format, args...)
}

func invalidRequest(message string) error { return fail("InvalidRequestException", "%s", message) }
