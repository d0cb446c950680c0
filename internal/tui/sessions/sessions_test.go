package sessions

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"dbops/internal/app"
	"dbops/internal/proxy"
	"dbops/internal/tui/internal/fake"
	"dbops/internal/tui/work"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start")) // a cloud SDK starts it on import
}

func TestAKeeperClosesEachProxyOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, k := fake.New(time.Now), NewKeeper()
		defer k.Hurry()
		p, err := k.Open(t.Context(), c, app.ProxyOptions{Environment: "prod"})
		if err != nil {
			t.Fatal(err)
		}
		f := c.Proxies()[0]
		f.Connect(proxy.Connection{})
		f.DrainFor(5 * time.Second)
		var wg sync.WaitGroup
		begin := time.Now()
		for range 3 {
			wg.Go(func() {
				if err := k.Close(t.Context(), p); err != nil {
					t.Error(err)
				}
				if d := time.Since(begin); d != 5*time.Second {
					t.Errorf("a closer waited %s", d)
				}
			})
		}
		wg.Go(func() { _ = k.CloseAll(t.Context()) })
		wg.Wait()
		if n := f.Closes(); n != 1 {
			t.Errorf("closed %d times", n)
		}
	})
}

func TestADrainEndsAtTheLimitOrInAHurryAndNotWithTheCaller(t *testing.T) {
	for name, c := range map[string]struct {
		hurry time.Duration
		want  time.Duration
	}{"limit": {time.Hour, CloseLimit}, "hurry": {2 * time.Second, 2 * time.Second}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				co, k := fake.New(time.Now), NewKeeper()
				p, err := k.Open(t.Context(), co, app.ProxyOptions{Environment: "prod"})
				if err != nil {
					t.Fatal(err)
				}
				co.Proxies()[0].Connect(proxy.Connection{})
				co.Proxies()[0].DrainFor(time.Hour)
				hurry := time.AfterFunc(c.hurry, k.Hurry)
				defer hurry.Stop()
				defer k.Hurry()
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				begin := time.Now()
				if err := k.Close(ctx, p); err == nil {
					t.Error("a drain that was cut short is no error")
				}
				if d := time.Since(begin); d != c.want {
					t.Errorf("waited %s, want %s", d, c.want)
				}
			})
		})
	}
}

func TestAProxyThatOpensTooLateIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, k := fake.New(time.Now), NewKeeper()
		defer k.Hurry()
		c.FailOpen(time.Second, nil)
		done := make(chan error)
		go func() {
			_, err := k.Open(t.Context(), c, app.ProxyOptions{Environment: "prod"})
			done <- err
		}()
		synctest.Wait()
		if err := k.CloseAll(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, errLeaving) {
			t.Errorf("got %v", err)
		}
		if n := c.Proxies()[0].Closes(); n != 1 {
			t.Errorf("closed %d times", n)
		}
	})
}

func TestAProxyThatOpenedAlthoughItsStartWasCancelledIsClosed(t *testing.T) {
	c, k, pool := fake.New(time.Now), NewKeeper(), work.New(t.Context())
	defer k.Hurry()
	defer pool.Close()
	s := NewSet(c, pool, k, time.Now)
	s, start := s.Start(app.ProxyOptions{Environment: "prod"}, time.Now())
	opened := start().(work.Addressed) // it listens, but nobody has heard of it yet
	s, _ = s.Stop("prod", time.Now())
	s, closing, _, ok := s.Update(opened)
	if !ok || closing == nil {
		t.Fatal("nobody closes it")
	}
	s, _, notes, _ := s.Update(closing().(work.Addressed))
	if n := c.Proxies()[0].Closes(); n != 1 || s.States()["prod"].Phase != Stopped || len(notes) != 1 {
		t.Errorf("closed %d times, phase %d, notes %v", n, s.States()["prod"].Phase, notes)
	}
}

func TestAProxyThatNobodyWaitsForIsClosed(t *testing.T) {
	c, k, pool := fake.New(time.Now), NewKeeper(), work.New(t.Context())
	defer k.Hurry()
	defer pool.Close()
	_, start := NewSet(c, pool, k, time.Now).Start(app.ProxyOptions{Environment: "prod"}, time.Now())
	_, closing, _, ok := NewSet(c, pool, k, time.Now).Update(start().(work.Addressed))
	if !ok || closing == nil {
		t.Fatal("nobody closes it")
	}
	if closing(); c.Proxies()[0].Closes() != 1 {
		t.Error("it was not closed")
	}
}

func TestAStatePrintsNoPassword(t *testing.T) {
	st := State{}.withURIs([]app.DatabaseURI{{Database: "orders", URI: "postgresql://dbops:" + fake.Password + "@h/orders"}})
	if s := fmt.Sprintf("%v %+v %#v", st, st, st); strings.Contains(s, fake.Password) {
		t.Error("a printed state shows the password")
	}
	if st.URIs[0].Masked != "postgresql://dbops:****@h/orders" {
		t.Errorf("masked as %s", st.URIs[0].Masked)
	}
}

func TestEventsAndSamplesAreBounded(t *testing.T) {
	var st State
	at := time.Unix(0, 0)
	for i := range 600 {
		st = st.withEvents(make([]proxy.Event, 10))
		at = at.Add(time.Second)
		st = st.withSample(sampledMsg{at: at, totals: proxy.Totals{FromClient: int64(i) * 100}})
	}
	if len(st.Events) != keepEvents || len(st.Sent) != keepSamples {
		t.Errorf("%d events, %d samples", len(st.Events), len(st.Sent))
	}
	if r := st.Rate(); r.Sent != 100 {
		t.Errorf("rate %d", r.Sent)
	}
}

func TestAValueIsNotChangedByItsSuccessor(t *testing.T) {
	a := State{}.withEvents([]proxy.Event{{Text: "one"}})
	b, c := a.withEvents([]proxy.Event{{Text: "two"}}), a.withEvents([]proxy.Event{{Text: "three"}})
	if b.Events[1].Text != "two" || c.Events[1].Text != "three" || len(a.Events) != 1 {
		t.Error("two successors share their events")
	}
}
