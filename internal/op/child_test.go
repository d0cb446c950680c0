package op

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"dbops/internal/fault"
	"dbops/internal/sandbox/statetest"
	"dbops/internal/state"
)

// childSpec is what a child process of a test is told.
type childSpec struct {
	Do    string // crash, work, attach, told
	Place statetest.Place
	World string // the folder of the toys
	Plan  *Plan  // to submit
	Run   string // to attach to
	Told  state.Verb
	DieAt int    // the number of the point at which to die; 0: live
	DieOn string // the name of the point at which to die
	TTL   time.Duration
	Poll  time.Duration
	Limit uint64 // of the size of a file, in bytes; 0: none
	Near  bool   // a process of this machine, and known to be; else its lease has to end
	Name  string // the version, and the host

	Program string // in place of this test binary
}

const childVariable = "DBOPS_TEST_CHILD"

// child does what a parent process wants; it returns false in the test's own process.
func child() bool {
	spec := os.Getenv(childVariable)
	if spec == "" {
		return false
	}
	var c childSpec
	err := json.Unmarshal([]byte(spec), &c)
	if err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		do := map[string]func(context.Context, childSpec) error{"crash": crashChild, "work": workChild, "attach": attachChild, "told": toldChild}
		err = do[c.Do](ctx, c)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "child: %s: %v (%s)\n", fault.KindOf(err), err, fault.HintOf(err))
		os.Exit(1)
	}
	return true
}

// attachChild works on one run.
func attachChild(ctx context.Context, c childSpec) error {
	if c.Limit > 0 {
		signal.Ignore(syscall.SIGXFSZ) // so that the write fails
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: c.Limit, Max: c.Limit}); err != nil {
			return err
		}
	}
	s, err := c.Place.Open(ctx, "tester")
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	e, err := c.engine(s, &toys{world: toyWorld{c.World}})
	if err != nil {
		return err
	}
	run, err := e.Attach(ctx, c.Run, 0, nil)
	if err == nil {
		fmt.Println(run.State)
	}
	return err
}

// command starts this test binary again, as a child.
func (c childSpec) command(t testing.TB) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	if c.Program != "" {
		self = c.Program
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), childVariable+"="+string(b))
	return cmd
}

// engine is the child's.
func (c childSpec) engine(s *state.Store, y *toys, change ...func(*Options)) (*Engine, error) {
	kinds, err := NewRegistry(y.kind())
	if err != nil {
		return nil, err
	}
	o := Options{Version: "test", Poll: 10 * time.Millisecond, TTL: time.Minute, Host: "here", apart: !c.Near, Notify: noticed}
	if c.TTL > 0 {
		o.TTL = c.TTL
	}
	if c.Poll > 0 {
		o.Poll = c.Poll
	}
	if c.Name != "" {
		o.Version, o.Host = c.Name, c.Name
	}
	for _, change := range change {
		change(&o)
	}
	y.engine = New(s, kinds, o)
	return y.engine, nil
}

// withoutLeaks fails when goroutines are left.
func withoutLeaks(code int) int {
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}
