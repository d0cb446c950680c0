package backup

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"dbops/internal/fault"
	"dbops/internal/op"
)

func (d *drilling) readSource(ctx context.Context, s *op.Session) (op.Result, error) {
	to := d.r.to(s.Plan.Target, d.m.Source)
	names := slices.Clone(d.q.Databases)
	var err error
	if len(names) == 0 {
		if names, err = listDatabases(ctx, to); err != nil {
			return op.Result{}, err
		}
	}
	slices.Sort(names)
	var out sourceRead
	now, err := read(ctx, s, to, names, d.r.d.ExactBytes)
	if err != nil {
		return op.Result{}, err
	}
	out.reading = *now
	if out.Commits, err = newestCommit(ctx, to, names[0], now.At, false); err != nil {
		return op.Result{}, err
	}
	tables := 0
	for _, db := range now.Databases {
		tables += len(db.Tables)
	}
	return op.Result{Output: out, Text: fmt.Sprintf("%d databases, %d tables", len(names), tables)}, nil
}

// choose waits until a moment after the reading of the source can be restored: then the drill lies between two looks at the source, and
// what did not change there has to be the same. A source on which nothing happens may never get there.
func (d *drilling) choose(ctx context.Context, s *op.Session) (op.Result, error) {
	p := point{By: d.r.process}
	began := time.Now()
	idle := d.idle(ctx, s)
	pace := d.r.d.Pace
	pace.Patience, pace.Most = 0, min(pace.Most, 5*time.Second)
	err := s.Poll(ctx, pace, "choose the moment to restore "+d.m.Source, func(ctx context.Context) (bool, string, error) {
		live, err := d.c.Get(ctx, d.m.Source)
		if err != nil {
			return false, "", err
		}
		latest := live.Backups.LatestRestorable
		if latest.IsZero() {
			return false, "", fault.Newf(fault.Invalid, "choose the moment to restore "+d.m.Source, "the provider does not say which moments can be restored").
				Hint("is point-in-time recovery on? dbops status; dbops backup configure")
		}
		p.Time, p.At = latest, time.Now().UTC()
		p.Lag = max(p.Lag, Span(p.At.Sub(latest)))
		p.Bracketed = !latest.Before(d.before.At)
		if !d.q.Time.IsZero() {
			p.Time, p.Bracketed = d.q.Time, false
			return true, "", nil
		}
		waited := time.Since(began)
		over := waited > d.r.d.Settle || waited > d.r.d.Settle/4 && idle()
		return p.Bracketed || over, fmt.Sprintf("waiting until a moment after the look at the source can be restored: the latest is %s old", p.Lag), nil
	})
	if err != nil {
		return op.Result{}, err
	}
	return op.Result{Output: p, Text: "the state of " + p.Time.Format(time.RFC3339Nano)}, nil
}

// idle tells whether nothing was written to the source since it was read.
func (d *drilling) idle(ctx context.Context, s *op.Session) func() bool {
	return func() bool {
		c, err := d.r.d.Connect(ctx, s.Plan.Target, d.m.Source, slices.Sorted(maps.Keys(d.before.Databases))[0])
		if err != nil {
			return false
		}
		defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
		var lsn string
		err = c.QueryRow(ctx, `select pg_current_wal_insert_lsn()::text`).Scan(&lsn)
		return err == nil && lsn == d.before.LSN
	}
}

func (d *drilling) restore(ctx context.Context, s *op.Session) (op.Result, error) {
	receipt, err := d.r.begin(ctx, s, d.c, d.m)
	if err != nil {
		return op.Result{}, err
	}
	return op.Result{
		Output: receipt, RequestID: receipt.RequestID, Text: "the provider makes " + d.m.Target,
		Changes: []op.Change{{Target: s.Plan.Environment + "/" + d.m.Target, Setting: "instance", To: "made of " + d.m.Source}},
	}, nil
}

// settle turns what ends a step into what the drill says of it, unless it may pass, or it is this process that ends.
func (d *drilling) settle(ctx context.Context, s *op.Session, at time.Time, err error) (op.Result, error) {
	switch {
	case err == nil:
		return op.Result{Output: outcome{At: at, By: d.r.process}, Text: "it is there"}, nil
	case ctx.Err() != nil || is(err, fault.Interrupted) || s.Fence() != nil:
		return op.Result{}, err
	case is(err, fault.Throttled, fault.Busy, fault.Unavailable) && s.Attempt < 4:
		return op.Result{}, err
	}
	return op.Result{Output: outcome{Failed: oneLine(err), By: d.r.process}, Text: "it failed, which is the result: " + oneLine(err)}, nil
}

