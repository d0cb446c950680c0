package app

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"dbops/internal/config"
	"dbops/internal/fault"
	"dbops/internal/live"
	"dbops/internal/op"
	"dbops/internal/state"
)

var (
	ann = op.Actor{Name: "ann@example.com", Via: op.ViaGoogle}
	bob = op.Actor{Name: "bob@example.com", Via: op.ViaGoogle}
)

// sits has somebody at a desk of a dbops.
func sits(t testing.TB, a *App, o DeskOptions) *Desk {
	t.Helper()
	d := a.Desk(o)
	t.Cleanup(d.Close)
	return d
}

// client is a session on the server of the shared instance, and the change that ends it.
func client(t testing.TB, a *App, application string) (conn *pgx.Conn, end Change) {
	t.Helper()
	conn, err := a.lookAt(t.Context(), prodMain, "shop", config.Admin, func(c *pgx.ConnConfig) { c.RuntimeParams["application_name"] = application })
	must(t, err)
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	all, err := a.LiveSessions(t.Context(), "prod", "main")
	must(t, err)
	i := slices.IndexFunc(all.Sessions, func(s live.Session) bool { return s.PID == int(conn.PgConn().PID()) })
	if i < 0 || all.Sessions[i].Application != application {
		t.Fatalf("it is not among %+v", all.Sessions)
	}
	return conn, Change{
		Environment: "prod", Instance: "main", Kind: live.TerminateKind,
		Request: live.Request{Sessions: []live.Ref{{PID: all.Sessions[i].PID, Started: all.Sessions[i].Started}}},
	}
}

func TestADeskEndsSessions(t *testing.T) {
	t.Parallel()
	a := deskApp(t)
	d := sits(t, a, DeskOptions{})
	conn, end := client(t, a, "cart")
	p, r := d.run(t, end.Kind, end.Request)
	if !p.Untouched || r.State != state.Done || conn.Ping(t.Context()) == nil {
		t.Errorf("%+v: %+v", p.Draft, r)
	}
	one, err := a.LiveSession(t.Context(), "prod", "main", int(conn.PgConn().PID()))
	if err != nil || one.Session != nil {
		t.Errorf("it is there: %+v, %v", one, err)
	}
	b, err := d.Begin(t.Context(), p, "main")
	if err != nil || !b.Again || b.Run.ID != r.ID {
		t.Errorf("the same again: %+v, %v", b, err)
	}
	v, err := d.View(t.Context(), r.ID)
	if err != nil || v.Plan.Hash() != p.Hash() || len(v.Steps) == 0 {
		t.Errorf("%+v, %v", v, err)
	}
	_, err = d.Follow(t.Context(), "r404", 0)
	fails(t, "follow a run that is not there", err, fault.Usage)
}

func TestAPlanThatNeedsAYesIsAskedForOnce(t *testing.T) {
	t.Parallel()
	s := deskStage(t)
	cfg := deskConfig(t, s, s.URL)
	one := 1
	cfg.Environments["prod"].Approvals = &one
	a := newMachine(t, "").app(t, cfg)
	hers, his := sits(t, a, DeskOptions{As: ann}), sits(t, a, DeskOptions{As: bob})
	if all, err := hers.Approvals(t.Context()); err != nil || len(all) > 0 {
		t.Fatalf("before: %+v, %v", all, err)
	}
	conn, end := client(t, a, "report")
	p, err := hers.PlanChange(t.Context(), end)
	must(t, err)
	for range 2 {
		b, err := hers.Begin(t.Context(), p, "")
		if err != nil || b.Run.ID != "" || b.Approval == nil || b.Approval.State != state.Requested {
			t.Fatalf("%+v, %v", b, err)
		}
	}
	waiting, err := his.Approvals(t.Context())
	if err != nil || len(waiting) != 1 || waiting[0].Plan == nil || waiting[0].Plan.Hash() != p.Hash() || waiting[0].Approval.Requester != ann.Name {
		t.Fatalf("%+v, %v", waiting, err)
	}
	id := waiting[0].Approval.ID
	for who, no := range map[string]struct {
		desk *Desk
		kind fault.Kind
	}{
		"who asked":           {hers, fault.Unapproved},
		"who may only read":   {sits(t, a, DeskOptions{As: bob, ReadOnly: "--read-only"}), fault.Denied},
		"who may only change": {sits(t, a, DeskOptions{As: bob, NoVotes: "bob may not approve over SSH"}), fault.Denied},
	} {
		_, err := no.desk.Vote(t.Context(), id, true, "")
		fails(t, who+" approves", err, no.kind)
	}
	if v, err := his.Vote(t.Context(), id, true, "looked at it"); err != nil || v.State != state.Approved {
		t.Fatalf("%+v, %v", v, err)
	}
	b, err := hers.Begin(t.Context(), p, "")
	must(t, err)
	if r := hers.ended(t, b.Run.ID); r.State != state.Done || r.Requester != ann.Name || conn.Ping(t.Context()) == nil {
		t.Errorf("%+v", r)
	}

	_, end = client(t, a, "batch")
	p, err = hers.PlanChange(t.Context(), end)
	must(t, err)
	b, err = hers.Begin(t.Context(), p, "")
	must(t, err)
	_, err = his.Vote(t.Context(), b.Approval.ID, false, "it pays salaries")
	must(t, err)
	b, err = hers.Begin(t.Context(), p, "")
	fails(t, "what was refused", err, fault.Unapproved)
	if b.Approval != nil || b.Run.ID != "" {
		t.Errorf("beside an error: %+v", b)
	}
	store, err := a.Store(t.Context())
	must(t, err)
	_, err = store.DB.SQL.ExecContext(t.Context(), "update plans set body = cast('{}' as blob) where hash = $1", p.Hash())
	must(t, err)
	waiting, err = his.Approvals(t.Context())
	if err != nil || len(waiting) != 2 || waiting[0].Plan != nil || waiting[0].Approval.State != state.Refused || waiting[1].Plan == nil || waiting[1].Approval.State != state.Used ||
		len(waiting[1].Approval.Votes) != 1 {
		t.Errorf("a plan that is not what it was is none: %+v, %v", waiting, err)
	}
}

