package tui

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/charmbracelet/x/vt"

	"dbops/internal/fault"
	"dbops/internal/tui/internal/fake"
	"dbops/internal/tui/tuitest/console"
)

// line is a terminal at the end of a slow line. It must be used inside [synctest.Test], where its slowness takes no time.
type line struct {
	t     *testing.T
	core  *fake.Core
	pace  time.Duration // that a byte takes
	stuck chan struct{} // closed: nothing is taken any more
	gone  chan struct{} // closed: there is no terminal any more

	mu    sync.Mutex
	emu   *vt.Emulator
	bytes int
	keys  *io.PipeWriter
	sizes chan Size
	done  chan error
}

func (l *line) Write(p []byte) (int, error) {
	all := len(p)
	for len(p) > 0 {
		select {
		case <-l.stuck:
			<-l.gone
		default:
		}
		select {
		case <-l.gone:
			return 0, io.ErrClosedPipe
		default:
		}
		n := min(len(p), 64)
		<-time.NewTimer(time.Duration(n) * l.pace).C
		l.mu.Lock()
		_, _ = l.emu.Write(p[:n])
		l.bytes += n
		l.mu.Unlock()
		p = p[n:]
	}
	return all, nil
}

// dial shows the terminal UI at the end of a line that takes so many bytes a second.
func dial(ctx context.Context, t *testing.T, w, h, perSecond int) *line {
	t.Helper()
	l := &line{
		t: t, core: fake.New(time.Now), pace: time.Second / time.Duration(perSecond), stuck: make(chan struct{}), gone: make(chan struct{}), emu: console.Emulator(w, h),
		sizes: make(chan Size), done: make(chan error, 1),
	}
	in, keys := io.Pipe()
	l.keys = keys
	var answers sync.WaitGroup
	answers.Go(func() { _, _ = io.Copy(io.Discard, l.emu) })
	go func() {
		l.done <- Run(ctx, l.core, Options{
			Terminal: &Terminal{In: in, Out: l, Size: Size{w, h}, Sizes: l.sizes}, Env: []string{"TERM=xterm-256color", "LANG=C.UTF-8"},
		})
	}()
	t.Cleanup(func() {
		_ = in.Close()
		if pipe, ok := l.emu.InputPipe().(io.Closer); ok {
			_ = pipe.Close()
		}
		answers.Wait()
	})
	return l
}

func (l *line) screen() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.emu.String()
}

func (l *line) press(keys string) {
	l.t.Helper()
	for _, k := range keys {
		if _, err := l.keys.Write([]byte(string(k))); err != nil {
			l.t.Fatal(err)
		}
		<-time.NewTimer(20 * time.Millisecond).C
	}
}

// within waits until cond holds, for at most d.
func (l *line) within(d time.Duration, what string, cond func() bool) {
	l.t.Helper()
	for end := time.Now().Add(d); !cond(); <-time.NewTimer(10 * time.Millisecond).C {
		if time.Now().After(end) {
			l.t.Fatalf("%s: not within %s:\n%s", what, d, l.screen())
		}
	}
}

func (l *line) shows(words string) func() bool {
	return func() bool { return strings.Contains(l.screen(), words) }
}

func TestASlowTerminalHoldsUpNoKeysAndSkipsFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const perSecond = 2 << 10
		l := dial(t.Context(), t, 80, 24, perSecond)
		l.within(time.Minute, "the first frame", l.shows("q quit"))
		l.press("p")
		l.within(time.Minute, "the proxy's page", l.shows("not started"))
		l.mu.Lock()
		before := l.bytes
		l.mu.Unlock()
		l.press("?")                       // a frame that takes long
		l.press("\x1b")                    // and another
		<-time.NewTimer(time.Second).C     // esc is told from a sequence
		l.press(strings.Repeat("jkl", 60)) // 180 frames
		l.press("t")
		l.within(time.Second, "a key that starts the proxy", func() bool { return len(l.core.Proxies()) == 1 })
		l.within(20*time.Second, "the last frame", l.shows("listening on 127.0.0.1:6432"))
		l.mu.Lock()
		wrote := l.bytes - before
		l.mu.Unlock()
		if wrote > 60<<10 {
			t.Errorf("%d bytes were written for what one frame shows", wrote)
		}
		l.press("q")
		<-time.NewTimer(time.Second).C
		l.press("q")
		l.within(20*time.Second, "the question", l.shows("Quit dbops"))
		l.press("y")
		if err := <-l.done; err != nil {
			t.Error(err)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.emu.IsAltScreen() {
			t.Error("the alternate screen was left on")
		}
	})
}

func TestATerminalThatTakesNothingIsLeft(t *testing.T) {
	for _, how := range []string{"key", "signal"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				l := dial(ctx, t, 200, 60, 1<<20)
				l.within(time.Minute, "the first frame", l.shows("q quit"))
				close(l.stuck)
				l.press("p")
				for i := range 500 { // all frames, if they were drawn
					l.sizes <- Size{100 + i%90, 30 + i%20}
				}
				<-time.NewTimer(time.Second).C
				switch how {
				case "key":
					l.press("\x1b")
					<-time.NewTimer(time.Second).C
					l.press("q")
				default:
					cancel(errors.New("told to end"))
				}
				began := time.Now()
				err := <-l.done
				if took := time.Since(began); took > 2*lastBytes {
					t.Errorf("it took %s", took)
				}
				close(l.gone)
				if how == "signal" && fault.KindOf(err) != fault.Interrupted || how == "key" && err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestAStormOfSizesEndsInAFrameThatFits(t *testing.T) {
	for _, perSecond := range []int{1 << 24, 8 << 10} {
		t.Run(fmt.Sprint(perSecond), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := dial(t.Context(), t, 80, 24, perSecond)
				l.within(time.Minute, "the first frame", l.shows("q quit"))
				resize := func(w, h int) {
					l.mu.Lock()
					l.emu.Resize(w, h)
					l.mu.Unlock()
					l.sizes <- Size{w, h}
				}
				for i := range 100 {
					resize(1+i*37%300, 1+i*17%100)
				}
				for _, s := range []Size{{1, 1}, {20, 5}, {300, 100}, {1, 100}, {300, 1}} {
					resize(s.W, s.H)
				}
				resize(24, 6)
				l.within(time.Minute, "what it needs", func() bool {
					return strings.Join(strings.Fields(l.screen()), " ") == "dbops needs 60x15 cells, this terminal has 24x6: keys do nothing, ctrl+c twice quits"
				})
				resize(100, 30)
				l.within(time.Minute, "the last frame", func() bool {
					rows := strings.Split(l.screen(), "\n")
					return len(rows) == 30 && strings.HasPrefix(rows[0], " dbops") && strings.Contains(rows[29], "q quit")
				})
				l.press("q")
				if err := <-l.done; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestATerminalThatIsGoneEndsTheProgram(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := dial(t.Context(), t, 80, 24, 1<<20)
		l.within(time.Minute, "the first frame", l.shows("q quit"))
		l.press("p")
		l.within(time.Minute, "the proxy's page", l.shows("not started"))
		l.press("t")
		l.within(time.Minute, "the proxy", l.shows("listening on 127.0.0.1:6432"))
		close(l.gone)
		err := <-l.done
		if fault.KindOf(err) != fault.Interrupted || !strings.Contains(err.Error(), "the terminal is gone") {
			t.Error(err)
		}
		if n := l.core.Proxies()[0].Closes(); n != 1 {
			t.Errorf("its proxy was closed %d times", n)
		}
	})
}
