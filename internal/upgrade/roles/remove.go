package roles

import (
	"context"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"dbops/internal/fault"
)

// Remove drops what [Model.Apply] and [Model.CreateDatabases] made, with all that is in those databases, and takes back what they changed, but for
// passwords. It knows that by its note on the target, and by the report (may be nil). A made role that something else depends on by now is
// fault.Blocked, and no role is dropped. It may be called again.
func (m *Model) Remove(ctx context.Context, target Connect, made *Report) error {
	const what = "remove from the target what was made there"
	conn, err := open(ctx, target, maintenance)
	if err != nil {
		return failed(what, err)
	}
	defer closing(ctx, conn)
	if _, err := conn.Exec(ctx, strings.ReplaceAll(lock, "_xact_", "_")); err != nil {
		return failed(what, err)
	}
	var n *note
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) (err error) { n, err = readNote(ctx, tx); return err })
	if err != nil {
		return failed(what, err)
	}
	if made != nil {
		n.Roles = append(n.Roles, made.Created...)
		n.Undo = append(n.Undo, made.Changed...)
	}
	if err := n.dropDatabases(ctx, conn); err != nil {
		return failed(what, err)
	}
	var refused []LeftOut
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) (err error) {
		refused, err = n.dropRoles(ctx, tx)
		return err
	})
	refused = slices.DeleteFunc(refused, func(l LeftOut) bool { return l.code == "42704" || l.code == "3D000" }) // gone, and so is what was changed
	if err == nil && len(refused) > 0 {
		err = fault.Newf(fault.Failed, what, "%d changes could not be taken back, the first: %s: %s", len(refused), refused[0].What, refused[0].Why).
			Hint("look at the roles and databases of the target that were there before")
	}
	return failed(what, err)
}

// dropDatabases drops those that were made, and gives those that were found empty back to the login if they belong to a role that goes.
func (n *note) dropDatabases(ctx context.Context, conn *pgx.Conn) error {
	names := append([]string{""}, append(slices.Clone(n.Databases), n.Found...)...)
	t, err := read(ctx, conn, names)
	if err != nil {
		return err
	}
	for _, d := range t.Databases {
		goes := slices.Contains(n.Databases, d.Name)
		if goes || slices.Contains(n.Roles, d.Owner) {
			if err := give(ctx, conn, t, d.Name, d.Owner, t.Login); err != nil {
				return err
			}
		}
		if !goes {
			continue
		}
		if d.Template {
			if _, err := conn.Exec(ctx, "alter database "+quoted(d.Name)+" is_template false"); err != nil {
				return err
			}
		}
		if _, err := conn.Exec(ctx, "drop database "+quoted(d.Name)+" with (force)"); err != nil {
			return err
		}
	}
	return nil
}

func (n *note) dropRoles(ctx context.Context, tx pgx.Tx) ([]LeftOut, error) {
	if err := leaveRoles(ctx, tx); err != nil {
		return nil, err
	}
	b, done := &batch{}, map[string]bool{}
	for _, c := range slices.Backward(n.Undo) {
		if c.Undo != "" && !done[c.Undo] {
			done[c.Undo] = true
			b.apart(c.Undo, c.What, nil)
		}
	}
	refused, err := b.run(ctx, tx)
	if err != nil {
		return nil, err
	}
	names, err := collect(ctx, tx.Conn(), "select pg_catalog.quote_ident(rolname) from pg_catalog.pg_roles where rolname = any ($1) and rolname <> current_user order by 1",
		pgx.RowTo[string], n.Roles)
	if err != nil {
		return nil, err
	}
	if len(names) > 0 {
		if _, err := tx.Exec(ctx, "drop role "+strings.Join(names, ", ")); err != nil { // in one, as they may have granted each other
			return nil, err
		}
	}
	return refused, forget(ctx, tx)
}
