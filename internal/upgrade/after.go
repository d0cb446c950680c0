package upgrade

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/state"
	"dbops/internal/upgrade/follow"
	"dbops/internal/upgrade/quiesce"
)

// RollbackRequest asks to return service to the source of an upgrade that was switched.
type RollbackRequest struct {
	Run string `json:"run"` // of the upgrade
	// LoseWrites goes back though what was written to the new instance stays there, and nowhere else.
	LoseWrites bool `json:"lose_writes,omitempty"`
}

// CleanupRequest asks to give the way back up, or after a rollback to remove the new instance.
type CleanupRequest struct {
	Run string `json:"run"` // of the upgrade
	// Remove removes the source as well, after a last backup where the cloud keeps one without its instance.
	Remove bool `json:"remove,omitempty"`
}

// past is an upgrade that was run, as operations after it see it.
type past struct {
	Request Request         `json:"request"`
	Facts   facts           `json:"facts"`
	Before  *quiesce.Before `json:"before,omitempty"` // who could connect to the source
	Was     untouched       `json:"was,omitzero"`     // the new instance before anybody wrote to it
	// Reversed: the source follows the new instance.
	Reversed bool `json:"reversed,omitempty"`
	// Sealed: the provider's own login has another password than it had.
	Sealed bool `json:"sealed,omitempty"`
	// Switched: clients were, or some of them.
	Switched bool `json:"switched"`
	Part     bool `json:"switched_in_part,omitempty"` // the switch did not come to its end
	Ended    bool `json:"ended"`
	// Left: it was abandoned with clients shut out of the source, and nobody was switched.
	Left    bool `json:"left_closed,omitempty"`
	InPlace bool `json:"in_place,omitempty"`
	// After is the operation that ended the way back: a rollback or a cleanup.
	After string `json:"after,omitempty"`
	// Back: a rollback did. Cleared is the cleanup after it; Remnant the new instance that it left, for a cleanup.
	Back    bool     `json:"back,omitempty"`
	Cleared string   `json:"cleared,omitempty"`
	Remnant *remnant `json:"new_instance,omitempty"`
	// Begun is a rollback that is not done: some clients may be on the source already. For a cleanup.
	Begun string `json:"begun,omitempty"`
	// Written is what clients wrote to the new instance since. It changes all the time.
	Written string `json:"written,omitempty"`
	// Stuck is why what was written cannot be carried back.
	Stuck string `json:"stuck,omitempty"`
	// Silent is why the new instance cannot be asked for that.
	Silent string `json:"silent,omitempty"`
	Source string `json:"source,omitempty"` // the state of the source
	// Protected: the upgrade turned on the deletion protection of the source.
	Protected bool `json:"protected_by_run,omitempty"`
}

func samePast(a, b past) bool {
	a.Written, b.Written, a.Silent, b.Silent = "", "", "", ""
	if a.Stuck = present(a.Stuck); a.Stuck != "" { // its words may differ, and that it goes on again is no reason to stop
		b.Stuck = a.Stuck
	}
	b.Stuck = present(b.Stuck)
	x, errx := json.Marshal(a)
	y, erry := json.Marshal(b)
	return errx == nil && erry == nil && string(x) == string(y)
}

