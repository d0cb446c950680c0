package proxy

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"dbops/internal/pg"
	"dbops/internal/secret"
)

// soakVariable makes this test binary a proxy of its own: it holds the parameters of the server behind it.
const soakVariable = "DBOPS_SOAK_PROXY"

// soakState is a line that the proxy of a soak prints: it is asked for on standard input.
type soakState struct {
	Addr       string
	Goroutines int
	Open       int
}

// soakParams are what a soak's proxy is told. All passwords are the tests' own.
type soakParams struct {
	Port   uint16
	CAFile string
}

// soakProxy is the proxy of a soak: a process of its own, so that what it holds is its own.
func soakProxy(params string) int {
	var p soakParams
	if err := json.Unmarshal([]byte(params), &p); err != nil {
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	local, _, err := LocalTLS()
	if err != nil {
		return 2
	}
	s, err := New(Config{
		Environment: "prod", Access: "read", Password: secret.New(proxyPassword), TLS: local, StartWait: time.Second, ConnectTimeout: 3 * time.Second,
		StartupTimeout: 2 * time.Second,
		Upstreams: []Upstream{{Database: "orders", Instance: "main", Config: func(context.Context) (*pgconn.Config, error) {
			return pg.Config(pg.Params{
				Host: "127.0.0.1", Port: p.Port, SSLMode: "verify-full", CAFile: p.CAFile, Database: "shop",
				User: "app", Password: secret.New("app-word-in-tests"),
			})
		}}},
	})
	if err != nil {
		return 2
	}
	ln, err := Listen(ctx, "127.0.0.1:0")
	if err != nil {
		return 2
	}
	go func() {
		in, out := bufio.NewScanner(os.Stdin), json.NewEncoder(os.Stdout)
		for in.Scan() {
			if in.Text() == "collect" {
				runtime.GC()
			}
			_ = out.Encode(soakState{ln.Addr().String(), runtime.NumGoroutine(), s.Totals().Open})
		}
		stop() // whoever started it is gone
	}()
	if s.Serve(ctx, ln) != nil {
		return 1
	}
	return 0
}

// soaked is the process.
type soaked struct {
	cmd *exec.Cmd
	in  io.Writer
	out *bufio.Scanner
}

func startSoaked(t *testing.T, p soakParams) *soaked {
	t.Helper()
	b, err := json.Marshal(p)
	must(t, err)
	s := &soaked{cmd: exec.Command(os.Args[0])}
	s.cmd.Env = append(os.Environ(), soakVariable+"="+string(b))
	s.cmd.Stderr = os.Stderr
	in, err := s.cmd.StdinPipe()
	must(t, err)
	out, err := s.cmd.StdoutPipe()
	must(t, err)
	must(t, s.cmd.Start())
	s.in, s.out = in, bufio.NewScanner(out)
	t.Cleanup(func() { _ = s.cmd.Process.Kill(); _ = s.cmd.Wait() })
	return s
}

func (s *soaked) state(t *testing.T, ask string) (st soakState) {
	t.Helper()
	_, err := io.WriteString(s.in, ask+"\n")
	must(t, err)
	if !s.out.Scan() {
		t.Fatalf("the proxy has ended: %v", s.cmd.Wait())
	}
	must(t, json.Unmarshal(s.out.Bytes(), &st))
	return st
}

// sample is what the process holds at a moment.
type sample struct {
	resident          int64 // bytes
	goroutines, files int
}

func (s *soaked) sample(t *testing.T) sample {
	t.Helper()
	at := fmt.Sprintf("/proc/%d/", s.cmd.Process.Pid)
	b, err := os.ReadFile(at + "statm")
	must(t, err)
	pages, err := strconv.ParseInt(strings.Fields(string(b))[1], 10, 64)
	must(t, err)
	fds, err := os.ReadDir(at + "fd")
	must(t, err)
	return sample{pages * int64(os.Getpagesize()), s.state(t, "").Goroutines, len(fds)}
}

// TestSoak has clients come, work, cancel, break off and send rubbish, on a network and a server with faults, for five seconds or for as
// long as DBOPS_SOAK says. No client may hang, and what the proxy holds may not grow: make soak.
func TestSoak(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("what a process holds is read from Linux's /proc")
	}
	length := 5 * time.Second
	if text := os.Getenv("DBOPS_SOAK"); text != "" {
		var err error
		length, err = time.ParseDuration(text)
		must(t, err)
	} else {
		t.Parallel()
	}
	s := ownPostgres(t, 15)
	n := networkTo(t, s.port)
	p := startSoaked(t, soakParams{n.port(), s.caFile})
	addr := p.state(t, "").Addr
	w := &soakWork{addr: addr}
	must(t, w.query(t.Context(), rand.New(rand.NewPCG(1, 1)))) // a first login fills what is filled once
	eventually(t, "the proxy is at rest", func() bool { return p.state(t, "collect").Open == 0 })
	before := p.sample(t)

	ctx, stop := context.WithTimeout(t.Context(), length)
	defer stop()
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() { w.work(ctx, t, rand.New(rand.NewPCG(uint64(i), 7))) })
	}
	wg.Go(func() { soakFaults(ctx, t, s, n, length) })
	every := max(length/30, 100*time.Millisecond)
	minute := min(time.Minute, length/5)
	var samples []sample
	begin := time.Now()
	for shown := begin; pause(ctx, every); {
		samples = append(samples, p.sample(t))
		if time.Since(shown) >= minute {
			shown = time.Now()
			last := samples[len(samples)-1]
			t.Logf("after %s: %s resident, %d goroutines, %d files; %d sessions, %d of them failed", time.Since(begin).Round(time.Second),
				megabytes(last.resident), last.goroutines, last.files, w.done.Load(), w.failed.Load())
		}
	}
	wg.Wait()
	n.Toxics.ResetToxics(context.Background())
	eventually(t, "all sessions have ended", func() bool { return p.state(t, "collect").Open == 0 })
	eventually(t, "goroutines and files are what they were", func() bool {
		now := p.sample(t)
		return now.goroutines <= before.goroutines+1 && now.files <= before.files+1
	})
	t.Logf("at rest: before %+v, after %+v; %d sessions, %d of them failed, as %v", before, p.sample(t), w.done.Load(), w.failed.Load(), w.codes())
	if w.done.Load() == w.failed.Load() {
		t.Error("nobody could work")
	}
	if length >= time.Minute {
		flat(t, samples)
	}
	must(t, p.cmd.Process.Signal(syscall.SIGTERM))
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("the proxy ended with %v", err)
	}
}

