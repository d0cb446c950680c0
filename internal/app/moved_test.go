package app

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/config"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/sandbox/pgtest"
	played "dbops/internal/sandbox/stage"
)

var clouds = played.New(played.Options{Pace: 0.001})

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// until waits for a condition.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// machine is one person's folder, with the password of the state in the environment.
type machine struct {
	dir, password string

	mu      sync.Mutex
	notices []string
}

func newMachine(t testing.TB, password string) *machine {
	t.Helper()
	return &machine{dir: t.TempDir(), password: password}
}

// app is one run of dbops there.
func (m *machine) app(t testing.TB, cfg *config.Config) *App {
	t.Helper()
	m.mu.Lock()
	m.notices = nil
	m.mu.Unlock()
	a := New(cfg, Options{
		StateDir: m.dir, RuntimeDir: filepath.Join(m.dir, "run"),
		Getenv: func(name string) string {
			return map[string]string{"PGUSER": pgtest.User, "PGPASSWORD": m.password}[name]
		},
		Notice: func(text string) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.notices = append(m.notices, text)
		},
	})
	t.Cleanup(func() { must(t, a.Close()) })
	return a
}

// lose makes the file of the state one that nobody can open.
func (m *machine) lose(t testing.TB) {
	t.Helper()
	must(t, os.Remove(filepath.Join(m.dir, "state.db")))
	must(t, os.Mkdir(filepath.Join(m.dir, "state.db"), 0o700))
}

func (m *machine) told() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.notices)
}

// file is a dbops.yaml of an instance of RDS, by a name, with a state.
func file(identifier, state, ca string) *config.Config {
	return &config.Config{
		Path: "/etc/dbops.yaml", State: state, StateCAFile: ca,
		Environments: map[string]*config.Environment{"prod": {
			Name:      "prod",
			Instances: map[string]*config.Instance{"main": {RDS: &config.RDS{Region: "eu-west-1", Identifier: identifier}}},
		}},
	}
}

func isAt(t testing.TB, a *App) string {
	t.Helper()
	inst, err := a.instance("prod", "main")
	must(t, err)
	return providerName(inst)
}

// relay is a network that can be cut.
type relay struct {
	net.Listener
	mu    sync.Mutex
	open  []net.Conn
	state sync.WaitGroup
}

func newRelay(t testing.TB, to string) *relay {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	r := &relay{Listener: l}
	r.state.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			var d net.Dialer
			out, err := d.DialContext(context.WithoutCancel(t.Context()), "tcp", to)
			if err != nil {
				_ = in.Close()
				continue
			}
			r.mu.Lock()
			r.open = append(r.open, in, out)
			r.mu.Unlock()
			for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
				r.state.Go(func() {
					_, _ = io.Copy(way[0], way[1])
					_ = way[0].Close()
				})
			}
		}
	})
	t.Cleanup(r.cut)
	return r
}

func (r *relay) cut() {
	_ = r.Close()
	r.mu.Lock()
	for _, c := range r.open {
		_ = c.Close()
	}
	r.mu.Unlock()
	r.state.Wait()
}

var prodMain = op.Target{Environment: "prod", Instance: "main"}

