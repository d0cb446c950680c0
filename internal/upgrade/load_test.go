package upgrade

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/op"
	"dbops/internal/state"
)

// follower is a client of whatever server clients are told to use.
type follower struct {
	clients
	mu  sync.Mutex
	use string
}

func (f *follower) Switch(ctx context.Context, s *op.Session, from, to Server) (op.Result, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.use = to.Name
	return f.clients.Switch(ctx, s, from, to)
}

func (f *follower) at() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.use
}

// writer moves amounts between accounts, notes each transaction, and remembers which ones it was told are committed.
type writer struct {
	p         plain
	f         *follower
	n         int
	committed map[string]bool
	unclear   map[string]bool // the connection was lost before the answer
	wrong     []string
	served    []time.Time
	next      atomic.Int64
}

// write writes until ctx ends. A client never sees a wrong answer: what it read of its own committed notes is there, and the sum is what it was.
func (w *writer) write(ctx context.Context) {
	var conn *pgx.Conn
	for ctx.Err() == nil {
		if conn == nil || conn.IsClosed() {
			var err error
			if conn, err = w.p.connectAs(ctx, w.f.at(), "shop", "app"); err != nil {
				_ = op.Sleep(ctx, 5*time.Millisecond) // as a client that tries again does
				continue
			}
		}
		id := fmt.Sprintf("%d-%d", w.n, w.next.Add(1))
		committing := false
		err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, `update app.account set amount = amount - 1 where id = $1; `, w.next.Load()%50+1); err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, `update app.account set amount = amount + 1 where id = $1`, w.next.Load()*7%50+1); err != nil {
				return err
			}
			var sum int64
			if err := tx.QueryRow(ctx, `insert into app.note (id, at) values ($1, clock_timestamp()) returning (select sum(amount) from app.account)`, id).Scan(&sum); err != nil {
				return err
			}
			committing = true
			return nil
		})
		switch {
		case err == nil:
			w.committed[id] = true
			w.served = append(w.served, time.Now())
		case committing && refused(err) == "":
			w.unclear[id] = true
		}
		if err != nil {
			continue
		}
		var sum, mine int64
		if err := conn.QueryRow(ctx, "select (select sum(amount) from app.account), (select count(*) from app.note where id like $1)", fmt.Sprintf("%d-%%", w.n)).Scan(&sum, &mine); err == nil {
			if sum != 50_000 || mine < int64(len(w.committed)) || mine > int64(len(w.committed)+len(w.unclear)) {
				w.wrong = append(w.wrong, fmt.Sprintf("sum %d, %d notes of %d and %d", sum, mine, len(w.committed), len(w.unclear)))
			}
		}
	}
	if conn != nil {
		_ = conn.Close(context.WithoutCancel(ctx))
	}
}

// connectAs logs in as a role whose password is its name.
func (p plain) connectAs(ctx context.Context, server, database, user string) (*pgx.Conn, error) {
	q := plain{Servers: map[string]login{}}
	l, ok := p.Servers[server]
	if !ok {
		return nil, errors.New("nobody is told a server")
	}
	l.User, l.Password = user, user
	q.Servers[server] = l
	return q.connect(ctx, target, Server{Name: server}, database, nil)
}