// carrier is the process that works on runs, as far as a desk knows.
type carrier struct {
	mu   sync.Mutex
	runs []string
	err  error
}

func (c *carrier) carry(_ context.Context, run string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.runs = append(c.runs, run)
	return c.err
}

func (c *carrier) carried(t testing.TB, what string, runs ...string) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Equal(c.runs, runs) {
		t.Errorf("%s: carried %q, want %q", what, c.runs, runs)
	}
	c.runs = nil
}

func TestARunIsCarriedByAnotherProcess(t *testing.T) {
	t.Parallel()
	a, c := deskApp(t), &carrier{err: errors.New("no more processes")}
	d := sits(t, a, DeskOptions{Carry: c.carry})
	conn, end := client(t, a, "cart")
	p, err := d.PlanChange(t.Context(), end)
	must(t, err)
	b, err := d.Begin(t.Context(), p, "")
	if !errors.Is(err, c.err) || b.Run.ID != p.RunID() {
		t.Fatalf("the run is there, and nobody works on it: %+v, %v", b, err)
	}
	c.carried(t, "begun", b.Run.ID)
	if err := d.Resume(t.Context(), b.Run.ID); !errors.Is(err, c.err) {
		t.Errorf("resumed: %v", err)
	}
	c.carried(t, "resumed", b.Run.ID)
	c.err = nil
	must(t, d.Resume(t.Context(), b.Run.ID))
	c.carried(t, "resumed again", b.Run.ID)
	if v, err := d.View(t.Context(), b.Run.ID); err != nil || v.Run.State != state.Queued || conn.Ping(t.Context()) != nil {
		t.Errorf("a desk that has others carry works on it itself: %+v, %v", v.Run, err)
	}
	engine, err := a.Engine(t.Context(), EngineOptions{})
	must(t, err)
	r, err := engine.Attach(t.Context(), b.Run.ID, 0, nil) // as the other process does
	if err != nil || r.State != state.Done || conn.Ping(t.Context()) == nil {
		t.Errorf("%+v, %v", r, err)
	}
	if b, err := d.Begin(t.Context(), p, ""); err != nil || !b.Again {
		t.Errorf("%+v, %v", b, err)
	}
	must(t, d.Resume(t.Context(), r.ID))
	c.carried(t, "of one that has ended")
}

