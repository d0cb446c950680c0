package state

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/state/db"
)

// Move says that what dbops.yaml calls an instance is another one of the provider's now, whatever dbops.yaml says until somebody changes it.
type Move struct {
	Environment string `json:"environment"`
	Instance    string `json:"instance"`
	// From are the coordinates by which dbops.yaml knew it. Where dbops.yaml says others, the move is of no concern.
	From string `json:"from"`
	// To is the provider's name of what it is now, or if it is Declared the name of another instance in dbops.yaml. ToAt are its coordinates.
	To       string    `json:"to"`
	Declared bool      `json:"declared,omitempty"`
	ToAt     string    `json:"to_at"`
	Run      string    `json:"run"`
	Since    time.Time `json:"since"`
	// Undone is when the run UndoneBy took it back; zero if it holds.
	Undone   time.Time `json:"undone,omitzero"`
	UndoneBy string    `json:"undone_by,omitempty"`
}

// Live tells whether it holds.
func (m Move) Live() bool { return m.Undone.IsZero() }

// movesVersion is the first version of the state that has moves.
const movesVersion = 4

// PutMove records a move, in place of one from the same coordinates and of one that leads back there. Again by the same run it changes nothing.
func (t *Tx) PutMove(ctx context.Context, m Move) error {
	err := t.exec(ctx, `update moves set undone_by = $1, undone_ms = `+t.now()+`
		where environment = $2 and instance = $3 and from_at = $4 and undone_ms = 0 and not exists (select 1 from moves m
			where m.environment = $2 and m.instance = $3 and m.to_at = $4 and m.from_at = $5 and m.run = $1 and m.undone_ms = 0)`,
		m.Run, m.Environment, m.Instance, m.ToAt, m.From)
	if err != nil {
		return err
	}
	declared := 0
	if m.Declared {
		declared = 1
	}
	return t.exec(ctx, `insert into moves (environment, instance, from_at, to_name, to_declared, to_at, run, since_ms)
		values ($1, $2, $3, $4, $5, $6, $7, `+t.now()+`)
		on conflict (environment, instance, from_at) do update
		set to_name = excluded.to_name, to_declared = excluded.to_declared, to_at = excluded.to_at, run = excluded.run, since_ms = excluded.since_ms, undone_ms = 0, undone_by = ''
		where moves.run <> excluded.run or moves.to_at <> excluded.to_at or moves.undone_ms <> 0`,
		m.Environment, m.Instance, m.From, m.To, declared, m.ToAt, m.Run)
}

// UndoMoves takes back what a run recorded about an instance: its moves hold no more, and those that it took back hold again.
func (t *Tx) UndoMoves(ctx context.Context, env, instance, run string) error {
	err := t.exec(ctx, `update moves set undone_ms = 0, undone_by = '' where undone_by = $1 and run <> $1 and environment = $2 and instance = $3`, run, env, instance)
	if err != nil {
		return err
	}
	return t.exec(ctx, `update moves set undone_by = $1, undone_ms = `+t.now()+`
		where run = $1 and environment = $2 and instance = $3 and undone_ms = 0`, run, env, instance)
}

// Moves are those of all instances, the undone ones too: the last one from each coordinates.
func (t *Tx) Moves(ctx context.Context) (all []Move, err error) {
	err = db.Each(ctx, t.q, func(rows db.Rows) error {
		var m Move
		var declared, since, undone int64
		if err := rows.Scan(&m.Environment, &m.Instance, &m.From, &m.To, &declared, &m.ToAt, &m.Run, &since, &undone, &m.UndoneBy); err != nil {
			return err
		}
		m.Declared = declared != 0
		m.Since, m.Undone = fromMS(since), fromMS(undone)
		all = append(all, m)
		return nil
	}, `select environment, instance, from_at, to_name, to_declared, to_at, run, since_ms, undone_ms, undone_by from moves order by environment, instance, from_at`)
	return all, err
}

// ReadMoves reads the moves of a database whose store need not be open, nor as new as this dbops: an older one has none. It changes nothing.
func ReadMoves(ctx context.Context, d *db.DB) ([]Move, error) {
	const what = "read where instances are"
	var version int
	if _, err := db.One(ctx, d.Read(), []any{&version}, "select coalesce(max(version), 0) from state_version"); err != nil {
		if unmade(err) {
			return nil, nil
		}
		return nil, db.Fault(what, err)
	}
	if version < movesVersion {
		return nil, nil
	}
	all, err := (&Store{DB: d}).On(d.Read()).Moves(ctx)
	return all, db.Fault(what, err)
}

// unmade tells whether nobody has made the tables yet.
func unmade(err error) bool {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code == "42P01"
	}
	return strings.Contains(err.Error(), "no such table")
}
