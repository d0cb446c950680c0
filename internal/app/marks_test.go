package app

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/sandbox/statetest"
	"dbops/internal/state"
)

// labelled is a cloud whose instance has a label, and counts what is changed.
type labelled struct {
	cloud.Changer
	labels   map[string]string
	state    cloud.State
	modified int
	err      error // of the next request
}

func (l *labelled) Get(context.Context, string) (*cloud.Instance, error) {
	err := l.err
	l.err = nil
	return &cloud.Instance{Labels: l.labels, State: l.state, RawState: "raw"}, err
}

func (l *labelled) Modify(_ context.Context, _ string, m cloud.Modify) (cloud.Receipt, error) {
	l.modified++
	for _, one := range m.Settings.Labels {
		l.labels[one.Key] = one.Value
		if one.Remove {
			delete(l.labels, one.Key)
		}
	}
	return cloud.Receipt{}, nil
}

func (l *labelled) Progress(context.Context, cloud.Receipt) (cloud.Progress, error) {
	return cloud.Progress{Done: true}, nil
}

func (l *labelled) marks(err error) marks {
	return marks{changer: func(context.Context, string, string) (cloud.Changer, string, error) {
		if err != nil {
			return nil, "", err
		}
		return l, "main", nil
	}}
}

var marked = op.Target{Environment: "prod", Instance: "main"}

func markedBy(run string) *op.Session {
	return &op.Session{Plan: &op.Plan{Target: marked}, Run: run}
}

func never(string) bool { return false }

func TestOnlyAPlainServerIsChangedWithoutAMark(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		err  error
		pass bool
	}{
		{"a plain server", fault.New(fault.Invalid, "change prod/main", cloud.ErrUnsupported), true},
		{"no credentials", fault.Newf(fault.Config, "load the credentials", "there are none"), false},
		{"an instance that dbops.yaml does not name any more", fault.Newf(fault.Usage, "", "there is no instance main"), false},
		{"something else that is invalid", fault.Newf(fault.Invalid, "ask", "no"), false},
	} {
		m := new(labelled).marks(c.err)
		for what, err := range map[string]error{
			"lock": m.Lock(t.Context(), markedBy("r1"), time.Now().Add(time.Hour), never), "unlock": m.Unlock(t.Context(), marked, "r1"),
		} {
			if c.pass != (err == nil) || !c.pass && !errors.Is(err, c.err) {
				t.Errorf("%s: %s: %v", c.name, what, err)
			}
		}
	}
	l := &labelled{err: fault.Newf(fault.Unavailable, "describe main", "nobody answers")}
	if err := l.marks(nil).Lock(t.Context(), markedBy("r1"), time.Now().Add(time.Hour), never); fault.KindOf(err) != fault.Unavailable || l.modified > 0 {
		t.Errorf("an instance that does not answer: %v, and %d changes", err, l.modified)
	}
}

func TestAMarkIsSetAgainWhenHalfOfItsTimeIsOver(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		run      string
		left     time.Duration
		ended    bool
		modified int
		err      string
	}{
		{"no mark", "", 0, false, 1, ""},
		{"its own, of which most is left", "r1", 20 * time.Hour, false, 0, ""},
		{"its own, of which less than half is left", "r1", 11 * time.Hour, false, 1, ""},
		{"its own, which is over", "r1", -time.Hour, false, 1, ""},
		{"another run's", "r2", time.Hour, false, 0, "run r2 of another store changes it"},
		{"another run's, which is over", "r2", -time.Hour, false, 1, ""},
		{"another run's, which is known to have ended", "r2", time.Hour, true, 1, ""},
	} {
		l := &labelled{labels: map[string]string{}}
		if c.run != "" {
			l.labels[cloud.LeaseLabel] = fmt.Sprintf("%s-%d", c.run, time.Now().Add(c.left).Unix())
		}
		until := time.Now().Add(24 * time.Hour)
		err := l.marks(nil).Lock(t.Context(), markedBy("r1"), until, func(string) bool { return c.ended })
		if (c.err == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.err) || l.modified != c.modified {
			t.Errorf("%s: %v, %d changes", c.name, err, l.modified)
		}
		if c.modified > 0 && l.labels[cloud.LeaseLabel] != fmt.Sprintf("r1-%d", until.Unix()) {
			t.Errorf("%s: the label is %q", c.name, l.labels[cloud.LeaseLabel])
		}
		if err := l.marks(nil).Unlock(t.Context(), marked, "r1"); err != nil || c.err == "" && len(l.labels) > 0 || c.err != "" && len(l.labels) == 0 {
			t.Errorf("%s: unlocked: %v, %v", c.name, err, l.labels)
		}
	}
}

// slowLabel is a cloud that takes its time for a label.
type slowLabel struct {
	*labelled
	asked int
}

func (l *slowLabel) Progress(context.Context, cloud.Receipt) (cloud.Progress, error) {
	l.asked++
	return cloud.Progress{Done: l.asked > 1, Status: "UPDATE RUNNING"}, nil
}

