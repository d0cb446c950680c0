package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/config"
	"dbops/internal/fault"
	"dbops/internal/sandbox/pgtest"
	"dbops/internal/state"
	"dbops/internal/state/audit"
)

// oneServer is a dbops.yaml, in a file, of a plain server whose database shop it has under that name.
func oneServer(t *testing.T, m *machine, protected bool) (*config.Config, string) {
	t.Helper()
	s := pgtest.Start(t, 16)
	name := s.Database(t)
	secret := filepath.Join(t.TempDir(), "password")
	must(t, os.WriteFile(secret, []byte(s.Password.Reveal()), 0o600))
	file := filepath.Join(m.dir, "dbops.yaml")
	login := fmt.Sprintf("{user: %s, secret: 'file:%s'}", pgtest.User, secret)
	must(t, os.WriteFile(file, fmt.Appendf(nil, `version: 1
environments:
  prod:
    protected: %t
    instances:
      main:
        postgres: {url: "postgres://%s:%d/?sslmode=verify-full", ca_file: %s}
        logins: {read: %s, write: %s}
    databases:
      shop: {instance: main, name: %s}
`, protected, s.Host, s.Port, s.CAFile, login, login, name), 0o600))
	cfg, err := config.Load(file)
	must(t, err)
	return cfg, file
}

// opened is a proxy that ends with the test.
func opened(t *testing.T, a *App, o ProxyOptions) *Proxy {
	t.Helper()
	p, err := a.OpenProxy(t.Context(), o)
	must(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 20*time.Second)
		defer cancel()
		if err := p.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return p
}

func visit(t *testing.T, p *Proxy) {
	t.Helper()
	c, err := pgx.Connect(t.Context(), p.URIs()[0].URI)
	must(t, err)
	must(t, c.Close(t.Context()))
}

// entries are the notes of a kind in the audit log, oldest first.
func entries(t *testing.T, a *App, kind string) (out []audit.Entry) {
	t.Helper()
	s, err := a.Store(t.Context())
	must(t, err)
	all, err := s.Log.List(t.Context(), s.DB.Read(), audit.Filter{Limit: 5000})
	must(t, err)
	for _, e := range all {
		if e.Kind == kind {
			out = append(out, e)
		}
	}
	return out
}

func TestConnectionsToAProtectedEnvironmentAreInTheAuditLog(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "")
	cfg, _ := oneServer(t, m, true)
	a := m.app(t, cfg)
	p := opened(t, a, ProxyOptions{Environment: "prod", Access: config.Write, Reason: "ticket 4711"})
	if left := time.Until(p.Until()); left <= 0 || left > GuardedFor {
		t.Errorf("it is open for %s", left)
	}
	visit(t, p)
	visit(t, p)
	must(t, p.Close(t.Context()))
	access := entries(t, a, "proxy.access")
	if len(access) != 2 || !strings.Contains(access[0].Text, "ticket 4711") || access[0].Step != "open" || access[1].Step != "close" ||
		!strings.Contains(access[1].Text, "2 connections") || access[0].Run != p.id {
		t.Errorf("%+v", access)
	}
	steps := map[string]int{}
	for _, e := range entries(t, a, "proxy.connection") {
		steps[e.Step]++
		if e.Target != "prod/main" || e.Run != p.id || !strings.Contains(e.Text, "database=shop access=write login="+pgtest.User) ||
			strings.Contains(e.Text, p.Password().Reveal()) {
			t.Errorf("%+v", e)
		}
	}
	if steps["open"] != 2 || steps["close"] != 2 {
		t.Error(steps)
	}
}

func TestWhatIsNotProtectedLeavesNoTrace(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "")
	cfg, _ := oneServer(t, m, false)
	a := m.app(t, cfg)
	p := opened(t, a, ProxyOptions{Environment: "prod", Access: config.Write})
	if !p.Until().IsZero() {
		t.Errorf("it ends at %s", p.Until())
	}
	visit(t, p)
	must(t, p.Close(t.Context()))
	if _, err := os.Stat(filepath.Join(a.opts.StateDir, "state.db")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a state was made: %v", err)
	}
}

