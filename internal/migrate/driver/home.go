package driver

import (
	"context"
	"fmt"
	"strconv"

	"github.com/golang-migrate/migrate/v4/database"
	"github.com/jackc/pgx/v5"

	"dbops/internal/fault"
)

// home is where a database keeps its version and its history.
type home struct {
	database string
	versions Table // with its schema
	history  Table
	has      bool // the versions are there
	recorded bool // and the history
	many     bool // the versions have a row for each, as Encore has it
}

func (t Table) sql() string    { return ident(t.Schema, t.Name) }
func (t Table) String() string { return t.Schema + "." + t.Name }

// The history is kept in a schema of its own, or beside the versions where that may not be made.
const (
	HistorySchema = "dbops"
	HistoryTable  = "migration_history"
	historyBeside = "dbops_migration_history"
)

const homeSQL = `select current_database(), coalesce(current_schema(), ''),
 to_regclass(quote_ident(coalesce(nullif(%[1]s, ''), current_schema(), '')) || '.' || quote_ident(%[2]s)) is not null,
 to_regnamespace('dbops') is not null and has_schema_privilege('dbops', 'usage'), to_regclass('dbops.migration_history') is not null,
 to_regclass(quote_ident(coalesce(nullif(%[1]s, ''), current_schema(), '')) || '.dbops_migration_history') is not null,
 has_database_privilege(current_database(), 'create'), to_regnamespace('dbops') is not null and has_schema_privilege('dbops', 'create'), pg_is_in_recovery()`

// find looks where the tables are, or would be.
func find(ctx context.Context, conn *pgx.Conn, t Table) (h home, replica bool, err error) {
	h.versions = t
	var current string
	var usable, own, beside, mayMake, mayUse bool
	q := fmt.Sprintf(homeSQL, literal(t.Schema), literal(t.Name))
	if err := conn.QueryRow(ctx, q).Scan(&h.database, &current, &h.has, &usable, &own, &beside, &mayMake, &mayUse, &replica); err != nil {
		return h, false, err
	}
	if h.versions.Schema == "" {
		h.versions.Schema = current
	}
	h.history, h.recorded = Table{HistorySchema, HistoryTable}, own && usable
	if !h.recorded && (beside || !mayUse && (usable || !mayMake)) {
		h.history, h.recorded = Table{h.versions.Schema, historyBeside}, beside
	}
	return h, replica, nil
}

func (d *Driver) find(ctx context.Context) error {
	h, replica, err := find(ctx, d.conn, d.o.Table)
	switch {
	case err != nil:
		return d.fail("look at the versions of "+d.o.What, err)
	case replica:
		return fault.Newf(fault.Blocked, "migrate "+d.o.What, "it is a read replica").Hint("migrate the instance that it follows")
	case h.versions.Schema == "":
		return fault.Newf(fault.Blocked, "migrate "+d.o.What, "no schema of the search path exists").
			Hint("name the schema of its versions in dbops.yaml, or make the schema public")
	}
	d.home = h
	return nil
}

// make makes the tables that are missing.
func (d *Driver) make(ctx context.Context) error {
	if d.home.has && d.home.recorded {
		return nil
	}
	_, err := d.conn.Exec(ctx, "begin;"+
		"create schema if not exists "+ident(d.home.versions.Schema)+";"+
		"create table if not exists "+d.home.versions.sql()+" (version bigint not null primary key, dirty boolean not null);"+
		historySchemaSQL(d.home.versions, d.home.history)+
		"commit")
	if err != nil {
		d.rollback()
		return d.fail("make the tables for the versions of "+d.o.What, err)
	}
	d.home.has, d.home.recorded = true, true
	return nil
}

// lockIDs are those of golang-migrate for the database: opened by a URL, its name has a slash in front, by a connection it has none, and
// the two do not exclude each other.
func (h home) lockIDs() ([]string, error) {
	var ids []string
	for _, name := range []string{h.database, "/" + h.database} {
		id, err := database.GenerateAdvisoryLockId(name, h.versions.Schema, h.versions.Name)
		if err != nil {
			return nil, err
		}
		if _, err := strconv.ParseInt(id, 10, 64); err != nil {
			return nil, fmt.Errorf("golang-migrate's lock is %q", id)
		}
		ids = append(ids, id)
	}
	return ids, nil
}
