package work

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	tea "charm.land/bubbletea/v2"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestClosingAPoolCancelsAndWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(t.Context())
		ended := false
		cmd := p.Do(func(ctx context.Context) tea.Msg {
			<-ctx.Done()
			time.Sleep(time.Second) // cleaning up takes a while
			ended = true
			return nil
		})
		go cmd()
		synctest.Wait()
		p.Close()
		if !ended {
			t.Error("Close did not wait")
		}
		if msg := p.Do(func(context.Context) tea.Msg { return "late" })(); msg != nil {
			t.Errorf("a command ran after Close: %v", msg)
		}
		p.Close()
	})
}

func TestClosingAScopeEndsItsCommandsAndNoOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(t.Context())
		a, b := p.Scope(), p.Scope()
		if a.ID == b.ID {
			t.Fatal("two scopes of one ID")
		}
		ended := make(chan ID, 2)
		for _, s := range []Scope{a, b} {
			go s.Do(func(ctx context.Context) tea.Msg {
				<-ctx.Done()
				ended <- s.ID
				return nil
			})()
		}
		a.Close()
		a.Close()
		synctest.Wait()
		if len(ended) != 1 || <-ended != a.ID {
			t.Error("not exactly the closed scope has ended")
		}
		p.Close()
		Scope{}.Close()
	})
}

func TestAPanicOfACommandIsAMessage(t *testing.T) {
	p := New(t.Context())
	c, ok := p.Scope().Do(func(context.Context) tea.Msg { panic("a bug") })().(Crash)
	if !ok || c.Value != "a bug" || !strings.Contains(string(c.Stack), "work_test.go") {
		t.Errorf("got %+v", c)
	}
	_ = p.Do(func(context.Context) tea.Msg { panic("another") })()
	p.Close()
	if got := p.Crashed(); got == nil || got.Value != "a bug" {
		t.Errorf("the first panic is %+v", got)
	}
}

func TestAfterWaitsOrEndsWithThePool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(t.Context())
		begin := time.Now()
		if got := p.After(3*time.Second, func(at time.Time) tea.Msg { return at.Sub(begin) })(); got != 3*time.Second {
			t.Errorf("got %v", got)
		}
		done := make(chan tea.Msg, 1)
		go func() { done <- p.After(time.Hour, func(time.Time) tea.Msg { return "late" })() }()
		synctest.Wait()
		p.Close()
		if got := <-done; got != nil {
			t.Errorf("got %v", got)
		}
	})
}

func TestASubScopeExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(t.Context())
		defer p.Close()
		s := p.Scope()
		sub := s.Sub(time.Second)
		if sub.ID != s.ID || sub.Expired() {
			t.Error("a sub-scope begins with another ID, or expired")
		}
		time.Sleep(2 * time.Second)
		if !sub.Expired() || s.Expired() {
			t.Error("the limit is not the sub-scope's own")
		}
		other := s.Sub(time.Hour)
		other.Close()
		if other.Expired() {
			t.Error("closing is not expiring")
		}
	})
}

func TestNextTakesWhatIsThereInBatches(t *testing.T) {
	p := New(t.Context())
	defer p.Close()
	s := p.Scope()
	ch := make(chan int, 100)
	for i := range 70 {
		ch <- i
	}
	first := Next(s, 7, ch)().(Batch[int])
	if len(first.Items) != batchSize || first.Closed || first.Gen != 7 || first.Addressee() != s.ID {
		t.Fatalf("got %d items, %+v", len(first.Items), first)
	}
	close(ch)
	second := Next(s, 7, ch)().(Batch[int])
	if len(second.Items) != 6 || !second.Closed || second.Items[5] != 69 {
		t.Fatalf("got %+v", second)
	}
	if third := Next(s, 7, ch)().(Batch[int]); !third.Closed || len(third.Items) != 0 {
		t.Fatalf("got %+v", third)
	}
}

func TestNextEndsWithItsScope(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(t.Context())
		s := p.Scope()
		got := make(chan tea.Msg, 1)
		go func() { got <- Next(s, 0, make(chan int))() }()
		synctest.Wait()
		s.Close()
		if b := (<-got).(Batch[int]); !b.Closed {
			t.Errorf("got %+v", b)
		}
		p.Close()
	})
}