func TestADecisionIsFencedAndCarried(t *testing.T) {
	t.Parallel()
	m, c := newMachine(t, ""), &carrier{}
	a := m.app(t, file("main", "", ""))
	store, err := a.Store(t.Context())
	must(t, err)
	p := &op.Plan{
		Schema: op.PlanSchema, ID: "p1", Kind: "toy", Target: op.Target{Environment: "prod", Instance: "main", Protected: true},
		Request: []byte("{}"), Facts: []byte("{}"), Draft: op.Draft{Title: "change prod/main"},
	}
	body, err := p.Encode()
	must(t, err)
	must(t, store.Tx(t.Context(), "put a run that waits", func(ctx context.Context, tx *state.Tx) error {
		return errors.Join(
			tx.PutPlan(ctx, state.Plan{Hash: p.Hash(), Kind: p.Kind, Environment: "prod", Instance: "main", Body: body}),
			tx.PutRun(ctx, state.Run{ID: "r1", PlanHash: p.Hash(), Kind: p.Kind, Environment: "prod", Instance: "main", Title: p.Title}),
			tx.SetRun(ctx, "r1", state.Parked, "modify", "it failed", ""),
			tx.SetVerbs(ctx, "r1", []state.Verb{state.Retry, state.UndoRun, state.Abandon}),
		)
	}))
	d := sits(t, a, DeskOptions{As: ann, Carry: c.carry})
	for _, confirm := range []string{"", "mian"} {
		fails(t, "abandon one of a protected environment", d.Decide(t.Context(), "r1", Decision{Verb: state.Abandon, Confirm: confirm}), fault.Unapproved)
	}
	fails(t, "pass a gate that there is none of", d.Decide(t.Context(), "r1", Decision{Verb: state.Cancel}), fault.Usage)
	fails(t, "of no run", d.Decide(t.Context(), "r404", Decision{Verb: state.Retry}), fault.Usage)
	c.carried(t, "nothing was decided")
	must(t, d.Decide(t.Context(), "r1", Decision{Verb: state.Abandon, Confirm: "main", Reason: "wrong window"}))
	c.carried(t, "abandoned", "r1")
	must(t, store.Read(t.Context(), "see what was told", func(ctx context.Context, tx *state.Tx) error {
		told, err := tx.Controls(ctx, "r1")
		if len(told) != 1 || told[0].Verb != state.Abandon || told[0].Actor != ann.Name || told[0].Reason != "wrong window" {
			t.Errorf("told %+v", told)
		}
		return err
	}))
}

func TestADeskForReadingOnlyChangesNothing(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "")
	a := m.app(t, file("main", "", ""))
	d := sits(t, a, DeskOptions{ReadOnly: "--read-only"})
	p := &op.Plan{Draft: op.Draft{Title: "change prod/main"}}
	for what, do := range map[string]func() error{
		"begin":  func() error { _, err := d.Begin(t.Context(), p, "main"); return err },
		"decide": func() error { return d.Decide(t.Context(), "r1", Decision{Verb: state.Retry}) },
		"resume": func() error { return d.Resume(t.Context(), "r1") },
		"vote":   func() error { _, err := d.Vote(t.Context(), "a1", true, ""); return err },
		"fetch": func() error {
			_, err := d.FetchKit(t.Context(), KitRequest{Environment: "prod", Instance: "main", Dir: m.dir})
			return err
		},
		"proxy": func() error {
			_, err := d.OpenProxy(t.Context(), ProxyOptions{Environment: "prod", Access: config.Write})
			return err
		},
	} {
		err := do()
		fails(t, what, err, fault.Denied)
		if err != nil && !strings.Contains(err.Error(), "--read-only") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if left, err := os.ReadDir(m.dir); err != nil || len(left) > 0 {
		t.Errorf("it has left %v, %v", left, err)
	}
}

func TestADeskFetchesTheFilesOfClients(t *testing.T) {
	t.Parallel()
	s := deskStage(t)
	a := newMachine(t, "").app(t, deskConfig(t, s, s.URL))
	d := sits(t, a, DeskOptions{})
	dir := KitDir(filepath.Join(t.TempDir(), "kit"), "prod", "main")
	k, err := d.FetchKit(t.Context(), KitRequest{Environment: "prod", Instance: "main", Dir: dir})
	if err != nil || k.Unseen != nil || k.Seen == nil || len(k.Files) == 0 {
		t.Fatalf("%+v, %v", k, err)
	}
	for _, f := range k.Files {
		if info, err := os.Stat(f); err != nil || info.Size() == 0 || filepath.Dir(f) != dir {
			t.Errorf("%s: %v", f, err)
		}
	}
	if got := KitDir("", "prod", "main"); got != filepath.Join("certs", "prod-main") {
		t.Errorf("unless a folder is named: %s", got)
	}
	fails(t, "of no instance", func() error {
		_, err := d.FetchKit(t.Context(), KitRequest{Environment: "prod", Instance: "mian", Dir: dir})
		return err
	}(), fault.Usage)
	taken := filepath.Join(t.TempDir(), "taken")
	must(t, os.WriteFile(taken, nil, 0o600))
	_, err = d.FetchKit(t.Context(), KitRequest{Environment: "prod", Instance: "main", Dir: taken})
	if err == nil || fault.HintOf(err) == "" {
		t.Errorf("a folder that is a file: %v (next: %q)", err, fault.HintOf(err))
	}
	dead := sits(t, newMachine(t, "").app(t, deskConfig(t, s, deadPlane(t))), DeskOptions{})
	_, err = dead.FetchKit(soon(t), KitRequest{Environment: "prod", Instance: "main", Dir: filepath.Join(t.TempDir(), "kit")})
	fails(t, "from a control plane that is dead", err, fault.Unavailable)
}
