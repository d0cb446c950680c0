package island

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dbops/internal/pg"
)

// Start makes an island. It ends with the test. Where the kernel allows nobody but root to make network namespaces, it fails.
func Start(t testing.TB, s Spec) *Island {
	t.Helper()
	s.Dir = Dir(t)
	who, err := pg.RunAs()
	if err != nil {
		t.Fatal(err)
	}
	s.UID, s.GID = uint32(os.Getuid()), uint32(os.Getgid())
	attr := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if os.Getuid() == 0 {
		if c := who.Credential(); c != nil {
			s.UID, s.GID = c.Uid, c.Gid
		}
		if err := os.Chown(s.Dir, int(s.UID), int(s.GID)); err != nil {
			t.Fatal(err)
		}
	} else {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getuid(), HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getgid(), HostID: os.Getgid(), Size: 1}}
		attr.AmbientCaps = []uintptr{unix.CAP_NET_ADMIN, unix.CAP_SYS_ADMIN, unix.CAP_NET_BIND_SERVICE}
	}
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	i := &Island{dir: s.Dir, cmd: exec.CommandContext(context.WithoutCancel(t.Context()), self)}
	i.cmd.Env = append(os.Environ(), variable+"="+string(text))
	i.cmd.SysProcAttr = attr
	var complaint words
	i.cmd.Stderr = &complaint
	in, err := i.cmd.StdinPipe() // its end is the island's
	if err != nil {
		t.Fatal(err)
	}
	out, err := i.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	started, ended := make(chan error, 1), make(chan struct{})
	go func() { // on one thread, whose end would be the island's
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(ended)
		err := i.cmd.Start()
		started <- err
		if err == nil {
			<-t.Context().Done()
			_ = in.Close()
			_ = i.cmd.Wait() // killed programs are no failure
		}
	}()
	if err := <-started; err != nil {
		t.Fatalf("make a network namespace: %v (as root it works everywhere, else the kernel must allow user namespaces)", err)
	}
	t.Cleanup(func() {
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			_ = i.cmd.Process.Kill()
			t.Error("an island does not end")
		}
		if t.Failed() {
			t.Logf("the island in %s said: %s", s.Dir, complaint.String())
		}
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		_ = in.Close()
		_ = i.cmd.Process.Kill()
		t.Fatalf("the island said %q, %v: %s", line, err, complaint.String())
	}
	return i
}

// words are what a process says, while it says them.
type words struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (w *words) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.all.Write(b)
}

func (w *words) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.all.String()
}
