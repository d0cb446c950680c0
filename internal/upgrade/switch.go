package upgrade

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/upgrade/follow"
	"dbops/internal/upgrade/quiesce"
	"dbops/internal/upgrade/verify"
)

// freeze keeps both sides as they are for the comparison that comes when clients are served again, and compares now what no snapshot holds.
func (m *moving) freeze(ctx context.Context, s *op.Session) (op.Result, error) {
	err := m.each(func(name string) error {
		if err := m.hold(ctx, s.Run, name); err != nil {
			return err
		}
		return m.sequencesAlike(ctx, s.Run, name)
	})
	out := verified{Compared: []string{"where sequences stand"}}
	return op.Result{Output: out, Text: "sequences are the same; rows are compared as they are now, when clients are served again"}, err
}

// sequencesAlike compares where sequences stand.
func (m *moving) sequencesAlike(ctx context.Context, run, database string) error {
	p, ok := m.r.held.get(run, database)
	if !ok {
		return fault.Newf(fault.Internal, "compare sequences", "nothing is kept")
	}
	const stand = `select coalesce(string_agg(format('%I.%I %s', schemaname, sequencename, coalesce(last_value::text, 'unused')), e'\n' order by schemaname, sequencename), '') from pg_catalog.pg_sequences`
	var from, to string
	if err := p.from.conn.QueryRow(ctx, stand).Scan(&from); err != nil {
		return fmt.Errorf("read the sequences of %s: %w", m.from.Name, err)
	}
	if err := p.to.conn.QueryRow(ctx, stand).Scan(&to); err != nil {
		return fmt.Errorf("read the sequences of %s: %w", m.to.Name, err)
	}
	if from == to {
		return nil
	}
	a, b := strings.Split(from, "\n"), strings.Split(to, "\n")
	for i := range a {
		if i >= len(b) || a[i] != b[i] {
			return fault.Newf(fault.Findings, "compare the sequences of "+database, "%s on %s is otherwise on %s", a[i], m.from.Name, m.to.Name).Hint("undo; or mend it on %s, and try again", m.to.Name)
		}
	}
	return fault.Newf(fault.Findings, "compare the sequences of "+database, "%s has more of them", m.to.Name).Hint("undo, or mend it on %s, and try again", m.to.Name)
}

// keepBack has the target keep what clients will write, for the source. Where tables were lent an identity, everything is done now.
func (m *moving) keepBack(ctx context.Context, s *op.Session) (op.Result, error) {
	if m.q.FullIdentity {
		return m.reverse(ctx, s)
	}
	err := m.each(func(name string) error {
		j, err := m.follow(ctx, name)
		if err != nil {
			return err
		}
		if err := s.Fence(); err != nil {
			return err
		}
		return follow.ReverseSlot(ctx, j)
	})
	return op.Result{Text: m.to.Name + " keeps what is written to it"}, err
}

// reverse lets the source follow the target, so that going back loses nothing.
func (m *moving) reverse(ctx context.Context, s *op.Session) (op.Result, error) {
	err := m.each(func(name string) error {
		j, err := m.follow(ctx, name)
		if err != nil {
			return err
		}
		if err := s.Fence(); err != nil {
			return err
		}
		if err := follow.Detach(ctx, j); err != nil {
			return err
		}
		return follow.Reverse(ctx, j)
	})
	return op.Result{
		Text:    m.from.Name + " follows " + m.to.Name,
		Changes: []op.Change{{Target: m.t.Environment + "/" + m.from.Name, Setting: "replication", To: "from " + m.to.Name}},
	}, err
}

func (m *moving) endReverse(ctx context.Context, s *op.Session) (op.Result, error) {
	return m.endBack(ctx, s, false)
}

// endBack ends the replication in reverse; with lose also where the target does not answer.
func (m *moving) endBack(ctx context.Context, s *op.Session, lose bool) (op.Result, error) {
	err := m.each(func(name string) error { return m.ended(ctx, s, name, back, lose) })
	return op.Result{Text: "nothing of the replication in reverse is left"}, err
}

