package migrations

import (
	"cmp"
	"context"
	"fmt"

	"dbops/internal/app"
	"dbops/internal/tui/component"
	"dbops/internal/tui/screen"
)

// The ids of the page's actions.
const (
	actOpen     = "migrate.show"
	actBack     = "migrate.back"
	actUp       = "migrate.up"
	actDown     = "migrate.down"
	actGoto     = "migrate.goto"
	actRepair   = "migrate.repair"
	actBaseline = "migrate.baseline"
	actRehearse = "migrate.rehearse"
	actLint     = "migrate.lint"
	actLeft     = "migrate.inspect"
	actHistory  = "migrate.history"
	actOther    = "migrate.other-file"
	actWhole    = "migrate.all-files"
	actRun      = "run.open"
	actFilter   = "list.filter"
	actKeep     = "list.filter-keep"
	actClear    = "list.filter-clear"
	actRefresh  = "migrate.refresh"
	actCopy     = "migrate.copy"
	actAside    = "lines.right"
	actBackward = "lines.left"
)

// Actions implements [screen.Page].
func (p Page) Actions(screen.Scene) []screen.Action {
	if p.filter.Editing() {
		return []screen.Action{
			{ID: actKeep, Title: "keep the filter", Short: "keep", Key: screen.Keys("enter")},
			{ID: actClear, Title: "clear the filter", Short: "clear", Key: screen.Keys("esc")},
		}
	}
	set, file := p.selected()
	none, name := "", "a database"
	if set == nil {
		none, set = "no database is selected", &app.MigrationSet{}
	} else {
		name = set.Name
	}
	out := p.moves(set, file, none)
	change := func(id, key, short, title, off string, cli []string) {
		out = append(out, screen.Action{ID: id, Title: title, Short: short, Key: screen.Keys(key), Write: true, CLI: cli, Off: cmp.Or(none, off)})
	}
	change(actUp, "u", "up", "plan to apply what is pending: of "+name+", or of all on this instance", "", p.cli("up", set.Name))
	change(actDown, "d", "down", "plan to take the last migrations of "+name+" back", unversioned(set), p.cli("down", set.Name))
	change(actGoto, "t", "to version", "plan to bring "+name+" to a version, up or down", "", p.cli("goto", set.Name, target(file)))
	change(actRepair, "m", "mend", "plan to repair "+name+": resume, record a version, or accept changed files", "", p.cli("repair", set.Name, "--resume"))
	change(actBaseline, "b", "", "plan to take "+name+" over as having a version, without running anything", versioned(set), p.cli("baseline", set.Name, target(file)))
	out = append(out, p.reads(set, none)...)
	return append(out, screen.Moves()...)
}

func target(file *app.MigrationFile) string {
	if file == nil {
		return "VERSION"
	}
	return fmt.Sprint(file.Version)
}

// moves go to a file's text, and back.
func (p Page) moves(set *app.MigrationSet, file *app.MigrationFile, none string) []screen.Action {
	if p.view != viewList {
		out := []screen.Action{{ID: actBack, Title: "back to the files", Short: "files", Key: screen.Keys("esc")}}
		if p.view == viewFile {
			other := map[bool]string{false: "down", true: "up"}[p.down]
			out = append(out,
				screen.Action{ID: actOther, Title: "the file for going " + other, Short: other + " file", Key: screen.Keys("f")},
				screen.Action{ID: actAside, Title: "right", Group: screen.GroupMove, Key: screen.Keys("right")},
				screen.Action{ID: actBackward, Title: "left", Group: screen.GroupMove, Key: screen.Keys("left")})
		}
		return out
	}
	unfiltered := ""
	if p.filter.Value() == "" {
		unfiltered = "there is no filter"
	}
	open := screen.Action{ID: actOpen, Title: "the text of the file, with its findings", Short: "SQL", Key: screen.Keys("enter"), CLI: p.cli("lint", set.Name), Off: none}
	if file == nil {
		open.Title, open.Short, open.CLI = "what was left, and the ways out", "ways out", p.cli("repair", set.Name)
	}
	return []screen.Action{open, {ID: actClear, Title: "clear the filter", Key: screen.Keys("esc"), Off: unfiltered}}
}

// reads change nothing.
func (p Page) reads(set *app.MigrationSet, none string) []screen.Action {
	off := func(bad bool, why string) string {
		if bad {
			return why
		}
		return ""
	}
	known, _ := p.look.Value()
	var run []string
	if len(known.changes) > 0 {
		run = []string{"dbops", "runs", "watch", known.changes[0].Run.ID}
	}
	more := "show all files"
	if p.whole {
		more = "show the last applied files only"
	}
	elsewhere := off(p.view != viewList, "the list is not in front")
	waiting := len(set.Pending)+len(set.Late) > 0
	return []screen.Action{
		{
			ID: actRehearse, Title: "rehearse what is pending on a copy of the schema", Short: "rehearse", Key: screen.Keys("p"), CLI: p.cli("plan", set.Name, "--verify"),
			Off: cmp.Or(none, off(p.trial.running && p.trial.of == set.Name && p.view == viewRehearsal, "it is being rehearsed"), off(len(set.Pending) == 0, "nothing is pending")),
		},
		{
			ID: actLint, Title: "judge what is pending by the real tables", Short: "lint", Key: screen.Keys("l"), CLI: p.cli("lint", set.Name, "--connect"),
			Off: cmp.Or(none, off(p.live.Loading(), "it is being judged"), off(!waiting, "nothing is pending")),
		},
		{ID: actLeft, Title: "what a migration that ended half-way left, and the ways out", Short: "ways out", Key: screen.Keys("e"), CLI: p.cli("repair", set.Name), Off: none},
		{ID: actHistory, Title: "who did what, and when", Short: "history", Key: screen.Keys("h"), CLI: p.cli("status", set.Name, "--history"), Off: none},
		{ID: actWhole, Title: more, Short: "all files", Key: screen.Keys("v"), Off: elsewhere},
		{ID: actRun, Title: "go to the run that is under way", Short: "run", Key: screen.Keys("o"), CLI: run, Off: off(run == nil, "no migration is under way here")},
		{ID: actFilter, Title: "filter: words that must be there, !word that must not", Key: screen.Keys("/"), Off: elsewhere},
		{ID: actCopy, Title: "copy the path of the file", Key: screen.Keys("y"), Off: none},
		{ID: actRefresh, Title: "read it now", Key: screen.Keys("r"), CLI: p.cliHere("status"), Off: off(p.look.Loading(), "it is being read")},
	}
}

