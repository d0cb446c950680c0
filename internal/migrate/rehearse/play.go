package rehearse

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/migrate/driver"
	"dbops/internal/migrate/split"
)

// player runs files in one session of the copy, as the runner does, and looks after each statement.
type player struct {
	b    *bench
	db   string
	conn *pgx.Conn
	side *pgx.Conn // looks at statements that are in no transaction

	base  map[uint32]relation // what was there before the first file
	known map[uint32]relation // what is there now
	marks map[uint32]mark     // what the transaction has done so far
	idle  bool                // it only runs
	// keep is asked before a file's transaction is committed; without its consent it is rolled back.
	keep func(context.Context) (bool, error)
}

func (b *bench) player(ctx context.Context, db string) (*player, error) {
	p := &player{b: b, db: db, marks: map[uint32]mark{}}
	var err error
	if p.conn, err = b.connect(ctx, db, func(*pgx.ConnConfig) {}); err != nil {
		return nil, err
	}
	if p.side, err = b.connect(ctx, db, func(*pgx.ConnConfig) {}); err != nil {
		return nil, errors.Join(err, p.conn.Close(ctx))
	}
	if p.base, err = relations(ctx, p.conn); err != nil {
		return nil, errors.Join(err, p.close())
	}
	p.known = map[uint32]relation{}
	for k, v := range p.base {
		p.known[k] = v
	}
	return p, nil
}

func (p *player) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return errors.Join(p.conn.Close(ctx), p.side.Close(ctx))
}

// playing is a file while it runs.
type playing struct {
	file       split.File
	job        driver.Job
	out        File
	times      []time.Duration
	skip       map[int]bool // what was done for the working user, or cannot be done here
	transacted bool
}

// play runs a file. That it fails is in what it returns; an error says that it could not be run.
func (p *player) play(ctx context.Context, j driver.Job) (File, []time.Duration, error) {
	f := j.Migration.File(j.Direction)
	if f == nil {
		return File{Name: j.String(), Mode: string(split.InTransaction), Missing: true}, nil, nil
	}
	r := &playing{file: f.Split(), job: j, skip: map[int]bool{}}
	for from := 0; ; {
		r.out = File{Name: j.String(), Mode: string(r.file.Mode), Statements: r.out.Statements[:from]}
		r.times = r.times[:from]
		at, err := p.run(ctx, r, from)
		again := p.reset(ctx)
		if again != nil {
			return r.out, r.times, again
		}
		if err == nil {
			r.out.Held = held(r)
			return r.out, r.times, nil
		}
		pe, ok := serverError(err)
		if !ok || ctx.Err() != nil {
			return r.out, r.times, err
		}
		if at < len(r.file.Statements) && !r.skip[at] && extension(r.file.Statements[at]) && p.b.mendExtension(ctx, p.db, r.file.Statements[at], pe.Code) {
			r.skip[at] = true
			if r.file.Mode == split.Stepwise && !r.transacted {
				from = at
			}
			continue
		}
		r.out.Failure = p.failure(r, at, pe)
		return r.out, r.times, nil
	}
}

// run runs a file's statements, and returns which one failed: the number of them if it was the end of the transaction.
func (p *player) run(ctx context.Context, r *playing, from int) (at int, err error) {
	tx := r.file.Mode == split.InTransaction
	if tx {
		if err := p.begin(ctx); err != nil {
			return 0, err
		}
	}
	for i := from; i < len(r.file.Statements); i++ {
		s := r.file.Statements[i]
		st := Statement{Line: s.Line, Column: s.Column, Text: brief(s), Data: data(s), Alone: s.Alone(), Skipped: r.skip[i]}
		st.changesRows = slices.Contains([]string{"insert", "update", "delete", "merge", "copy", "with"}, s.Words[0])
		var took time.Duration
		if !st.Skipped {
			took, err = p.statement(ctx, r, s, &st)
		}
		r.out.Statements = append(r.out.Statements, st)
		r.times = append(r.times, took)
		if err != nil {
			return i, err
		}
	}
	if tx && p.keep != nil {
		if ok, err := p.keep(ctx); err != nil || !ok {
			return len(r.file.Statements), err // and it is rolled back
		}
	}
	if tx {
		_, err = p.conn.Exec(ctx, "commit")
	}
	return len(r.file.Statements), err
}