// moveClients makes clients use the target.
func (m *moving) moveClients(ctx context.Context, s *op.Session) (op.Result, error) {
	if err := s.Fence(); err != nil {
		return op.Result{}, err
	}
	out, err := m.switchTo(ctx, s, m.from, m.to)
	if err != nil {
		return out, err
	}
	out.Output = opened{At: time.Now().UTC(), Detail: out.Output}
	return out, nil
}

func (m *moving) noteMark(ctx context.Context, _ *op.Session) (op.Result, error) {
	mark, err := m.mark(ctx, m.to)
	if err != nil {
		return op.Result{}, err
	}
	rows, err := m.rows(ctx, m.to)
	out := untouched{Mark: mark, Rows: rows}
	if err == nil && !m.q.CatchUp {
		out.Target, err = quiesce.Look(ctx, m.at(m.ownTo()), m.names)
	}
	return op.Result{Output: out, Text: "noted"}, err
}

// ownTo is the target as the admin login sees it: what closes the source closes the target.
func (m *moving) ownTo() Server {
	to := m.to
	to.Login = ""
	return to
}

// rows are how many rows were written to each table of a server, by its own count, which is behind by seconds.
func (m *moving) rows(ctx context.Context, at Server) (map[string]int64, error) {
	out := map[string]int64{}
	return out, m.inTurn(func(name string) error {
		conn, err := m.r.d.Connect(ctx, m.t, at, name, nil)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
		rows, err := conn.Query(ctx, "select format('%I.%I', schemaname, relname), n_tup_ins + n_tup_upd + n_tup_del from pg_catalog.pg_stat_user_tables")
		if err != nil {
			return fmt.Errorf("look what was written to %s: %w", at.Name, err)
		}
		var table string
		var n int64
		if _, err = pgx.ForEachRow(rows, []any{&table, &n}, func() error {
			if n > 0 {
				out[name+": "+table] = n
			}
			return nil
		}); err != nil {
			return err
		}
		return rows.Err()
	})
}

func (m *moving) switchTo(ctx context.Context, s *op.Session, from, to Server) (op.Result, error) {
	if m.r.d.Clients == nil || m.rehearse {
		return op.Result{Text: "there is nobody to switch"}, nil
	}
	return m.r.d.Clients.Switch(ctx, s, from, to)
}

// marked is what changes when somebody writes to a database and stays when only the server does: how many rows were written, as sessions that have
// ended have told, and the definitions of everything, with the files of tables, which TRUNCATE changes.
const marked = `select (select coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0) from pg_catalog.pg_stat_all_tables
  where schemaname !~ '^pg_' and schemaname <> 'information_schema' or relname = 'pg_largeobject') || ' ' || md5(string_agg(x, ',' order by x)) from (
 select format('%s %s %s', oid, xmin, relfilenode) x from pg_catalog.pg_class where relnamespace <> 'pg_catalog'::regnamespace and relkind <> 'S' and relpersistence <> 't'
 union all select format('%s %s %s', attrelid, attnum, xmin) from pg_catalog.pg_attribute where attrelid >= 16384
 union all select format('%s %s', oid, xmin) from pg_catalog.pg_proc where oid >= 16384
 union all select format('%s %s', oid, xmin) from pg_catalog.pg_constraint where oid >= 16384) x`

// mark is the state of a server's databases, so that a later one tells whether anybody wrote. While clients are on it, it is behind by seconds.
func (m *moving) mark(ctx context.Context, at Server) (string, error) {
	var all []string
	err := m.inTurn(func(name string) error {
		conn, err := m.r.d.Connect(ctx, m.t, at, name, nil)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
		var one string
		if err := conn.QueryRow(ctx, marked).Scan(&one); err != nil {
			return fmt.Errorf("look whether somebody wrote to %s: %w", at.Name, err)
		}
		all = append(all, fmt.Sprintf("%q %s", name, one))
		return nil
	})
	return strings.Join(all, "; "), err
}

