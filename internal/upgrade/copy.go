package upgrade

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/jackc/pgx/v5"

	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/upgrade/follow"
	"dbops/internal/upgrade/stats"
	"dbops/internal/upgrade/stream"
	"dbops/internal/upgrade/verify"
)

// copied is the output of a step that copies a database.
type copied struct {
	Database string `json:"database"`
	stream.Result
	// Verified is the comparison with the snapshot that was copied, of a catch-up; Unverified why there is none.
	Verified   *verify.Report `json:"verified,omitempty"`
	Unverified string         `json:"unverified,omitempty"`
}

// copyStep names the step that copies a database.
func copyStep(database string) string { return "copy " + database }

// fillSteps copy the databases, and complete what a copy of rows does not bring.
func (m *moving) fillSteps() (steps []op.Step) {
	for _, name := range m.names {
		one := op.Step{
			Name: copyStep(name), Title: "copy the database " + name,
			Do: func(ctx context.Context, s *op.Session) (op.Result, error) { return m.bind(s).copy(ctx, s, name) },
		}
		if m.q.CatchUp {
			one.UndoTitle = "take the replication of " + name + " away, with its slot on " + m.from.Name
			one.Undo = func(ctx context.Context, s *op.Session) (op.Result, error) { return m.bind(s).unfollow(ctx, s, name) }
		}
		steps = append(steps, one)
	}
	return append(steps,
		m.step("settings", "give "+m.to.Name+" the settings of roles and databases", (*moving).settings),
		m.step("statistics", "give the planner of "+m.to.Name+" its statistics", (*moving).statistics))
}

// engine is how the rows go.
func (m *moving) engine(run, database string) (e stream.Engine, clear func(), err error) {
	if m.q.Engine != EngineDump {
		return stream.Copy, func() {}, nil
	}
	base := m.r.d.Dir
	if base == "" {
		base = os.TempDir()
	}
	dir := filepath.Join(base, "dbops-"+run, fmt.Sprintf("%x", database))
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return nil, nil, fault.New(fault.Failed, "make a folder for the dump of "+database, err)
	}
	return stream.Folder(dir), func() {
		for _, one := range []string{dir, dir + ".complete"} {
			_ = os.RemoveAll(one) // what stays is only in the way
		}
		_ = os.Remove(filepath.Dir(dir))
	}, nil
}

func (m *moving) job(ctx context.Context, s *op.Session, database string) stream.Job {
	var last stream.Progress
	return stream.Job{
		Source: m.in(m.from, database), Target: m.in(m.to, database), Tool: m.r.d.Tool, Dir: m.r.d.Dir, Jobs: m.q.Jobs,
		Progress: func(p stream.Progress) {
			if p.Phase != last.Phase && last.Rows > 0 { // how much it was is known to nobody else, and small databases are over in a moment
				s.Milestone(ctx, copying{progressSchema, database, last}, "%s", moved(database, last))
			}
			last = p
			s.ProgressOf(ctx, copying{progressSchema, database, p}, "%s", moved(database, p))
		},
	}
}

// progressSchema is that of the detail of a copy's progress.
const progressSchema = "dbops/upgrade-progress/v1"

// copying is how a copy goes, for programs: dbops/upgrade-progress/v1.
type copying struct {
	Schema   string `json:"schema"`
	Database string `json:"database"`
	stream.Progress
}

// moved is how a copy goes, in a line.
func moved(database string, p stream.Progress) string {
	parts := []string{database + ": " + p.Phase}
	if p.Of > 0 {
		parts = append(parts, fmt.Sprintf("%d of %d", p.Done, p.Of))
	}
	if p.Bytes > 0 || p.Total > 0 {
		parts = append(parts, fmt.Sprintf("%s of about %s", humanize.IBytes(uint64(max(0, p.Bytes))), humanize.IBytes(uint64(max(0, p.Total)))))
	}
	if p.Rows > 0 {
		parts = append(parts, humanize.Comma(p.Rows)+" rows")
	}
	if p.Rate > 0 {
		parts = append(parts, humanize.IBytes(uint64(p.Rate))+"/s")
	}
	if p.Left > 0 {
		parts = append(parts, "about "+p.Left.Round(time.Second).String()+" left")
	}
	if p.What != "" {
		parts = append(parts, p.What)
	}
	return strings.Join(parts, ", ")
}