func TestWhoMayOpenAProtectedEnvironment(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "")
	cfg, _ := oneServer(t, m, true)
	a := m.app(t, cfg)
	for _, c := range []struct {
		name string
		o    ProxyOptions
		kind fault.Kind
	}{
		{"to change it, without a reason", ProxyOptions{Access: config.Write}, fault.Unapproved},
		{"with an empty reason", ProxyOptions{Access: config.Admin, Reason: " \t"}, fault.Unapproved},
		{"for too long", ProxyOptions{Access: config.Write, Reason: "x", For: GuardedMax + 1}, fault.Usage},
		{"for less than nothing", ProxyOptions{Access: config.Write, Reason: "x", For: -1}, fault.Usage},
	} {
		c.o.Environment = "prod"
		_, err := a.OpenProxy(t.Context(), c.o)
		if fault.KindOf(err) != c.kind {
			t.Errorf("%s: %v", c.name, err)
		}
		if err := a.CheckReason("prod", c.o.Access, c.o.Reason, c.o.For); fault.KindOf(err) != c.kind {
			t.Errorf("%s, asked before: %v", c.name, err)
		}
	}
	// Without the entry it is not opened, and its port is free again.
	must(t, os.MkdirAll(filepath.Join(a.opts.StateDir, "state.db"), 0o700)) // a folder in its place
	_, err := a.OpenProxy(t.Context(), ProxyOptions{Environment: "prod", Access: config.Write, Reason: "x"})
	if err == nil {
		t.Error("it was opened without an entry in the audit log")
	}
	var log bytes.Buffer
	p := opened(t, a, ProxyOptions{Environment: "prod", Log: slog.New(slog.NewTextHandler(&log, nil))})
	visit(t, p) // to read it needs no state
	must(t, p.Close(t.Context()))
	if n, why := p.AuditLost(); n != 2 || why == "" || !strings.Contains(log.String(), `msg="entries of the audit log are lost" entries=2 error=`) ||
		!strings.Contains(log.String(), `msg="the proxy ends" reason="it was closed`) {
		t.Errorf("%d entries are lost: %s\n%s", n, why, &log)
	}
}

// flaky is a state that answers only when it is told to.
type flaky struct {
	a    *App
	down atomic.Bool
	asks atomic.Int64
}

func (f *flaky) open(ctx context.Context) (*state.Store, error) {
	f.asks.Add(1)
	if f.down.Load() {
		return nil, errors.New("the state is down")
	}
	return f.a.Store(ctx)
}

func TestTheTrailIsWrittenAtOnceAndThenNotTooOften(t *testing.T) {
	a := newMachine(t, "").app(t, file("main", "", ""))
	tr := newTrail(a.Store, func(bool, string) {}, slog.New(slog.DiscardHandler))
	go tr.run(t.Context())
	begun := time.Now()
	for i := range int64(3) {
		tr.add(audit.Entry{Actor: "me", Host: "here", Kind: "proxy.connection", Step: "open", Phase: audit.Note, Target: "prod/main", Text: "one"})
		until(t, "it is written", func() bool { return tr.written.Load() > i })
	}
	if took := time.Since(begun); took < 2*trailEvery {
		t.Errorf("three writes within %s", took)
	}
	tr.close()
}

func TestTheTrailKeepsWhatItCanAndSaysWhatIsLost(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "")
	a := m.app(t, plain(map[string]string{"main": "postgres://127.0.0.1:1/?sslmode=disable"}))
	f := &flaky{a: a}
	f.down.Store(true)
	var mu sync.Mutex
	var told []string
	tell := func(_ bool, text string) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, text)
	}
	tr := newTrail(f.open, tell, slog.New(slog.DiscardHandler))
	go tr.run(t.Context())
	add := func(n int) {
		for i := range n {
			tr.add(audit.Entry{Actor: "me", Host: "here", Kind: "proxy.connection", Step: "open", Phase: audit.Note, Target: "prod/main", Text: fmt.Sprint(i)})
		}
	}
	add(1)
	until(t, "it has tried", func() bool { return f.asks.Load() > 0 })
	add(2 * trailQueue) // never waits
	lost := tr.total.Load()
	if lost < trailQueue-trailBatch || lost > trailQueue+1 {
		t.Errorf("%d are lost", lost)
	}
	f.down.Store(false)
	until(t, "the rest is written", func() bool { return len(tr.queue) == 0 && tr.lost.Load() == 0 })
	tr.close()
	if n, _ := tr.missing(); n != lost {
		t.Errorf("%d entries are missing, want %d", n, lost)
	}
	var notes, gaps int
	for _, e := range entries(t, a, "proxy.connection") {
		switch e.Step {
		case "open":
			notes++
		case "lost":
			gaps++
			if !strings.Contains(e.Text, fmt.Sprintf("%d entries on connections are missing here", lost)) {
				t.Error(e.Text)
			}
		}
	}
	if want := 2*trailQueue + 1 - int(lost); notes != want || gaps != 1 {
		t.Errorf("%d entries and %d gaps, want %d and 1", notes, gaps, want)
	}
	mu.Lock()
	defer mu.Unlock()
	all := strings.Join(told, "\n")
	for _, want := range []string{"are not written to the audit log: the state is down", "takes entries again", fmt.Sprintf("%d entries on connections did not find room", lost)} {
		if !strings.Contains(all, want) {
			t.Errorf("nobody says %q:\n%s", want, all)
		}
	}
}