// goBack makes clients use the source again. What was written to the target is carried back where the source follows it; else nothing may have
// been written, unless lose says that it may be lost.
func (m *moving) goBack(ctx context.Context, s *op.Session, b *quiesce.Before, reversed, lose bool, was untouched) (op.Result, error) {
	to := m.ownTo()
	shut, err := quiesce.Look(ctx, m.at(to), m.names)
	if was.Target != nil { // of before anybody closed it
		shut = was.Target
	}
	if is(err, fault.Unavailable, fault.NotFound) {
		if lose && (s.Attempt > calls || is(err, fault.NotFound)) {
			return m.goBackWithout(ctx, s, b, err)
		}
		return op.Result{Output: stayed{m.to.Name}}, m.unreached(s, err)
	}
	if err != nil {
		return op.Result{Output: stayed{m.to.Name}}, err
	}
	if err := s.Fence(); err != nil {
		return op.Result{}, err
	}
	if _, err := quiesce.Close(ctx, m.at(to), shut, quiesce.Options{
		Grace: m.q.Grace, Keep: m.replicas(), Roles: m.ours(), Tell: closing(ctx, s),
	}); err != nil {
		return op.Result{}, err
	}
	lost, err := m.carryBack(ctx, s, reversed, lose, was)
	passes := is(err, fault.Unavailable, fault.Busy, fault.Throttled) && s.Attempt <= calls
	if err != nil && lose && reversed && !passes && ctx.Err() == nil {
		lost = "lost, as asked, because it could not be carried back: " + oneLine(err)
		err = m.endBoth(ctx, s) // before anybody writes to the source: nothing of the target may come in between
	}
	if err != nil { // clients are served where they are, until somebody decides
		opened := quiesce.Open(ctx, m.at(to), shut)
		if opened != nil {
			return op.Result{}, errors.Join(m.notBack(err), opened)
		}
		return op.Result{Output: stayed{m.to.Name}}, m.notBack(err)
	}
	if err := quiesce.Open(ctx, m.at(m.from), b); err != nil {
		return op.Result{}, err
	}
	return m.serveAgain(ctx, s, lost)
}

func (m *moving) serveAgain(ctx context.Context, s *op.Session, lost string) (op.Result, error) {
	out, err := m.switchTo(ctx, s, m.to, m.from)
	if err != nil {
		return out, err
	}
	out.Text = "clients use " + m.from.Name + " again; " + lost
	out.Output = wentBack{At: time.Now().UTC(), Text: lost}
	return out, nil
}

// stayed is the output of an attempt to go back that failed and left clients where they were.
type stayed struct {
	Server string `json:"clients_stay_on"`
}

// wentBack is the output of going back.
type wentBack struct {
	At   time.Time `json:"at"`
	Text string    `json:"text"`
}

// notBack says what can be done when nothing brings writes back.
func (m *moving) notBack(err error) error {
	if !is(err, fault.Stale, fault.Failed) {
		return err
	}
	return fault.New(fault.KindOf(err), "bring back what was written to "+m.to.Name, err).
		Hint("clients go on with %s; abandon this run, then dbops upgrade rollback -e %s %s --lose-writes goes back without what cannot be carried", m.to.Name, m.t.Environment, m.t.Instance)
}

