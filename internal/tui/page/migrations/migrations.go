// Package migrations is the tab of an instance's migrations: of each database its version and its files, what the linter says of them, what a
// migration that ended half-way left, and a rehearsal of what is pending.
package migrations

import (
	"context"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/app"
	"dbops/internal/migrate"
	"dbops/internal/migrate/source"
	"dbops/internal/tui/component"
	"dbops/internal/tui/core"
	"dbops/internal/tui/reading"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/underway"
	"dbops/internal/tui/work"
)

// The values that the page reads, each of a type of its own.
type (
	looked struct {
		sets    []app.MigrationSet
		changes []underway.Change
		blind   error // why it is not known what is under way
	}
	lints   map[string]app.MigrationLint // by set
	pending struct {                     // by the real tables
		set string
		app.MigrationLint
	}
	left struct { // by a migration that ended half-way
		facts migrate.RepairFacts
		ways  []string
	}
)

type view uint8

const (
	viewList view = iota
	viewFile
	viewHistory
	viewLeft
	viewRehearsal
)

// Page is the tab. It is a value.
type Page struct {
	core  core.Core
	scope work.Scope
	at    app.Instance

	look    reading.One[looked]
	lint    reading.One[lints]
	linted  string // the files that were judged, or are being
	live    reading.One[pending]
	left    reading.One[left]
	trial   rehearsal
	covered bool

	view   view
	table  component.Table
	filter component.Filter
	whole  bool             // also files that were applied long ago
	down   bool             // the down file is in front
	scroll component.Scroll // of what is in front
}

// New returns the tab of an instance.
func New(c core.Core, pool *work.Pool, at app.Instance) screen.Page {
	scope, env, name := pool.Scope(), at.Environment, at.Name
	return Page{
		core: c, scope: scope, at: at, filter: component.NewFilter(), table: component.Table{Columns: columns},
		look: reading.NewOne(scope, func(ctx context.Context) (l looked, err error) {
			if l.sets, err = c.MigrationSets(ctx, env, name); err == nil {
				l.changes, l.blind = underway.Read(ctx, c, env, name, "migrate")
			}
			return l, err
		}),
		lint: reading.NewOne(scope, func(ctx context.Context) (lints, error) { return c.LintSets(ctx, env, name) }),
		live: reading.NewOne[pending](scope, nil),
		left: reading.NewOne[left](scope, nil),
	}
}

// ID implements [screen.Page].
func (p Page) ID() work.ID { return p.scope.ID }

// Close implements [screen.Page].
func (p Page) Close() { p.scope.Close() }

// Captures implements [screen.Page].
func (p Page) Captures() bool { return p.filter.Editing() }

// Init implements [screen.Page].
func (p Page) Init(s screen.Scene) (screen.Page, screen.Out) { return p.read(s) }

func (p Page) read(s screen.Scene) (Page, screen.Out) {
	var cmd tea.Cmd
	p.look, cmd = p.look.Start(s.Now)
	return p, screen.Run(cmd)
}

// Update implements [screen.Page].
func (p Page) Update(msg tea.Msg, s screen.Scene) (screen.Page, screen.Out) {
	switch msg.(type) {
	case tea.KeyPressMsg, tea.PasteMsg:
		next, cmd := p.filter.Update(msg)
		p.filter = next
		return p.sync(s), screen.Run(cmd)
	case screen.Covered:
		p.covered = true
		return p, screen.Out{}
	case screen.Resumed, screen.Tick:
		if _, resumed := msg.(screen.Resumed); resumed {
			p.covered = false
		}
		if p.covered || !p.look.Due(s) {
			return p, screen.Out{}
		}
		return p.read(s)
	case screen.Cancel:
		if !p.look.Loading() && !p.lint.Loading() && !p.live.Loading() && !p.left.Loading() && !p.trial.running {
			return p, screen.Out{}
		}
		p.look, p.lint, p.live, p.left, p.trial = p.look.Cancel(), p.lint.Cancel(), p.live.Cancel(), p.left.Cancel(), p.trial.cancel()
		return p, screen.Say(screen.Notice{Text: "reading cancelled"})
	}
	return p.answer(msg, s)
}