// recall reads what became of an upgrade.
func (r *Room) recall(ctx context.Context, t op.Target, run string) (p past, m *moving, err error) {
	plan, ended, journal, after, err := r.d.Journal(ctx, run)
	if err != nil {
		return p, nil, err
	}
	what := "find the upgrade " + run
	left := ended.State == state.Failed && !ShutOutSince(plan.Kind, journal).IsZero()
	if p.InPlace = plan.Kind == InPlaceKind; p.InPlace && !left {
		return p, nil, fault.Newf(fault.Blocked, "go back before the upgrade "+run, "it was made in place, which nothing undoes").Hint("%s", BackOf(plan, run, journal))
	}
	if plan.Kind != RunKind && !p.InPlace || plan.Environment != t.Environment || plan.Instance != t.Instance {
		return p, nil, fault.Newf(fault.Usage, what, "it is no upgrade of %s: it is %s of %s", t, plan.Kind, plan.Target).Hint("dbops upgrade status -e %s %s", t.Environment, t.Instance)
	}
	if err := errors.Join(json.Unmarshal(plan.Request, &p.Request), json.Unmarshal(plan.Facts, &p.Facts)); err != nil {
		return p, nil, fault.New(fault.Internal, what, err)
	}
	p.Ended, p.After, p.Back, p.Cleared = ended.State.Ended(), after.Ended, after.Back, after.Cleared
	var b quiesce.Before
	if ok, err := output(journal, noteStep, &b); err != nil {
		return p, nil, err
	} else if ok {
		p.Before = &b
	}
	var late lately
	if _, err = output(journal, markStep, &p.Was); err == nil {
		_, err = output(journal, lateStep, &late)
	}
	if err != nil {
		return p, nil, err
	}
	if late.Target != nil {
		p.Was.Target = late.Target
	}
	var k kept
	done, err := output(journal, keepStep, &k)
	if err != nil {
		return p, nil, err
	}
	for _, s := range journal {
		p.Protected = p.Protected || p.Facts.Source.Provider != cloud.Postgres && s.Name == keepStep && (k.Turned || !done && !p.Facts.Source.Protected)
		p.Sealed = p.Sealed || s.Name == sealStep
		p.Switched = p.Switched || s.Name == switchStep && s.Phase == state.Do
	}
	var o opened
	switched, err := output(journal, switchStep, &o)
	if err != nil {
		return p, nil, err
	}
	p.Part = p.Switched && !switched
	p.Left = left && !p.Switched && p.Before != nil
	m = r.again(t, run, p)
	p.Reversed = p.Switched && m.reversed()
	return p, m, nil
}

// again is what an upgrade was, for who goes on after it.
func (r *Room) again(t op.Target, run string, p past) *moving {
	m := r.moving(t, p.Request, p.Facts)
	m.run = run
	if p.Sealed {
		m.to.Login = ""
	}
	return m
}

func (p past) findings(run string) (out []op.Finding) {
	switch {
	case p.After != "":
		out = append(out, block("ended", "there is nothing to do", "upgrade "+run+" was ended by "+p.After))
	case p.Left:
	case !p.Switched || p.Before == nil:
		out = append(out, block("not-switched", fmt.Sprintf("dbops runs decide %s undo", run), "upgrade "+run+" has not switched anybody"))
	case !p.Ended:
		out = append(out, block("running", fmt.Sprintf("wait for it, or dbops runs decide %s abandon", run), "upgrade "+run+" has not ended"))
	}
	if p.Begun != "" && p.After == "" {
		out = append(out, block("rollback", "dbops upgrade rollback goes on with it; when it is done there is nothing to clean up", "a rollback was begun and is not done, "+p.Begun+": some clients may be on "+p.Facts.Source.Server.Name+" already"))
	}
	if p.Source != "" && p.Source != string(cloud.Available) {
		out = append(out, block("source", "start it in the provider's console", "the source is "+p.Source))
	}
	return out
}

func (r *Room) rollback() op.Operation[RollbackRequest, past] {
	return op.Operation[RollbackRequest, past]{
		Kind: RollbackKind, Same: samePast,
		Observe: func(ctx context.Context, t op.Target, q RollbackRequest) (past, error) {
			p, m, err := r.recall(ctx, t, q.Run)
			if err != nil {
				return p, err
			}
			if c, err := m.cloud(ctx); err != nil {
				return p, err
			} else if c != nil && p.After == "" && !p.InPlace { // in place it is waited for
				live, err := c.Get(ctx, m.from.Name)
				if err != nil {
					return p, err
				}
				p.Source = string(live.State)
			}
			if p.Switched && p.After == "" && p.Reversed {
				p.Stuck = m.stuck(ctx)
			}
			if p.Switched && p.After == "" && !p.Reversed {
				now, err := m.mark(ctx, m.to)
				if is(err, fault.Unavailable, fault.NotFound) {
					p.Silent = oneLine(err)
				} else if err != nil {
					p.Written = "not known: " + oneLine(err)
				} else if now != p.Was.Mark {
					if p.Written, err = m.written(ctx, p.Was.Rows); err != nil {
						return p, err
					}
				}
			}
			return p, nil
		},
		Derive: deriveRollback,
		Steps:  r.rollbackSteps,
	}
}

