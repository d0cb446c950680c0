package migrate

import (
	"context"
	"fmt"
	"strings"

	"dbops/internal/fault"
	"dbops/internal/migrate/driver"
	"dbops/internal/migrate/rehearse"
	"dbops/internal/migrate/source"
	"dbops/internal/op"
)

// Prepared is what is to be run on a set, and what it has had.
type Prepared struct {
	Set     Set
	Folder  *source.Folder
	State   driver.State
	Jobs    []driver.Job
	Applied []*source.Migration
	Beside  []rehearse.Beside // the other folders of the database
}

// Prepare works out what going up would run. It changes nothing.
func (d Deps) Prepare(ctx context.Context, t op.Target, name string, late bool, to *int64) (Prepared, error) {
	s, err := d.find(t, name)
	if err != nil {
		return Prepared{}, err
	}
	l, err := d.look(ctx, t, s)
	if err != nil {
		return Prepared{}, err
	}
	return d.prepared(ctx, t, l, upward(l.state, l.judged, late, to))
}

// prepared is what a rehearsal needs to know of a set, and of the other folders of its database.
func (d Deps) prepared(ctx context.Context, t op.Target, l looked, jobs []driver.Job) (Prepared, error) {
	p := l.prepared(jobs)
	all, err := d.Sets(t)
	if err != nil {
		return p, err
	}
	for _, s := range all {
		if s.Server != l.set.Server || s.String() == l.set.String() {
			continue
		}
		other, err := d.look(ctx, t, s)
		if err != nil {
			return p, err
		}
		p.Beside = append(p.Beside, rehearse.Beside{Folder: other.folder, State: other.state, Table: s.Table, Applied: present(other.folder, other.state, other.judged)})
	}
	return p, nil
}

func (l looked) prepared(jobs []driver.Job) Prepared {
	return Prepared{Set: l.set, Folder: l.folder, State: l.state, Jobs: jobs, Applied: present(l.folder, l.state, l.judged)}
}

// rehearse runs jobs on a scratch copy, for a plan. That it cannot be done is a fact like another.
func (d Deps) rehearse(ctx context.Context, t op.Target, l looked, jobs []driver.Job, f *SetFacts) error {
	if len(jobs) == 0 {
		return nil
	}
	if d.Rehearse == nil {
		f.NotRehearsed = "nobody rehearses here"
		return nil
	}
	if _, broken := l.folder.Fatal(); broken || l.state.Dirty {
		f.NotRehearsed = "it cannot be run as it is"
		return nil
	}
	p, err := d.prepared(ctx, t, l, jobs)
	if err != nil {
		return err
	}
	r, err := d.Rehearse(ctx, t, p)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		f.NotRehearsed = err.Error()
		if hint := fault.HintOf(err); hint != "" {
			f.NotRehearsed += "; " + hint
		}
	default:
		f.Rehearsal = &r.Facts
	}
	return nil
}

// rehearsed tells what a rehearsal found, or that there was none. after tells that another folder of the database has files that are run before:
// what they make was not there in the rehearsal.
func (f SetFacts) rehearsed(t op.Target, after bool) (out []op.Finding) {
	add := func(severity op.Severity, check, text, remedy string) {
		out = append(out, op.Finding{Severity: severity, Check: check, Text: f.Name + ": " + text, Remedy: remedy})
	}
	r := f.Rehearsal
	if r == nil {
		if f.NotRehearsed != "" {
			add(op.Warn, "not-rehearsed", "not rehearsed: "+f.NotRehearsed, "")
		}
		return out
	}
	if failed := r.Failed(); failed != nil && failed.Failure != nil {
		severity := op.Block
		if failed.Failure.Rights || r.Base == rehearse.Approximate {
			severity = op.Warn // it may go otherwise on the server itself
		}
		if after {
			add(op.Warn, "rehearsal", failed.Place()+" fails in the rehearsal, in which the other folder's files were not run before: "+failed.Failure.String(), "plan and apply the other folder first")
			return out
		}
		add(severity, "rehearsal", failed.Place()+" fails in the rehearsal: "+failed.Failure.String(), "mend the file")
	}
	if len(r.Drift) > 0 {
		words := rehearse.DriftWords(r.Drift)
		add(op.Warn, "schema-drift", fmt.Sprintf("the schema is not what its files make: %s", few(words)), "somebody changed it by hand: bring both together with a migration")
	}
	for _, p := range r.Partial {
		add(op.Warn, "rehearsal-partial", p, "")
	}
	report := &rehearse.Report{Facts: *r}
	for _, file := range r.Files {
		for _, s := range file.Statements {
			effects := report.Effects(s)
			if len(effects) == 0 {
				continue
			}
			severity := op.Info
			if len(s.Rewrites) > 0 {
				severity = op.Warn
			}
			add(severity, "effect", fmt.Sprintf("%s:%d: %s", file.Name, s.Line, strings.Join(effects, "; ")), "")
		}
	}
	if len(out) > 0 {
		out[len(out)-1].Remedy = fmt.Sprintf("dbops migrate plan -e %s %s shows all of it, with the sizes of the tables", t.Environment, f.Name)
	}
	return out
}
