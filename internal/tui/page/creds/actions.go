package creds

import (
	"cmp"

	"dbops/internal/creds"
	"dbops/internal/tui/component"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/underway"
)

// The ids of the page's actions.
const (
	actOpen     = "creds.show"
	actBack     = "creds.back"
	actRotate   = "creds.rotate"
	actIssue    = "creds.issue"
	actRollback = "creds.rollback"
	actRepair   = "creds.repair"
	actRevoke   = "creds.revoke"
	actAdopt    = "creds.adopt"
	actTry      = "creds.try"
	actAudit    = "creds.audit"
	actRun      = "run.open"
	actFilter   = "list.filter"
	actKeep     = "list.filter-keep"
	actClear    = "list.filter-clear"
	actSort     = "list.sort"
	actRefresh  = "creds.refresh"
	actCopy     = "creds.copy"
)

// Actions implements [screen.Page].
func (p Page) Actions(screen.Scene) []screen.Action {
	if p.filter.Editing() {
		return []screen.Action{
			{ID: actKeep, Title: "keep the filter", Short: "keep", Key: screen.Keys("enter")},
			{ID: actClear, Title: "clear the filter", Short: "clear", Key: screen.Keys("esc")},
		}
	}
	l, ok := p.selected()
	none := ""
	if !ok {
		none = "no container is selected"
	}
	name := cmp.Or(l.Name, "a container")
	out := p.moves(l, none)
	change := func(id, key, short, title, off string, cli []string) {
		out = append(out, screen.Action{ID: id, Title: title, Short: short, Key: screen.Keys(key), Write: true, CLI: cli, Off: cmp.Or(none, off)})
	}
	change(actRotate, "t", "rotate", "plan to rotate: "+name+", all, or what is older than an age", "", p.cli("rotate", l.Name))
	change(actIssue, "i", "issue", "plan to give "+name+" a credential: its first one, or a new one after a revocation", unissued(l), p.cli("issue", l.Name))
	change(actRollback, "b", "roll back", "plan to make the previous credential of "+name+" current again", irreversible(l), p.cli("rollback", l.Name))
	change(actRepair, "m", "mend", "plan to put the credential of "+name+" back where it is read", placeless(l), p.cli("repair", l.Name))
	change(actAdopt, "d", "adopt", "plan to take over a login that "+name+" uses already", adopted(l), p.cli("adopt", l.Name, "--login", cmp.Or(l.User, "ROLE")))
	change(actRevoke, "x", "revoke", "plan to take the access of "+name+" away and end its sessions", revoked(l), p.cli("revoke", l.Name))
	out = append(out, p.reads()...)
	return append(out, screen.Moves()...)
}

// moves go into a container or the audit, and back.
func (p Page) moves(l creds.Listed, none string) []screen.Action {
	if p.view != viewList {
		return []screen.Action{{ID: actBack, Title: "back to the containers", Short: "containers", Key: screen.Keys("esc")}}
	}
	unfiltered := ""
	if p.filter.Value() == "" {
		unfiltered = "there is no filter"
	}
	return []screen.Action{
		{ID: actOpen, Title: "all that is known of " + cmp.Or(l.Name, "a container"), Short: "open", Key: screen.Keys("enter"), CLI: p.cli("show", l.Name), Off: none},
		{ID: actClear, Title: "clear the filter", Key: screen.Keys("esc"), Off: unfiltered},
	}
}

