package verify

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/pg/catalog"
)

// writesViewsAnew is the first major that names a view's columns without their table where there is only one.
const writesViewsAnew = 16

// sameView tells whether a view's text differs only because the two majors write it differently: the target is asked to write down what the
// source says.
func (c *comparison) sameView(ctx context.Context, d catalog.Change) (bool, error) {
	if d.Action != catalog.Changed || !strings.HasSuffix(d.Kind, "view") || (c.from.Major >= writesViewsAnew) == (c.to.Major >= writesViewsAnew) {
		return false, nil
	}
	before, options, err := c.from.view(ctx, d.Name)
	if err != nil {
		return false, err
	}
	after, now, err := c.to.view(ctx, d.Name)
	if err != nil || options != now {
		return false, err
	}
	conn, err := c.to.session(ctx)
	if err != nil {
		return false, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	// It is never committed.
	_, err = conn.PgConn().Exec(ctx, "rollback; set default_transaction_read_only = off; begin read write").ReadAll()
	if err == nil {
		_, err = conn.PgConn().Exec(ctx, "create view pg_temp.dbops_as_written as "+strings.TrimSuffix(before, ";")).ReadAll()
	}
	var written string
	if err == nil {
		err = conn.QueryRow(ctx, "select pg_catalog.pg_get_viewdef('pg_temp.dbops_as_written'::regclass)").Scan(&written)
	}
	if _, ok := errors.AsType[*pgconn.PgError](err); ok {
		return false, nil // it may not be made: then it stays a difference
	}
	return written == after, err
}

// view is a view's query, and what else there is to it.
func (s *side) view(ctx context.Context, name string) (text, options string, err error) {
	err = s.keep.QueryRow(ctx, `select pg_catalog.pg_get_viewdef(oid), pg_catalog.concat_ws(' ', relkind, relpersistence, relispopulated, relreplident, reloptions)
 from pg_catalog.pg_class where oid = $1::text::regclass`, name).Scan(&text, &options)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return "", "", fmt.Errorf("read view %s of the %s: %w", name, s.what, err)
	}
	return text, options, nil
}
