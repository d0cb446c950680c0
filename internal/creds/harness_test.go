package creds

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/config"
	"dbops/internal/op"
	"dbops/internal/pg"
	"dbops/internal/sandbox/pgtest"
	"dbops/internal/sandbox/statetest"
	"dbops/internal/secret"
	"dbops/internal/state"
)

func TestMain(m *testing.M) {
	if where := os.Getenv(childEnv); where != "" {
		os.Exit(child(where))
	}
	os.Exit(pgtest.Main(m))
}

// The majors that are tested: on 16 and later an admin needs ADMIN OPTION.
var majors = []int{15, 17}

var actor = op.Actor{Name: "robot@example.com", Via: op.ViaGoogle}

var counter atomic.Int64

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// stage is a server with a database, an owner, an admin who may do what a cloud's customer may, and containers. It can be handed to another
// process as JSON.
type stage struct {
	Host, CAFile   string
	Port           uint16
	Major          int
	Database       string
	Owner          string
	Admin          string
	AdminPassword  string
	Dir            string // of places, and of what is rolled out
	Containers     []Container
	OthersMayAdmin bool
}

// newStage makes a stage on the shared server of a major, or on one of its own.
func newStage(t testing.TB, s *pgtest.Server, containers int) *stage {
	t.Helper()
	return newStageIn(t, s, s.Database(t), containers)
}

// newStageIn is newStage in a database that is there.
func newStageIn(t testing.TB, s *pgtest.Server, database string, containers int) *stage {
	t.Helper()
	n := strconv.FormatInt(counter.Add(1), 10)
	st := &stage{
		Host: s.Host, Port: s.Port, CAFile: s.CAFile, Major: s.Major, Database: database, Owner: "owner" + n, Admin: "admin" + n,
		AdminPassword: newPassword().Reveal(), Dir: t.TempDir(),
	}
	verifier, err := pg.Verifier(secret.New(st.AdminPassword))
	must(t, err)
	super := s.Superuser(t, st.Database)
	for _, sql := range []string{
		"CREATE ROLE " + st.Owner,
		fmt.Sprintf("CREATE ROLE %s LOGIN CREATEROLE PASSWORD '%s'", st.Admin, verifier),
		fmt.Sprintf("GRANT %s TO %s", st.Owner, st.Admin),
		fmt.Sprintf("GRANT pg_monitor, pg_signal_backend TO %s", st.Admin),
		fmt.Sprintf("ALTER DATABASE %s OWNER TO %s", quoted(st.Database), st.Owner),
		fmt.Sprintf("CREATE SCHEMA app AUTHORIZATION %s", st.Owner),
		"CREATE TABLE app.item (id bigint GENERATED ALWAYS AS IDENTITY, note text)",
		"ALTER TABLE app.item OWNER TO " + st.Owner,
	} {
		if _, err := super.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", strings.Fields(sql)[0:3], err)
		}
	}
	for i := range containers {
		st.declare(fmt.Sprintf("shop-%s-%d", n, i))
	}
	return st
}

// declare adds a container that writes, with a file for its credential, which is rolled out by a note of the version.
func (s *stage) declare(name string) {
	s.Containers = append(s.Containers, Container{
		Name: name, Access: config.Write, Databases: []Database{{Name: "shop", Server: s.Database, Owner: s.Owner}},
		Places: []string{"file:" + filepath.Join(s.Dir, name+".json")}, Rollout: "a note",
	})
}

func (s *stage) login(ctx context.Context, database string, l Login) (*pgx.Conn, error) {
	cfg, err := pg.Config(pg.Params{
		Host: s.Host, Port: s.Port, Database: database, User: l.User, Password: l.Password, SSLMode: "verify-full", CAFile: s.CAFile,
		RequireAuth: "scram-sha-256", Runtime: map[string]string{"application_name": "dbops"},
	})
	if err != nil {
		return nil, err
	}
	full, err := pgx.ParseConfig("")
	if err != nil {
		return nil, err
	}
	full.Config = *cfg
	return pgx.ConnectConfig(ctx, full)
}