// flat demands that the last third of a soak is not above the middle one: by their medians, in memory by more than a fifth and 8 MB, in
// goroutines and files by more than a half and 50.
func flat(t *testing.T, samples []sample) {
	t.Helper()
	third := len(samples) / 3
	for what, m := range map[string]struct {
		of          func(sample) int64
		part, extra int64
	}{
		"resident memory": {func(s sample) int64 { return s.resident }, 5, 8 << 20},
		"goroutines":      {func(s sample) int64 { return int64(s.goroutines) }, 2, 50},
		"files":           {func(s sample) int64 { return int64(s.files) }, 2, 50},
	} {
		median := func(of []sample) int64 {
			var all []int64
			for _, s := range of {
				all = append(all, m.of(s))
			}
			slices.Sort(all)
			return all[len(all)/2]
		}
		middle, last := median(samples[third:2*third]), median(samples[2*third:])
		t.Logf("%s: %d in the middle third, %d in the last", what, middle, last)
		if last > middle+middle/m.part+m.extra {
			t.Errorf("%s grew from %d to %d", what, middle, last)
		}
	}
}

// soakFaults makes the network and the server faulty, and mends them.
func soakFaults(ctx context.Context, t *testing.T, s *pgServer, n *network, length time.Duration) {
	t.Helper()
	r := rand.New(rand.NewPCG(3, 3))
	restart := time.Now()
	for pause(ctx, 200*time.Millisecond) {
		fault := r.IntN(6)
		switch fault {
		case 0:
			n.toxic(t, "latency", "downstream", map[string]any{"latency": 50, "jitter": 50})
		case 1:
			n.toxic(t, "bandwidth", "downstream", map[string]any{"rate": 200})
		case 2:
			n.toxic(t, "slicer", "downstream", map[string]any{"average_size": 64, "size_variation": 32, "delay": 10})
		case 3:
			n.toxic(t, "limit_data", "downstream", map[string]any{"bytes": r.IntN(20000)})
		case 4:
			n.Stop()
			_ = pause(ctx, 100*time.Millisecond)
			must(t, n.Start())
		case 5:
			if time.Since(restart) > max(length/8, 2*time.Second) {
				restart = time.Now()
				s.stop([]syscall.Signal{syscall.SIGINT, syscall.SIGQUIT}[r.IntN(2)])
				s.start(t)
			}
		}
		_ = pause(ctx, 300*time.Millisecond)
		n.Toxics.ResetToxics(context.Background())
	}
}

