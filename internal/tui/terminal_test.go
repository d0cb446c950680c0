package tui_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/charmbracelet/x/vt"

	"dbops/internal/fault"
	"dbops/internal/tui"
	"dbops/internal/tui/internal/fake"
)

// far is a terminal at the other end of a connection, in raw mode.
type far struct {
	t     *testing.T
	mu    sync.Mutex
	emu   *vt.Emulator
	drawn chan struct{} // something was
	keys  *io.PipeWriter
	sizes chan tui.Size
	done  chan error
}

func (f *far) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case f.drawn <- struct{}{}:
	default:
	}
	return f.emu.Write(p)
}

func showFar(ctx context.Context, t *testing.T, w, h int) *far {
	t.Helper()
	f := &far{t: t, emu: vt.NewEmulator(w, h), drawn: make(chan struct{}, 1), sizes: make(chan tui.Size), done: make(chan error, 1)}
	in, keys := io.Pipe()
	f.keys = keys
	var answers sync.WaitGroup
	answers.Go(func() { _, _ = io.Copy(keys, f.emu) })
	go func() {
		f.done <- tui.Run(ctx, fake.New(time.Now), tui.Options{
			Terminal: &tui.Terminal{In: in, Out: f, Size: tui.Size{W: w, H: h}, Sizes: f.sizes}, Env: []string{"TERM=xterm-256color"},
		})
	}()
	t.Cleanup(func() {
		_ = in.Close()
		if pipe, ok := f.emu.InputPipe().(io.Closer); ok { // its own Close races with who reads the answers
			_ = pipe.Close()
		}
		answers.Wait()
	})
	return f
}

func (f *far) screen() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.emu.String()
}

func (f *far) want(text string, more func(screen string) bool) {
	f.t.Helper()
	late := time.After(patience)
	for {
		if s := f.screen(); strings.Contains(s, text) && (more == nil || more(s)) {
			return
		}
		select {
		case <-f.drawn:
		case <-late:
			f.t.Fatalf("no %q:\n%s", text, f.screen())
		}
	}
}

func TestATerminalElsewhere(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	f := showFar(ctx, t, 80, 24)
	f.want("q quit", func(s string) bool { return strings.HasPrefix(strings.Split(s, "\n")[0], " dbops") })
	f.mu.Lock()
	f.emu.Resize(120, 40)
	f.mu.Unlock()
	f.sizes <- tui.Size{W: 120, H: 40}
	f.want("q quit", func(s string) bool {
		rows := strings.Split(s, "\n")
		return len(rows) == 40 && strings.Contains(rows[39], "q quit")
	})
	if _, err := f.keys.Write([]byte("?")); err != nil {
		t.Fatal(err)
	}
	f.want("half a page down", nil)
	cancel(errors.New("the server is being stopped"))
	if err := <-f.done; fault.KindOf(err) != fault.Interrupted || !strings.Contains(err.Error(), "being stopped") {
		t.Error(err)
	}
}
