package rehearse

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/jackc/pgx/v5"

	"dbops/internal/migrate/driver"
	"dbops/internal/migrate/source"
	"dbops/internal/migrate/split"
	"dbops/internal/pg/catalog"
)

// verifyAll goes up, down and up again with each file that did not fail, in copies of a database that is as it was before the first one.
func (b *bench) verifyAll(ctx context.Context, pristine string, r *Report) error {
	v := &verifier{b: b, pristine: pristine}
	defer v.end()
	for i, j := range b.q.Jobs {
		if i >= len(r.Facts.Files) || r.Facts.Files[i].Failure != nil {
			break
		}
		f := &r.Facts.Files[i]
		if j.Direction != source.Up || f.Missing {
			continue
		}
		down, err := v.file(ctx, i)
		if err != nil {
			return err
		}
		f.Down = down
	}
	return nil
}

// verifier has one database, in which the files up to one are applied.
type verifier struct {
	b        *bench
	pristine string
	db       string
	p        *player
	at       int // files that are applied

	read   *catalog.Catalog // the last one,
	readAt int              // which had as many files
}

// now is the catalogue, read unless it was at this file.
func (v *verifier) now(ctx context.Context) (*catalog.Catalog, error) {
	if v.read != nil && v.readAt == v.at {
		return v.read, nil
	}
	c, err := v.b.catalog(ctx, v.p.conn)
	v.read, v.readAt = c, v.at
	return c, err
}

func (v *verifier) end() {
	if v.p != nil {
		_ = v.p.close()
		v.p = nil
	}
}

// to makes the database one with n files applied.
func (v *verifier) to(ctx context.Context, n int) error {
	if v.p == nil || v.at > n {
		if err := v.fresh(ctx); err != nil {
			return err
		}
	}
	for ; v.at < n; v.at++ {
		if f, err := v.play(ctx, v.b.q.Jobs[v.at]); err != nil {
			return err
		} else if f != nil {
			return fmt.Errorf("%s: %s", v.b.q.Jobs[v.at], f)
		}
	}
	return nil
}

func (v *verifier) fresh(ctx context.Context) (err error) {
	v.end()
	if v.db != "" {
		if err := v.b.scratch.DropDatabase(ctx, v.db); err != nil {
			return err
		}
	}
	if v.db, err = v.b.scratch.CreateDatabase(ctx, v.b.db, v.pristine); err != nil {
		return err
	}
	v.p, err = v.b.player(ctx, v.db)
	if err != nil {
		return err
	}
	v.p.idle, v.at = true, 0
	return nil
}

func (v *verifier) play(ctx context.Context, j driver.Job) (*Failure, error) {
	f, _, err := v.p.play(ctx, j)
	return f.Failure, err
}

func (v *verifier) file(ctx context.Context, i int) (*Verified, error) {
	up := v.b.q.Jobs[i]
	down := driver.Job{Migration: up.Migration, Direction: source.Down}
	if up.Migration.Down == nil {
		return &Verified{Missing: true}, nil
	}
	if err := v.to(ctx, i); err != nil {
		return &Verified{Unknown: err.Error()}, ctx.Err()
	}
	before, err := v.now(ctx)
	if err != nil {
		return nil, err
	}
	if err := v.to(ctx, i+1); err != nil {
		return &Verified{Unknown: err.Error()}, ctx.Err()
	}
	after, err := v.now(ctx)
	if err != nil {
		return nil, err
	}
	out, err := v.back(ctx, i, down, before)
	if err != nil || !out.Restores {
		return out, err
	}
	if err := v.to(ctx, i+1); err != nil {
		v.at = unknown
		out.Unknown = "going up again fails: " + err.Error()
		return out, ctx.Err()
	}
	again, err := v.now(ctx)
	if err != nil {
		return nil, err
	}
	out.Again = len(catalog.Diff(after, again)) == 0
	return out, nil
}

// unknown is where a database is that has to be made anew.
const unknown = math.MaxInt

// back goes down once. Where that does not restore the schema, the database stays with the file applied, if the file is one transaction.
func (v *verifier) back(ctx context.Context, i int, down driver.Job, before *catalog.Catalog) (*Verified, error) {
	out := &Verified{}
	inTx := down.Migration.Down.Split().Mode == split.InTransaction
	look := func(ctx context.Context, read func(context.Context, *pgx.Conn, ...[2]string) (*catalog.Catalog, error)) error {
		left, err := read(ctx, v.p.conn, v.b.t.without...)
		if err == nil {
			out.Left = catalog.Diff(before, left)
			out.Restores = len(out.Left) == 0
		}
		return err
	}
	if inTx {
		v.p.keep = func(ctx context.Context) (bool, error) {
			err := look(ctx, catalog.ReadWithin)
			return out.Restores, err
		}
	}
	var err error
	out.Failure, err = v.play(ctx, down)
	v.p.keep = nil
	if err != nil {
		return nil, err
	}
	if out.Failure != nil {
		out.Left, out.Restores = nil, false
	}
	if !inTx && out.Failure == nil {
		err = look(ctx, catalog.Read)
	}
	switch {
	case out.Failure == nil && out.Restores:
		v.at, v.read = i, nil
	case !inTx:
		v.at, v.read = unknown, nil
	}
	return out, err
}

// At is a target's schema against that of a version of the folder.
type At struct {
	Version int64 `json:"version"` // -1: before the first file
	Equal   bool  `json:"equal"`
	// Diff is how the target differs: what is added it has and the files do not make, what is removed the files make and it has not.
	Diff    []catalog.Change `json:"diff,omitempty"`
	Unknown string           `json:"unknown,omitempty"` // why the version could not be made
}

// Compare says at which of some versions, in order, the target's schema is. Jobs are not looked at. An error says why that could not be found out.
func Compare(ctx context.Context, q Request, versions ...int64) (out []At, err error) {
	t, err := lookAt(ctx, q)
	if err != nil {
		return nil, fail(ctx, q, err)
	}
	b, err := open(ctx, q, t)
	if err != nil {
		return nil, fail(ctx, q, err)
	}
	defer func() { err = errors.Join(err, b.close()) }()
	if err := b.replayBeside(ctx); err != nil {
		return nil, fail(ctx, q, err)
	}
	next, own := 0, &replayer{b: b, table: q.Table}
	for _, v := range versions {
		var some []*source.Migration
		for ; next < len(q.Folder.Migrations) && q.Folder.Migrations[next].Version <= v; next++ {
			some = append(some, q.Folder.Migrations[next])
		}
		at := At{Version: v}
		if failed := own.replay(ctx, some, q.State.Exists); failed != nil {
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			at.Unknown = failed.Error()
			return append(out, at), nil
		}
		if at.Diff, err = b.compare(ctx); err != nil {
			return nil, fail(ctx, q, err)
		}
		at.Equal = len(at.Diff) == 0
		out = append(out, at)
	}
	return out, nil
}
