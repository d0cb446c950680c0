package migrate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"dbops/internal/fault"
	"dbops/internal/migrate/driver"
	"dbops/internal/migrate/source"
	"dbops/internal/op"
)

// observeEach looks at sets, several at a time.
func (d Deps) observeEach(ctx context.Context, sets []Set, look func(context.Context, Set) (SetFacts, error)) (Facts, error) {
	f := Facts{Sets: make([]SetFacts, len(sets))}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for i, s := range sets {
		g.Go(func() (err error) {
			ctx, cancel := context.WithTimeout(ctx, rehearseTimeout)
			defer cancel()
			f.Sets[i], err = look(ctx, s)
			return err
		})
	}
	return f, g.Wait()
}

// runner runs the files of a plan.
type runner struct {
	Deps
	t           op.Target
	manner      Manner
	direction   source.Direction
	facts       Facts
	concurrency int
	keepGoing   bool
}

// Outcome is what became of a set.
type Outcome struct {
	Set     string  `json:"set"`
	Applied int     `json:"applied"` // files, in this attempt or before
	Files   int     `json:"files"`
	Version *int64  `json:"version"`
	Seconds float64 `json:"seconds"`
	// Ended are the sessions that were ended because they kept a lock, on request.
	Ended   []string `json:"ended,omitempty"`
	Problem string   `json:"problem,omitempty"`
	err     error
}

func (o Outcome) String() string {
	switch {
	case o.err == nil && len(o.Ended) > 0:
		return fmt.Sprintf("%s: %d of %d files, version %s, %.1f s; ended %s", o.Set, o.Applied, o.Files, versionText(o.Version), o.Seconds, strings.Join(o.Ended, ", and "))
	case o.err == nil:
		return fmt.Sprintf("%s: %d of %d files, version %s, %.1f s", o.Set, o.Applied, o.Files, versionText(o.Version), o.Seconds)
	case o.Applied == 0 && o.Files > 0 && errors.Is(o.err, errNotBegun):
		return o.Set + ": not begun"
	default:
		return fmt.Sprintf("%s: failed after %d of %d files, version %s", o.Set, o.Applied, o.Files, versionText(o.Version))
	}
}

var errNotBegun = errors.New("not begun: another database failed before")

// do runs the files of every set: of the first one alone, to see whether it goes well, then of the others, several at a time.
func (r runner) do(ctx context.Context, s *op.Session) (op.Result, error) {
	var sets []SetFacts
	for _, f := range r.facts.Sets {
		if len(f.Files) > 0 {
			sets = append(sets, f)
		}
	}
	outcomes := make([]Outcome, len(sets))
	var mu sync.Mutex
	failed := false
	one := func(i int) {
		mu.Lock()
		skip := failed && !r.keepGoing
		mu.Unlock()
		if skip || ctx.Err() != nil {
			outcomes[i] = Outcome{Set: sets[i].Name, Files: len(sets[i].Files), Version: sets[i].Version, err: errNotBegun, Problem: errNotBegun.Error()}
			return
		}
		outcomes[i] = r.set(ctx, s, sets[i])
		if outcomes[i].err != nil {
			mu.Lock()
			failed = true
			mu.Unlock()
		}
	}
	groups := byDatabase(sets)
	var g errgroup.Group
	for n, group := range groups {
		if n == 1 {
			g.SetLimit(concurrencyOr(r.concurrency))
		}
		all := func() error {
			for _, i := range group {
				one(i)
			}
			return nil
		}
		if n == 0 {
			_ = all()
		} else {
			g.Go(all)
		}
	}
	_ = g.Wait() // outcomes hold the errors
	return r.result(ctx, sets, outcomes)
}

// byDatabase groups the places of sets: the folders of one database follow each other, as one may need what another one makes.
func byDatabase(sets []SetFacts) (groups [][]int) {
	at := map[string]int{}
	for i, s := range sets {
		g, known := at[s.Database]
		if !known {
			g = len(groups)
			at[s.Database] = g
			groups = append(groups, nil)
		}
		groups[g] = append(groups[g], i)
	}
	return groups
}

func (r runner) result(ctx context.Context, sets []SetFacts, outcomes []Outcome) (op.Result, error) {
	res := op.Result{Output: outcomes}
	texts := make([]string, 0, len(outcomes))
	var bad []Outcome
	for i, o := range outcomes {
		texts = append(texts, o.String())
		if o.Applied > 0 {
			res.Changes = append(res.Changes, op.Change{Target: o.Set, Setting: "version", From: versionText(sets[i].Version), To: versionText(o.Version)})
		}
		if o.err != nil {
			bad = append(bad, o)
		}
	}
	res.Text = strings.Join(texts, "; ")
	if ctx.Err() != nil {
		return res, context.Cause(ctx)
	}
	if len(bad) == 0 {
		return res, nil
	}
	first := bad[slices.IndexFunc(bad, func(o Outcome) bool { return !errors.Is(o.err, errNotBegun) })]
	if len(outcomes) == 1 {
		return res, first.err
	}
	kind, hint := fault.KindOf(first.err), fault.HintOf(first.err)
	return res, fault.Newf(kind, "migrate "+r.t.String(), "%s\n%s", strings.Join(texts, "\n"), first.Problem).Hint("%s", hint)
}

// set runs the files of one set, those that are not run yet.
func (r runner) set(ctx context.Context, s *op.Session, f SetFacts) Outcome {
	o := Outcome{Set: f.Name, Files: len(f.Files), Version: f.Version}
	begun := time.Now()
	o.err = r.apply(ctx, s, f, &o)
	o.Seconds = time.Since(begun).Round(time.Millisecond).Seconds()
	if o.err != nil {
		o.Problem = o.err.Error()
	}
	return o
}