// deps are the operations' surroundings, with the times of a test.
func (s *stage) deps() Deps {
	stores := secret.NewResolver(nil)
	return Deps{
		Containers: func(op.Target) ([]Container, error) { return s.Containers, nil },
		Connect: func(ctx context.Context, _ op.Target, database string) (*pgx.Conn, error) {
			return s.login(ctx, database, Login{s.Admin, secret.New(s.AdminPassword)})
		},
		Login: func(ctx context.Context, _ op.Target, database string, l Login) (*pgx.Conn, error) {
			return s.login(ctx, database, l)
		},
		Address: func(context.Context, op.Target) (Address, error) {
			return Address{Host: s.Host, Port: int(s.Port), SSLMode: "verify-full"}, nil
		},
		Place: func(ctx context.Context, place string) (secret.Store, secret.Ref, error) {
			ref, err := secret.ParseRef(place)
			if err != nil {
				return nil, ref, err
			}
			store, err := stores.Store(ctx, ref)
			return store, ref, err
		},
		Secret: func(ctx context.Context, place string) (secret.Value, error) {
			ref, err := secret.ParseRef(place)
			if err != nil {
				return secret.Value{}, err
			}
			return stores.Get(ctx, ref)
		},
		Rollout: func(context.Context, op.Target, string) (Rollout, error) { return notes{s.Dir}, nil },
		Pace:    op.Pace{First: 5 * time.Millisecond, Most: 20 * time.Millisecond, Patience: 20 * time.Second},
	}
}

// notes roll a container out by writing down which version it runs with.
type notes struct{ dir string }

func (n notes) Start(_ context.Context, container, version, _ string) (string, error) {
	return version, os.WriteFile(filepath.Join(n.dir, container+".runs"), []byte(version), 0o600)
}

func (notes) Done(context.Context, string, string) (bool, string, error) { return true, "", nil }

// bench is an engine over a store, with the operations on a stage.
type bench struct {
	*op.Engine
	*stage
	deps Deps
}

func newBench(t testing.TB, s *stage, place statetest.Place, d Deps) *bench {
	t.Helper()
	var engine *op.Engine
	d.Told = func(ctx context.Context, run, text string) (bool, error) {
		all, err := engine.Journal(ctx, run)
		return slices.ContainsFunc(all, func(s state.Step) bool { return strings.Contains(s.Problem, text) }), err
	}
	kinds, err := op.NewRegistry(New(d)...)
	must(t, err)
	engine = op.New(place.Store(t), kinds, op.Options{Version: "test", Poll: 10 * time.Millisecond, TTL: time.Minute, Host: "here"})
	return &bench{engine, s, d}
}

// start makes a stage whose containers have their first credentials, and an engine.
func start(t testing.TB, major, containers int) *bench {
	t.Helper()
	s := newStage(t, pgtest.Start(t, major), containers)
	b := newBench(t, s, statetest.New(t, "sqlite"), s.deps())
	b.issueAll(t)
	return b
}

func (b *bench) issueAll(t testing.TB) {
	t.Helper()
	for _, c := range b.Containers {
		b.does(t, IssueKind, IssueRequest{Container: c.Name}, state.Done)
	}
}

func (b *bench) target() op.Target { return op.Target{Environment: "prod", Instance: "main"} }

func (b *bench) names() (out []string) {
	for _, c := range b.Containers {
		out = append(out, c.Name)
	}
	return out
}

// rotation is of every container, in the times of a test.
func (b *bench) rotation() RotateRequest {
	return RotateRequest{Containers: b.names(), Grace: Span(20 * time.Millisecond), Polls: 2, Soak: Span(time.Millisecond)}
}

func (b *bench) plan(t testing.TB, kind string, request any) *op.Plan {
	t.Helper()
	p, err := b.Plan(t.Context(), op.PlanRequest{Kind: kind, Target: b.target(), Request: request, Requester: actor})
	must(t, err)
	return p
}

func (b *bench) submit(t testing.TB, p *op.Plan) string {
	t.Helper()
	r, _, err := b.Submit(t.Context(), p, op.SubmitOptions{Actor: actor})
	must(t, err)
	return r.ID
}

