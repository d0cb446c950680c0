package gcpsm

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	sdk "cloud.google.com/go/secretmanager/apiv1"
	"cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	gax "github.com/googleapis/gax-go/v2"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/iterator"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"dbops/internal/cloud"
	"dbops/internal/cloud/gcpclient"
	"dbops/internal/fault"
	"dbops/internal/secret"
)

// tries bounds what is tried again: a change that others get in the way of, an addition whose answer was lost.
const tries = 6

// place is one secret, and what is being done to it.
type place struct {
	source  *Source
	api     *sdk.Client
	op      string
	name    string // projects/P/secrets/S
	project string
}

func (s *Source) place(ctx context.Context, doing string, r secret.Ref) (*place, error) {
	p := &place{source: s, op: doing + " " + r.String(), name: r.Name}
	part := strings.Split(r.Name, "/")
	if len(part) != 4 {
		return nil, fault.Newf(fault.Config, p.op, "it does not name a secret alone").Hint("want gcp-sm:projects/PROJECT/secrets/NAME")
	}
	p.project = part[1]
	var err error
	if p.api, err = s.client(ctx); err != nil {
		return nil, s.google.Fault(ctx, p.question("secretmanager.secrets.get"), err)
	}
	return p, nil
}

func (p *place) question(permission string) gcpclient.Question {
	role := map[string]string{
		"secretmanager.secrets.get": "roles/secretmanager.viewer", "secretmanager.versions.access": "roles/secretmanager.secretAccessor",
		"secretmanager.versions.add": "roles/secretmanager.secretVersionManager", "secretmanager.versions.get": "roles/secretmanager.secretVersionManager",
		"secretmanager.versions.list": "roles/secretmanager.secretVersionManager", "secretmanager.versions.disable": "roles/secretmanager.secretVersionManager",
	}[permission]
	if role == "" {
		role = "roles/secretmanager.admin" // no smaller one may create or update secrets
	}
	return gcpclient.Question{Op: p.op, API: "secretmanager.googleapis.com", Permission: permission, Role: role, Project: p.project}
}

// ask does one request and tells its failure. Whatever it returns is zero then.
func ask[I, O any](
	ctx context.Context, p *place, permission string, do func(context.Context, I, ...gax.CallOption) (O, error), in I, opts ...gax.CallOption,
) (O, error) {
	ask, cancel := context.WithTimeout(ctx, gcpclient.Timeout)
	defer cancel()
	out, err := do(ask, in, opts...)
	if err != nil {
		var none O
		return none, p.source.google.Fault(ctx, p.question("secretmanager."+permission), err)
	}
	return out, nil
}

func (p *place) get(ctx context.Context) (*state, error) {
	s, err := ask(ctx, p, "secrets.get", p.api.GetSecret, &secretmanagerpb.GetSecretRequest{Name: p.name}, gcpclient.Retry())
	if err != nil {
		return nil, err
	}
	return p.parse(s)
}

func (p *place) parse(s *secretmanagerpb.Secret) (*state, error) {
	st, err := parse(s)
	if err != nil {
		return nil, fault.New(fault.Invalid, p.op, err).
			Hint("if no rotation is under way: gcloud secrets update %s --project %s --remove-annotations=%s", p.id(), p.project, annotation)
	}
	return st, nil
}

func (p *place) id() string { return p.name[strings.LastIndex(p.name, "/")+1:] }

// change makes the secret what decide makes of it, by compare-and-swap: when somebody else was faster, decide is asked again. It returns
// the secret as it is then.
func (p *place) change(ctx context.Context, decide func(*state) error) (*state, error) {
	pause := gax.Backoff{Initial: 50 * time.Millisecond, Max: time.Second, Multiplier: 2}
	for try := 1; ; try++ {
		before, err := p.get(ctx)
		if err != nil {
			return nil, err
		}
		next := before.clone()
		if err := decide(next); err != nil {
			return nil, err
		}
		message, paths := next.message(p.name, before)
		if len(paths) == 0 {
			return before, nil
		}
		out, err := ask(ctx, p, "secrets.update", p.api.UpdateSecret, &secretmanagerpb.UpdateSecretRequest{
			Secret: message, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths},
		}, gcpclient.Retry())
		if err == nil {
			return p.parse(out)
		}
		if !moved(err) {
			return nil, err
		}
		if try == tries {
			return nil, fault.New(fault.Stale, p.op, cloud.Because("somebody else changes it all the time: "+cause(err), err)).
				Hint("find out what updates the secret, then try again")
		}
		if err := gax.Sleep(ctx, pause.Pause()); err != nil {
			return nil, p.source.google.Fault(ctx, p.question("secretmanager.secrets.update"), err)
		}
	}
}

// moved tells whether a compare-and-swap was refused. Google answers FAILED_PRECONDITION to an old etag, and means to answer ABORTED.
func moved(err error) bool {
	api, ok := errors.AsType[*googleapi.Error](err)
	return ok && (api.Code == http.StatusConflict || api.Code == http.StatusPreconditionFailed ||
		api.Code == http.StatusBadRequest && fault.KindOf(err) == fault.Busy)
}

// cause is the text of a fault without what was being done.
func cause(err error) string {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f.Err.Error()
	}
	return err.Error()
}

// now is the current version; 0 if none is. Without an alias, in a secret that dbops has not written to, it is the newest enabled one.
func (p *place) now(ctx context.Context, st *state) (int64, error) {
	if n := st.aliases[current]; n != 0 || len(st.ledger) > 0 {
		return n, nil
	}
	_, enabled, err := p.newest(ctx, st)
	return enabled, err
}

// newest is the newest version, and the newest that is enabled and not pending; 0 if there is none.
func (p *place) newest(ctx context.Context, st *state) (all, enabled int64, err error) {
	ask, cancel := context.WithTimeout(ctx, gcpclient.Timeout)
	defer cancel()
	list := p.api.ListSecretVersions(ask, &secretmanagerpb.ListSecretVersionsRequest{Parent: p.name}, gcpclient.Retry())
	for {
		v, err := list.Next()
		if errors.Is(err, iterator.Done) {
			return all, enabled, nil
		}
		if err != nil {
			return 0, 0, p.source.google.Fault(ctx, p.question("secretmanager.versions.list"), err)
		}
		n, err := numberOf(v.GetName())
		if err != nil {
			return 0, 0, fault.New(fault.Invalid, p.op, err)
		}
		all = max(all, n)
		if v.GetState() == secretmanagerpb.SecretVersion_ENABLED && n != st.aliases[pending] {
			enabled = max(enabled, n)
		}
	}
}

// numberOf is the number at the end of a version's name.
func numberOf(name string) (int64, error) {
	n, err := strconv.ParseInt(name[strings.LastIndex(name, "/")+1:], 10, 64)
	if err != nil || n < 1 {
		return 0, errors.New("a version is called " + name)
	}
	return n, nil
}

// version names version n.
func (p *place) version(n int64) string { return p.name + "/versions/" + idOf(n) }

// idOf is the id of version n; empty for none.
func idOf(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

// byID is the number that an id names. One that names none is a fault.NotFound.
func (p *place) byID(id string) (int64, error) {
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil || n < 1 {
		return 0, fault.Newf(fault.NotFound, p.op, "there is no version %q", id)
	}
	return n, nil
}
