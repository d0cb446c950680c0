package follow

import (
	"context"
	_ "embed"

	"github.com/jackc/pgx/v5"
)

// table is one whose rows are replicated: a plain table or a partition that holds rows.
type table struct {
	Schema, Name, Owner string
	Identity            string // relreplident
	Identified          bool   // rows can be told apart, so that they can be updated and deleted
}

func (t table) String() string { return ident(t.Schema, t.Name) }

//go:embed sql/tables.sql
var tablesSQL string

// tables are all that hold rows of the user's, in order. What an extension's script fills is left out, as a dump leaves it out.
func tables(ctx context.Context, conn *pgx.Conn) ([]table, error) {
	rows, err := conn.Query(ctx, tablesSQL)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[table])
}

// identity is what a table had before REPLICA IDENTITY FULL was set.
type identity struct {
	Schema string `json:"schema"`
	Table  string `json:"table"`
	Was    string `json:"was"` // relreplident
}

// undo is the statement that gives it back. An identity by an index that is gone was like none.
func (i identity) undo() string {
	to := "default"
	if i.Was == "n" || i.Was == "i" {
		to = "nothing"
	}
	return "alter table if exists only " + ident(i.Schema, i.Table) + " replica identity " + to
}

func isFull(ctx context.Context, conn *pgx.Conn, i identity) (bool, error) {
	return one[bool](ctx, conn, `select exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = $1 and c.relname = $2 and c.relreplident = 'f')`, i.Schema, i.Table)
}

// giveBack undoes REPLICA IDENTITY FULL, one table at a time: each takes a lock that nobody else may hold.
func giveBack(ctx context.Context, conn *pgx.Conn, all []identity) error {
	for _, i := range all {
		full, err := isFull(ctx, conn, i)
		if err != nil {
			return err
		}
		if !full {
			continue
		}
		if err := transaction(ctx, conn, i.undo()); err != nil {
			return err
		}
	}
	return nil
}
