package backups

import (
	"dbops/internal/backup"
	"dbops/internal/tui/listing"
	"dbops/internal/tui/page/internal/sheet"
	"dbops/internal/tui/screen"
)

const (
	actCreate    = "backup.create"
	actRestore   = "backup.restore"
	actFrom      = "backup.restore-selected"
	actDrill     = "backup.drill"
	actConfigure = "backup.configure"
	actProtect   = "instance.protect"
	actUnprotect = "instance.unprotect"
	actRename    = "instance.rename"
	actLast      = "run.last"
)

// Actions implements [screen.Page].
func (p Page) Actions(s screen.Scene) []screen.Action {
	if p.list.Captures() {
		return listing.Typing()
	}
	v, known := p.Value()
	managed, off, from, last := "", "", "no backup is selected", "dbops has not drilled a restore of it"
	switch {
	case !known:
		off = "its backups have not been read"
	case v.Unmanaged:
		managed = "no cloud makes backups of a plain server"
		off = managed
	default:
		if b, ok := p.selected(); ok && b.Ready {
			from = ""
		} else if ok {
			from = "this backup is not ready: it is " + b.State
		}
		if len(v.Drills) > 0 {
			last = ""
		}
	}
	guard := screen.Action{ID: actProtect, Title: "protect it from being deleted: plan it", Key: screen.Keys("p"), CLI: p.Sheet.CLI([]string{"protect"}), Off: off}
	if known && !v.Unmanaged && v.Live.DeletionProtection {
		guard.Off = "it is protected already"
	}
	return append([]screen.Action{
		{ID: actCreate, Title: "back it up now: plan it", Short: "back up", Key: screen.Keys("b"), CLI: p.cliCreate(""), Off: managed},
		{ID: actRestore, Title: "restore it to a new instance: plan it", Short: "restore", Key: screen.Keys("t"), CLI: p.cliRestore("", "", "NAME"), Off: managed},
		{ID: actDrill, Title: "prove that a restore works, and measure it: plan it", Short: "drill", Key: screen.Keys("d"), CLI: p.cliDrill("", nil, false), Off: off},
		{ID: actFrom, Title: "restore the selected backup to a new instance: plan it", Short: "restore this", Key: screen.Keys("enter"), Off: from},
		{ID: actLast, Title: "open the run of the last restore drill", Short: "last drill", Key: screen.Keys("l"), Off: last},
		{ID: actConfigure, Title: "set automatic backups and point-in-time recovery: plan it", Short: "configure", Key: screen.Keys("o"), CLI: p.Sheet.CLI([]string{"backup", "configure"}), Off: off},
		guard,
		{ID: actUnprotect, Title: "take the protection from deletion away: plan it", CLI: p.Sheet.CLI([]string{"unprotect"}), Off: off},
		{ID: actRename, Title: "give it another name in its cloud: plan it", Key: screen.Keys("n"), CLI: p.Sheet.CLI([]string{"rename"}, "--to", "NAME"), Off: off},
	}, p.CommonList(s, p.CLI(s), p.list, len(p.above(s)), 0)...)
}

// Do implements [screen.Page].
func (p Page) Do(id string, s screen.Scene) (screen.Page, screen.Out) {
	v, _ := p.Value()
	switch id {
	case actCreate:
		return p, p.create()
	case actRestore:
		return p, p.restore("")
	case actFrom:
		b, _ := p.selected()
		return p, p.restore(b.ID)
	case actDrill:
		return p, p.drill(v)
	case actConfigure:
		return p, p.configure(v)
	case actLast:
		return p, screen.Say(screen.OpenRun{ID: v.Drills[0].Run.ID})
	case actProtect:
		return p, screen.Say(p.Plan(backup.ProtectKind, "protect "+p.At.Name+" from deletion", backup.ProtectRequest{}, p.Sheet.CLI([]string{"protect"})))
	case actUnprotect:
		return p, screen.Say(p.Plan(backup.UnprotectKind, "take the protection of "+p.At.Name+" away", backup.ProtectRequest{}, p.Sheet.CLI([]string{"unprotect"})))
	case actRename:
		return p, p.rename(v)
	case sheet.Copy:
		return p, p.copied()
	}
	if v != nil && !v.Unmanaged {
		if next, list, out, ok := p.DoList(id, p.list, s, len(p.above(s)), 0); ok {
			p.Sheet, p.list = next, list
			return p.sync(s.Now), out
		}
	}
	var out screen.Out
	p.Sheet, out, _ = p.DoCommon(id, s, p.above(s))
	return p, out
}

// copied is the name of the selected backup, which is what a command line wants.
func (p Page) copied() screen.Out {
	b, ok := p.selected()
	if !ok {
		return screen.Say(screen.Notice{Text: "there is no backup to copy the name of"})
	}
	return screen.Say(screen.Copy{What: "the backup's name", Text: b.ID})
}
