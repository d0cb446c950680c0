package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"

	"dbops/internal/fault"
	"dbops/internal/state"
	"dbops/internal/state/db"
)

// How the state is asked where instances are. Who needs to know waits for the first answer longer than for a later one: a connection through
// an open proxy is not held up by a state that is not there.
const (
	movesFresh     = 2 * time.Second
	movesFirst     = 5 * time.Second
	movesLater     = 250 * time.Millisecond
	movesGiveUp    = 10 * time.Second
	movesLockPause = 10 * time.Millisecond
)

// movesRoom is what this process knows of moves: by the state, and by a file beside it for when the state is not there. The file is written
// when the state says something new, so other processes of this user need not ask.
type movesRoom struct {
	mu     sync.Mutex
	known  []state.Move
	file   os.FileInfo   // of the file that known was read from; nil for none
	begun  time.Time     // when the state was asked last
	asking chan struct{} // closed when it has answered; nil if nobody asks
	heard  bool          // it was asked before
	failed error         // what came of the last question
	told   map[string]string
	wg     sync.WaitGroup

	ctx  context.Context //nolint:containedctx // of questions: ends with Close
	stop context.CancelFunc

	team struct {
		sync.Mutex
		db *db.DB // of a team, for reading
	}
}

// movesFile is dbops/moves/v1.
type movesFile struct {
	Schema string       `json:"schema"`
	State  string       `json:"state"`
	Moves  []state.Move `json:"moves"`
}

func (a *App) movesPath() string {
	name := "moves.json"
	if server, database, team := a.cfg.StateServer(); team {
		sum := sha256.Sum256([]byte(server.String() + "/" + database))
		name = "moves-" + hex.EncodeToString(sum[:6]) + ".json"
	}
	return filepath.Join(a.opts.StateDir, name)
}

// knownMoves are the moves as far as they are known: what the state said lately, or said last.
func (a *App) knownMoves() []state.Move {
	r := &a.moves
	r.mu.Lock()
	a.lookAtFile()
	if r.asking == nil && r.ctx.Err() == nil && time.Since(r.begun) >= movesFresh && a.hasState() {
		a.askForMoves()
	}
	asking, left := r.asking, time.Duration(0)
	switch {
	case asking == nil:
	case !r.heard:
		left = movesFirst - time.Since(r.begun)
	case r.failed == nil:
		left = movesLater - time.Since(r.begun)
	}
	r.mu.Unlock()
	if left > 0 {
		t := time.NewTimer(left)
		defer t.Stop()
		select {
		case <-asking:
		case <-t.C:
		}
	}
	r.mu.Lock()
	failed, known := r.failed, r.known
	if failed == nil && asking != nil && r.asking == asking && !r.heard {
		failed = errors.New("it has not answered in time")
	}
	r.mu.Unlock()
	if failed != nil {
		a.opts.Log.Warn("the state cannot be asked where instances are", "error", failed)
		a.tell("the state", "the state does not answer, so instances are taken for what was last known; -v says why")
	}
	return known
}

// hasState tells whether there is a state that could know of moves: a file that nobody has made yet is not opened, nor made.
func (a *App) hasState() bool {
	if _, _, team := a.cfg.StateServer(); team {
		return true
	}
	_, err := os.Stat(filepath.Join(a.opts.StateDir, "state.db"))
	return err == nil
}

// lookAtFile reads the file if somebody has written it. r.mu is held.
func (a *App) lookAtFile() {
	r := &a.moves
	info, err := os.Stat(a.movesPath())
	if err != nil || r.file != nil && os.SameFile(r.file, info) && r.file.ModTime().Equal(info.ModTime()) && r.file.Size() == info.Size() {
		return
	}
	f, err := readMovesFile(a.movesPath())
	if err != nil {
		a.opts.Log.Warn("the file of what is known of moved instances cannot be read", "file", a.movesPath(), "error", err)
		return
	}
	r.known, r.file = f.Moves, info
}

func readMovesFile(path string) (f movesFile, err error) {
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, &f)
	}
	return f, err
}