func TestATrailWithoutAStateEndsWithItsProxy(t *testing.T) {
	t.Parallel()
	f := &flaky{}
	f.down.Store(true)
	said := make(chan string, 10)
	tr := newTrail(f.open, func(_ bool, text string) { said <- text }, slog.New(slog.DiscardHandler))
	go tr.run(t.Context())
	tr.add(audit.Entry{Kind: "proxy.connection", Phase: audit.Note})
	until(t, "it has tried", func() bool { return f.asks.Load() > 0 })
	tr.add(audit.Entry{Kind: "proxy.connection", Phase: audit.Note})
	tr.close()
	if n, why := tr.missing(); n != 2 || !strings.Contains(why, "the state is down") {
		t.Errorf("%d entries are missing: %q", n, why)
	}
	close(said)
	var all []string
	for s := range said {
		all = append(all, s)
	}
	if text := strings.Join(all, "\n"); !strings.Contains(text, "2 entries on connections are lost") {
		t.Error(text)
	}
}

func TestAProxyAnswersOverItsOwnSocket(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "")
	cfg, file := oneServer(t, m, false)
	a := m.app(t, cfg)
	p := opened(t, a, ProxyOptions{Environment: "prod"})
	all, err := a.RunningProxies("prod", config.Read)
	if err != nil || len(all) != 1 {
		t.Fatalf("%+v, %v", all, err)
	}
	r := all[0]
	for _, path := range []string{r.Control, r.PassFile, r.CAFile} {
		info, err := os.Stat(path)
		must(t, err)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %s", path, info.Mode())
		}
	}
	ask := func(method, path string, want int) []byte {
		t.Helper()
		status, body, err := r.Ask(t.Context(), method, path)
		if err != nil || status != want {
			t.Errorf("%s %s: %d %s %v", method, path, status, body, err)
		}
		return body
	}
	ask(http.MethodGet, "/readiness", http.StatusOK)
	ask(http.MethodGet, "/check", http.StatusOK)
	visit(t, p)
	var s ProxyStatus
	must(t, json.Unmarshal(ask(http.MethodGet, "/status", http.StatusOK), &s))
	if !s.Ready || s.Environment != "prod" || s.Totals.Accepted != 1 {
		t.Errorf("%+v", s)
	}
	text, err := os.ReadFile(file)
	must(t, err)
	must(t, os.WriteFile(file, []byte("nonsense"), 0o600))
	ask(http.MethodPost, "/reload", http.StatusUnprocessableEntity)
	more := strings.Replace(string(text), "    databases:\n", "    databases:\n      extra: {instance: main, name: postgres}\n", 1)
	must(t, os.WriteFile(file, []byte(more), 0o600))
	ask(http.MethodPost, "/reload", http.StatusOK)
	if all, err = a.RunningProxies("prod", config.Read); err != nil || len(all) != 1 || len(all[0].URIs) != 2 {
		t.Errorf("other commands see %+v, %v", all, err)
	}
	ask(http.MethodPost, "/stop", http.StatusAccepted)
	<-p.Done()
	if left, err := filepath.Glob(filepath.Join(a.opts.RuntimeDir, "*")); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	if gone, err := r.Gone(a.opts.RuntimeDir); err != nil || !gone {
		t.Errorf("%t, %v", gone, err)
	}
}
