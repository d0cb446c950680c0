package rehearse

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/migrate/split"
)

// missingRole tells that a statement names a role that the server does not have.
func missingRole(state, message string) (role string, ok bool) {
	if state != "42704" {
		return "", false
	}
	rest, ok := strings.CutPrefix(message, `role "`)
	if !ok {
		return "", false
	}
	return strings.CutSuffix(rest, `" does not exist`)
}

// makeRole makes a role that files name, and lets the working user act as it. Only a server that was started here gets roles.
func (b *bench) makeRole(ctx context.Context, role string) error {
	if !b.scratch.Own {
		b.part("the scratch server has no role %s: make it there", role)
		return errors.New("the scratch server has no role " + role)
	}
	if err := b.asAdmin(ctx, b.db, "create role "+ident(role)); err != nil {
		return err
	}
	return b.asAdmin(ctx, b.db, "grant "+ident(role)+" to "+ident(b.t.role)+" with admin option")
}

func ident(names ...string) string { return pgx.Identifier(names).Sanitize() }

// asAdmin runs one statement that the working user may not. What files say runs so only if it is about an extension.
func (b *bench) asAdmin(ctx context.Context, db, sql string) error {
	c, err := b.scratch.Admin(ctx, db, b.tune)
	if err != nil {
		return err
	}
	defer c.Close(context.WithoutCancel(ctx))
	_, err = c.PgConn().ExecParams(ctx, sql, nil, nil, nil, nil).Close() // a protocol of single statements
	return err
}

// makeRoles makes the target's roles, so that files find them.
func (b *bench) makeRoles(ctx context.Context, db string) error {
	if !b.scratch.Own {
		return nil
	}
	c, err := b.scratch.Admin(ctx, db, b.tune)
	if err != nil {
		return err
	}
	defer c.Close(context.WithoutCancel(ctx))
	rows, err := c.Query(ctx, "select rolname from pg_catalog.pg_roles")
	if err != nil {
		return err
	}
	have, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, r := range have {
		known[r] = true
	}
	var sql strings.Builder
	for _, r := range b.t.roles {
		if !known[r] {
			sql.WriteString("create role " + ident(r) + ";grant " + ident(r) + " to " + ident(b.t.role) + " with admin option;")
		}
	}
	if sql.Len() == 0 {
		return nil
	}
	_, err = c.Exec(ctx, sql.String())
	return err
}

// extension tells that a statement is about an extension.
func extension(s split.Statement) bool {
	w := s.Words
	return len(w) > 2 && w[1] == "extension" && (w[0] == "create" || w[0] == "drop" || w[0] == "alter" && slices.Contains(w, "update")) ||
		len(w) > 3 && w[0] == "comment" && w[1] == "on" && w[2] == "extension"
}

// mendExtension does a statement about an extension that the working user was refused, as a cloud would have done it, and notes one that this
// machine does not have. It returns false if there is no way.
func (b *bench) mendExtension(ctx context.Context, db string, s split.Statement, state string) bool {
	name := extensionName(s)
	switch state {
	case "42501": // the clouds let their customers
		if b.asAdmin(ctx, db, s.Text) == nil {
			return true
		}
	case "58P01", "0A000": // its files are not here
	case "22023": // that version is not
		if s.Words[0] == "create" && b.asAdmin(ctx, db, "create extension if not exists "+name) == nil {
			b.part("extension %s is here in another version", name)
			return true
		}
	default:
		return false
	}
	b.part("extension %s is not on the scratch server; name one that has it with scratch: in dbops.yaml", name)
	return true
}

// extensionName is the name in a statement about an extension, as it is written there.
func extensionName(s split.Statement) string {
	w := strings.Fields(s.Text)
	for i := range w {
		if !strings.EqualFold(w[i], "extension") {
			continue
		}
		rest := w[i+1:]
		for len(rest) > 1 && (strings.EqualFold(rest[0], "if") || strings.EqualFold(rest[0], "not") || strings.EqualFold(rest[0], "exists")) {
			rest = rest[1:]
		}
		if len(rest) > 0 {
			return strings.Trim(rest[0], ";")
		}
	}
	return "?"
}

// serverError is an error's part that the server sent.
func serverError(err error) (*pgconn.PgError, bool) {
	var pe *pgconn.PgError
	ok := errors.As(err, &pe)
	return pe, ok
}