// reads change nothing.
func (p Page) reads() []screen.Action {
	loading := func(busy bool) string {
		if busy {
			return "it is being read"
		}
		return ""
	}
	idle, audited, unlogged := "", "", ""
	if _, ok := p.change(); !ok {
		idle = "no change of credentials is under way here"
	}
	if p.view == viewAudit {
		audited = "it is in front"
	}
	if l, ok := p.selected(); !ok || l.User == "" {
		unlogged = "there is no login"
	}
	busy := p.list.Loading() || p.view == viewAudit && p.audit.Loading()
	return []screen.Action{
		{ID: actAudit, Title: "audit: who can log in to this instance", Short: "audit", Key: screen.Keys("u"), CLI: p.cliHere("audit"), Off: audited},
		{ID: actTry, Title: "try each current credential with a login", Short: "try logins", Key: screen.Keys("c"), CLI: p.cliHere("list"), Off: loading(p.tries.Loading())},
		{ID: actRun, Title: "go to the run that is under way", Short: "run", Key: screen.Keys("o"), CLI: p.runCLI(), Off: idle},
		{ID: actFilter, Title: "filter: words that must be there, !word that must not", Key: screen.Keys("/"), Off: p.elsewhere()},
		{ID: actSort, Title: "sort by " + p.order.next().String(), Key: screen.Keys("s"), Off: p.elsewhere()},
		{ID: actCopy, Title: "copy the name of its login", Key: screen.Keys("y"), Off: unlogged},
		{ID: actRefresh, Title: "read it now", Key: screen.Keys("r"), CLI: p.cliHere("list", "--check=false"), Off: loading(busy)},
	}
}

func (p Page) elsewhere() string {
	if p.view != viewList {
		return "the list is not in front"
	}
	return ""
}

func (p Page) runCLI() []string {
	if c, ok := p.change(); ok {
		return []string{"dbops", "runs", "watch", c.Run.ID}
	}
	return nil
}

// change is the one under way: of the selected container, else the newest.
func (p Page) change() (underway.Change, bool) {
	known, _ := p.list.Value()
	if c, ok := known.of(p.table.Selected()); ok {
		return c, true
	}
	if len(known.changes) == 0 {
		return underway.Change{}, false
	}
	return known.changes[0], true
}

// Why an operation has nothing to work on; empty if it may have. What else stands in its way the plan says.
func unissued(l creds.Listed) string {
	if l.Active != "" && !l.Revoked() {
		return "it has a credential: rotate it (t)"
	}
	return ""
}

func irreversible(l creds.Listed) string {
	if len(l.Places) > 0 && l.Places[0].Previous == "" {
		return "there is no previous credential"
	}
	return placeless(l)
}

func placeless(l creds.Listed) string {
	if len(l.Places) == 0 {
		return "dbops.yaml names no place that its credential is delivered to"
	}
	return ""
}

func adopted(l creds.Listed) string {
	if l.Active != "" {
		return "its login is one of its slots already"
	}
	return ""
}

func revoked(l creds.Listed) string {
	if l.Revoked() {
		return "it is revoked"
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
	if f := p.form(id, s); f != nil {
		return p, screen.Say(screen.Show{Dialog: f})
	}
	l, _ := p.selected()
	switch id {
	case actIssue:
		return p, screen.Say(p.plan(creds.IssueKind, creds.IssueRequest{Container: l.Name}, "issue a credential for "+l.Name, p.cli("issue", l.Name)))
	case actRepair:
		return p, screen.Say(p.plan(creds.RepairKind, creds.RepairRequest{Containers: []string{l.Name}}, "put the credential of "+l.Name+" back", p.cli("repair", l.Name)))
	case actOpen:
		p.view, p.scroll = viewOne, component.Scroll{}
	case actBack:
		p.view = viewList
	case actAudit:
		p.view, p.scroll = viewAudit, component.Scroll{}
		if !p.audit.Loading() {
			next, cmd := p.audit.Start(s.Now)
			p.audit = next
			return p, screen.Run(cmd)
		}
	case actTry:
		next, cmd := p.try(s)
		return next, screen.Run(cmd)
	case actRefresh:
		next, cmd := p.read(s)
		return next, screen.Run(cmd)
	case actRun:
		c, _ := p.change()
		return p, screen.Say(screen.OpenRun{ID: c.Run.ID})
	case actCopy:
		return p, screen.Say(screen.Copy{What: "login", Text: l.User})
	default:
		return p.arrange(id, s)
	}
	return p, screen.Out{}
}

// arrange filters and sorts.
func (p Page) arrange(id string, s screen.Scene) (screen.Page, screen.Out) {
	out := screen.Out{}
	switch id {
	case actFilter:
		next, cmd := p.filter.Edit()
		p.filter, out = next, screen.Run(cmd)
	case actClear:
		p.filter = p.filter.Clear()
	case actSort:
		p.order = p.order.next()
	}
	return p.sync(s), out
}