func (d *drilling) wait(ctx context.Context, s *op.Session) (op.Result, error) {
	err := d.r.wait(ctx, s, d.c, d.receipt)
	return d.settle(ctx, s, time.Now().UTC(), err)
}

func (d *drilling) login(ctx context.Context, s *op.Session) (op.Result, error) {
	if d.restored.Failed != "" {
		return op.Result{Text: "there is nothing to log in to"}, nil
	}
	first := firstDatabase
	for _, name := range d.q.Databases {
		first = name
		break
	}
	at, err := d.r.reachable(ctx, s, d.m.Target, first)
	return d.settle(ctx, s, at, err)
}

// claim labels the scratch instance where the provider could not be told when it made it.
func (d *drilling) claim(ctx context.Context, s *op.Session) (op.Result, error) {
	if d.restored.Failed != "" {
		return op.Result{Text: "there is nothing to label"}, nil
	}
	out, err := d.r.conform(ctx, s, d.m, func(setting string) bool { return claims(setting) || setting == "deletion_protection" })
	if is(err, fault.NotFound) {
		return op.Result{Text: "it is gone"}, nil
	}
	out.Text = ""
	return out, err
}

func (d *drilling) compare(ctx context.Context, s *op.Session) (op.Result, error) {
	var out compared
	failed := func(check, text string) (op.Result, error) {
		out.Checks = append(out.Checks, Check{Check: check, Result: Mismatch, Text: text})
		return op.Result{Output: out, Text: check + ": " + text}, nil
	}
	switch {
	case d.restored.Failed != "":
		return failed("restore", d.restored.Failed)
	case d.answered.Failed != "":
		return failed("login", d.answered.Failed)
	}
	names := slices.Sorted(maps.Keys(d.before.Databases))
	target := s.Plan.Target
	restored, err := read(ctx, s, d.r.to(target, d.m.Target), names, d.r.d.ExactBytes)
	if err == nil {
		out.Reached, err = newestCommit(ctx, d.r.to(target, d.m.Target), names[0], d.point.Time, true)
	}
	if err != nil {
		if r, err := d.settle(ctx, s, time.Time{}, err); err != nil {
			return r, err
		}
		return failed("restore", "it cannot be read: "+oneLine(err))
	}
	after, err := read(ctx, s, d.r.to(target, d.m.Source), names, d.r.d.ExactBytes)
	if err != nil {
		if r, err := d.settle(ctx, s, time.Time{}, err); err != nil {
			return r, err
		}
		return failed("source", "it cannot be read a second time: "+oneLine(err))
	}
	c := comparison{before: &d.before, after: after, restored: restored, bracketed: d.point.Bracketed}
	out.Checks = append([]Check{freshness(d.point.Time, d.fresh, out.Reached)}, c.checks()...)
	bad := 0
	for _, check := range out.Checks {
		if check.Result == Mismatch {
			bad++
		}
	}
	for _, name := range names {
		a, b := d.before.Databases[name], restored.Databases[name]
		out.Databases = append(out.Databases, DatabaseReport{Database: name, Bytes: a.Bytes, Restored: b.Bytes, Tables: len(b.Tables)})
	}
	return op.Result{Output: out, Text: fmt.Sprintf("%d checks, %d mismatches", len(out.Checks), bad)}, nil
}

func (d *drilling) remove(ctx context.Context, s *op.Session) (op.Result, error) {
	return d.r.remove(ctx, s, d.c, d.m)
}

func (d *drilling) report(_ context.Context, _ *op.Session) (op.Result, error) {
	out := DrillReport{
		Source: d.m.Source, Instance: d.m.Target, Kept: d.q.Keep, Point: d.point.Time, Reached: d.compared.Reached.Newest,
		Method: d.compared.Reached.Method, Exact: d.point.Bracketed, RPO: d.point.Lag, Targets: d.q.Targets,
		Checks: d.compared.Checks, Databases: d.compared.Databases,
		Interrupted: d.answered.By != "" && (d.answered.By != d.restored.By || d.answered.By != d.point.By),
	}
	if !d.answered.At.IsZero() {
		out.RTO = Span(d.answered.At.Sub(d.point.At))
	}
	out.judge()
	return op.Result{Output: out, Text: out.Text}, nil
}