// letIn is the way back from an upgrade that was abandoned before it switched anybody.
func (p past) letIn(t op.Target, q RollbackRequest) op.Draft {
	from := p.Facts.Source.Server.Name
	d := op.Draft{
		Title:    fmt.Sprintf("let clients into %s, PostgreSQL %d, again", from, p.Facts.Source.Major),
		Findings: p.findings(q.Run),
		Changes:  []op.Change{{Setting: "writers of " + from, From: "kept out", To: "let in"}},
		Downtime: op.Downtime{Expected: "none", Text: "clients are shut out now, since the upgrade " + q.Run + " was abandoned, until this is done"},
	}
	if p.InPlace {
		d.Title = fmt.Sprintf("let clients into %s again", from)
		d.Notes = []string{"what the cloud has made of it stays"}
		return d
	}
	d.Also = []string{t.Environment + "/" + from}
	d.Notes = []string{p.stays(t, "as the upgrade left it")}
	return d
}

func (m *moving) letInSteps(p past) (steps []op.Step) {
	if p.InPlace {
		steps = append(steps, m.step("settle", "wait until the cloud is done with "+m.from.Name, (*moving).settle))
	}
	if m.q.CatchUp {
		steps = append(steps, m.step("end-replication", "end the replication to "+m.to.Name, func(m *moving, ctx context.Context, s *op.Session) (op.Result, error) {
			return op.Result{Text: "nothing of the replication is left"}, m.endBoth(ctx, s)
		}))
	}
	return append(steps, m.step(backStep, "let clients into "+m.from.Name+" again", func(m *moving, ctx context.Context, s *op.Session) (op.Result, error) {
		if err := s.Fence(); err != nil {
			return op.Result{}, err
		}
		return op.Result{Text: m.from.Name + " lets writers in as before"}, quiesce.Open(ctx, m.at(m.from), p.Before)
	}))
}

func deriveRollback(t op.Target, q RollbackRequest, p past) op.Draft {
	if p.Left {
		return p.letIn(t, q)
	}
	from, to := p.Facts.Source.Server.Name, p.Facts.Target.Server.Name
	d := op.Draft{
		Title:    fmt.Sprintf("return %s from %s, PostgreSQL %d, to %s, PostgreSQL %d", t, to, p.Request.To, from, p.Facts.Source.Major),
		Findings: p.findings(q.Run),
		Changes: []op.Change{
			{Setting: "clients", From: to, To: from},
			{Setting: "writers of " + to, From: "let in", To: "kept out"},
			{Setting: "writers of " + from, From: "kept out", To: "let in"},
		},
		Downtime: op.Downtime{Expected: "brief", Text: "from when writers are kept out of " + to + " until clients are on " + from},
		Also:     []string{t.Environment + "/" + from, t.Environment + "/" + to},
		Notes:    []string{p.stays(t, "as it is, closed to clients")},
	}
	if p.Protected {
		d.Changes = append(d.Changes, op.Change{Target: t.Environment + "/" + from, Setting: "deletion protection", From: "on", To: "off, as before the upgrade"})
	}
	switch {
	case p.Stuck != "" && q.LoseWrites:
		d.Findings = append(d.Findings, op.Finding{
			Severity: op.Warn, Check: "lost-writes", Text: "what was written to " + to + " may not be carried back, and is lost to clients then", Evidence: p.Stuck,
			Remedy: "copy what matters by hand: " + to + " is kept",
		})
	case p.Stuck != "":
		d.Findings = append(d.Findings, op.Finding{
			Severity: op.Block, Check: "lost-writes", Text: "what was written to " + to + " cannot be carried back", Evidence: p.Stuck,
			Remedy: "mend that; or copy what matters by hand, then give --lose-writes",
		})
	case p.Reversed:
		d.Notes = append(d.Notes, "what was written to "+to+" is carried back: "+from+" follows it")
	case p.Silent != "" && q.LoseWrites:
		d.Findings = append(d.Findings, op.Finding{
			Severity: op.Warn, Check: "lost-writes", Text: to + " cannot be reached: what was written to it since the switch is lost to clients, and nobody can close it", Evidence: p.Silent,
			Remedy: "see that nobody writes to " + to + " should it come back",
		})
	case p.Silent != "":
		d.Findings = append(d.Findings, op.Finding{
			Severity: op.Block, Check: "lost-writes", Text: to + " cannot be reached: whether something was written to it since the switch is not known", Evidence: p.Silent,
			Remedy: "see that it can be reached, then plan again; if it is lost, give --lose-writes",
		})
	case p.After != "": // a finding says so
	case p.Written == "":
		d.Notes = append(d.Notes, "nothing was written to "+to+" since the switch")
	case q.LoseWrites:
		d.Findings = append(d.Findings, op.Finding{
			Severity: op.Warn, Check: "lost-writes", Text: "what was written to " + to + " since the switch stays there, and is lost to clients", Evidence: p.Written,
			Remedy: "copy what matters by hand: " + to + " is kept",
		})
	default:
		d.Findings = append(d.Findings, op.Finding{
			Severity: op.Block, Check: "lost-writes", Text: "what was written to " + to + " since the switch would be lost", Evidence: p.Written,
			Remedy: "copy what matters by hand, then give --lose-writes",
		})
	}
	return d
}