// Where a run moved an instance is known to everybody who shares the state, whether or not that is there, until dbops.yaml says it.
func TestEveryDbopsFollowsAMove(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"sqlite", "postgres"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			mine := newMachine(t, "")
			yours, state, ca := mine, "", ""
			lost := func() { mine.lose(t) }
			if kind == "postgres" {
				s := pgtest.Start(t, 17)
				mine.password = s.Password.Reveal()
				yours = newMachine(t, mine.password)
				r := newRelay(t, net.JoinHostPort(s.Host, fmt.Sprint(s.Port)))
				state, ca, lost = fmt.Sprintf("postgres://%s@%s/%s?sslmode=verify-full", pgtest.User, r.Addr(), s.Database(t)), s.CAFile, r.cut
			}
			a := mine.app(t, file("orders", state, ca))
			if _, err := a.Store(t.Context()); err != nil {
				t.Fatal(err)
			}
			running := yours.app(t, file("orders", state, ca))
			if at := isAt(t, running); at != "orders" || len(yours.told()) > 0 {
				t.Fatalf("before: %s, %q", at, yours.told())
			}
			must(t, a.Move(t.Context(), prodMain, "orders-pg17", "r1"))
			must(t, a.Move(t.Context(), prodMain, "orders-pg17", "r1"))
			if at := isAt(t, a); at != "orders-pg17" {
				t.Errorf("who moved it takes it for %s", at)
			}
			until(t, "who was running follows", func() bool { return isAt(t, running) == "orders-pg17" })
			until(t, "and its address is the new one's", func() bool {
				all, err := running.Instances("prod")
				return err == nil && all[0].Coordinates == "eu-west-1/orders-pg17"
			})
			b := yours.app(t, file("orders", state, ca))
			want := []string{"prod/main is orders-pg17 since run r1: write that into dbops.yaml"}
			if at := isAt(t, b) + isAt(t, b); at != "orders-pg17orders-pg17" || !slices.Equal(yours.told(), want) {
				t.Errorf("a new process: %s, %q", at, yours.told())
			}
			written := yours.app(t, file("orders-pg17", state, ca))
			if at := isAt(t, written); at != "orders-pg17" || len(yours.told()) > 0 {
				t.Errorf("a dbops.yaml that says it: %s, %q", at, yours.told())
			}

			must(t, written.Move(t.Context(), prodMain, "orders-pg18", "r2"))
			if at := isAt(t, yours.app(t, file("orders", state, ca))); at != "orders-pg18" {
				t.Errorf("moved on, a dbops.yaml two behind: %s", at)
			}
			must(t, written.Unmove(t.Context(), prodMain, "r2"))
			must(t, written.Unmove(t.Context(), prodMain, "r2"))
			if at := isAt(t, yours.app(t, file("orders", state, ca))); at != "orders-pg17" {
				t.Errorf("taken back: %s", at)
			}
			must(t, a.moveBack(t, "orders-pg17", "orders", "r3"))
			if at := isAt(t, yours.app(t, file("orders", state, ca))); at != "orders" || len(yours.told()) > 0 {
				t.Errorf("moved back: %s, %q", at, yours.told())
			}
			if at := isAt(t, yours.app(t, file("orders-pg17", state, ca))); at != "orders" {
				t.Errorf("moved back, a dbops.yaml that was changed too early: %s", at)
			}
			must(t, a.Unmove(t.Context(), prodMain, "r3"))
			if all, err := a.Moves(t.Context()); err != nil || len(all) != 2 {
				t.Errorf("%+v, %v", all, err)
			}
			if at := isAt(t, yours.app(t, file("orders", state, ca))); at != "orders-pg17" {
				t.Errorf("not moved back after all: %s", at)
			}

			lost()
			for name, a := range map[string]*App{"running": running, "new": yours.app(t, file("orders", state, ca))} {
				if at := isAt(t, a); at != "orders-pg17" {
					t.Errorf("without the state, one that is %s: %s", name, at)
				}
			}
			c := yours.app(t, file("orders", state, ca))
			isAt(t, c)
			until(t, "it says that the state is not there", func() bool {
				isAt(t, c)
				return slices.ContainsFunc(yours.told(), func(s string) bool { return strings.Contains(s, "the state does not answer") })
			})
			if err := c.Move(t.Context(), prodMain, "elsewhere", "r4"); err == nil {
				t.Error("a move was recorded without the state")
			}
			begun := time.Now()
			for range 1000 {
				isAt(t, c)
			}
			if took := time.Since(begun); took > 5*time.Second {
				t.Errorf("a state that is not there holds everybody up: %s", took)
			}
		})
	}
}

// moveBack is a switch that goes from one to another, whatever dbops.yaml says.
func (a *App) moveBack(t testing.TB, from, to, run string) error {
	t.Helper()
	was, err := a.serverCalled(prodMain, from)
	must(t, err)
	is, err := a.serverCalled(prodMain, to)
	must(t, err)
	inst, _, err := a.called(prodMain, was)
	must(t, err)
	return a.moveFrom(t.Context(), prodMain, inst, is, run)
}