// copy copies a database, and goes on where a try that was killed left off.
func (m *moving) copy(ctx context.Context, s *op.Session, database string) (op.Result, error) {
	if m.q.CatchUp {
		return m.copyAndFollow(ctx, s, database)
	}
	if err := s.Fence(); err != nil {
		return op.Result{}, err
	}
	engine, clear, err := m.engine(s.Run, database)
	if err != nil {
		return op.Result{}, err
	}
	res, err := m.begunAgain(ctx, s, database, func() (stream.Result, error) { return engine(ctx, m.job(ctx, s, database)) })
	if err != nil {
		return op.Result{}, err
	}
	clear()
	return m.copied(copied{Database: database, Result: res}), nil
}

// begunAgain empties the target for a copy that cannot go on with what an earlier one left there, and copies once more.
func (m *moving) begunAgain(ctx context.Context, s *op.Session, database string, copy func() (stream.Result, error)) (stream.Result, error) {
	res, err := copy()
	if !is(err, fault.Stale) && !(m.q.Engine == EngineDump && s.Attempt > 1 && is(err, fault.Blocked)) {
		return res, err
	}
	s.Progress(ctx, "%s: beginning again: %s", database, oneLine(err))
	if err := s.Fence(); err != nil {
		return res, err
	}
	if err := m.empty(ctx, s, database); err != nil {
		return res, err
	}
	return copy()
}

func (m *moving) copied(c copied) op.Result {
	text := fmt.Sprintf("%d tables, %s rows, %s in %s", c.Tables, humanize.Comma(c.Rows), humanize.IBytes(uint64(max(0, c.Bytes))), c.Took.Round(100*time.Millisecond))
	if c.Verified != nil {
		text += ", and compared"
	}
	return op.Result{
		Output: c, Text: text,
		Changes: []op.Change{{Target: m.t.Environment + "/" + m.to.Name, Setting: "database " + c.Database, To: "copied from " + m.from.Name}},
	}
}

// copyAndFollow copies out of the snapshot of a replication slot, so that what is written from then on can follow.
func (m *moving) copyAndFollow(ctx context.Context, s *op.Session, database string) (op.Result, error) {
	out := copied{Database: database}
	j, err := m.follow(ctx, database)
	if err != nil {
		return op.Result{}, err
	}
	if err := s.Fence(); err != nil {
		return op.Result{}, err
	}
	job := m.job(ctx, s, database)
	done, err := stream.Done(ctx, job.Target)
	if err != nil {
		return op.Result{}, err
	}
	if done { // by a try that was killed, whose slot is where its copy is
		if out.Result, err = stream.Copy(ctx, job); err != nil {
			return op.Result{}, err
		}
		out.Unverified = "the try that copied it was killed before it compared: the comparison at the cut-over holds"
		return m.copied(out), nil
	}
	var slot *follow.Slot
	defer func() {
		if slot != nil {
			slot.Close()
		}
	}()
	out.Result, err = m.begunAgain(ctx, s, database, func() (res stream.Result, err error) {
		if slot != nil { // the source was altered since: a copy out of that snapshot would be stale again
			slot.Close() //nolint:contextcheck // it ends a session, whatever ends the copy
		}
		if slot, err = follow.Begin(ctx, j); err != nil {
			return res, err
		}
		job.Snapshot = slot.Snapshot
		// The publication that was made a moment ago is copied, too, and belongs to the source's login.
		model, err := m.roles(ctx)
		if err != nil {
			return res, err
		}
		if _, err := model.Join(ctx, m.at(m.to)); err != nil {
			return res, err
		}
		return stream.Copy(ctx, job)
	})
	if err != nil {
		return op.Result{}, err
	}
	compare := m.comparison(ctx, s, database, slot.Snapshot)
	compare.Part = verify.PartRows // sequences go on
	if out.Verified, err = verify.Compare(ctx, compare); err != nil {
		return op.Result{}, err
	}
	if err := out.Verified.Err(); err != nil {
		return op.Result{}, err
	}
	return m.copied(out), nil
}

