package app

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"dbops/internal/fault"
)

// plane is a control plane that can be down.
type plane struct {
	asked atomic.Int32
	mu    sync.Mutex
	err   error
	takes time.Duration
	says  string
}

func (p *plane) ask(ctx context.Context) (string, error) {
	p.asked.Add(1)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.takes > 0 {
		t := time.NewTimer(p.takes)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	return p.says, p.err
}

func (p *plane) set(says string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.says, p.err = says, err
}

var errDown = fault.Newf(fault.Unavailable, "ask", "503")

// inTime runs f where hours take no time.
func inTime(t *testing.T, o terms, f func(p *plane, r *room, get func() (string, error), m *remembered[string])) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom()
		defer r.close()
		p := &plane{says: "a"}
		m := &remembered[string]{terms: o, ask: p.ask}
		f(p, r, func() (string, error) { return m.get(t.Context(), r) }, m)
	})
}

func TestAControlPlaneThatIsDownForAnHour(t *testing.T) {
	inTime(t, terms{op: "ask where it is", fresh: 5 * time.Minute}, func(p *plane, _ *room, get func() (string, error), _ *remembered[string]) {
		for range 100 {
			if got, err := get(); got != "a" || err != nil {
				t.Fatalf("%q %v", got, err)
			}
		}
		if n := p.asked.Load(); n != 1 {
			t.Errorf("100 connections asked %d times", n)
		}
		p.set("", errDown)
		for range 3600 { // a connection a second
			time.Sleep(time.Second)
			if got, err := get(); got != "a" || err != nil {
				t.Fatalf("while it is down: %q %v", got, err)
			}
		}
		if n := p.asked.Load(); n < 100 || n > 400 {
			t.Errorf("it was asked %d times in an hour: want about every ten seconds once the answer was old", n)
		}
		p.set("b", nil)
		time.Sleep(rememberRetry)
		if got, err := get(); got != "b" || err != nil {
			t.Errorf("when it is back: %q %v", got, err)
		}
	})
}

func TestWhatIsKeptForAnHourIsNotUsedLonger(t *testing.T) {
	inTime(t, terms{op: "read secret x", fresh: time.Minute, keep: time.Hour}, func(p *plane, _ *room, get func() (string, error), _ *remembered[string]) {
		_, _ = get()
		p.set("", errDown)
		time.Sleep(59 * time.Minute)
		if got, err := get(); got != "a" || err != nil {
			t.Errorf("%q %v", got, err)
		}
		time.Sleep(2 * time.Minute)
		if _, err := get(); !errors.Is(err, error(errDown)) {
			t.Errorf("%v", err)
		}
	})
}

func TestOneAsksForAllAndASlowAnswerHoldsNobodyUp(t *testing.T) {
	inTime(t, terms{op: "ask", fresh: time.Minute}, func(p *plane, _ *room, get func() (string, error), m *remembered[string]) {
		p.takes = 10 * time.Second
		begin := time.Now()
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if got, err := get(); got != "a" || err != nil {
					t.Errorf("%q %v", got, err)
				}
			})
		}
		wg.Wait()
		if n, took := p.asked.Load(), time.Since(begin); n != 1 || took != 10*time.Second {
			t.Errorf("asked %d times in %s", n, took)
		}
		time.Sleep(2 * time.Minute)
		begin = time.Now()
		if got, err := get(); got != "a" || err != nil || time.Since(begin) != rememberWait {
			t.Errorf("%q %v after %s", got, err, time.Since(begin))
		}
		time.Sleep(20 * time.Second)
		if !m.doubt() {
			t.Error("there was nothing to doubt")
		}
		begin = time.Now()
		if got, err := get(); got != "a" || err != nil || time.Since(begin) != rememberDoubt {
			t.Errorf("doubted: %q %v after %s", got, err, time.Since(begin))
		}
	})
}

func TestWhatIsDoubtedIsAskedAnew(t *testing.T) {
	inTime(t, terms{op: "ask", fresh: time.Hour}, func(p *plane, _ *room, get func() (string, error), m *remembered[string]) {
		if m.doubt() {
			t.Error("there was nothing to doubt yet")
		}
		_, _ = get()
		p.set("b", nil)
		if got, _ := get(); got != "a" {
			t.Errorf("%q", got)
		}
		m.doubt()
		if got, _ := get(); got != "b" {
			t.Errorf("%q", got)
		}
	})
}

func TestAThingThatIsGoneIsNotRemembered(t *testing.T) {
	inTime(t, terms{op: "ask", fresh: time.Minute}, func(p *plane, _ *room, get func() (string, error), _ *remembered[string]) {
		_, _ = get()
		p.set("", fault.Newf(fault.NotFound, "ask", "no such thing"))
		time.Sleep(time.Hour)
		if _, err := get(); fault.KindOf(err) != fault.NotFound {
			t.Errorf("%v", err)
		}
	})
}

func TestWhoAsksCanGoAwayAndARoomThatIsClosedAsksNobody(t *testing.T) {
	inTime(t, terms{op: "ask", fresh: time.Minute}, func(p *plane, r *room, get func() (string, error), m *remembered[string]) {
		p.takes = time.Minute
		ctx, cancel := context.WithTimeout(context.Background(), time.Second) // not the test's, which is outside
		defer cancel()
		if _, err := m.get(ctx, r); fault.KindOf(err) != fault.Unavailable || fault.HintOf(err) == "" {
			t.Errorf("%v", err)
		}
		r.close() // ends the question
		if _, err := get(); fault.KindOf(err) != fault.Interrupted {
			t.Errorf("%v", err)
		}
	})
}

// The wall clock goes on while a laptop sleeps, the monotonic one does not.
func TestTheClockOfWhatIsRememberedIsTheWalls(t *testing.T) {
	r := newRoom()
	defer r.close()
	now := r.now()
	if now.String() != now.Round(0).String() {
		t.Errorf("%s has a monotonic reading", now)
	}
	jump := time.Duration(0)
	r.now = func() time.Time { return now.Add(jump) }
	p := &plane{says: "a"}
	m := &remembered[string]{terms: terms{op: "ask", fresh: 5 * time.Minute}, ask: p.ask}
	_, _ = m.get(t.Context(), r)
	p.set("b", nil)
	jump = 8 * time.Hour
	if got, err := m.get(t.Context(), r); got != "b" || err != nil {
		t.Errorf("after a night: %q %v", got, err)
	}
}