func TestUnderWritesNothingIsLostForthAndBack(t *testing.T) {
	p := between(t, 14, 17)
	p.exec(t, "old", "postgres", "create role app login password 'app'")
	p.exec(t, "old", "postgres", "create database shop owner app")
	p.exec(t, "old", "shop", `create schema app authorization app; set role app; create table app.account (id int primary key, amount bigint not null);
 insert into app.account select i, 1000 from generate_series(1, 50) i; create table app.note (id text primary key, at timestamptz, n bigserial);
 create table app.big (id int primary key, v text); insert into app.big select i, repeat(md5(i::text), 8) from generate_series(1, 60000) i; create index on app.big (v)`)
	f := &follower{use: "old"}
	d := p.deps()
	d.Clients = f
	b := newBench(t, "sqlite", d)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	writers := make([]*writer, 3)
	var wg sync.WaitGroup
	for i := range writers {
		writers[i] = &writer{p: p, f: f, n: i, committed: map[string]bool{}, unclear: map[string]bool{}}
		wg.Go(func() { writers[i].write(ctx) })
	}
	p.until(t, "old", "select count(*) > 50 from app.note")
	id := b.submit(t, b.plan(t, RunKind, Request{To: 17, Into: "new", CatchUp: true, Observe: time.Millisecond, Grace: 500 * time.Millisecond}))
	if run := b.attach(t, id); run.State != state.Gate {
		t.Fatalf("the run is %s at %s: %s", run.State, run.Step, run.Problem)
	}
	b.tell(t, id, state.Continue)
	b.done(t, b.attach(t, id))
	report := b.report(t, id)
	if report.Downtime == nil || report.Downtime.Took <= 0 {
		t.Fatal("nobody knows for how long clients were shut out")
	}
	if d := report.Databases[0]; !d.Equal || d.Sums < 3 {
		t.Errorf("%s", words2(report))
	}
	for _, phase := range report.Phases {
		if phase.Downtime {
			t.Logf("%s took %s", phase.Name, phase.Took)
		}
	}
	t.Logf("shut out for %s", report.Downtime.Took)
	count := p.exec(t, "new", "shop", "select count(*) from app.note")
	p.until(t, "new", "select count(*) > 50 + "+count+" from app.note")

	b.done(t, b.backBehind(t, p, id))
	if f.at() != "old" {
		t.Fatalf("clients use %s", f.at())
	}
	count = p.exec(t, "old", "shop", "select count(*) from app.note")
	p.until(t, "old", "select count(*) > 50 + "+count+" from app.note")
	stop()
	wg.Wait()
	there := map[string]bool{}
	conn, err := p.connect(t.Context(), target, Server{Name: "old"}, "shop", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	rows, err := conn.Query(t.Context(), "select id from app.note")
	if err != nil {
		t.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range all {
		there[id] = true
	}
	total := 0
	for _, w := range writers {
		var longest time.Duration
		for i := 1; i < len(w.served); i++ {
			longest = max(longest, w.served[i].Sub(w.served[i-1]))
		}
		t.Logf("writer %d: %d committed, %d unclear, the longest wait %s", w.n, len(w.committed), len(w.unclear), longest)
		total += len(w.committed)
		for id := range w.committed {
			if !there[id] {
				t.Errorf("%s was committed, and is lost", id)
			}
		}
		for _, text := range w.wrong {
			t.Error(text)
		}
	}
	if total < 150 || len(all) < total {
		t.Errorf("%d were committed, %d are there", total, len(all))
	}
	if sum := p.exec(t, "old", "shop", "select sum(amount) from app.account"); sum != "50000" {
		t.Errorf("the sum is %s", sum)
	}
	for _, server := range []string{"old", "new"} {
		if left := p.exec(t, server, "shop", "select (select count(*) from pg_replication_slots) + (select count(*) from pg_subscription) + (select count(*) from pg_publication) + (select count(*) from pg_roles where rolname like 'dbops%')"); left != "0" {
			t.Errorf("%s things of the replication are left on %s", left, server)
		}
	}
}

// backBehind goes back while the old server cannot apply what it follows, until the new one is closed: who goes back without waiting for that ends
// before.
func (b *bench) backBehind(t *testing.T, p plain, id string) state.Run {
	t.Helper()
	holder, err := p.connect(t.Context(), target, Server{Name: "old"}, "shop", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = holder.Close(context.WithoutCancel(t.Context())) }()
	if _, err := holder.Exec(t.Context(), "set default_transaction_read_only = off; begin; lock table app.note in exclusive mode", pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	back := b.submit(t, b.plan(t, RollbackKind, RollbackRequest{Run: id}))
	end := make(chan state.Run, 1)
	go func() { end <- b.attach(t, back) }()
	p.until(t, "new", "select not has_database_privilege('app', 'shop', 'connect') and not exists (select from pg_stat_activity where usename = 'app')")
	select {
	case run := <-end:
		t.Errorf("it went back before what was written was there: %s", run.State)
		return run
	case <-time.After(2 * time.Second): // what does not wait has long ended
	}
	if _, err := holder.Exec(t.Context(), "rollback"); err != nil {
		t.Fatal(err)
	}
	return <-end
}

// until waits for a condition on a server.
func (p plain) until(t testing.TB, server, sql string) {
	t.Helper()
	for range 600 {
		if p.exec(t, server, "shop", sql) == "t" {
			return
		}
		if err := op.Sleep(t.Context(), 50*time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
	t.Fatalf("it does not come true on %s: %s", server, sql)
}
