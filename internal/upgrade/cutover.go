package upgrade

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/upgrade/follow"
	"dbops/internal/upgrade/quiesce"
	"dbops/internal/upgrade/roles"
	"dbops/internal/upgrade/verify"
)

// The steps that others look for in a journal.
const (
	adminStep   = "admin"
	gateStep    = "cutover"
	noteStep    = "note"
	quiesceStep = "quiesce"
	verifyStep  = "verify"
	lateStep    = "late-roles"
	markStep    = "mark"
	switchStep  = "switch"
	backupStep  = "backup"  // in place
	upgradeStep = "upgrade" // in place
	compareStep = "compare"
	reverseStep = "reverse"
	observeStep = "observe"
	keepStep    = "keep"
	sealStep    = "seal"
	swapStep    = "switchover" // of a blue/green deployment
	backStep    = "back"       // of a rollback
)

// closed is the output of step "quiesce".
type closed struct {
	Began  time.Time       `json:"began"` // of the downtime
	Report *quiesce.Report `json:"report"`
}

// opened is the output of step "switch".
type opened struct {
	At     time.Time `json:"at"` // the end of the downtime
	Detail any       `json:"detail,omitempty"`
}

// untouched is the output of step "mark".
type untouched struct {
	Mark string `json:"mark"` // of the target, as [moving.mark] has it
	// Rows are how many had been written to each table, "DATABASE: SCHEMA.TABLE".
	Rows map[string]int64 `json:"rows,omitempty"`
	// Target is who may connect to it.
	Target *quiesce.Before `json:"target,omitempty"`
}

// verified is the output of steps that compare.
type verified struct {
	Databases []verifiedIn       `json:"databases"`
	Roles     []roles.Difference `json:"roles,omitempty"`
	Compared  []string           `json:"compared,omitempty"` // beside the databases
	Note      string             `json:"note,omitempty"`
}

type verifiedIn struct {
	Database string         `json:"database"`
	Report   *verify.Report `json:"report"`
}

// gate waits for somebody's word, unless the plan has it.
func (m *moving) gate() []op.Step {
	if m.q.Unattended || m.rehearse {
		return nil
	}
	text := fmt.Sprintf("the cut-over: from now on nobody writes to %s, until clients are on %s. Everything before this was done beside running clients. "+
		"dbops upgrade cutover goes on, dbops upgrade rollback takes everything back", m.from.Name, m.to.Name)
	return []op.Step{{Name: gateStep, Title: "wait for the word to cut over", Gate: text}}
}

// closeSteps keep writers out of the source.
func (m *moving) closeSteps() []op.Step {
	return []op.Step{
		m.step(noteStep, "note who may connect to "+m.from.Name, (*moving).note),
		m.undone(m.step(quiesceStep, "keep writers out of "+m.from.Name+": read-only, their sessions ended, CONNECT revoked", (*moving).quiesce),
			"let writers into "+m.from.Name+" again", (*moving).reopen),
	}
}

func (m *moving) note(ctx context.Context, _ *op.Session) (op.Result, error) {
	if m.q.CatchUp { // what forbids the cut-over is better known while clients are served
		err := m.each(func(name string) error {
			j, err := m.follow(ctx, name)
			if err == nil {
				_, err = follow.Look(ctx, j)
			}
			return err
		})
		if err != nil {
			return op.Result{}, err
		}
	}
	if err := m.prove(ctx); err != nil { // again: a run may have waited for days
		return op.Result{}, err
	}
	before, err := quiesce.Look(ctx, m.at(m.from), m.names)
	return op.Result{Output: before, Text: "noted"}, err
}

// before is what step "note" noted.
func before(s *op.Session) (*quiesce.Before, error) {
	b := &quiesce.Before{}
	if ok, err := s.Output(noteStep, b); err != nil || !ok {
		return nil, fault.New(fault.Internal, "read who could connect before the cut-over", err)
	}
	return b, nil
}

func (m *moving) quiesce(ctx context.Context, s *op.Session) (op.Result, error) {
	b, err := before(s)
	if err != nil {
		return op.Result{}, err
	}
	if err := s.Fence(); err != nil {
		return op.Result{}, err
	}
	began := time.Now().UTC()
	report, err := quiesce.Close(ctx, m.at(m.from), b, quiesce.Options{
		Grace: m.q.Grace, Keep: m.replicas(), Roles: m.replicas(), ConnectOnly: m.inPlace, Tell: closing(ctx, s),
	})
	if err != nil {
		return op.Result{}, err
	}
	report.Still = slices.DeleteFunc(report.Still, func(x quiesce.Session) bool { return x.Role == b.Login || slices.Contains(m.replicas(), x.Role) })
	text := fmt.Sprintf("nobody writes to %s, %d sessions ended", m.from.Name, len(report.Ended))
	if n := len(report.Still); n > 0 {
		text += fmt.Sprintf("; %d are there, or may come, whom rights do not keep out: %s", n, report.Still[0])
	}
	return op.Result{
		Output: closed{began, report}, Text: text,
		Changes: []op.Change{{Target: m.t.Environment + "/" + m.from.Name, Setting: "writers", From: "let in", To: "kept out"}},
	}, nil
}

func closing(ctx context.Context, s *op.Session) func(quiesce.Progress) {
	return func(p quiesce.Progress) {
		s.Progress(ctx, "%s: %d sessions ended, %d still there, %d of them until their transaction ends", p.Phase, p.Ended, p.Sessions, p.Waiting)
	}
}

