package sandbox

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"dbops/internal/fault"
	"dbops/internal/sandbox/play"
)

// socketPath is the supervisor's control socket. The kernel bounds the length of such a path, so a deep folder gets one elsewhere.
func socketPath(dir string) string {
	p := filepath.Join(dir, "control.sock")
	if len(p) <= 100 {
		return p
	}
	sum := sha256.Sum256([]byte(dir))
	return filepath.Join(os.TempDir(), "dbops-sandbox-"+hex.EncodeToString(sum[:8])+".sock")
}

// ServeControl answers `dbops sandbox status|down|fault|containers|…` on a socket that only its owner may open, until it is closed. Down
// calls stop.
func (s *Sandbox) ServeControl(ctx context.Context, stop func()) (io.Closer, error) {
	path := socketPath(s.opts.Dir)
	_ = os.Remove(path) // left by a crash: the lock says that nobody else serves it
	ln, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on the control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { answer(w, s.Status()) })
	mux.HandleFunc("POST /down", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, struct{}{})
		stop()
	})
	mux.HandleFunc("GET /faults", func(w http.ResponseWriter, _ *http.Request) { answer(w, s.faults.List()) })
	mux.HandleFunc("DELETE /faults", func(w http.ResponseWriter, _ *http.Request) {
		s.faults.Clear()
		answer(w, struct{}{})
	})
	mux.HandleFunc("POST /faults", func(w http.ResponseWriter, r *http.Request) {
		var f play.Fault
		if err := json.NewDecoder(io.LimitReader(r.Body, 1<<16)).Decode(&f); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		s.faults.Add(f)
		answer(w, f)
	})
	s.controlContainers(mux)
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(ln)
	}()
	return closerFunc(func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		err := srv.Shutdown(ctx) // lets the answer to /down out
		<-done
		return err
	}), nil
}

type closerFunc func() error

func (f closerFunc) Close() error { return f() }

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// callTimeout is for what the supervisor answers at once.
const callTimeout = 10 * time.Second

// call sends one request to the supervisor of dir.
func call(ctx context.Context, dir, method, path string, in, out any) error {
	return callWithin(ctx, callTimeout, dir, method, path, in, out)
}

func callWithin(ctx context.Context, timeout time.Duration, dir, method, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://sandbox"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socketPath(dir))
		},
	}}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		return &refusal{status: resp.StatusCode, text: string(bytes.TrimSpace(text))}
	}
	if out == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

// refusal is an answer of the supervisor that says no.
type refusal struct {
	status int
	text   string
}

func (r *refusal) Error() string {
	return fmt.Sprintf("the supervisor answered %d %s: %s", r.status, http.StatusText(r.status), r.text)
}

func ask(ctx context.Context, dir string) (Status, error) {
	var s Status
	err := call(ctx, dir, http.MethodGet, "/status", nil, &s)
	return s, err
}

func askDown(ctx context.Context, dir string) error {
	return call(ctx, dir, http.MethodPost, "/down", nil, nil)
}

// StatusOf asks the sandbox in dir. One that does not run is a fault.Unavailable.
func StatusOf(ctx context.Context, dir string) (Status, error) {
	s, err := ask(ctx, dir)
	return s, notRunning(dir, err)
}

// AddFault asks the sandbox in dir for a failure.
func AddFault(ctx context.Context, dir string, f play.Fault) error {
	return notRunning(dir, call(ctx, dir, http.MethodPost, "/faults", f, nil))
}

// Faults lists the failures that the sandbox in dir was asked for.
func Faults(ctx context.Context, dir string) ([]play.Fault, error) {
	var out []play.Fault
	err := call(ctx, dir, http.MethodGet, "/faults", nil, &out)
	return out, notRunning(dir, err)
}

// ClearFaults takes them back.
func ClearFaults(ctx context.Context, dir string) error {
	return notRunning(dir, call(ctx, dir, http.MethodDelete, "/faults", nil, nil))
}

func notRunning(dir string, err error) error {
	if err == nil {
		return nil
	}
	op := "ask the sandbox in " + dir
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fault.Newf(fault.Unavailable, op, "it does not run").Hint("dbops sandbox up --dir %q", dir)
	case errors.Is(err, fs.ErrPermission):
		return fault.Newf(fault.Denied, op, "it is another user's").Hint("--dir names one of your own")
	}
	return fault.New(fault.Unavailable, op, err)
}