func (m *moving) carryBack(ctx context.Context, s *op.Session, reversed, lose bool, was untouched) (string, error) {
	if reversed {
		if err := m.each(func(name string) error { return m.keeps(ctx, name) }); err != nil {
			return "", err
		}
		if _, err := m.reverse(ctx, s); err != nil { // of a run that was killed after the switch
			return "", err
		}
		err := m.each(func(name string) error {
			j, err := m.follow(ctx, name)
			if err != nil {
				return err
			}
			if _, err := follow.ReverseDrain(ctx, j); err != nil {
				return err
			}
			return follow.ReverseSequences(ctx, j)
		})
		return "what was written to " + m.to.Name + " was carried back", err
	}
	now, err := m.mark(ctx, m.to)
	if err != nil {
		return "", err
	}
	if now == was.Mark {
		return "nothing was written to " + m.to.Name, nil
	}
	written, err := m.written(ctx, was.Rows)
	if err != nil {
		return "", err
	}
	if lose {
		return "lost, as asked: " + written, nil
	}
	return "", fault.Newf(fault.Blocked, "go back to "+m.from.Name, "what was written to %s since the switch would be lost, and nothing carries it back: %s", m.to.Name, written).
		Hint("copy what matters by hand, then dbops upgrade rollback -e %s %s --lose-writes; or stay: dbops runs decide %s abandon", m.t.Environment, m.t.Instance, s.Run)
}

// keeps fails where the target does not keep for the source what was written to it: a new slot would begin in the middle.
func (m *moving) keeps(ctx context.Context, database string) error {
	conn, err := m.r.d.Connect(ctx, m.t, m.ownTo(), database, nil)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	what, name := "carry back what was written to "+m.to.Name, follow.Names(m.run, database)[back]
	var has bool
	if err := conn.QueryRow(ctx, "select exists (select from pg_catalog.pg_replication_slots where slot_name = $1)", name).Scan(&has); err != nil {
		return fault.New(fault.Unavailable, what, err)
	}
	if !has {
		return fault.Newf(fault.Stale, what, "its slot %s is gone, and with it what was not carried back yet", name)
	}
	return nil
}

// written tells what was written to the target since it was noted.
func (m *moving) written(ctx context.Context, before map[string]int64) (string, error) {
	now, err := m.rows(ctx, m.to)
	if err != nil {
		return "", err
	}
	type changed struct {
		table string
		rows  int64
	}
	var all []changed
	for table, n := range now {
		if more := n - before[table]; more > 0 {
			all = append(all, changed{table, more})
		}
	}
	slices.SortFunc(all, func(a, b changed) int { return cmp.Or(cmp.Compare(b.rows, a.rows), strings.Compare(a.table, b.table)) })
	var parts []string
	for _, c := range all[:min(5, len(all))] {
		parts = append(parts, fmt.Sprintf("%s, %d rows inserted, updated or deleted", c.table, c.rows))
	}
	if n := len(all) - len(parts); n > 0 {
		parts = append(parts, fmt.Sprintf("%d more tables", n))
	}
	if len(parts) == 0 {
		return "definitions, or rows that the server has not counted yet", nil
	}
	return strings.Join(parts, "; "), nil
}

// switchBack undoes the switch.
func (m *moving) switchBack(ctx context.Context, s *op.Session) (op.Result, error) {
	b, err := before(s)
	if err != nil {
		return op.Result{}, err
	}
	var was untouched
	if _, err := s.Output(markStep, &was); err != nil {
		return op.Result{}, err
	}
	var late lately
	if _, err := s.Output(lateStep, &late); err != nil {
		return op.Result{}, err
	}
	if late.Target != nil {
		was.Target = late.Target
	}
	return m.goBack(ctx, s, b, m.reversed(), false, was)
}

// reversed tells whether the source follows the target after the cut-over.
func (m *moving) reversed() bool { return m.q.CatchUp && !m.q.NoWayBack && !m.rehearse }

// compare compares all rows as they were at the cut-over.
func (m *moving) compare(ctx context.Context, s *op.Session) (op.Result, error) {
	defer m.r.held.drop(ctx, s.Run, m.names)
	var out verified
	err := m.inTurn(func(name string) error {
		p, ok := m.r.held.get(s.Run, name)
		if !ok || !p.alive(ctx) {
			out.Note = "rows were not compared as they were at the cut-over: the process that kept both sides ended. They were compared after the copy, and replication has not failed since"
			return nil
		}
		j := m.comparison(ctx, s, name, p.from.name)
		j.TargetSnapshot, j.Part = p.to.name, verify.PartRows
		report, err := verify.Compare(ctx, j)
		if err != nil {
			return err
		}
		out.Databases = append(out.Databases, verifiedIn{name, report})
		return report.Err()
	})
	if err != nil {
		return op.Result{}, err
	}
	res, err := m.compareRoles(ctx, s, out)
	if out.Note != "" {
		res.Text = out.Note
	}
	return res, err
}