func (r *Room) rollbackSteps(t op.Target, q RollbackRequest, p past) []op.Step {
	m := r.again(t, q.Run, p)
	if p.Left {
		steps := m.letInSteps(p)
		for i := range steps { // so that undoing it is not offered
			steps[i] = m.onward(steps[i])
		}
		return steps
	}
	goBack := m.step(backStep, "keep writers out of "+m.to.Name+", bring back what they wrote, and make clients use "+m.from.Name,
		func(m *moving, ctx context.Context, s *op.Session) (op.Result, error) {
			if p.Before == nil {
				return op.Result{}, fault.Newf(fault.Internal, "go back", "it is not known who could connect")
			}
			return m.goBack(ctx, s, p.Before, p.Reversed, q.LoseWrites, p.Was)
		})
	steps := []op.Step{m.onward(goBack)}
	if p.Reversed {
		steps = append(steps, m.onward(m.step("end-reverse", "end the replication in reverse", func(m *moving, ctx context.Context, s *op.Session) (op.Result, error) {
			return m.endBack(ctx, s, q.LoseWrites)
		})))
	}
	if p.Protected {
		steps = append(steps, m.onward(m.step("unkeep", "turn off the deletion protection of "+m.from.Name+", which the upgrade turned on", (*moving).unkeep)))
	}
	return steps
}

func (r *Room) cleanup() op.Operation[CleanupRequest, past] {
	return op.Operation[CleanupRequest, past]{
		Kind: CleanupKind, Same: samePast,
		Observe: func(ctx context.Context, t op.Target, q CleanupRequest) (past, error) {
			p, m, err := r.recall(ctx, t, q.Run)
			if err == nil && q.Remove && (p.Facts.Source.Provider == cloud.Postgres || p.Facts.Source.Server.Declared) {
				err = fault.Newf(fault.Usage, "remove "+p.Facts.Source.Server.Name, "nobody but its owner removes a plain server").Hint("leave --remove-source out")
			}
			if err != nil {
				return p, err
			}
			_, _, _, after, err := r.d.Journal(ctx, q.Run)
			if err != nil {
				return p, err
			}
			p.Begun = after.Begun
			return p, p.look(ctx, m)
		},
		Derive: deriveCleanup,
		Steps:  r.cleanupSteps,
	}
}

func deriveCleanup(t op.Target, q CleanupRequest, p past) op.Draft {
	if p.Back {
		return p.clear(t, q)
	}
	from := p.Facts.Source.Server.Name
	d := op.Draft{
		Title:    fmt.Sprintf("give up the way back of %s to %s, PostgreSQL %d", t, from, p.Facts.Source.Major),
		Findings: p.findings(q.Run),
		Changes:  []op.Change{{Setting: "way back", From: from, To: "none"}},
		Downtime: op.Downtime{Expected: "none", Text: p.clients()},
		Also:     []string{t.Environment + "/" + from},
		Cost:     "none: " + from + " goes on costing what it costs",
		Back:     "nothing: " + from + " is kept as it is, but what is written to " + p.Facts.Target.Server.Name + " from now on is not on it",
	}
	if p.Left { // whose source is all that there is
		d.Findings = append(d.Findings, block("not-switched", fmt.Sprintf("dbops upgrade rollback -e %s %s lets them in", t.Environment, t.Instance),
			"upgrade "+q.Run+" was abandoned with clients shut out of "+from+", and has not switched anybody"))
	}
	if p.Part {
		d.Findings = append(d.Findings, block("switched-in-part", fmt.Sprintf("dbops upgrade rollback -e %s %s makes them use %s again", t.Environment, t.Instance, from),
			"upgrade "+q.Run+" has not switched all clients: some may need "+from))
	}
	if q.Remove {
		d.Changes = append(d.Changes, op.Change{Target: t.Environment + "/" + from, Setting: "instance", From: from, To: "removed"})
		d.Cost = "down: one instance"
		d.Back = "nothing brings the instance back; a backup that is restored makes a new one"
		d.Findings = append(d.Findings, warn("remove", "leave --remove-source out to keep it", from+" is removed, with all that is in it"))
		if p.Facts.Source.Provider == cloud.CloudSQL {
			d.Findings = append(d.Findings, warn("backups", "export what has to be kept", "the backups of an instance of Cloud SQL are gone with it"))
		}
	}
	if p.After != "" { // it was given up already
		d.Changes = nil
	}
	return d
}