func (p *player) begin(ctx context.Context) error {
	if _, err := p.conn.Exec(ctx, "begin"); err != nil {
		return err
	}
	return p.restart(ctx)
}

// statement runs one, in the transaction that is open, in one of its own, or in none.
func (p *player) statement(ctx context.Context, r *playing, s split.Statement, st *Statement) (time.Duration, error) {
	status := p.conn.PgConn().TxStatus()
	switch {
	case s.TransactionControl():
		r.transacted = true
		took, err := p.timed(ctx, s.Text)
		if err == nil && status == 'I' && p.conn.PgConn().TxStatus() == 'T' {
			err = p.restart(ctx)
		}
		return took, err
	case status == 'I' && s.Alone():
		return p.alone(ctx, s, st)
	case status != 'I':
		took, err := p.timed(ctx, s.Text)
		if err == nil && p.conn.PgConn().TxStatus() == 'T' {
			err = p.look(ctx, s, st)
		}
		return took, err
	}
	if err := p.begin(ctx); err != nil {
		return 0, err
	}
	took, err := p.timed(ctx, s.Text)
	if err == nil {
		err = p.look(ctx, s, st)
	}
	if err == nil {
		_, err = p.conn.Exec(ctx, "commit")
	}
	return took, err
}

func (p *player) timed(ctx context.Context, sql string) (time.Duration, error) {
	begun := time.Now()
	_, err := p.conn.Exec(ctx, sql)
	return time.Since(begun), err
}

func (p *player) look(ctx context.Context, s split.Statement, st *Statement) error {
	if p.idle {
		return nil
	}
	now, err := p.locked(ctx)
	if err != nil {
		return err
	}
	truncates := s.Words[0] == "truncate"
	p.note(now, st, truncates)
	if truncates { // one that has new files already is emptied in place, and its indexes are made anew
		st.Empties = append(st.Empties, st.Scans...)
		slices.Sort(st.Empties)
		st.Empties, st.Scans = slices.Compact(st.Empties), nil
	}
	if st.Data && s.Words[0] != "do" && s.Words[0] != "call" {
		st.Scans = nil // of no rows: the server would look for them otherwise
	}
	if st.changesRows && len(st.Writes) == 0 { // of a table that the transaction has changed before
		st.Writes = p.named(s)
	}
	return nil
}

// named are the tables that a statement about rows changes, by its text.
func (p *player) named(s split.Statement) (out []string) {
	for i, w := range strings.Fields(withoutLiterals(s.Text)) {
		w, _, _ = strings.Cut(strings.TrimPrefix(w, "public."), "(")
		if i == 0 || i > 3 {
			continue
		}
		for _, r := range p.base {
			if isTable(r.kind) && (strings.EqualFold(r.name, w) || strings.EqualFold(strings.TrimPrefix(r.name, "public."), w)) {
				return []string{r.name}
			}
		}
	}
	return nil
}

// reset ends what a file has left open.
func (p *player) reset(ctx context.Context) error {
	if p.conn.IsClosed() {
		return nil
	}
	q := "reset role; reset session authorization; reset all"
	if p.conn.PgConn().TxStatus() != 'I' {
		q = "rollback; " + q
	}
	_, err := p.conn.Exec(ctx, q)
	clear(p.marks)
	if err != nil || p.idle {
		return err
	}
	p.known, err = relations(ctx, p.conn) // what was rolled back is not there
	return err
}

// held are the locks that a transaction keeps while later statements run.
func held(r *playing) (out []Lock) {
	if r.file.Mode != split.InTransaction {
		return nil
	}
	strongest := map[string]int{}
	var order []string
	for _, st := range r.out.Statements[:max(0, len(r.out.Statements)-1)] {
		for _, l := range st.Locks {
			if l.rank() < shareUpdateExclusive {
				continue
			}
			if strongest[l.Relation] == 0 {
				order = append(order, l.Relation)
			}
			strongest[l.Relation] = max(strongest[l.Relation], l.rank())
		}
	}
	for _, n := range order {
		out = append(out, Lock{n, modes[strongest[n]]})
	}
	return out
}

// data tells that what a statement does depends on rows.
func data(s split.Statement) bool {
	switch s.Words[0] {
	case "insert", "update", "delete", "merge", "select", "with", "copy", "do", "call", "values", "table", "execute":
		return true
	}
	return false
}