func (p Page) answer(msg tea.Msg, s screen.Scene) (screen.Page, screen.Out) {
	_, known := p.look.Value()
	var ok bool
	if p.look, ok = p.look.Update(msg); ok {
		out := said("the migrations were not read", p.look.Err())
		p, out.Cmd = p.judge(s)
		if p = p.sync(s); !known {
			p.table = p.table.Move(first(p.rows(s)))
		}
		return p, out
	}
	if p.lint, ok = p.lint.Update(msg); ok {
		return p.sync(s), said("the files were not judged", p.lint.Err())
	}
	if p.live, ok = p.live.Update(msg); ok {
		return p.sync(s), said("the pending files were not judged by the real tables", p.live.Err())
	}
	if p.left, ok = p.left.Update(msg); ok {
		return p, said("what was left was not looked at", p.left.Err())
	}
	var cmd tea.Cmd
	p.trial, cmd = p.trial.update(msg, s.Now)
	return p, screen.Run(cmd)
}

// judge has the linter look at the files, unless it has seen them.
func (p Page) judge(s screen.Scene) (next Page, cmd tea.Cmd) {
	known, _ := p.look.Value()
	files := ""
	for _, one := range known.sets {
		files += one.Name + one.Print + " "
	}
	if files == "" || files == p.linted && (p.lint.Loading() || p.lint.Err() == nil) {
		return p, nil
	}
	p.linted = files
	p.lint, cmd = p.lint.Start(s.Now)
	return p, cmd
}

func said(what string, err error) screen.Out {
	if err == nil {
		return screen.Out{}
	}
	return screen.Say(screen.Notice{Text: what, Err: err})
}

// sync puts what is known into the table.
func (p Page) sync(s screen.Scene) Page {
	p.table = p.table.WithRows(p.rows(s)).WithFilter(p.filter.Value())
	p.table.Empty = "dbops.yaml names no migrations for the databases of this instance: databases.NAME.migrations is their folder"
	if _, all := p.table.Len(); all > 0 {
		p.table.Empty = "no file matches the filter"
	}
	if set, file := p.selected(); p.view == viewFile && file == nil || p.view != viewList && set == nil {
		p.view = viewList
	}
	return p
}

// selected is the set under the cursor, and the file; nil without one.
func (p Page) selected() (*app.MigrationSet, *app.MigrationFile) {
	known, _ := p.look.Value()
	key := p.table.Selected()
	for i := range known.sets {
		set := &known.sets[i]
		if key == setKey(set, "") || len(key) > 0 && key[0] == '!' && hasKey(set, key) {
			return set, nil
		}
		for j := range set.Files {
			if key == setKey(set, set.Files[j].String()) {
				return set, &set.Files[j]
			}
		}
	}
	return nil, nil
}

// front is the file of the migration under the cursor that is in front, up or down; nil where there is none.
func (p Page) front(m *app.MigrationFile) *source.File {
	if p.down {
		return m.Down
	}
	return m.Up
}

// Header implements [screen.Page].
func (p Page) Header(screen.Scene) screen.Header {
	h := screen.Header{Cursor: -1, Fresh: p.look.Fresh()}
	if p.view == viewLeft {
		h.Fresh = p.left.Fresh()
	}
	if p.view == viewRehearsal {
		h.Fresh = screen.Fresh{At: p.trial.began, Loading: p.trial.running}
	}
	return h
}

// CLI implements [screen.Page].
func (p Page) CLI(screen.Scene) []string {
	set, _ := p.selected()
	switch {
	case set == nil || p.view == viewList:
		return p.cliHere("status")
	case p.view == viewFile:
		return p.cli("lint", set.Name)
	case p.view == viewHistory:
		return p.cli("status", set.Name, "--history")
	case p.view == viewLeft:
		return p.cli("repair", set.Name)
	default:
		return p.cli("plan", set.Name)
	}
}

// cli is a command on sets of the environment.
func (p Page) cli(verb string, args ...string) []string {
	return append([]string{"dbops", "migrate", verb, "-e", p.at.Environment}, args...)
}

// cliHere is a command on what is on the instance.
func (p Page) cliHere(verb string, args ...string) []string {
	return append(p.cli(verb, "-i", p.at.Name), args...)
}
