package world

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// check is one question whose rows are what is in the way.
type check struct {
	text string // what is said of them
	sql  string
}

// wholeChecks are asked once for a server.
func wholeChecks() []check {
	return []check{
		{"prepared transactions are open: %s", "SELECT gid FROM pg_prepared_xacts ORDER BY 1"},
		{"logical replication slots are there: %s", "SELECT slot_name FROM pg_replication_slots WHERE slot_type = 'logical' ORDER BY 1"},
		{"databases do not allow connections: %s", "SELECT datname FROM pg_database WHERE NOT datallowconn AND datname <> 'template0' ORDER BY 1"},
		{"names of databases contain line breaks: %s", "SELECT quote_literal(datname) FROM pg_database WHERE datname ~ E'[\\n\\r]' ORDER BY 1"},
	}
}

// columns are the columns on disk of types that cannot be carried over.
const columns = `SELECT format('%I.%I.%I', n.nspname, c.relname, a.attname) FROM pg_attribute a
	JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE c.relkind IN ('r', 'm', 'i') AND NOT a.attisdropped AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
	AND a.atttypid IN (SELECT t.oid FROM pg_type t WHERE t.typnamespace = 'pg_catalog'::regnamespace AND t.typname = ANY($1)) ORDER BY 1`

// obstacles asks what pg_upgrade asks. Logical slots are in the way from every major here.
func (s *server) obstacles(ctx context.Context, major int) ([]string, error) {
	var found, databases []string
	err := s.use(ctx, func(c *pgx.Conn) (err error) {
		for _, one := range wholeChecks() {
			rows, err := texts(ctx, c, one.sql)
			if err != nil {
				return err
			}
			if len(rows) > 0 {
				found = append(found, fmt.Sprintf(one.text, some(rows)))
			}
		}
		databases, err = texts(ctx, c, "SELECT datname FROM pg_database WHERE datallowconn ORDER BY 1")
		return err
	})
	if err != nil {
		return nil, err
	}
	bin, err := s.world.programs(major)
	if err != nil {
		return nil, err
	}
	for _, name := range databases {
		more, err := s.obstaclesIn(ctx, name, bin)
		if err != nil {
			return nil, fmt.Errorf("look into database %s: %w", name, err)
		}
		found = append(found, more...)
	}
	return found, nil
}

func (s *server) obstaclesIn(ctx context.Context, database, bin string) (found []string, err error) {
	c, err := s.db(ctx, database)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	for text, types := range map[string][]string{
		"reg* data types":   {"regcollation", "regconfig", "regdictionary", "regnamespace", "regoper", "regoperator", "regproc", "regprocedure"},
		"data type unknown": {"unknown"},
	} {
		rows, err := texts(ctx, c, columns, types)
		if err != nil {
			return nil, err
		}
		if len(rows) > 0 {
			found = append(found, fmt.Sprintf("columns in database %s are of %s: %s", database, text, some(rows)))
		}
	}
	names, err := texts(ctx, c, "SELECT extname FROM pg_extension WHERE extname <> 'plpgsql' ORDER BY 1")
	if err != nil {
		return nil, err
	}
	if names = slices.DeleteFunc(names, func(name string) bool { return hasExtension(bin, name) }); len(names) > 0 {
		found = append(found, fmt.Sprintf("extensions in database %s are not offered: %s", database, some(names)))
	}
	slices.Sort(found)
	return found, nil
}

func texts(ctx context.Context, c *pgx.Conn, sql string, args ...any) ([]string, error) {
	rows, err := c.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// some are the first of many names.
func some(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
}

// hasExtension tells whether the programs came with an extension; also if nobody can tell where they keep them.
func hasExtension(bin, name string) bool {
	known := false
	for _, dir := range []string{"../share/extension", "../share/postgresql/extension", "../share/postgresql@*/extension", "../../../../share/postgresql/" + filepath.Base(filepath.Dir(bin)) + "/extension"} {
		if own, err := filepath.Glob(filepath.Join(bin, dir, "plpgsql.control")); err != nil || len(own) == 0 {
			continue
		}
		known = true
		if found, err := filepath.Glob(filepath.Join(bin, dir, name+".control")); err == nil && len(found) > 0 {
			return true
		}
	}
	return !known
}