// observed is the output of step "observe".
type observed struct {
	Sessions []string `json:"sessions"` // of clients on the target
	Left     []string `json:"left"`     // on the source
	Lag      []string `json:"lag,omitempty"`
}

func (m *moving) observe(ctx context.Context, s *op.Session) (op.Result, error) {
	until := time.Now().Add(m.q.Observe)
	var out observed
	for {
		var err error
		if out, err = m.see(ctx); err != nil {
			return op.Result{}, err
		}
		left := time.Until(until)
		s.Progress(ctx, "%d clients on %s, %d on %s, %s to go", len(out.Sessions), m.to.Name, len(out.Left), m.from.Name, left.Round(time.Second))
		if left <= 0 {
			return op.Result{Output: out, Text: fmt.Sprintf("%d clients on %s, %d on %s", len(out.Sessions), m.to.Name, len(out.Left), m.from.Name)}, nil
		}
		if err := op.Sleep(ctx, min(left, 2*time.Second)); err != nil {
			return op.Result{}, err
		}
	}
}

func (m *moving) see(ctx context.Context) (out observed, err error) {
	if out.Sessions, err = m.sessions(ctx, m.to); err != nil {
		return out, err
	}
	if out.Left, err = m.sessions(ctx, m.from); err != nil || !m.reversed() {
		return out, err
	}
	return out, m.inTurn(func(name string) error {
		j, err := m.follow(ctx, name)
		if err != nil {
			return err
		}
		lag, err := follow.ReverseLag(ctx, j)
		out.Lag = append(out.Lag, name+": "+lagText(lag))
		return err
	})
}

// sessions are the clients in the databases of a server.
func (m *moving) sessions(ctx context.Context, at Server) ([]string, error) {
	conn, err := m.r.d.Connect(ctx, m.t, at, maintenance, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	rows, err := conn.Query(ctx, `select format('%s in %s (%s): %s', usename, datname, application_name, count(*)) from pg_catalog.pg_stat_activity
 where backend_type = 'client backend' and datname = any($1) and application_name not like 'dbops%' group by usename, datname, application_name order by 1`, m.names)
	if err != nil {
		return nil, fmt.Errorf("look who uses %s: %w", at.Name, err)
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// kept is the output of step "keep".
type kept struct {
	Turned bool `json:"turned_on"` // deletion protection was off before
}

// keep protects the source, which nobody needs and which is the way back.
func (m *moving) keep(ctx context.Context, s *op.Session) (op.Result, error) {
	c, err := m.cloud(ctx)
	if err != nil {
		return op.Result{}, err
	}
	text := m.from.Name + " is kept as it is, closed to clients, until dbops upgrade cleanup"
	if c == nil {
		return op.Result{Text: text}, nil
	}
	live, err := c.Get(ctx, m.from.Name)
	if err != nil {
		return op.Result{}, err
	}
	turned := !live.DeletionProtection || s.Attempt > 1 && !m.f.Source.Protected // by a try that was killed
	out, err := m.modify(ctx, s, c, m.from.Name, cloud.Settings{DeletionProtection: new(true)})
	out.Output, out.Text = kept{turned}, text+", and protected from deletion"
	return out, err
}

// unkeep takes the protection away that the upgrade gave.
func (m *moving) unkeep(ctx context.Context, s *op.Session) (op.Result, error) {
	c, err := m.cloud(ctx)
	if err != nil || c == nil {
		return op.Result{}, err
	}
	out, err := m.modify(ctx, s, c, m.from.Name, cloud.Settings{DeletionProtection: new(false)})
	out.Text = m.from.Name + " is as it was: not protected from deletion"
	return out, err
}
