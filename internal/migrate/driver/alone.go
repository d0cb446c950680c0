package driver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/fault"
	"dbops/internal/migrate/split"
)

// alone runs what no transaction may hold. What a concurrent build leaves when it fails, an index that is not valid, is cleared away before
// it is tried again.
func (d *Driver) alone(s split.Statement, again bool) error {
	if s.ConcurrentIndex() {
		return d.buildIndex(s, again)
	}
	if again {
		left, err := d.leftToDrop(s)
		if err != nil {
			return err
		}
		if len(s.DroppedIndexes()) > 0 && !left {
			return nil // it was done, and only its record is missing
		}
	}
	if d.conn.PgConn().TxStatus() == 'I' && len(s.DroppedIndexes()) > 0 {
		return d.unhurried(s.Text)
	}
	return d.exec(s.Text)
}

// unhurried runs a statement without time-outs: one that is cut short would leave an index that is not valid.
func (d *Driver) unhurried(sql string) error {
	var lock, statement string
	if err := d.conn.QueryRow(d.ctx, "select current_setting('lock_timeout'), current_setting('statement_timeout')").Scan(&lock, &statement); err != nil {
		return err
	}
	if err := d.exec("set lock_timeout = 0; set statement_timeout = 0"); err != nil {
		return err
	}
	err := d.exec(sql)
	if d.conn.IsClosed() {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(d.ctx), 10*time.Second)
	defer cancel()
	_, rerr := d.conn.Exec(ctx, "set lock_timeout = "+literal(lock)+"; set statement_timeout = "+literal(statement))
	return errors.Join(err, rerr)
}

// leftToDrop tells whether one of the indexes that a statement drops is there.
func (d *Driver) leftToDrop(s split.Statement) (bool, error) {
	for _, name := range s.DroppedIndexes() {
		var there bool
		if err := d.conn.QueryRow(d.ctx, "select to_regclass("+literal(name)+") is not null").Scan(&there); err != nil {
			return false, err
		}
		if there {
			return true, nil
		}
	}
	return false, nil
}

// index is one of a table.
type index struct {
	name  string // with its schema, as SQL
	valid bool
	oid   uint32
}

const indexesSQL = `select quote_ident(n.nspname) || '.' || quote_ident(c.relname), i.indisvalid, c.oid
 from pg_index i join pg_class c on c.oid = i.indexrelid join pg_namespace n on n.oid = c.relnamespace
 where i.indrelid = to_regclass(%s) and (%s = '' or c.relname = (parse_ident(%s))[1])`

func (d *Driver) indexes(name, table string) ([]index, error) {
	parsed := name
	if parsed == "" {
		parsed = "x"
	}
	rows, err := d.conn.Query(d.ctx, fmt.Sprintf(indexesSQL, literal(table), literal(name), literal(parsed)))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (i index, err error) {
		return i, r.Scan(&i.name, &i.valid, &i.oid)
	})
}

// buildIndex runs CREATE INDEX CONCURRENTLY, so that there is a valid index in the end, or none.
func (d *Driver) buildIndex(s split.Statement, again bool) error {
	name, table := s.IndexNames()
	if name != "" {
		found, err := d.indexes(name, table)
		if err != nil {
			return err
		}
		for _, i := range found {
			if i.valid && again {
				return nil // built before, and only its record is missing
			}
			if i.valid {
				break // the server says so itself
			}
			d.o.Tell("clearing away " + i.name + ", which an earlier attempt left invalid")
			if err := d.unhurried("drop index concurrently " + i.name); err != nil {
				return err
			}
		}
	}
	before, err := d.indexes("", table)
	if err != nil {
		return err
	}
	err = d.unhurried(s.Text)
	if d.conn.IsClosed() {
		return err
	}
	cleared := d.clearInvalid(table, before)
	return errors.Join(err, cleared)
}

// clearInvalid drops what a build left that did not end well.
func (d *Driver) clearInvalid(table string, before []index) error {
	ctx := d.ctx
	defer func() { d.ctx = ctx }()
	if d.ctx.Err() != nil { // the clearing up is not cancelled with the build
		c, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
		defer cancel()
		d.ctx = c
	}
	after, err := d.indexes("", table)
	if err != nil {
		return err
	}
	for _, i := range after {
		known := slices.ContainsFunc(before, func(b index) bool { return b.oid == i.oid })
		if i.valid || known {
			continue
		}
		d.o.Tell("clearing away " + i.name + ", which is not valid")
		if err := d.unhurried("drop index concurrently " + i.name); err != nil {
			return fmt.Errorf("%s is left, and not valid: %w", i.name, err)
		}
		if ctx.Err() == nil {
			return fault.Newf(fault.Failed, "build an index of "+table, "the server left it invalid; it was dropped").Hint("run it again")
		}
	}
	return nil
}
