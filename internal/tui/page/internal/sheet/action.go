package sheet

import (
	"dbops/internal/app"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
)

// The ids of what every sheet does.
const (
	Refresh = "tab.refresh"
	Copy    = "tab.copy"
)

// Common are the actions of every sheet; cli is the command line that shows the same.
func (p Sheet[T]) Common(s screen.Scene, cli []string) []screen.Action {
	return append(p.own(s, cli), screen.Moves()...)
}

// own are those that move nothing.
func (p Sheet[T]) own(s screen.Scene, cli []string) []screen.Action {
	loading := ""
	if p.one.Loading() {
		loading = "it is being read since " + text.Age(s.Now.Sub(p.began))
	}
	return []screen.Action{
		{ID: Copy, Title: "copy what is shown, as text", Short: "copy", Key: screen.Keys("y")},
		{ID: Refresh, Title: "read it now", Short: "refresh", Key: screen.Keys("r"), Off: loading, CLI: cli},
	}
}

// DoCommon runs one of [Sheet.Common]; ok is false when it is none of them.
func (p Sheet[T]) DoCommon(id string, s screen.Scene, lines []string) (next Sheet[T], out screen.Out, ok bool) {
	switch id {
	case Refresh:
		p, out = p.Read(s)
		return p, out, true
	case Copy:
		return p, screen.Say(screen.Copy{What: p.What + " of " + p.At.Environment + "/" + p.At.Name, Text: Plain(lines)}), true
	}
	p, ok = p.Move(id, s, lines)
	return p, out, ok
}

// CLI is a command line for the instance: the words, then the environment and the instance, then the rest.
func (p Sheet[T]) CLI(words []string, rest ...string) []string {
	return append(append(append([]string{"dbops"}, words...), "-e", p.At.Environment, p.At.Name), rest...)
}

// Plan asks for the plan of a change.
func (p Sheet[T]) Plan(kind, title string, request any, cli []string) screen.OpenPlan {
	return screen.OpenPlan{
		Change: app.Change{Environment: p.At.Environment, Instance: p.At.Name, Kind: kind, Request: request}, Title: title, CLI: cli,
	}
}