// askForMoves asks the state, beside who waits. r.mu is held.
func (a *App) askForMoves() {
	r := &a.moves
	r.begun, r.asking = time.Now(), make(chan struct{})
	done := r.asking
	r.wg.Go(func() {
		ctx, cancel := context.WithTimeout(r.ctx, movesGiveUp)
		defer cancel()
		all, err := a.readMoves(ctx)
		r.mu.Lock()
		news := err == nil && !sameMoves(all, r.known)
		r.mu.Unlock()
		if news {
			err = a.keepMoves(ctx, nil)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.heard, r.failed, r.asking = true, err, nil
		close(done)
	})
}

// sameMoves compares what two say, whatever form their times have.
func sameMoves(a, b []state.Move) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		x, y := a[i], b[i]
		if !x.Since.Equal(y.Since) || !x.Undone.Equal(y.Undone) {
			return false
		}
		x.Since, x.Undone, y.Since, y.Undone = time.Time{}, time.Time{}, time.Time{}, time.Time{}
		if !reflect.DeepEqual(x, y) {
			return false
		}
	}
	return true
}

// readMoves asks the state. It makes no state, no tables and no key.
func (a *App) readMoves(ctx context.Context) ([]state.Move, error) {
	if !a.hasState() {
		return nil, nil
	}
	if a.engine.mu.TryLock() { // what is open already is good; who opens it now is not waited for
		store := a.engine.store
		a.engine.mu.Unlock()
		if store != nil {
			return state.ReadMoves(ctx, store.DB)
		}
	}
	if _, _, team := a.cfg.StateServer(); !team {
		d, err := db.OpenSQLite(ctx, filepath.Join(a.opts.StateDir, "state.db"))
		if err != nil {
			return nil, err
		}
		all, err := state.ReadMoves(ctx, d)
		return all, errors.Join(err, d.Close())
	}
	r := &a.moves.team
	r.Lock()
	defer r.Unlock()
	if r.db == nil {
		d, err := db.OpenPostgres(ctx, a.stateLogin)
		if err != nil {
			return nil, err
		}
		r.db = d
	}
	return state.ReadMoves(ctx, r.db)
}

// changeMoves records something in the state, and lets the processes of this user know.
func (a *App) changeMoves(ctx context.Context, what string, change func(context.Context, *state.Tx) error) error {
	store, err := a.Store(ctx)
	if err != nil {
		return err
	}
	return a.keepMoves(ctx, func(ctx context.Context) error { return store.Tx(ctx, what, change) })
}

// keepMoves makes a change, if there is one, and writes the file by what the state says then. One process at a time: an older answer never
// replaces a newer one.
func (a *App) keepMoves(ctx context.Context, change func(context.Context) error) error {
	path := a.movesPath()
	what := "keep where instances are in " + path
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fault.New(fault.Config, what, err)
	}
	lock := flock.New(path + ".lock")
	if ok, err := lock.TryLockContext(ctx, movesLockPause); !ok {
		return fault.New(fault.Busy, what, err)
	}
	defer func() { _ = lock.Unlock() }()
	if change != nil {
		if err := change(ctx); err != nil {
			return err
		}
	}
	all, err := a.readMoves(ctx)
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(movesFile{Schema: "dbops/moves/v1", State: a.stateName(), Moves: all}, "", "  ")
	if err == nil {
		err = renameio.WriteFile(path, text, 0o600, renameio.WithTempDir(filepath.Dir(path)))
	}
	if err != nil {
		return fault.New(fault.Config, what, err).Hint("make room there, and let this user write; the state itself holds what was recorded")
	}
	r := &a.moves
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known, r.file = all, nil
	if info, err := os.Stat(path); err == nil {
		r.file = info
	}
	return nil
}

func (a *App) stateName() string {
	if server, database, team := a.cfg.StateServer(); team {
		return "postgres://" + server.String() + "/" + database
	}
	return filepath.Join(a.opts.StateDir, "state.db")
}

// close ends questions, and waits for them.
func (r *movesRoom) close() error {
	r.mu.Lock() // a question that begins now is waited for
	r.stop()
	r.mu.Unlock()
	r.wg.Wait()
	r.team.Lock()
	defer r.team.Unlock()
	if r.team.db == nil {
		return nil
	}
	err := r.team.db.Close()
	r.team.db = nil
	if errors.Is(err, fs.ErrClosed) {
		err = nil
	}
	return err
}