// Without a state nothing is made, and a move to what dbops.yaml does not declare is refused.
func TestWhatIsNotThereIsNotMade(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "")
	cfg := plain(map[string]string{"main": "postgres://127.0.0.1:1/?sslmode=disable", "main17": "postgres://127.0.0.1:2/?sslmode=disable"})
	a := m.app(t, cfg)
	inst, err := a.instance("prod", "main")
	must(t, err)
	if inst != cfg.Environments["prod"].Instances["main"] {
		t.Error("another instance")
	}
	if left, err := os.ReadDir(m.dir); err != nil || len(left) > 0 {
		t.Errorf("%v, %v", left, err)
	}
	if err := a.Move(t.Context(), prodMain, "main18", "r1"); fault.KindOf(err) != fault.Config || !strings.Contains(err.Error(), "main18") {
		t.Errorf("%v", err)
	}
	must(t, a.Move(t.Context(), prodMain, "127.0.0.1:2", "r1"))
	if inst, err = a.instance("prod", "main"); err != nil || inst.Coordinates() != "127.0.0.1:2" {
		t.Errorf("%s, %v", inst.Coordinates(), err)
	}
	if all, err := a.Moves(t.Context()); err != nil || len(all) != 1 || all[0].To != "main17" || !all[0].Declared {
		t.Errorf("%+v, %v", all, err)
	}
	other := m.app(t, plain(map[string]string{"main": "postgres://127.0.0.1:1/?sslmode=disable"}))
	if _, err := other.instance("prod", "main"); fault.KindOf(err) != fault.Config || fault.HintOf(err) == "" {
		t.Errorf("one that does not declare the other server: %v", err)
	}
}

// plain is a dbops.yaml of plain servers, whose database shop is on main.
func plain(urls map[string]string) *config.Config {
	e := &config.Environment{Name: "prod", Instances: map[string]*config.Instance{}, Databases: map[string]*config.Database{}}
	for name, url := range urls {
		e.Instances[name] = &config.Instance{Postgres: &config.Postgres{URL: url}}
	}
	e.Databases["shop"] = &config.Database{Instance: "main", Name: "app_moved"}
	return &config.Config{Path: "/etc/dbops.yaml", Environments: map[string]*config.Environment{"prod": e}}
}

// A proxy that is open takes its next sessions to the new server, and lets those that are open go on.
func TestAnOpenProxyFollowsAMove(t *testing.T) {
	t.Parallel()
	urls, major := map[string]string{}, map[string]int{}
	m := newMachine(t, "")
	cfg := plain(nil)
	for name, n := range map[string]int{"main": 16, "main17": 17} {
		s := pgtest.Start(t, n)
		s.Exec(t, "postgres", "CREATE DATABASE app_moved")
		t.Cleanup(func() { s.Exec(t, "postgres", "DROP DATABASE app_moved WITH (FORCE)") })
		urls[name], major[name] = fmt.Sprintf("postgres://%s:%d/?sslmode=verify-full", s.Host, s.Port), n
		secret := filepath.Join(t.TempDir(), "password")
		must(t, os.WriteFile(secret, []byte(s.Password.Reveal()), 0o600))
		cfg.Environments["prod"].Instances[name] = &config.Instance{
			Postgres: &config.Postgres{URL: urls[name], CAFile: s.CAFile},
			Logins:   map[config.Access]*config.Login{config.Read: {User: pgtest.User, Secret: "file:" + secret}},
		}
	}
	p, err := m.app(t, cfg).OpenProxy(t.Context(), ProxyOptions{Environment: "prod"})
	must(t, err)
	defer func() {
		ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
		cancel()
		_ = p.Close(ctx)
		<-p.Done()
	}()
	login := func() *pgx.Conn {
		t.Helper()
		conn, err := pgx.Connect(t.Context(), p.URIs()[0].URI+"?sslmode=require")
		must(t, err)
		t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
		return conn
	}
	version := func(conn *pgx.Conn) (n int) {
		t.Helper()
		must(t, conn.QueryRow(t.Context(), "select current_setting('server_version_num')::int / 10000").Scan(&n))
		return n
	}
	old := login()
	if n := version(old); n != major["main"] {
		t.Fatalf("it leads to %d", n)
	}
	other := (&machine{dir: m.dir}).app(t, cfg)
	must(t, other.Move(t.Context(), prodMain, "main17", "r1"))
	if n := version(login()); n != major["main17"] { // the file beside the state is looked at for each
		t.Errorf("a new session leads to %d", n)
	}
	if n := version(old); n != major["main"] {
		t.Errorf("an old session leads to %d", n)
	}
	m.lose(t)
	if n := version(login()); n != major["main17"] {
		t.Errorf("without the state a new session leads to %d", n)
	}
}