func (r runner) apply(ctx context.Context, s *op.Session, f SetFacts, o *Outcome) error {
	set, err := r.find(r.t, f.Name)
	if err != nil {
		return err
	}
	folder, err := source.Read(set.Folder)
	if err != nil {
		return err
	}
	jobs, err := f.jobs(folder, r.direction)
	if err != nil {
		return err
	}
	who := r.Who(ctx, s.Plan.Requester.Name, set.Folder)
	who.Run = s.Run
	var mu sync.Mutex
	var last time.Time
	applied := func(j driver.Job, took time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		o.Applied++
		target := j.Target
		o.Version = &target
		if now := time.Now(); now.Sub(last) > time.Second || took > time.Second || o.Applied == len(jobs) {
			last = now
			s.Progress(ctx, "%s: %s, %d of %d", f.Name, j, o.Applied, len(jobs))
		}
	}
	if err := s.Fence(); err != nil {
		return err
	}
	d, err := r.open(ctx, r.t, set, r.manner, who, func(text string) { s.Progress(ctx, "%s: %s", f.Name, text) }, applied)
	if err != nil {
		return err
	}
	defer d.Close()
	defer func() { o.Ended = d.Ended() }()
	left, err := r.left(ctx, d, folder, f, jobs, who.Run, o)
	if err != nil {
		return err
	}
	from := int64(-1)
	if o.Version != nil {
		from = *o.Version
	}
	return r.explain(ctx, f, d.Apply(ctx, from, left))
}

// left are the jobs that are not done, by what the database says. A file that was cut short is ended.
func (r runner) left(ctx context.Context, d *driver.Driver, folder *source.Folder, f SetFacts, jobs []driver.Job, run string, o *Outcome) ([]driver.Job, error) {
	st, err := d.Read(ctx)
	if err != nil {
		return nil, err
	}
	what := "migrate " + r.t.String() + "/" + f.Name
	has := slices.DeleteFunc(unrecorded(folder, st), func(m *source.Migration) bool {
		return r.direction == source.Up && slices.ContainsFunc(jobs, func(j driver.Job) bool { return j.Migration == m })
	})
	if len(has) > 0 && !st.Dirty {
		reason := "found when dbops came"
		if len(st.Entries) > 0 {
			reason = "applied by another tool"
		}
		if err := d.Adopt(ctx, driver.Record{Migrations: has, Direction: driver.Baseline, Version: st.Version, Reason: reason}); err != nil {
			return nil, err
		}
	}
	done := 0
	for _, j := range jobs {
		ok := slices.ContainsFunc(st.Entries, func(e driver.Entry) bool {
			return e.Run == run && e.Version == j.Migration.Version && e.Direction == string(r.direction) && e.Outcome == driver.OK
		})
		if !ok {
			break
		}
		done++
	}
	o.Applied = done
	if done > 0 {
		o.Version = &jobs[done-1].Target
	}
	if e, cut := st.Unfinished(); cut && done < len(jobs) && e.Run == run && e.Version == jobs[done].Migration.Version {
		if err := d.Resume(ctx, jobs[done]); err != nil {
			return nil, r.explain(ctx, f, err)
		}
		o.Version = &jobs[done].Target
		return jobs[done+1:], nil
	}
	if st.Dirty {
		return nil, fault.Newf(fault.Blocked, what, "version %d was begun and has not ended", st.Version).Hint("dbops migrate repair -e %s %s", r.t.Environment, f.Name)
	}
	if at := versionOf(st); versionText(at) != versionText(o.Version) {
		return nil, fault.Newf(fault.Stale, what, "it is at version %s, not at %s: somebody else migrated it", versionText(at), versionText(o.Version)).Hint("make a new plan")
	}
	return jobs[done:], nil
}

func versionOf(st driver.State) *int64 {
	if !st.Any {
		return nil
	}
	return &st.Version
}

// explain says what to do about a file that failed.
func (r runner) explain(ctx context.Context, f SetFacts, err error) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	var file *driver.FileError
	if !errors.As(err, &file) {
		if fault.KindOf(err) == fault.Denied && fault.HintOf(err) == "" {
			return fault.New(fault.Denied, "migrate "+r.t.String()+"/"+f.Name, err).Hint("the role that migrates lacks a right: see the admin login and the database's owner in dbops.yaml")
		}
		if fault.KindOf(err) == fault.Busy { // it was waited for long enough
			return fault.New(fault.Failed, "migrate "+r.t.String()+"/"+f.Name, err).Hint("%s", fault.HintOf(err))
		}
		return err
	}
	text := file.Error()
	if file.Excerpt != "" {
		text += "\n" + file.Excerpt
	}
	kind := fault.Failed
	again := "dbops migrate " + string(r.direction) + " -e " + r.t.Environment + " " + f.Name
	hint := "mend the file, then " + again
	switch {
	case file.Lost:
		kind, hint = fault.Unavailable, again
	case file.State == "55P03" || file.State == "40P01":
		hint = "when who keeps the lock has ended: " + again + "; --patience waits longer, --end-blockers ends them"
	case file.State == "57014":
		hint = "it took longer than --statement-timeout: give more, or do it in smaller parts"
	case file.State == "42P07" && f.Version == nil:
		hint = "if the database has this schema already: dbops migrate baseline -e " + r.t.Environment + " " + f.Name + " VERSION; else mend the file"
	case file.State == "42501":
		kind, hint = fault.Denied, "the role that migrates lacks a right: see the database's owner in dbops.yaml"
	case file.Stepwise:
		hint = "mend what it failed at, then dbops migrate repair -e " + r.t.Environment + " " + f.Name + " --resume"
	}
	return fault.Newf(kind, "migrate "+r.t.String()+"/"+f.Name, "%s", text).Hint("%s", hint)
}
