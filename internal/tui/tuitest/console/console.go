// Package console runs a program in a pseudo terminal and keeps its screen, as a person at a terminal would see it.
//
// Tests of the real binary and the maker of pictures use it: start a program, send keys, wait for text, look at cells. The
// screen is that of a terminal emulator, so what is compared is what was drawn, not the bytes that drew it.
package console

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"image/color"
	"io"
	"os"
	"os/exec" //nolint:depguard // its purpose is to run the program under test
	"strings"
	"sync"
	"time"

	uv "github.com/charmbracelet/ultraviolet"
	"github.com/charmbracelet/x/ansi"
	"github.com/charmbracelet/x/vt"
	"github.com/creack/pty"
)

// Options say what the terminal is.
type Options struct {
	Cols, Rows int      // Default to 80 and 24.
	Env        []string // Defaults to [Env] without additions.
	Dir        string   // of the program; defaults to the current one
	Light      bool     // the background that the terminal reports
}

// Env is a clean environment of a terminal with 16 million colours, with the PATH and the HOME of this process, and extra.
func Env(extra ...string) []string {
	return append([]string{
		"TERM=xterm-256color", "COLORTERM=truecolor", "LANG=C.UTF-8", "TZ=UTC",
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"),
	}, extra...)
}

// Term is a program in its terminal. Its methods may be called from any goroutine; [Term.Close] must be called.
type Term struct {
	cmd  *exec.Cmd
	tty  *os.File
	done chan struct{} // closed when the program has ended and its last output is on the screen
	err  error         // of the program, once done is closed
	wg   sync.WaitGroup

	mu        sync.Mutex
	emu       *vt.Emulator
	clipboard string
	title     string
	changed   time.Time
}

// Emulator is a terminal's screen. Margins that a frame sets for the size from before are passed over, as a terminal does; the emulator by itself
// takes them, and panics.
func Emulator(cols, rows int) *vt.Emulator {
	emu := vt.NewEmulator(cols, rows)
	emu.RegisterCsiHandler('r', func(params ansi.Params) bool {
		bottom, _, _ := params.Param(1, emu.Height())
		return bottom > emu.Height()
	})
	return emu
}

// Start runs a program. It is killed when ctx ends.
func Start(ctx context.Context, o Options, name string, args ...string) (*Term, error) {
	if o.Cols == 0 || o.Rows == 0 {
		o.Cols, o.Rows = 80, 24
	}
	if o.Env == nil {
		o.Env = Env()
	}
	t := &Term{done: make(chan struct{}), changed: time.Now(), emu: Emulator(o.Cols, o.Rows)}
	t.cmd = exec.CommandContext(ctx, name, args...)
	t.cmd.Env, t.cmd.Dir = o.Env, o.Dir
	fg, bg := color.Color(color.White), color.Color(color.Black)
	if o.Light {
		fg, bg = bg, fg
	}
	t.emu.SetDefaultForegroundColor(fg)
	t.emu.SetDefaultBackgroundColor(bg)
	t.emu.RegisterOscHandler(52, t.setClipboard)
	t.emu.SetCallbacks(vt.Callbacks{Title: func(s string) { t.title = s }})
	var err error
	t.tty, err = pty.StartWithSize(t.cmd, &pty.Winsize{Rows: uint16(o.Rows), Cols: uint16(o.Cols)})
	if err != nil {
		return nil, fmt.Errorf("start %s in a terminal: %w", name, err)
	}
	t.wg.Go(func() { _, _ = io.Copy(t.tty, t.emu) }) // the terminal's answers to the program's questions
	t.wg.Go(t.draw)
	return t, nil
}

// draw puts what the program writes on the screen until it has ended.
func (t *Term) draw() {
	buf := make([]byte, 32*1024)
	for {
		n, err := t.tty.Read(buf)
		if n > 0 {
			t.mu.Lock()
			_, _ = t.emu.Write(buf[:n])
			t.changed = time.Now()
			t.mu.Unlock()
		}
		if err != nil { // EIO: the program has closed the terminal
			break
		}
	}
	t.err = t.cmd.Wait()
	close(t.done)
}

