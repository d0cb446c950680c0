package reading

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	tea "charm.land/bubbletea/v2"
	"go.uber.org/goleak"

	"dbops/internal/app"
	"dbops/internal/tui/internal/fake"
	"dbops/internal/tui/work"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start")) // a cloud SDK starts it on import
}

// finish runs a reader until its reading is done.
func finish(t *testing.T, r Many[app.Status], cmd tea.Cmd) (Many[app.Status], []app.Status, Got[app.Status]) {
	t.Helper()
	var all []app.Status
	for range 100 {
		var res Got[app.Status]
		var ok bool
		r, cmd, res, ok = r.Update(cmd())
		if !ok {
			t.Fatal("a message of the reading was not taken")
		}
		all = append(all, res.Answers...)
		if res.Done {
			return r, all, res
		}
	}
	t.Fatal("the reading does not end")
	return r, nil, Got[app.Status]{}
}

func TestAReadingBringsEveryAnswer(t *testing.T) {
	p := work.New(t.Context())
	defer p.Close()
	r := Status(fake.New(time.Now), p.Scope(), "staging", "")
	r, cmd := r.Start(time.Now())
	if !r.Loading() {
		t.Error("it is not loading")
	}
	r, all, res := finish(t, r, cmd)
	if len(all) != 3 || res.Err != nil || res.Silent != nil || r.Loading() {
		t.Errorf("%d answers, %+v, loading %v", len(all), res, r.Loading())
	}
}

func TestAnAnswerOfAnEarlierReadingIsDropped(t *testing.T) {
	p := work.New(t.Context())
	defer p.Close()
	r := Status(fake.New(time.Now), p.Scope(), "", "")
	r, first := r.Start(time.Now())
	late := first()
	r, second := r.Start(time.Now())
	if _, _, _, ok := r.Update(late); ok {
		t.Error("an answer of the first reading was taken by the second")
	}
	if _, all, _ := finish(t, r, second); len(all) == 0 {
		t.Error("the second reading brought nothing")
	}
	if _, _, _, ok := r.Cancel().Update(late); ok {
		t.Error("an answer was taken after cancelling")
	}
}

func TestABatchOfAnEarlierReadingIsDropped(t *testing.T) {
	p := work.New(t.Context())
	defer p.Close()
	r := Status(fake.New(time.Now), p.Scope(), "", "")
	r, open := r.Start(time.Now())
	r, next, _, _ := r.Update(open())
	batch := next()
	later, _ := r.Start(time.Now())
	if _, _, _, ok := later.Update(batch); ok {
		t.Error("a batch of the first reading was taken by the second")
	}
	if _, _, _, ok := r.Update(batch); !ok {
		t.Error("a batch was not taken by its own reading")
	}
}

func TestAReadingIsGivenUpAtTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := work.New(t.Context())
		defer p.Close()
		c := fake.New(time.Now)
		c.Delay("prod/ledger", time.Hour)
		r := Status(c, p.Scope(), "", "")
		begin := time.Now()
		r, cmd := r.Start(begin)
		_, all, res := finish(t, r, cmd)
		if d := time.Since(begin); d != Limit {
			t.Errorf("given up after %s", d)
		}
		if len(all) != 10 || res.Silent == nil {
			t.Errorf("%d answers, %+v", len(all), res)
		}
	})
}

func TestAReadingThatCannotBeginSaysWhy(t *testing.T) {
	p := work.New(t.Context())
	defer p.Close()
	c := fake.New(time.Now)
	c.FailLoad(errors.New("no such environment"))
	r := Status(c, p.Scope(), "", "")
	r, cmd := r.Start(time.Now())
	if _, _, res := finish(t, r, cmd); res.Err == nil {
		t.Error("no error")
	}
}