// Why an operation has nothing to work on; empty if it may have. What else stands in its way the plan says.
func unversioned(set *app.MigrationSet) string {
	if set.Err() == nil && set.Version == nil {
		return "it has no version yet"
	}
	return ""
}

func versioned(set *app.MigrationSet) string {
	if set.Version != nil {
		return "it has a version"
	}
	return ""
}

// Do implements [screen.Page].
func (p Page) Do(id string, s screen.Scene) (screen.Page, screen.Out) {
	if step, ok := screen.Step(id, s.Area.H); ok {
		if p.view == viewList {
			p.table = p.table.Move(step)
		} else {
			p.scroll = p.scroll.By(step, len(p.lines(s)), s.Area.H)
		}
		return p, screen.Out{}
	}
	set, file := p.selected()
	if set != nil {
		if f := p.form(id, set, file, s); f != nil {
			return p, screen.Say(screen.Show{Dialog: f})
		}
	}
	switch id {
	case actOpen:
		if file == nil {
			return p.inspect(set, s)
		}
		return p.turn(viewFile), screen.Out{}
	case actOther:
		p.down = !p.down
		return p.turn(viewFile), screen.Out{}
	case actAside:
		p.scroll = p.scroll.Aside(8)
	case actBackward:
		p.scroll = p.scroll.Aside(-8)
	case actBack:
		p.down = false
		return p.turn(viewList), screen.Out{}
	case actHistory:
		return p.turn(viewHistory), screen.Out{}
	case actLeft:
		return p.inspect(set, s)
	case actLint:
		return p.judgePending(set, s)
	case actRehearse:
		return p.rehearse(set, s)
	case actRun:
		known, _ := p.look.Value()
		return p, screen.Say(screen.OpenRun{ID: known.changes[0].Run.ID})
	case actRefresh:
		return p.read(s)
	case actCopy:
		return p, screen.Say(screen.Copy{What: "path", Text: p.path(set, file)})
	default:
		return p.arrange(id, s)
	}
	return p, screen.Out{}
}

// turn puts something in front, from its beginning.
func (p Page) turn(v view) Page {
	p.view, p.scroll = v, component.Scroll{}
	return p
}

// path is that of the file in front, or of the folder.
func (p Page) path(set *app.MigrationSet, file *app.MigrationFile) string {
	if file != nil && p.front(file) != nil {
		return p.front(file).Path
	}
	return set.Folder
}

// arrange chooses what the list shows.
func (p Page) arrange(id string, s screen.Scene) (screen.Page, screen.Out) {
	out := screen.Out{}
	switch id {
	case actFilter:
		next, cmd := p.filter.Edit()
		p.filter, out = next, screen.Run(cmd)
	case actClear:
		p.filter = p.filter.Clear()
	case actWhole:
		p.whole = !p.whole
	}
	return p.sync(s), out
}

// inspect looks at what a migration left that ended half-way.
func (p Page) inspect(set *app.MigrationSet, s screen.Scene) (screen.Page, screen.Out) {
	c, one := p.core, set.Ask
	next, cmd := p.left.Of(func(ctx context.Context) (l left, err error) {
		if l.facts, err = c.InspectMigrations(ctx, one); err == nil {
			l.ways, err = c.RepairWays(ctx, one, l.facts)
		}
		return l, err
	}).Start(s.Now)
	p.left = next
	return p.turn(viewLeft), screen.Run(cmd)
}

// judgePending has the linter look at the real tables.
func (p Page) judgePending(set *app.MigrationSet, s screen.Scene) (screen.Page, screen.Out) {
	c, one := p.core, set.Ask
	next, cmd := p.live.Of(func(ctx context.Context) (l pending, err error) {
		l.set = one.Set.String()
		l.MigrationLint, err = c.LintPending(ctx, one)
		return l, err
	}).Start(s.Now)
	p.live = next
	return p.sync(s), screen.Run(cmd)
}

// rehearse runs what is pending on a copy, or shows the rehearsal that runs.
func (p Page) rehearse(set *app.MigrationSet, s screen.Scene) (screen.Page, screen.Out) {
	if p.trial.running && p.trial.of == set.Name {
		return p.turn(viewRehearsal), screen.Out{}
	}
	next, cmd := p.trial.start(p.core, p.scope, set.Ask, s.Now)
	p.trial = next
	return p.turn(viewRehearsal), screen.Run(cmd)
}