func (b *bench) attach(t testing.TB, id string) state.Run {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	r, err := b.Attach(ctx, id, 0, func(e state.Event) { t.Logf("%s %s: %s", e.Kind, e.Step, e.Text) })
	must(t, err)
	return r
}

// does plans a request and runs it until it ends or waits for somebody.
func (b *bench) does(t testing.TB, kind string, request any, want state.RunState) state.Run {
	t.Helper()
	p := b.plan(t, kind, request)
	if blocked := p.Blocked(); len(blocked) > 0 {
		t.Fatalf("blocked: %+v", blocked)
	}
	run := b.attach(t, b.submit(t, p))
	if run.State != want {
		t.Fatalf("the run is %s at %s: %s", run.State, run.Step, run.Problem)
	}
	return run
}

func (b *bench) tell(t testing.TB, id string, v state.Verb) {
	t.Helper()
	must(t, b.Tell(t.Context(), id, v, op.Actor{Name: "alice", Via: op.ViaGoogle}, "a test"))
}

// current is the credential that a fresh container would read.
func (s *stage) current(t testing.TB, c Container) (Login, string) {
	t.Helper()
	store, ref, err := s.deps().Place(t.Context(), c.Places[0])
	must(t, err)
	held, err := store.Inspect(t.Context(), ref)
	must(t, err)
	v, err := store.Read(t.Context(), ref, held.Current.ID)
	must(t, err)
	p, err := parsePayload(v)
	must(t, err)
	return p.Login(), held.Current.ID
}

// running is the credential that the running container has: that of its last rollout.
func (s *stage) running(t testing.TB, c Container) Login {
	t.Helper()
	version, err := os.ReadFile(filepath.Join(s.Dir, c.Name+".runs"))
	must(t, err)
	store, ref, err := s.deps().Place(t.Context(), c.Places[0])
	must(t, err)
	v, err := store.Read(t.Context(), ref, string(version))
	must(t, err)
	p, err := parsePayload(v)
	must(t, err)
	return p.Login()
}

// serves sees that a credential logs in, acts as the container, and works.
func (s *stage) serves(t testing.TB, c Container, l Login, whose string) {
	t.Helper()
	conn, err := s.login(t.Context(), s.Database, l)
	if err != nil {
		t.Errorf("%s: %s is LOCKED OUT as %s: %v", c.Name, whose, l.User, err)
		return
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	var who string
	if err := conn.QueryRow(t.Context(), "SELECT current_user").Scan(&who); err != nil || who != GroupRole(c.Name) {
		t.Errorf("%s: %s acts as %s: %v", c.Name, whose, who, err)
	}
	if _, err := conn.Exec(t.Context(), "INSERT INTO app.item (note) VALUES ($1)", whose); err != nil {
		t.Errorf("%s: %s cannot write: %v", c.Name, whose, err)
	}
}

// roles tells which of a container's slots may log in.
func (s *stage) roles(t testing.TB, c Container) map[string]bool {
	t.Helper()
	conn, err := s.login(t.Context(), s.Database, Login{s.Admin, secret.New(s.AdminPassword)})
	must(t, err)
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	f, err := readRoles(t.Context(), conn, c)
	must(t, err)
	out := map[string]bool{}
	for _, x := range f.Slots {
		if x.There {
			out[x.Slot] = x.Login
		}
	}
	return out
}

func sqlState(err error) string {
	e, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return ""
	}
	return e.Code
}

var t0 = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// failingPlace is a place that can be read, and not written.
func failingPlace(d Deps, why error) func(context.Context, string) (secret.Store, secret.Ref, error) {
	return func(ctx context.Context, place string) (secret.Store, secret.Ref, error) {
		s, ref, err := d.Place(ctx, place)
		return readOnly{s, why}, ref, err
	}
}

type readOnly struct {
	secret.Store
	why error
}

func (r readOnly) Stage(context.Context, secret.Ref, string, secret.Value) (secret.Version, error) {
	return secret.Version{}, r.why
}
