package driver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/fault"
)

// State is what a database says of a folder's migrations.
type State struct {
	Table   Table // of the versions, with its schema
	History Table
	Exists  bool // the table of versions is there
	Kept    bool // and the history
	Replica bool

	Any     bool  // there is a version
	Version int64 // the highest
	Dirty   bool  // one of them is
	Many    bool  // there is a row for each version, as Encore has it
	Rows    []Row
	// Entries are the last one, and the last one that ended well, of each version, oldest first: of all but the last one only what tells which
	// versions are there. [ReadHistory] reads all of it.
	Entries []Entry
}

// Row is one of the table of versions.
type Row struct {
	Version int64
	Dirty   bool
}

// Entry is one of the history.
type Entry struct {
	ID         int64
	Version    int64
	Target     int64 // the database's version afterwards, -1 for none
	Name       string
	Direction  string // up, down, baseline, repair
	Sum        string // "" if it was not known
	Mode       string
	Outcome    string
	Statements int
	Done       int
	DoneSum    string // SHA-256 of the statements that are done
	ErrorState string
	ErrorText  string
	ErrorLine  int
	Started    time.Time
	Took       time.Duration
	Attempts   int
	DBUser     string
	Actor      string
	OSUser     string
	Host       string
	Tool       string
	Commit     string
	Run        string
	Reason     string
}

const rowsSQL = `select version, dirty from %s order by version`

// entriesSQL reads what tells which versions are there. It is read of every database of a fleet, so it is little.
const entriesSQL = `select distinct on (version, outcome = 'ok') id, version, coalesce(target, -1), direction, coalesce(checksum, ''), outcome, coalesce(run, '')
 from %[1]s where versions = %[2]s order by version, outcome = 'ok', id desc`

const historySQL = `select id, version, coalesce(target, -1), direction, coalesce(checksum, ''), outcome, coalesce(run, ''),
 name, coalesce(mode, ''), coalesce(statements, 0), coalesce(statements_done, 0), coalesce(done_checksum, ''),
 coalesce(error_state, ''), coalesce(error_text, ''), coalesce(error_line, 0), started_at, coalesce(duration_ms, 0), coalesce(attempts, 1),
 db_user, coalesce(actor, ''), coalesce(os_user, ''), coalesce(host, ''), coalesce(tool, ''), coalesce(git_commit, ''), coalesce(reason, '')
 from %[1]s where versions = %[2]s order by id desc limit %[3]d`

// ReadState reads the state in two round trips. It takes no lock, and changes nothing: a login that may only read is enough. conn should
// use pgx's simple protocol, or it takes more.
func ReadState(ctx context.Context, conn *pgx.Conn, t Table) (State, error) {
	if t.Name == "" {
		t.Name = DefaultTable
	}
	h, replica, err := find(ctx, conn, t)
	if err != nil {
		return State{}, err
	}
	s := State{Table: h.versions, History: h.history, Exists: h.has, Kept: h.recorded, Replica: replica}
	b := &pgx.Batch{}
	if h.has {
		b.Queue(fmt.Sprintf(rowsSQL, h.versions.sql()))
	}
	if h.recorded {
		b.Queue(fmt.Sprintf(entriesSQL, h.history.sql(), literal(h.versions.String())))
		b.Queue(fmt.Sprintf(historySQL, h.history.sql(), literal(h.versions.String()), 1))
	}
	if b.Len() == 0 {
		return s, nil
	}
	br := conn.SendBatch(ctx, b)
	err = s.scan(br, h)
	return s, shapeError(errors.Join(err, br.Close()), h.versions)
}

func (s *State) scan(br pgx.BatchResults, h home) error {
	if h.has {
		rows, err := br.Query()
		if err != nil {
			return err
		}
		if s.Rows, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Row]); err != nil {
			return err
		}
		for _, r := range s.Rows {
			s.Dirty = s.Dirty || r.Dirty
		}
		if n := len(s.Rows); n > 0 && s.Rows[n-1].Version >= 0 {
			s.Any, s.Version = true, s.Rows[n-1].Version
		}
		s.Many = len(s.Rows) > 1
	}
	if h.recorded {
		rows, err := br.Query()
		if err != nil {
			return err
		}
		s.Entries, err = pgx.AppendRows(make([]Entry, 0, 256), rows, func(r pgx.CollectableRow) (e Entry, err error) { return e, r.Scan(e.brief()...) })
		if err != nil {
			return err
		}
		slices.SortFunc(s.Entries, func(a, b Entry) int { return cmp.Compare(a.ID, b.ID) })
		if rows, err = br.Query(); err != nil {
			return err
		}
		last, err := pgx.CollectRows(rows, scanEntry)
		if n := len(s.Entries); n > 0 && len(last) == 1 {
			s.Entries[n-1] = last[0]
		}
		return err
	}
	return nil
}

// brief are the fields that are read of each entry.
func (e *Entry) brief() []any {
	return []any{&e.ID, &e.Version, &e.Target, &e.Direction, &e.Sum, &e.Outcome, &e.Run}
}

// ReadHistory reads the last entries of the history, oldest first.
func ReadHistory(ctx context.Context, conn *pgx.Conn, s State, most int) ([]Entry, error) {
	if !s.Kept {
		return nil, nil
	}
	rows, err := conn.Query(ctx, fmt.Sprintf(historySQL, s.History.sql(), literal(s.Table.String()), most))
	if err != nil {
		return nil, err
	}
	all, err := pgx.CollectRows(rows, scanEntry)
	slices.Reverse(all)
	return all, err
}

func scanEntry(r pgx.CollectableRow) (e Entry, err error) {
	var ms int64
	err = r.Scan(append(e.brief(), &e.Name, &e.Mode, &e.Statements, &e.Done, &e.DoneSum, &e.ErrorState, &e.ErrorText, &e.ErrorLine,
		&e.Started, &ms, &e.Attempts, &e.DBUser, &e.Actor, &e.OSUser, &e.Host, &e.Tool, &e.Commit, &e.Reason)...)
	e.Took = time.Duration(ms) * time.Millisecond
	return e, err
}

// shapeError explains a table of that name that is another tool's.
func shapeError(err error, t Table) error {
	var pe *pgconn.PgError
	if errors.As(err, &pe) && (pe.Code == "42703" || pe.Code == "42883" || pe.Code == "42804") {
		return fault.Newf(fault.Blocked, "read the versions in "+t.String(), "it is not golang-migrate's table: %s", pe.Message).
			Hint("it may be another tool's: name another table in dbops.yaml")
	}
	return err
}

// Read is [ReadState] over the driver's session.
func (d *Driver) Read(ctx context.Context) (State, error) {
	s, err := ReadState(ctx, d.conn, d.o.Table)
	if err != nil {
		return s, d.fail("read the versions of "+d.o.What, err)
	}
	d.home.many = s.Many
	return s, nil
}

// Unfinished is the entry of the file that was begun last and has not ended, if the database is dirty because of it.
func (s State) Unfinished() (Entry, bool) {
	if !s.Dirty || len(s.Entries) == 0 {
		return Entry{}, false
	}
	e := s.Entries[len(s.Entries)-1]
	return e, e.Mode == "stepwise" && e.Outcome != OK
}