func (m *moving) reopen(ctx context.Context, s *op.Session) (op.Result, error) {
	b, err := before(s)
	if err != nil {
		return op.Result{}, err
	}
	if err := s.Fence(); err != nil {
		return op.Result{}, err
	}
	m.r.held.drop(ctx, s.Run, m.names) // nothing will be compared
	return op.Result{
		Text:    m.from.Name + " lets writers in as before",
		Changes: []op.Change{{Target: m.t.Environment + "/" + m.from.Name, Setting: "writers", From: "kept out", To: "let in"}},
	}, quiesce.Open(ctx, m.at(m.from), b)
}

// verify compares everything, now that nobody writes.
func (m *moving) verify(ctx context.Context, s *op.Session) (op.Result, error) {
	var out verified
	err := m.inTurn(func(name string) error {
		report, err := verify.Compare(ctx, m.comparison(ctx, s, name, ""))
		out.Databases = append(out.Databases, verifiedIn{name, report})
		if err != nil {
			return err
		}
		return report.Err()
	})
	if err != nil {
		return op.Result{}, err
	}
	return m.compareRoles(ctx, s, out)
}

// compareRoles ends a comparison with what does not belong to one database. What the replication has made for itself is not compared.
func (m *moving) compareRoles(ctx context.Context, s *op.Session, out verified) (op.Result, error) {
	model, err := m.model(s)
	if err != nil {
		return op.Result{}, err
	}
	differ, err := model.Compare(ctx, m.at(m.from), m.at(m.to), m.names)
	if err != nil {
		return op.Result{}, err
	}
	var bad []string
	for _, d := range differ {
		if slices.ContainsFunc(m.replicas(), func(name string) bool { return strings.Contains(d.Name, name) }) {
			continue
		}
		if m.f.Source.Major < 16 && m.q.To >= 16 && d.What == "membership" && d.Expected == "" && strings.Contains(d.Target, "ADMIN true") {
			d.Expected = "who may create roles administers those that it is given, which needed no option before PostgreSQL 16"
		}
		if d.Source == "" && d.Expected == "" { // no upgrade gives what the source does not have
			d.Expected = "the new server has it of its own"
		}
		out.Roles = append(out.Roles, d)
		if d.Expected == "" {
			bad = append(bad, fmt.Sprintf("%s %s: %q on the source, %q on the target", d.What, d.Name, d.Source, d.Target))
		}
	}
	if len(bad) > 0 {
		return op.Result{}, fault.Newf(fault.Findings, "compare the roles", "%d things differ: %s", len(bad), strings.Join(bad[:min(3, len(bad))], "; ")).
			Hint("mend that on %s, then try again; or undo", m.to.Name)
	}
	out.Compared = []string{"roles, settings of roles and databases"}
	return op.Result{Output: out, Text: out.summary()}, nil
}

func (v verified) summary() string {
	tables, rows := 0, int64(0)
	for _, d := range v.Databases {
		tables += len(d.Report.Tables)
		for _, t := range d.Report.Tables {
			rows += t.SourceRows
		}
	}
	return fmt.Sprintf("both sides are the same: %d databases, %d tables, %d rows", len(v.Databases), tables, rows)
}

// attach lets the target follow.
func (m *moving) attach(ctx context.Context, s *op.Session) (op.Result, error) {
	err := m.each(func(name string) error {
		j, err := m.follow(ctx, name)
		if err != nil {
			return err
		}
		if err := s.Fence(); err != nil {
			return err
		}
		return follow.Attach(ctx, j)
	})
	return op.Result{Text: m.to.Name + " follows"}, err
}

func (m *moving) detach(ctx context.Context, s *op.Session) (op.Result, error) {
	err := m.each(func(name string) error {
		_, err := m.unfollow(ctx, s, name)
		return err
	})
	return op.Result{Text: "the replication is gone"}, err
}

// nearBytes is how far behind the target may be for the cut-over to begin.
const nearBytes = 4 << 20

// catchUp waits until the target is near.
func (m *moving) catchUp(ctx context.Context, s *op.Session) (op.Result, error) {
	var last []string
	pace := m.r.d.Pace
	pace.Patience = 0
	err := s.Poll(ctx, pace, "catch up", func(ctx context.Context) (bool, string, error) {
		last = last[:0]
		near := true
		err := m.inTurn(func(name string) error {
			j, err := m.follow(ctx, name)
			if err != nil {
				return err
			}
			lag, err := follow.Look(ctx, j)
			if err != nil {
				return err
			}
			near = near && lag.Running && lag.Bytes <= nearBytes
			last = append(last, name+": "+lagText(lag))
			return nil
		})
		return near, strings.Join(last, "; "), err
	})
	return op.Result{Text: strings.Join(last, "; ")}, err
}

// lagText is how far behind a follower is, in a few words.
func lagText(l follow.Lag) string {
	text := size(l.Bytes) + " behind"
	if l.Error != "" {
		text += ", and stuck: " + l.Error
	}
	return text
}

// drain waits for the last writes, and brings the sequences.
func (m *moving) drain(ctx context.Context, s *op.Session) (op.Result, error) {
	var mu sync.Mutex
	at := map[string]string{}
	err := m.each(func(name string) error {
		j, err := m.follow(ctx, name)
		if err != nil {
			return err
		}
		lsn, err := follow.Drain(ctx, j)
		if err != nil {
			return err
		}
		mu.Lock()
		at[name] = lsn
		mu.Unlock()
		if err := s.Fence(); err != nil {
			return err
		}
		return follow.Sequences(ctx, j)
	})
	return op.Result{Output: at, Text: "everything that was written is on " + m.to.Name}, err
}
