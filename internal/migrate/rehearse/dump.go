package rehearse

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/jackc/pgx/v5"

	"dbops/internal/migrate/split"
	"dbops/internal/pg"
	"dbops/internal/pg/catalog"
)

// dump replaces the copy by one that pg_dump makes of the target.
func (b *bench) dump(ctx context.Context) error {
	if b.q.Connect == nil {
		return errors.New("there is no login for pg_dump")
	}
	tool, err := pg.ToolFor(ctx, "pg_dump", b.t.major)
	if err != nil {
		return err
	}
	b.q.tell("dumping the schema of %s", b.q.What)
	text, err := b.pgDump(ctx, tool)
	if err != nil {
		return err
	}
	if err := b.scratch.DropDatabase(ctx, b.db); err != nil {
		return err
	}
	if b.db, err = b.scratch.CreateDatabase(ctx, b.t.database, ""); err != nil {
		return err
	}
	if err := b.makeRoles(ctx, "postgres"); err != nil {
		return err
	}
	if err := b.restore(ctx, text); err != nil {
		return err
	}
	left, err := b.compare(ctx)
	if err != nil {
		return err
	}
	if words := catalog.Words(left); len(words) > 0 {
		b.part("the copy differs from the database: %s", few(words))
	}
	return nil
}

// pgDump returns the target's schema as SQL. pg_dump is let in through a relay, so it is given no password.
func (b *bench) pgDump(ctx context.Context, tool string) (string, error) {
	r, err := pg.StartRelay(ctx, b.scratch.Dir, func(ctx context.Context) (*pgx.Conn, error) {
		return b.q.Connect(ctx, func(c *pgx.ConnConfig) {
			c.RuntimeParams["default_transaction_read_only"] = "on"
			c.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
		})
	})
	if err != nil {
		return "", err
	}
	args := []string{
		"--schema-only", "--no-owner", "--no-tablespaces", "--no-subscriptions", "--no-security-labels", "--lock-wait-timeout=5000", "--no-password",
		"--host", r.Dir, "--port", pg.RelayPort, "--username", "dbops", "--dbname", "dbops",
	}
	if !b.scratch.Own {
		args = append(args, "--no-privileges") // its roles are not ours to make
	}
	cmd := exec.CommandContext(ctx, tool, args...)
	cmd.Env = append(pg.Environ(os.Environ()), "PGGSSENCMODE=disable", "PGSSLMODE=disable", "PGCLIENTENCODING=UTF8", "PGAPPNAME=dbops", "LC_ALL=C")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	if rerr := r.Close(); rerr != nil && err != nil {
		return "", rerr // why pg_dump was not let in
	}
	if err != nil {
		return "", fmt.Errorf("pg_dump: %w: %s", err, oneLine(errs.String()))
	}
	return out.String(), nil
}

func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(strings.TrimSpace(s), func(r rune) bool { return r == '\n' || r == '\r' }), " | ")
}

func few(all []string) string {
	const most = 5
	if len(all) <= most {
		return strings.Join(all, "; ")
	}
	return fmt.Sprintf("%s; and %d more", strings.Join(all[:most], "; "), len(all)-most)
}

// restore runs a dump. What cannot be made is noted.
func (b *bench) restore(ctx context.Context, text string) (err error) {
	st, problems := split.Split(withoutMeta(text))
	if len(problems) > 0 {
		return fmt.Errorf("read what pg_dump wrote: line %d: %s", problems[0].Line, problems[0].Text)
	}
	conn, err := b.connect(ctx, b.db, func(*pgx.ConnConfig) {})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	const chunk = 100
	for len(st) > 0 {
		n := min(chunk, len(st))
		var sql strings.Builder
		for _, s := range st[:n] {
			sql.WriteString(s.Text + "\n;")
		}
		if _, err := conn.Exec(ctx, sql.String()); err != nil { // all of it is taken back: one by one, then
			for _, s := range st[:n] {
				if err := b.restoreOne(ctx, conn, s); err != nil {
					return err
				}
			}
		}
		st = st[n:]
	}
	return nil
}

func (b *bench) restoreOne(ctx context.Context, conn *pgx.Conn, s split.Statement) error {
	_, err := conn.Exec(ctx, s.Text)
	pe, ok := serverError(err)
	switch {
	case err == nil:
		return nil
	case !ok:
		return err
	case s.Words[0] == "set": // a setting that only a newer server has
	case extension(s) && b.mendExtension(ctx, b.db, s, pe.Code):
	case s.Words[0] == "comment" && pe.Code == "42501":
	default:
		b.part("could not be copied: %s: %s", s.Name(), pe.Message)
	}
	return nil
}

// withoutMeta leaves out the lines that pg_dump writes for psql.
func withoutMeta(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, `\restrict `) && !strings.HasPrefix(line, `\unrestrict `) {
			out.WriteString(line)
		}
	}
	return out.String()
}
