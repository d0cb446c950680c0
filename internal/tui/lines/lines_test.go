package lines_test

import (
	"bytes"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"dbops/internal/tui"
	"dbops/internal/tui/internal/fake"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start")) // a cloud SDK starts it on import
}

// night is when every test happens.
var night = time.Date(2026, 11, 21, 3, 12, 4, 0, time.UTC)

// paper is what is written for the person.
type paper struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (p *paper) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.b.Write(b)
}

func (p *paper) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.b.String()
}

// person types lines and hears what is said.
type person struct {
	t         *testing.T
	core      *fake.Core
	in        *io.PipeWriter
	paper     *paper
	interrupt chan os.Signal
	heard     int
	ended     chan error
	gone      bool  // Run has returned
	err       error // what it returned
}

// talk runs f with the terminal UI read out to a person, in a bubble in which time passes only when f says so.
func talk(t *testing.T, setup func(*fake.Core), f func(*person)) {
	t.Helper()
	talkAt(t, nil, setup, f)
}

// talkAt is talk at a terminal that is so wide.
func talkAt(t *testing.T, cells func() int, setup func(*fake.Core), f func(*person)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		now := func() time.Time { return night.Add(time.Since(began)) }
		r, w := io.Pipe()
		p := &person{t: t, core: fake.New(now), in: w, paper: &paper{}, interrupt: make(chan os.Signal, 1), ended: make(chan error, 1)}
		if setup != nil {
			setup(p.core)
		}
		go func() {
			err := tui.Run(t.Context(), p.core, tui.Options{
				Env: []string{"LANG=C.UTF-8"}, Version: "v1.2.3", Now: now, Lines: &tui.Lines{In: r, Out: p.paper, Interrupt: p.interrupt, Echo: true, Cells: cells},
			})
			_ = r.Close()
			p.ended <- err
		}()
		defer func() {
			_ = w.Close()
			p.over(30 * time.Second)
		}()
		synctest.Wait()
		f(p)
	})
}

// over waits until Run has returned.
func (p *person) over(within time.Duration) {
	p.t.Helper()
	if p.gone {
		return
	}
	select {
	case p.err = <-p.ended:
		p.gone = true
	case <-time.NewTimer(within).C:
		p.t.Fatalf("it has not ended:\n%s", p.paper)
	}
}

// say types lines, each after the one before was answered, and returns what was said from then on.
func (p *person) say(lines ...string) string {
	p.t.Helper()
	p.hear()
	for _, l := range lines {
		if _, err := io.WriteString(p.in, l+"\n"); err != nil {
			p.t.Fatalf("say %q: %v\n%s", l, err, p.paper)
		}
		synctest.Wait()
	}
	return p.hear()
}

// hear is what was said since the last time.
func (p *person) hear() string {
	synctest.Wait()
	all := p.paper.String()
	said := all[p.heard:]
	p.heard = len(all)
	for _, c := range said {
		if c < ' ' && c != '\n' || c == 0x7f {
			p.t.Errorf("the control character %U was written: %q", c, said)
			break
		}
	}
	return said
}

// pass lets time pass, and returns what was said in it.
func (p *person) pass(d time.Duration) string {
	<-time.NewTimer(d).C
	return p.hear()
}

// want fails unless the texts were said in this order.
func (p *person) want(said string, texts ...string) {
	p.t.Helper()
	rest := said
	for _, w := range texts {
		_, after, ok := strings.Cut(rest, w)
		if !ok {
			p.t.Fatalf("%q was not said, or not behind the texts before it:\n%s", w, said)
		}
		rest = after
	}
}

// wantNot fails if one of the texts was said.
func (p *person) wantNot(said string, texts ...string) {
	p.t.Helper()
	for _, w := range texts {
		if strings.Contains(said, w) {
			p.t.Fatalf("%q was said:\n%s", w, said)
		}
	}
}
