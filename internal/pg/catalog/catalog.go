// Package catalog reads what a database's schema consists of, as a list of objects and their definitions that can be compared.
//
// Two databases that the same files have made have equal catalogues, whatever their names, their owners, their versions of PostgreSQL and of
// extensions, and the order in which things were made. What belongs to an extension, to golang-migrate or to dbops is left out.
package catalog

import (
	"cmp"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Object is one thing of a schema.
type Object struct {
	Kind string `json:"kind"` // table, column, index, constraint, function, ...
	Name string `json:"name"` // as SQL: public.orders.note
	// On is the table or view that it is a part of, if it is.
	On  string `json:"on,omitempty"`
	Def string `json:"def"` // what is long is cut, and followed by its sum
}

// Catalog is a schema, in order.
type Catalog struct{ Objects []Object }

// Privileges is the kind of what others than the owner may do. It is no part of a catalogue's sum: people and clouds grant beside the files.
const Privileges = "privileges"

//go:embed catalog.sql
var catalogSQL string

// Timeout of reading a catalogue, which takes some tens of milliseconds.
const timeout = "30s"

// Read reads a catalogue in one transaction that only reads. without are tables to be left out, schema and name each.
func Read(ctx context.Context, conn *pgx.Conn, without ...[2]string) (*Catalog, error) {
	begin := func() (transaction, error) {
		return conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	}
	return read(ctx, begin, without)
}

// ReadWithin is [Read] in the transaction that a session has open, as it sees the catalogue. The transaction stays as it is.
func ReadWithin(ctx context.Context, conn *pgx.Conn, without ...[2]string) (*Catalog, error) {
	return read(ctx, func() (transaction, error) { return savepoint(ctx, conn) }, without)
}

func read(ctx context.Context, begin func() (transaction, error), without [][2]string) (*Catalog, error) {
	c := &Catalog{}
	err := reading(ctx, begin, func(tx transaction) error {
		rows, err := tx.Query(ctx, strings.Replace(catalogSQL, "$without$", tables(without), 1), pgx.QueryExecModeSimpleProtocol)
		if err != nil {
			return err
		}
		c.Objects, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Object])
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the catalogue: %w", err)
	}
	slices.SortFunc(c.Objects, compare)
	return c, nil
}

// transaction is what reading needs of one.
type transaction interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	Rollback(ctx context.Context) error
}

// within is a savepoint of a transaction that the session's user has begun.
type within struct{ *pgx.Conn }

func savepoint(ctx context.Context, conn *pgx.Conn) (transaction, error) {
	_, err := conn.Exec(ctx, "savepoint dbops_catalog")
	return within{conn}, err
}

// Rollback ends the savepoint.
func (w within) Rollback(ctx context.Context) error {
	_, err := w.Exec(ctx, "rollback to savepoint dbops_catalog; release savepoint dbops_catalog")
	return err
}

func compare(a, b Object) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
}

// tables is a list of names as SQL: the query takes no parameters, so that it is one round trip.
func tables(all [][2]string) string {
	quoted := make([]string, len(all))
	for i, t := range all {
		quoted[i] = "quote_ident(" + literal(t[0]) + ") || '.' || quote_ident(" + literal(t[1]) + ")"
	}
	return "array[" + strings.Join(quoted, ", ") + "]::text[]"
}

func literal(s string) string {
	return "E'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(s) + "'"
}

// reading runs do in a transaction with a fixed search path.
func reading(ctx context.Context, begin func() (transaction, error), do func(transaction) error) (err error) {
	tx, err := begin()
	if err != nil {
		return err
	}
	defer func() {
		if rerr := tx.Rollback(context.WithoutCancel(ctx)); rerr != nil && err == nil && !errors.Is(rerr, pgx.ErrTxClosed) {
			err = rerr
		}
	}()
	if _, err := tx.Exec(ctx, "set local search_path = ''; set local statement_timeout = '"+timeout+"'; set local lock_timeout = '5s'; set local quote_all_identifiers = off",
		pgx.QueryExecModeSimpleProtocol); err != nil {
		return err
	}
	return do(tx)
}

// Sum is the same for equal catalogues; privileges do not count.
func (c *Catalog) Sum() string {
	h := sha256.New()
	for _, o := range c.Objects {
		if o.Kind != Privileges {
			fmt.Fprintf(h, "%q %q %q\n", o.Kind, o.Name, o.Def)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Has tells whether there is an object.
func (c *Catalog) Has(kind, name string) bool {
	_, ok := slices.BinarySearchFunc(c.Objects, Object{Kind: kind, Name: name}, compare)
	return ok
}