// soakWork is what the clients do.
type soakWork struct {
	addr         string
	done, failed atomic.Int64

	mu  sync.Mutex
	how map[string]int // of failures: SQLSTATE, or a word
}

func (w *soakWork) codes() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.how
}

func (w *soakWork) work(ctx context.Context, t *testing.T, r *rand.Rand) {
	t.Helper()
	kinds := []func(context.Context, *rand.Rand) error{w.query, w.query, w.query, w.copyOut, w.cancel, w.breakOff, w.rubbish, w.transaction}
	for ctx.Err() == nil {
		limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		err := kinds[r.IntN(len(kinds))](limit, r)
		if limit.Err() != nil {
			t.Errorf("a client hung for 30 s: %v", err)
		}
		cancel()
		w.done.Add(1)
		if err != nil {
			w.failed.Add(1)
			w.note(err)
		}
	}
}

func (w *soakWork) note(err error) {
	how := "the connection broke"
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok {
		how = pe.Code
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.how == nil {
		w.how = map[string]int{}
	}
	w.how[how]++
}

func (w *soakWork) open(ctx context.Context, r *rand.Rand) (*pgx.Conn, error) {
	mode := []string{"disable", "disable", "require"}[r.IntN(3)]
	host, port, _ := net.SplitHostPort(w.addr)
	return pgx.Connect(ctx, fmt.Sprintf("host=%s port=%s user=anybody password=%s dbname=orders sslmode=%s", host, port, proxyPassword, mode))
}

func (w *soakWork) query(ctx context.Context, r *rand.Rand) error {
	c, err := w.open(ctx, r)
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	for i := range 1 + r.IntN(20) {
		var text string
		if err := c.QueryRow(ctx, "select repeat('x', $1)", i*r.IntN(5000)).Scan(&text); err != nil {
			return err
		}
	}
	return nil
}

func (w *soakWork) copyOut(ctx context.Context, r *rand.Rand) error {
	c, err := w.open(ctx, r)
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	_, err = c.PgConn().CopyTo(ctx, io.Discard, fmt.Sprintf("copy (select repeat('y', 200) from generate_series(1, %d)) to stdout", r.IntN(5000)))
	return err
}

func (w *soakWork) transaction(ctx context.Context, r *rand.Rand) error {
	c, err := w.open(ctx, r)
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	return pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "create temp table t (a int) on commit drop")
		return err
	})
}

func (w *soakWork) cancel(ctx context.Context, r *rand.Rand) error {
	c, err := w.open(ctx, r)
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	ended := make(chan error, 1)
	go func() {
		_, err := c.Exec(ctx, "select pg_sleep(0.5)")
		ended <- err
	}()
	_ = pause(ctx, time.Duration(r.IntN(100))*time.Millisecond)
	_ = c.PgConn().CancelRequest(ctx)
	err = <-ended
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok && pe.Code == "57014" {
		return nil
	}
	return err
}

// breakOff leaves at any point, politely or not.
func (w *soakWork) breakOff(ctx context.Context, r *rand.Rand) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", w.addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	_ = conn.SetDeadline(deadline)
	all := append(startupPacket(196608, "user", "me", "database", "orders"), message('p', proxyPassword+"\x00")...)
	all = append(all, message('Q', "select repeat('z', 1000), pg_sleep(0.01) from generate_series(1, 1000)\x00")...)
	if _, err := conn.Write(all[:r.IntN(len(all)+1)]); err != nil {
		return err
	}
	_ = conn.SetReadDeadline(time.Now().Add(time.Duration(r.IntN(200)) * time.Millisecond))
	_, _ = io.CopyN(io.Discard, conn, int64(r.IntN(20000)))
	if r.IntN(2) == 0 {
		_ = conn.(*net.TCPConn).SetLinger(0)
	}
	return nil
}

func (w *soakWork) rubbish(ctx context.Context, r *rand.Rand) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", w.addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	_ = conn.SetDeadline(deadline)
	_, _ = conn.Write(garbage(r))
	_ = conn.(*net.TCPConn).CloseWrite()
	f := pgproto3.NewFrontend(conn, nil)
	for {
		if _, err := f.Receive(); err != nil {
			return nil
		}
	}
}
