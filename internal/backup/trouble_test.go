package backup

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/cloud"
	"dbops/internal/op"
	played "dbops/internal/sandbox/play"
	"dbops/internal/state"
)

// hooked is a cloud whose calls a test may follow or answer itself.
type hooked struct {
	Cloud
	mu       sync.Mutex
	restore  func(cloud.Restore) // before one is asked for
	progress func(context.Context, cloud.Receipt)
	asked    []string
}

func (h *hooked) note(what string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked = append(h.asked, what)
}

func (h *hooked) count(what string) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, a := range h.asked {
		if a == what {
			n++
		}
	}
	return n
}

func (h *hooked) Restore(ctx context.Context, r cloud.Restore) (cloud.Receipt, error) {
	h.note("Restore")
	if h.restore != nil {
		h.restore(r)
	}
	return h.Cloud.Restore(ctx, r)
}

func (h *hooked) Progress(ctx context.Context, r cloud.Receipt) (cloud.Progress, error) {
	h.note("Progress " + r.Change)
	if h.progress != nil {
		h.progress(ctx, r)
	}
	return h.Cloud.Progress(ctx, r)
}

func (h *hooked) Delete(ctx context.Context, name string) (cloud.Receipt, error) {
	h.note("Delete " + name)
	return h.Cloud.Delete(ctx, name)
}

func (h *hooked) CreateBackup(ctx context.Context, name, label string) (cloud.Receipt, error) {
	h.note("CreateBackup")
	return h.Cloud.CreateBackup(ctx, name, label)
}

// hook puts a hooked cloud before the bench.
func (b *bench) hook(t testing.TB) *hooked {
	t.Helper()
	h := &hooked{Cloud: b.deps.mustCloud(t)}
	b.use(t, h, source)
	return h
}

