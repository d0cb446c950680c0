package backup

import (
	"context"
	"fmt"
	"strings"
	"time"

	"dbops/internal/cloud"
	"dbops/internal/op"
)

// DrillRequest asks to restore the target to a scratch instance, to look at it, to measure that, and to remove it: to Time, or to the
// latest moment if it is zero.
type DrillRequest struct {
	Time      time.Time `json:"time,omitzero"`
	Databases []string  `json:"databases,omitempty"` // the names on the server; none: all that the login may connect to
	Keep      bool      `json:"keep,omitempty"`      // leave the scratch instance
	Targets   Targets   `json:"targets,omitzero"`
}

type drillFacts struct {
	Source cloud.Instance `json:"source"`
	Reach  reach          `json:"reach,omitempty"`
	Closed []string       `json:"closed,omitempty"` // databases of the source that cannot be logged in to
}

// scratch is the name of a run's scratch instance.
func scratch(run string) string { return "dbops-drill-" + run }

func (r *Room) drill() op.Operation[DrillRequest, drillFacts] {
	return op.Operation[DrillRequest, drillFacts]{
		Kind: DrillKind, Words: words(),
		Observe: func(ctx context.Context, t op.Target, q DrillRequest) (f drillFacts, err error) {
			c, live, err := r.look(ctx, t)
			if err != nil {
				return f, err
			}
			f.Source = seen(live)
			f.Source.Pending = nil
			f.Reach, err = reachOf(ctx, c, live, q.Time)
			if q.Time.IsZero() && !live.Backups.PITR {
				f.Reach = noPITR // a clone of the present would prove nothing
			}
			f.Closed = r.closed(ctx, t, live.Name, q.Databases)
			return f, err
		},
		Derive: deriveDrill,
		Steps:  r.drillSteps,
	}
}

// closed are the databases that cannot be logged in to.
func (r *Room) closed(ctx context.Context, t op.Target, instance string, databases []string) (out []string) {
	if len(databases) == 0 {
		databases = []string{firstDatabase}
	}
	for _, name := range databases {
		if err := r.ask(ctx, t, instance, name); err != nil {
			out = append(out, name)
		}
	}
	return out
}

func deriveDrill(t op.Target, q DrillRequest, f drillFacts) op.Draft {
	what := "its latest state"
	if !q.Time.IsZero() {
		what = "its state at " + q.Time.UTC().Format(time.RFC3339)
	}
	d := op.Draft{
		Untouched: true,

		Title:    fmt.Sprintf("drill: restore %s to %s in a scratch instance, and compare", t, what),
		Findings: append(usable(f.Source), unreachable(f.Reach, q.Time)...),
		Changes:  []op.Change{{Target: t.Environment + "/" + scratch("RUN"), Setting: "instance", To: "made of " + f.Source.Name + ", compared, and removed"}},
		Downtime: op.Downtime{Expected: "none", Text: t.String() + " is only read: catalogs, sizes, and a count of the rows of small tables"},
		Cost:     "up: one more instance like " + f.Source.Name + " while the drill runs",
		Notes:    []string{"nothing is written to " + t.String(), "what is changed in " + t.String() + " meanwhile may show as a difference"},
	}
	if len(f.Closed) > 0 {
		d.Findings = append(d.Findings, block("login", "see dbops psql: what cannot be read cannot be compared", "these databases of "+f.Source.Name+" cannot be logged in to: "+strings.Join(f.Closed, ", ")))
	}
	if q.Keep {
		d.Changes[0].To = "made of " + f.Source.Name + ", compared, and kept"
		d.Cost = "up: one more instance like " + f.Source.Name + ", until somebody removes it"
		d.Findings = append(d.Findings, warn("kept", "remove it when you are done: it has no deletion protection", "the scratch instance is kept, with all the data, and costs money"))
	}
	if !q.Time.IsZero() {
		d.Findings = append(d.Findings, info("past", "the source cannot be seen as it was then: what differs from its present state is told, and does not fail the drill"))
	}
	if q.Targets == (Targets{}) {
		d.Findings = append(d.Findings, info("targets", "there are no targets for RPO and RTO in dbops.yaml: they are measured, and not judged"))
	}
	return d
}

func (r *Room) drillSteps(t op.Target, q DrillRequest, f drillFacts) []op.Step {
	source := f.Source.Name
	step := func(name, title string, do func(*drilling, context.Context, *op.Session) (op.Result, error)) op.Step {
		return op.Step{Name: name, Title: title, Do: func(ctx context.Context, s *op.Session) (op.Result, error) {
			d, err := r.drilling(ctx, s, q, source)
			if err != nil {
				return op.Result{}, err
			}
			return do(d, ctx, s)
		}}
	}
	restore := step("restore", "restore it to a scratch instance", (*drilling).restore)
	restore.UndoTitle = "remove the scratch instance"
	restore.Undo = step("", "", (*drilling).remove).Do
	steps := []op.Step{
		step("source", "read the source: catalogs, sizes, rows", (*drilling).readSource),
		step("point", "choose the moment to restore", (*drilling).choose),
		restore,
		step("wait", "wait until the provider has made it", (*drilling).wait),
		step("login", "log in to it", (*drilling).login),
		step("conform", "label it, and see that it can be removed", (*drilling).claim),
		step("compare", "compare it to the source", (*drilling).compare),
	}
	if !q.Keep {
		steps = append(steps, step("remove", "remove the scratch instance", (*drilling).remove))
	}
	return append(steps, step(reportStep, "judge", (*drilling).report))
}

// drilling is one step of a drill, with what the earlier ones learned.
type drilling struct {
	r *Room
	c Cloud
	q DrillRequest
	m made

	before   reading
	fresh    commits
	point    point
	receipt  cloud.Receipt
	restored outcome // of waiting
	answered outcome // of logging in
	compared compared
}

// point is the output of step "point".
type point struct {
	Time      time.Time `json:"time"`      // to restore to
	At        time.Time `json:"at"`        // when it was chosen: the clock runs from here
	Lag       Span      `json:"lag"`       // the longest that the latest moment was behind, of all looks
	Bracketed bool      `json:"bracketed"` // the source was read before that moment
	By        string    `json:"by"`        // the process
}

// outcome is what a step of a drill came to that may fail without ending the drill: what was made has to be removed.
type outcome struct {
	At     time.Time `json:"at,omitzero"`
	Failed string    `json:"failed,omitempty"`
	By     string    `json:"by,omitempty"` // the process
}

// compared is the output of step "compare".
type compared struct {
	Checks    []Check          `json:"checks"`
	Databases []DatabaseReport `json:"databases"`
	Reached   commits          `json:"reached"`
}

// sourceRead is the output of step "source".
type sourceRead struct {
	reading
	Commits commits `json:"commits"`
}

func (r *Room) drilling(ctx context.Context, s *op.Session, q DrillRequest, source string) (*drilling, error) {
	c, err := r.cloudOf(ctx, s)
	if err != nil {
		return nil, err
	}
	d := &drilling{r: r, c: c, q: q}
	var read sourceRead
	for step, into := range map[string]any{
		"source": &read, "point": &d.point, "restore": &d.receipt, "wait": &d.restored, "login": &d.answered, "compare": &d.compared,
	} {
		if _, err := s.Output(step, into); err != nil {
			return nil, err
		}
	}
	d.before, d.fresh = read.reading, read.Commits
	d.m = mine(s, cloud.Restore{Source: source, Target: scratch(s.Run), Time: d.point.Time, Unprotected: true})
	d.m.claimed, err = claimed(s)
	return d, err
}
