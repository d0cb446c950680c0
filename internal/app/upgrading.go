package app

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/renameio/v2"

	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/state"
	"dbops/internal/upgrade"
)

// Upgrading is how the upgrades of an instance stand, by the journal: the same to everybody who shares the state.
type Upgrading struct {
	Rehearsal *Upgraded // the newest rehearsal; nil: there is none
	Last      *Upgraded // the upgrade that goes on, or else the newest one that was not undone; nil: there is none
	Back      *RunView  // the newest rollback or cleanup of Last, however far it came; nil: there is none
	Left      *Upgraded // the newest upgrade whose new instance a rollback left, unless the provider says that it is gone; nil: there is none
}

// Upgraded is an upgrade or a rehearsal of one.
type Upgraded struct {
	RunView
	Report  *upgrade.Report
	Watched *Watched // nil: it has not come so far
}

// Watched is who was logged in where after the switch, and how far the old instance was behind.
type Watched struct {
	Sessions []string `json:"sessions"` // of clients on the new instance
	Left     []string `json:"left"`     // on the old one
	Lag      []string `json:"lag"`      // of each database, on the way back
	At       time.Time
}

// Upgrading reads how the upgrades of an instance stand.
func (a *App) Upgrading(ctx context.Context, env, instance string) (u Upgrading, err error) {
	all, err := a.Upgrades(ctx, env, instance)
	if err != nil {
		return u, err
	}
	engine, err := a.Engine(ctx, EngineOptions{})
	if err != nil {
		return u, err
	}
	if i := slices.IndexFunc(all, func(r state.Run) bool { return r.Kind == upgrade.RehearseKind }); i >= 0 {
		if u.Rehearsal, err = a.upgraded(ctx, engine, all[i].ID); err != nil {
			return u, err
		}
	}
	if left := a.remnant(ctx, all); left != nil {
		if u.Left, err = a.upgraded(ctx, engine, left.ID); err != nil {
			return u, err
		}
	}
	last, err := a.LastUpgrade(ctx, env, instance)
	if errors.Is(err, errNoUpgrade) {
		return u, nil
	} else if err != nil {
		return u, err
	}
	if u.Last, err = a.upgraded(ctx, engine, last.ID); err != nil {
		return u, err
	}
	for _, r := range all {
		if r.Kind != upgrade.RollbackKind && r.Kind != upgrade.CleanupKind || r.Created.Before(last.Created) {
			continue
		}
		v, err := view(ctx, engine, r.ID)
		if err != nil {
			return u, err
		}
		if u.Back = &v; !r.State.Ended() { // one that has ended without effect stands in no other's way
			break
		}
		if r.State == state.Done {
			break
		}
	}
	return u, nil
}

func (a *App) upgraded(ctx context.Context, engine *op.Engine, run string) (*Upgraded, error) {
	v, err := view(ctx, engine, run)
	if err != nil {
		return nil, err
	}
	report, err := a.UpgradeReport(ctx, run)
	if err != nil {
		return nil, err
	}
	return &Upgraded{RunView: v, Report: report, Watched: WatchedIn(v.Steps)}, nil
}

// WatchedIn is what a journal's step "observe" saw last; nil if it did not come to its end.
func WatchedIn(journal []state.Step) (w *Watched) {
	for _, s := range journal {
		var seen Watched
		if s.Phase == state.Do && s.Name == "observe" && s.State == state.StepDone && json.Unmarshal(s.Output, &seen) == nil {
			seen.At = s.Ended
			w = &seen
		}
	}
	return w
}

// UpgradeOffers are the majors that the cloud of an instance offers it; none of a plain server.
func (a *App) UpgradeOffers(ctx context.Context, env, instance string) ([]cloud.Offer, error) {
	c, name, err := a.changer(ctx, env, instance)
	if errors.Is(err, cloud.ErrUnsupported) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	p, ok := c.(upgrade.Cloud)
	if !ok {
		return nil, nil
	}
	return p.Majors(ctx, name)
}

// SaveUpgradeReport writes the report of an upgrade or a rehearsal to a file whose name says in which format: .html, .json, or else Markdown.
func (a *App) SaveUpgradeReport(ctx context.Context, run, file string) error {
	r, err := a.UpgradeReport(ctx, run)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	write := map[string]func(io.Writer) error{
		".html": r.HTML, ".htm": r.HTML,
		".json": func(w io.Writer) error {
			e := json.NewEncoder(w)
			e.SetIndent("", "  ")
			return e.Encode(r)
		},
	}[strings.ToLower(filepath.Ext(file))]
	if write == nil {
		write = r.Markdown
	}
	if err := write(&b); err != nil {
		return err
	}
	if err := renameio.WriteFile(file, b.Bytes(), 0o644, renameio.WithTempDir(cmp.Or(filepath.Dir(file), "."))); err != nil {
		return fault.New(fault.Usage, "write the report to "+file, err).Hint("give a file in a folder that you may write to")
	}
	return nil
}