func (d Deps) mustCloud(t testing.TB) Cloud {
	t.Helper()
	c, _, err := d.Cloud(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// action is what the played cloud calls a request.
func (g *stage) action(rds, cloudsql string) string {
	if g.kind == cloud.RDS {
		return rds
	}
	return cloudsql
}

// fault asks the played cloud for failures of one request.
func (g *stage) fault(t *testing.T, rds, cloudsql string, effect played.Effect, times int) {
	t.Helper()
	g.faults.Add(played.Fault{Action: g.action(rds, cloudsql), Effect: effect, Count: times})
	t.Cleanup(g.faults.Clear)
}

func (g *stage) restoreFault(t *testing.T, effect played.Effect, times int) {
	t.Helper()
	g.fault(t, "RestoreDBInstanceToPointInTime", "instances.clone", effect, times)
}

// tampered gets the scratch instance changed before it is compared.
func (b *bench) tampered(t *testing.T, sql string) {
	t.Helper()
	d := b.deps
	connect, logins := d.Connect, 0
	d.Connect = func(ctx context.Context, at op.Target, instance, database string) (*pgx.Conn, error) {
		c, err := connect(ctx, at, instance, database)
		if err == nil && instance != source {
			if logins++; logins == 1 {
				_, err = c.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol)
			}
		}
		return c, err
	}
	b.with(t, d)
}

func aTamperedScratchIsFound(t *testing.T, b *bench) {
	t.Helper()
	b.tampered(t, `delete from item where id = 7; drop view named; alter table item alter name type varchar(99); create table extra ()`)
	run := b.run(t, DrillKind, DrillRequest{Databases: []string{"postgres"}})
	b.done(t, run)
	r := b.report(t, run.ID)
	var bad []string
	for _, c := range r.Checks {
		if c.Result == Mismatch {
			bad = append(bad, c.Check+" "+c.Object)
		}
	}
	want := []string{"schema ", "schema relation public.extra", "schema relation public.item", "schema relation public.named", "rows ", "rows public.item"}
	if r.Met || !slices.Equal(bad, want) || !strings.HasPrefix(r.Text, "failed: schema postgres relation public.extra: it is not on the source; ") {
		t.Errorf("found %q, want %q: %s", bad, want, r.Text)
	}
	b.g.gone(t, r.Instance)
}

func aRestoreThatFailsIsTheResultOfADrill(t *testing.T, b *bench) {
	t.Helper()
	b.g.restoreFault(t, played.Fail, 1)
	run := b.run(t, DrillKind, DrillRequest{})
	if b.g.kind == cloud.CloudSQL { // it keeps what failed, with the source's deletion protection, and lets nobody change it
		if run.State != state.Parked || run.Step != "remove" || !strings.Contains(run.Hint, "console") {
			t.Errorf("got %+v", run)
		}
		b.tell(t, run.ID, state.Abandon)
		b.attach(t, run.ID)
		return
	}
	b.done(t, run)
	if r := b.report(t, run.ID); r.Met || r.RTO != 0 || len(r.Checks) != 1 || r.Checks[0].Check != "restore" || !strings.Contains(r.Text, "sandbox") {
		t.Errorf("got %+v", r)
	}
	b.g.gone(t, scratch(run.ID))
}

func aScratchThatSomebodyRemovesIsTheResult(t *testing.T, b *bench) {
	t.Helper()
	h := b.hook(t)
	var name string
	h.restore = func(r cloud.Restore) { name = r.Target }
	d := b.deps
	connect, once := d.Connect, sync.Once{}
	d.Reach = 500 * time.Millisecond
	d.Connect = func(ctx context.Context, at op.Target, instance, database string) (*pgx.Conn, error) {
		if instance != source {
			once.Do(func() { b.g.drop(t, name) })
		}
		return connect(ctx, at, instance, database)
	}
	b.with(t, d)
	run := b.run(t, DrillKind, DrillRequest{})
	b.done(t, run)
	if r := b.report(t, run.ID); r.Met || len(r.Checks) != 1 || r.Checks[0].Check != "login" {
		t.Errorf("got %+v", r)
	}
	if h.count("Delete "+name) != 0 {
		t.Error("it was removed twice")
	}
}

// drop removes an instance as a person would.
func (g *stage) drop(t testing.TB, name string) {
	t.Helper()
	ctx := t.Context()
	follow := func(r cloud.Receipt, err error) {
		t.Helper()
		for err == nil {
			var p cloud.Progress
			if p, err = g.cloud.Progress(ctx, r); err == nil && p.Done {
				return
			}
			if err == nil {
				err = op.Sleep(ctx, 5*time.Millisecond)
			}
		}
		t.Error(err)
	}
	follow(g.cloud.Modify(ctx, name, cloud.Modify{Settings: cloud.Settings{DeletionProtection: new(false)}}))
	follow(g.cloud.Delete(ctx, name))
}

func aHangIsCancelled(t *testing.T, b *bench) {
	t.Helper()
	h := b.hook(t)
	waiting := make(chan struct{}, 1)
	h.progress = func(_ context.Context, r cloud.Receipt) {
		if r.Change == "restore" && h.count("Progress restore") > 3 {
			select {
			case waiting <- struct{}{}:
			default:
			}
		}
	}
	b.g.restoreFault(t, played.Hang, 1)
	id := b.submit(t, b.plan(t, DrillKind, DrillRequest{}))
	end := make(chan state.Run, 1)
	go func() { end <- b.attach(t, id) }()
	<-waiting
	b.tell(t, id, state.Cancel)
	run := <-end
	if run.State != state.Parked || run.Step != "wait" || !strings.Contains(run.Problem, "cancelled by alice") {
		t.Fatalf("got %+v", run)
	}
	// No cloud removes what it is making: the undo waits, says so, and can be given up, too.
	b.tell(t, id, state.UndoRun)
	go func() { end <- b.attach(t, id) }()
	for run.State != state.Undoing {
		if err := op.Sleep(t.Context(), 10*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		var err error
		if run, err = b.Run(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	b.tell(t, id, state.Cancel)
	if run = <-end; run.State != state.Parked {
		t.Fatalf("got %+v", run)
	}
	b.tell(t, id, state.Abandon)
	if run = b.attach(t, id); run.State != state.Failed {
		t.Fatalf("got %+v", run)
	}
	b.verified(t)
}

// A restore that is cancelled while the provider makes the instance is undone when it is made.
func aRestoreIsCancelledAndUndone(t *testing.T, b *bench) {
	t.Helper()
	h := b.hook(t)
	waiting := make(chan struct{})
	var once sync.Once
	h.progress = func(ctx context.Context, r cloud.Receipt) {
		if r.Change == "restore" {
			// Held, or a busy machine hears of the cancellation after the instance is made.
			once.Do(func() { close(waiting); <-ctx.Done() })
		}
	}
	to := newNameOf("copy")
	id := b.submit(t, b.plan(t, RestoreKind, RestoreRequest{Latest: true, To: to}))
	end := make(chan state.Run, 1)
	go func() { end <- b.attach(t, id) }()
	<-waiting
	b.tell(t, id, state.Cancel)
	if run := <-end; run.State != state.Parked || run.Step != "wait" {
		t.Fatalf("got %+v", run)
	}
	b.tell(t, id, state.UndoRun)
	if run := b.attach(t, id); run.State != state.Undone {
		t.Fatalf("got %+v", run)
	}
	b.verified(t)
	b.g.gone(t, to)
}

// What a person made theirs, by taking the label off or by working with it, stays.
func whatSomebodyTookOverIsLeft(t *testing.T, b *bench) {
	t.Helper()
	d := b.deps
	connect := d.Connect
	verifying := make(chan struct{})
	var once sync.Once
	d.Connect = func(ctx context.Context, at op.Target, instance, database string) (*pgx.Conn, error) {
		first := false
		if instance != source {
			once.Do(func() { first = true; close(verifying) })
		}
		if first {
			<-ctx.Done()
			return nil, context.Cause(ctx)
		}
		return connect(ctx, at, instance, database)
	}
	b.with(t, d)
	to := newNameOf("kept")
	id := b.submit(t, b.plan(t, RestoreKind, RestoreRequest{Latest: true, To: to}))
	end := make(chan state.Run, 1)
	go func() { end <- b.attach(t, id) }()
	<-verifying
	b.tell(t, id, state.Cancel)
	if run := <-end; run.State != state.Parked || run.Step != "verify" {
		t.Fatalf("got %+v", run)
	}
	used, err := connect(t.Context(), target, to, "postgres")
	if err != nil {
		t.Fatal(err)
	}
	b.tell(t, id, state.UndoRun)
	if run := b.attach(t, id); run.State != state.Parked || !strings.Contains(run.Problem, "1 sessions use it") {
		t.Fatalf("got %+v", run)
	}
	_ = used.Close(t.Context())
	_, err = b.g.cloud.Modify(t.Context(), to, cloud.Modify{Settings: cloud.Settings{Labels: []cloud.Label{{Key: RunLabel, Remove: true}}}})
	if err != nil {
		t.Fatal(err)
	}
	b.tell(t, id, state.Retry)
	if run := b.attach(t, id); run.State != state.Undone {
		t.Fatalf("got %+v", run)
	}
	b.g.get(t, to)
	b.g.drop(t, to)
}

func aNameThatIsTakenMeanwhileIsSomebodys(t *testing.T, b *bench) {
	t.Helper()
	h := b.hook(t)
	to := newNameOf("raced")
	var once sync.Once
	h.restore = func(cloud.Restore) { once.Do(func() { b.g.spare(t, to) }) }
	id := b.submit(t, b.plan(t, RestoreKind, RestoreRequest{Latest: true, To: to}))
	run := b.attach(t, id)
	if run.State != state.Parked || run.Step != "restore" || !strings.Contains(run.Problem, "did not make it") || run.Hint == "" {
		t.Fatalf("got %+v", run)
	}
	b.tell(t, id, state.UndoRun)
	if run = b.attach(t, id); run.State != state.Undone {
		t.Fatalf("got %+v", run)
	}
	if live := b.g.get(t, to); !live.DeletionProtection || h.count("Delete "+to) != 0 {
		t.Errorf("somebody's instance was touched: %+v", live)
	}
	b.verified(t)
	b.g.drop(t, to)
}

// Whatever a cloud answers to the request, one backup and one instance come of it.
func whatPassesIsAskedAgain(t *testing.T, b *bench) {
	t.Helper()
	h := b.hook(t)
	for _, effect := range []played.Effect{played.Throttle, played.Unavailable, played.Drop} {
		b.g.fault(t, "CreateDBSnapshot", "backupRuns.insert", effect, 1)
	}
	run := b.run(t, CreateKind, CreateRequest{})
	b.done(t, run)
	all, err := b.g.cloud.Backups(t.Context(), source)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, one := range all {
		if strings.Contains(one.ID+one.Text, run.ID) {
			n++
		}
	}
	if n != 1 || h.count("CreateBackup") != 4 {
		t.Errorf("%d backups of %d requests", n, h.count("CreateBackup"))
	}
	b.g.fault(t, "CreateDBSnapshot", "backupRuns.insert", played.Deny, 1)
	id := b.submit(t, b.plan(t, CreateKind, CreateRequest{Label: "denied"}))
	run = b.attach(t, id)
	if run.State != state.Parked || run.Hint == "" {
		t.Fatalf("got %+v", run)
	}
	b.tell(t, id, state.Retry)
	b.done(t, b.attach(t, id))
}

// A cloud that keeps what failed does not keep the run from another attempt; an undo leaves nothing of either.
func aBackupThatFailedIsMadeByARetry(t *testing.T, b *bench) {
	t.Helper()
	b.g.fault(t, "CreateDBSnapshot", "backupRuns.insert", played.Fail, 2)
	id := b.submit(t, b.plan(t, CreateKind, CreateRequest{Label: "again"}))
	for range 2 {
		if run := b.attach(t, id); run.State != state.Parked || run.Hint == "" {
			t.Fatalf("got %+v", run)
		}
		b.tell(t, id, state.Retry)
	}
	b.done(t, b.attach(t, id))
	made := output[CreateReport](t, b.Engine, id, "backup")
	if !made.Ready || made.Label != "again-"+id+"-3" {
		t.Errorf("made %+v", made)
	}
	ready := 0
	for _, one := range b.ofRun(t, id) {
		if one.Ready {
			ready++
		}
	}
	if ready != 1 {
		t.Errorf("%d backups are ready", ready)
	}

	b.g.fault(t, "CreateDBSnapshot", "backupRuns.insert", played.Fail, 2)
	id = b.submit(t, b.plan(t, CreateKind, CreateRequest{Label: "again"}))
	b.attach(t, id)
	b.tell(t, id, state.Retry)
	b.attach(t, id)
	b.tell(t, id, state.UndoRun)
	if run := b.attach(t, id); run.State != state.Undone {
		t.Fatalf("got %+v", run)
	}
	if left := b.ofRun(t, id); len(left) > 0 {
		t.Errorf("left %+v", left)
	}
}

// ofRun are the backups of a run that the cloud lists.
func (b *bench) ofRun(t *testing.T, id string) (out []cloud.Backup) {
	t.Helper()
	all, err := b.g.cloud.Backups(t.Context(), source)
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range all {
		if strings.Contains(one.ID+one.Text, id) {
			out = append(out, one)
		}
	}
	return out
}
