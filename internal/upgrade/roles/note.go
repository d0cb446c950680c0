package roles

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"

	"dbops/internal/fault"
)

// noteRole is a role on the target that cannot log in; its comment remembers, in the transaction of each change, what was made there. No other
// thing that belongs to the server may be written by every login that may make roles.
const noteRole = "dbops_upgrade"

// note is what was made on the target.
type note struct {
	Roles     []string `json:"roles,omitempty"`     // created
	Undo      []Change `json:"undo,omitempty"`      // of changes to what was there before
	Databases []string `json:"databases,omitempty"` // made, or about to be
	Found     []string `json:"found,omitempty"`     // databases that were there, empty
	Joined    []string `json:"joined,omitempty"`    // statements that end memberships which last as long as the copy

	there bool
}

const noteSQL = `select pg_catalog.shobj_description(oid, 'pg_authid') from pg_catalog.pg_roles where rolname = '` + noteRole + `'`

func readNote(ctx context.Context, tx pgx.Tx) (*note, error) {
	n := &note{}
	var text *string
	err := tx.QueryRow(ctx, noteSQL).Scan(&text)
	if errors.Is(err, pgx.ErrNoRows) {
		return n, nil
	}
	if err != nil {
		return nil, err
	}
	if text == nil {
		return nil, fault.Newf(fault.Blocked, "read what was made on the target", "its role %s is not the upgrade's own: it has no comment", noteRole).
			Hint("rename or drop that role")
	}
	if err := json.Unmarshal([]byte(*text), n); err != nil {
		return nil, fault.Newf(fault.Blocked, "read what was made on the target", "the comment of its role %s is not the upgrade's own", noteRole).
			Hint("rename or drop that role")
	}
	n.there = true
	return n, nil
}

func (n *note) write(ctx context.Context, tx pgx.Tx) error {
	text, err := json.Marshal(n)
	if err != nil {
		return err
	}
	if !n.there {
		if _, err := tx.Exec(ctx, "create role "+noteRole+" nologin"); err != nil {
			return err
		}
		n.there = true
	}
	_, err = tx.Exec(ctx, "comment on role "+noteRole+" is "+literal(string(text)))
	return err
}

// knows tells whether a database was made, or found empty, by an earlier try.
func (n *note) knows(database string) bool {
	return slices.Contains(n.Databases, database) || slices.Contains(n.Found, database)
}

func forget(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, "drop role if exists "+noteRole)
	return err
}