func (m *moving) unfollow(ctx context.Context, s *op.Session, database string) (op.Result, error) {
	return op.Result{Text: "nothing of the replication is left"}, m.ended(ctx, s, database, forth, false)
}

// comparison compares a database with the target's. snapshot is of the source; "" is the present.
func (m *moving) comparison(ctx context.Context, s *op.Session, database, snapshot string) verify.Job {
	j := verify.Job{
		Source: m.in(m.from, database), Target: m.in(m.to, database), SourceSnapshot: snapshot, Jobs: m.q.Jobs, CountOnly: m.q.Verify == VerifyCount,
		Progress: func(p verify.Progress) { s.Progress(ctx, "%s: compared %d of %d, %s", database, p.Done, p.Of, p.Table) },
	}
	if m.q.Verify == VerifySample {
		j.Sample = sampled
	}
	return j
}

// empty makes a database on the target anew.
func (m *moving) empty(ctx context.Context, s *op.Session, database string) error {
	conn, err := m.r.d.Connect(ctx, m.t, m.to, maintenance, nil)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if database == maintenance {
		return fault.Newf(fault.Blocked, "begin the copy of "+database+" again", "what an earlier try left in it cannot be dropped as a whole").
			Hint("drop what is in the database postgres of %s, then try again", m.to.Name)
	}
	if _, err := conn.Exec(ctx, "drop database if exists "+ident(database)+" with (force)"); err != nil {
		return fmt.Errorf("drop the database %s of %s: %w", database, m.to.Name, err)
	}
	model, err := m.model(s)
	if err != nil {
		return err
	}
	return model.CreateDatabases(ctx, m.at(m.to))
}

func ident(name string) string { return pgx.Identifier{name}.Sanitize() }

// settings brings what would have hindered the copy, and drops the notes of it.
func (m *moving) settings(ctx context.Context, s *op.Session) (op.Result, error) {
	if err := s.Fence(); err != nil {
		return op.Result{}, err
	}
	if err := m.each(func(name string) error { return stream.Finish(ctx, m.in(m.to, name)) }); err != nil {
		return op.Result{}, err
	}
	model, err := m.model(s)
	if err != nil {
		return op.Result{}, err
	}
	report, err := model.ApplySettings(ctx, m.at(m.to))
	if err != nil {
		return op.Result{}, err
	}
	return op.Result{
		Output: globals{Report: report}, Text: told(report),
		Changes: []op.Change{{Target: m.t.Environment + "/" + m.to.Name, Setting: "settings of roles and databases", To: "those of " + m.from.Name}},
	}, nil
}

// counted is the output of step "statistics".
type counted struct {
	Databases []countedIn `json:"databases"`
}

type countedIn struct {
	Database string `json:"database"`
	stats.Result
}

func (m *moving) statistics(ctx context.Context, s *op.Session) (op.Result, error) {
	var out counted
	err := m.inTurn(func(name string) error {
		if err := s.Fence(); err != nil {
			return err
		}
		j := stats.Job{
			Source: m.in(m.from, name), Target: m.in(m.to, name), Jobs: m.q.Jobs, Tool: m.r.d.Tool, Dir: m.r.d.Dir,
			Progress: func(done, of int, table string) {
				s.Progress(ctx, "%s: statistics of %d of %d, %s", name, done, of, table)
			},
		}
		give := stats.Analyze
		if m.q.To >= 18 {
			give = stats.Carry
		}
		res, err := give(ctx, j)
		out.Databases = append(out.Databases, countedIn{name, res})
		return err
	})
	return op.Result{Output: out, Text: "the planner knows its tables"}, err
}