func TestThoseWhoWatchAreToldThatTheMarkIsWaitedFor(t *testing.T) {
	t.Parallel()
	slow := &slowLabel{labelled: &labelled{labels: map[string]string{}}}
	kind := op.Operation[int, int]{
		Kind:    "nothing",
		Observe: func(context.Context, op.Target, int) (int, error) { return 0, nil },
		Derive: func(op.Target, int, int) op.Draft {
			return op.Draft{Title: "do nothing", Changes: []op.Change{{Setting: "x", To: "y"}}}
		},
		Steps: func(op.Target, int, int) []op.Step {
			return []op.Step{{Name: "nothing", Do: func(context.Context, *op.Session) (op.Result, error) { return op.Result{}, nil }}}
		},
	}.AsKind()
	kinds, err := op.NewRegistry(kind)
	if err != nil {
		t.Fatal(err)
	}
	e := op.New(statetest.New(t, "sqlite").Store(t), kinds, op.Options{
		Poll: 20 * time.Millisecond, Locker: marks{changer: func(context.Context, string, string) (cloud.Changer, string, error) { return slow, "main", nil }},
	})
	me := op.Actor{Name: "alice", Via: op.ViaGoogle}
	p, err := e.Plan(t.Context(), op.PlanRequest{Kind: "nothing", Target: marked, Request: 1, Requester: me})
	if err != nil {
		t.Fatal(err)
	}
	run, _, err := e.Submit(t.Context(), p, op.SubmitOptions{Actor: me})
	if err != nil {
		t.Fatal(err)
	}
	told := false
	run, err = e.Attach(t.Context(), run.ID, 0, func(v state.Event) {
		told = told || v.Kind == op.EventProgress && v.Text == "waiting until main has its label dbops-lease: UPDATE RUNNING"
	})
	if err != nil || run.State != state.Done || !told {
		t.Errorf("told: %v; %+v, %v", told, run, err)
	}
}

func TestAPlanIsToldWhatTheCloudAndOthersDo(t *testing.T) {
	t.Parallel()
	foreign := map[string]string{cloud.LeaseLabel: fmt.Sprintf("r2-%d", time.Now().Add(time.Hour).Unix())}
	over := map[string]string{cloud.LeaseLabel: fmt.Sprintf("r2-%d", time.Now().Add(-time.Hour).Unix())}
	for _, c := range []struct {
		name  string
		cloud labelled
		known bool
		want  string
	}{
		{"nothing", labelled{state: cloud.Available}, false, ""},
		{"an operation", labelled{state: cloud.Modifying}, false, "warn state: prod/main is modifying"},
		{"a restart", labelled{state: cloud.Restarting}, false, "warn state: prod/main is restarting"},
		{"a run of another store", labelled{state: cloud.Available, labels: foreign}, false, "block marked: run r2 of another store changes prod/main"},
		{"a run of this store, which its leases tell", labelled{state: cloud.Available, labels: foreign}, true, ""},
		{"a mark that is over", labelled{state: cloud.Available, labels: over}, false, ""},
	} {
		found, err := c.cloud.marks(nil).underway(t.Context(), marked, func(string) bool { return c.known })
		got := ""
		for _, f := range found {
			got += string(f.Severity) + " " + f.Check + ": " + f.Text
			if f.Remedy == "" || f.Evidence == "" {
				t.Errorf("%s: %+v", c.name, f)
			}
		}
		if err != nil || (c.want == "") != (got == "") || !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
	}
	plain := new(labelled).marks(fault.New(fault.Invalid, "change prod/main", cloud.ErrUnsupported))
	if found, err := plain.underway(t.Context(), marked, never); err != nil || len(found) > 0 {
		t.Errorf("a plain server: %+v, %v", found, err)
	}
	silent := &labelled{err: fault.Newf(fault.Unavailable, "describe main", "nobody answers")}
	if _, err := silent.marks(nil).underway(t.Context(), marked, never); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("an instance that does not answer: %v", err)
	}
}

// several are instances of one cloud, by name.
type several struct {
	cloud.Changer
	all map[string]*labelled
}

func (s several) Get(ctx context.Context, name string) (*cloud.Instance, error) {
	l := s.all[name]
	if l == nil {
		return nil, fault.Newf(fault.NotFound, "describe "+name, "it is not there")
	}
	return l.Get(ctx, name)
}

func (s several) Modify(ctx context.Context, name string, m cloud.Modify) (cloud.Receipt, error) {
	return s.all[name].Modify(ctx, name, m)
}

func (s several) Progress(context.Context, cloud.Receipt) (cloud.Progress, error) {
	return cloud.Progress{Done: true}, nil
}

func TestARunThatMovedItsTargetTakesBothMarksAway(t *testing.T) {
	t.Parallel()
	s := several{all: map[string]*labelled{
		"main": {labels: map[string]string{cloud.LeaseLabel: "r1-9000000000"}}, "main-pg18": {labels: map[string]string{cloud.LeaseLabel: "r1-9000000000"}},
		"main-pg17": {labels: map[string]string{cloud.LeaseLabel: "r2-9000000000"}},
	}}
	m := marks{
		changer: func(context.Context, string, string) (cloud.Changer, string, error) { return s, "main-pg18", nil },
		names:   func(op.Target) []string { return []string{"main", "main-pg18", "main-pg17", "gone"} },
	}
	if err := m.Unlock(t.Context(), marked, "r1"); err != nil {
		t.Fatal(err)
	}
	if len(s.all["main"].labels)+len(s.all["main-pg18"].labels) != 0 || s.all["main-pg17"].labels[cloud.LeaseLabel] == "" {
		t.Errorf("%v, %v, %v", s.all["main"].labels, s.all["main-pg18"].labels, s.all["main-pg17"].labels)
	}
}