// setClipboard is OSC 52; it runs while the screen is locked.
func (t *Term) setClipboard(data []byte) bool {
	parts := strings.SplitN(string(data), ";", 3)
	if len(parts) == 3 {
		if text, err := base64.StdEncoding.DecodeString(parts[2]); err == nil {
			t.clipboard = string(text)
		}
	}
	return true
}

// Close kills the program if it still runs and waits until everything has ended. It may be called twice.
func (t *Term) Close() {
	select {
	case <-t.done:
	default:
		_ = t.cmd.Process.Kill()
	}
	<-t.done
	_ = t.tty.Close()
	if in, ok := t.emu.InputPipe().(io.Closer); ok {
		_ = in.Close()
	}
	t.wg.Wait()
}

// Resize changes the terminal's size, as a person would by its window.
func (t *Term) Resize(cols, rows int) error {
	t.mu.Lock()
	t.emu.Resize(cols, rows)
	t.mu.Unlock()
	return pty.Setsize(t.tty, &pty.Winsize{Rows: uint16(rows), Cols: uint16(cols)})
}

// Hangup takes the terminal away, as closing its window does.
func (t *Term) Hangup() error { return t.tty.Close() }

// Write sends bytes as they are.
func (t *Term) Write(p []byte) (int, error) { return t.tty.Write(p) }

// Signal sends the program a signal.
func (t *Term) Signal(s os.Signal) error { return t.cmd.Process.Signal(s) }

// Screen is the text on the screen, one line a row.
func (t *Term) Screen() string { return ansi.Strip(t.Render()) }

// Render is the screen with its styles.
func (t *Term) Render() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.emu.Render()
}

// Cells is a copy of the screen, by row and column. A cell to the right of a wide one has width 0.
func (t *Term) Cells() [][]uv.Cell {
	t.mu.Lock()
	defer t.mu.Unlock()
	rows := make([][]uv.Cell, t.emu.Height())
	for y := range rows {
		rows[y] = make([]uv.Cell, t.emu.Width())
		for x := range rows[y] {
			if c := t.emu.CellAt(x, y); c != nil {
				rows[y][x] = *c
			}
		}
	}
	return rows
}

// AltScreen tells whether the program has the alternate screen.
func (t *Term) AltScreen() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.emu.IsAltScreen()
}

// Clipboard is what the program put on the terminal's clipboard last. It waits for the first time, for at most limit.
func (t *Term) Clipboard(limit time.Duration) string {
	var text string
	t.poll(limit, func() bool {
		t.mu.Lock()
		defer t.mu.Unlock()
		text = t.clipboard
		return text != ""
	})
	return text
}

// Title is the title of the window.
func (t *Term) Title() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.title
}

// poll asks cond until it says yes, for at most limit.
func (t *Term) poll(limit time.Duration, cond func() bool) bool {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	end := time.NewTimer(limit)
	defer end.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-end.C:
			return cond()
		}
	}
	return true
}

// Wait waits until the screen holds text. The error shows the screen.
func (t *Term) Wait(text string, limit time.Duration) error {
	if t.poll(limit, func() bool { return strings.Contains(t.Screen(), text) }) {
		return nil
	}
	return fmt.Errorf("no %q on the screen within %s:\n%s", text, limit, t.Screen())
}

// WaitGone waits until the screen does not hold text.
func (t *Term) WaitGone(text string, limit time.Duration) error {
	if t.poll(limit, func() bool { return !strings.Contains(t.Screen(), text) }) {
		return nil
	}
	return fmt.Errorf("%q is still on the screen after %s:\n%s", text, limit, t.Screen())
}

// Settle waits until the screen has not changed for quiet, for at most limit.
func (t *Term) Settle(quiet, limit time.Duration) {
	t.poll(limit, func() bool {
		t.mu.Lock()
		defer t.mu.Unlock()
		return time.Since(t.changed) >= quiet
	})
}

// Exit waits until the program has ended and returns its exit status, -1 for a signal.
func (t *Term) Exit(limit time.Duration) (int, error) {
	end := time.NewTimer(limit)
	defer end.Stop()
	select {
	case <-t.done:
	case <-end.C:
		return 0, fmt.Errorf("still running after %s:\n%s", limit, t.Screen())
	}
	var exit *exec.ExitError
	if errors.As(t.err, &exit) {
		return exit.ExitCode(), nil
	}
	return 0, t.err
}