func (r *Room) cleanupSteps(t op.Target, q CleanupRequest, p past) []op.Step {
	m := r.again(t, q.Run, p)
	if p.Back {
		return m.clearSteps(p, q)
	}
	if p.After != "" {
		return nil
	}
	var steps []op.Step
	if p.Reversed {
		steps = append(steps, m.onward(m.step("end-reverse", "end the replication to "+m.from.Name, (*moving).endReverse)))
	}
	if q.Remove {
		if p.Facts.Source.Provider == cloud.RDS {
			steps = append(steps, m.onward(m.step("last-backup", "make a last backup of "+m.from.Name, func(m *moving, ctx context.Context, s *op.Session) (op.Result, error) {
				return m.lastBackup(ctx, s, m.from.Name)
			})))
		}
		return append(steps, m.onward(m.step("remove-source", "remove "+m.from.Name, (*moving).removeSource)))
	}
	return append(steps, m.step(keepStep, "see that "+m.from.Name+" is protected", (*moving).keep))
}

func (m *moving) lastBackup(ctx context.Context, s *op.Session, name string) (op.Result, error) {
	c, err := m.cloud(ctx)
	if err != nil {
		return op.Result{}, err
	}
	return m.backUp(ctx, s, c, name, "dbops-last-"+s.Run)
}

// backUp makes a backup of a label, once.
func (m *moving) backUp(ctx context.Context, s *op.Session, c Cloud, name, label string) (out op.Result, err error) {
	b := &cloud.Backing{Instance: name, Label: label, Run: s.Run, Attempt: s.Attempt, Fence: s.Fence}
	err = s.Poll(ctx, m.r.d.Pace, "back up "+name, func(ctx context.Context) (bool, string, error) { return b.Poll(ctx, c) })
	if b.Receipt != nil {
		out.RequestID = b.Receipt.RequestID
	}
	if err != nil {
		return out, err
	}
	out.Output, out.Text = b.Made, "backup "+b.Made.ID+" is ready"
	out.Changes = []op.Change{{Setting: "backups", To: b.Made.ID + " (" + b.Called() + ")"}}
	return out, nil
}

func (m *moving) removeSource(ctx context.Context, s *op.Session) (op.Result, error) {
	c, err := m.cloud(ctx)
	if err != nil {
		return op.Result{}, err
	}
	return m.remove(ctx, s, c, m.from.Name, func(_ context.Context, live *cloud.Instance) (bool, error) {
		return live.Created.Truncate(time.Second).Equal(m.f.Source.Created.Truncate(time.Second)), nil // the one that was upgraded, and no later one of its name
	})
}

// present is whether there is a text.
func present(s string) string {
	if s != "" {
		return "yes"
	}
	return ""
}

// stuck is why the source cannot follow the target, in any database; "" if it does.
func (m *moving) stuck(ctx context.Context) string {
	err := m.inTurn(func(name string) error {
		j, err := m.follow(ctx, name)
		if err != nil {
			return err
		}
		if err := m.keeps(ctx, name); err != nil {
			return err
		}
		lag, err := follow.ReverseLag(ctx, j)
		if err == nil && !lag.Attached { // of a run that was killed before that: going back attaches it
			return nil
		}
		return err
	})
	if err != nil {
		return oneLine(err)
	}
	return ""
}
