package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"dbops/internal/fault"
	"dbops/internal/live"
)

// sessionsJSON is dbops/sessions-list/v1.
type sessionsJSON struct {
	Schema      string        `json:"schema"`
	Environment string        `json:"environment"`
	Instance    string        `json:"instance"`
	Figures     *live.Figures `json:"figures"`
	*live.Activity
}

func runSessionsList(ctx context.Context, c *cli, o *sessionsOptions) error {
	a, err := c.app()
	if err != nil {
		return err
	}
	defer a.Close()
	f, err := a.LiveFigures(ctx, o.env, o.instance, live.Want{Sizes: c.json()})
	if err != nil {
		return err
	}
	all, err := a.LiveSessions(ctx, o.env, o.instance)
	if err != nil {
		return err
	}
	if o.busy {
		all.Sessions = slices.DeleteFunc(all.Sessions, func(s live.Session) bool { return s.State == "idle" && s.Blocks == 0 })
	}
	if c.json() {
		return printJSON(c.out, sessionsJSON{"dbops/sessions-list/v1", o.env, o.instance, f, all})
	}
	rows := make([][]string, 0, len(all.Sessions))
	for _, s := range all.Sessions {
		rows = append(rows, []string{
			strconv.Itoa(s.PID), orText(s.User, "-"), orText(s.Application, "-"), orText(s.Client, "-"), orText(s.Database, "-"), sessionState(s), lockWord(s),
			spanWord(s.InTransaction), spanWord(sessionAge(s)), oneLine(s.Query),
		})
	}
	fmt.Fprintln(c.out, oneBlock(figuresLine(f)))
	if len(rows) > 0 {
		fmt.Fprintln(c.out)
		if err := printTable(c.out, []string{"PID", "USER", "APPLICATION", "CLIENT", "DATABASE", "STATE", "LOCKS", "TX", "FOR", "STATEMENT"}, rows); err != nil {
			return err
		}
	}
	printMissing(c.out, slices.Concat(f.Missing, all.Missing))
	return nil
}

// figuresLine is what a server does, in a line.
func figuresLine(f *live.Figures) string {
	n := f.Connections
	out := fmt.Sprintf("%d of %d connections: %d active, %d idle in transaction, %d idle", n.Total, n.Max, n.Active, n.InTx, n.Idle)
	if n.Hidden > 0 {
		out += fmt.Sprintf(", %d not to be seen", n.Hidden)
	}
	if n.Locked > 0 {
		out += fmt.Sprintf("; %d wait for locks", n.Locked)
	}
	if q := f.Query; q != nil {
		out += fmt.Sprintf("; longest statement %s (%d)", spanWord(&q.Age), q.PID)
	}
	if x := f.Transaction; x != nil {
		out += fmt.Sprintf("; longest transaction %s (%d)", spanWord(&x.Age), x.PID)
	}
	return out
}

// printMissing says what was not read; the same reason once.
func printMissing(w io.Writer, all []live.Missing) {
	seen := map[live.Missing]bool{}
	for _, m := range all {
		if !seen[m] {
			seen[m] = true
			fmt.Fprintf(w, "\n! %s: %s\n", m.Part, oneBlock(m.Why))
			if m.Hint != "" {
				fmt.Fprintf(w, "  next: %s\n", oneBlock(m.Hint))
			}
		}
	}
}

func sessionState(s live.Session) string {
	switch {
	case s.Hidden():
		return "?"
	case strings.HasPrefix(s.State, "idle in transaction"):
		return "! " + s.State
	default:
		return orText(s.State, "-")
	}
}

// lockWord says for whom a session waits, or how many wait for it.
func lockWord(s live.Session) string {
	var words []string
	if len(s.BlockedBy) > 0 {
		words = append(words, "x waits for "+pidList(s.BlockedBy))
	}
	if s.Blocks > 0 {
		words = append(words, fmt.Sprintf("! blocks %d", s.Blocks))
	}
	return orText(strings.Join(words, ", "), "-")
}

func pidList(pids []int) string {
	words := make([]string, len(pids))
	for i, pid := range pids {
		words[i] = strconv.Itoa(pid)
	}
	return strings.Join(words, " ")
}

// sessionAge is how long a session has done what it does.
func sessionAge(s live.Session) *live.Span {
	if s.Active() {
		return s.Statement
	}
	return s.InState
}

func spanWord(s *live.Span) string {
	if s == nil {
		return "-"
	}
	d := s.Duration()
	switch {
	case d.Hours() >= 24:
		return fmt.Sprintf("%dd%dh", int(d.Hours())/24, int(d.Hours())%24)
	case d.Hours() >= 1:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	case d.Minutes() >= 1:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	default:
		return fmt.Sprintf("%.1fs", max(0, d.Seconds()))
	}
}

// oneLine is a statement cut to what fits beside the rest.
func oneLine(query string) string {
	const most = 80
	line := strings.Join(strings.Fields(oneBlock(query)), " ")
	if r := []rune(line); len(r) > most {
		return string(r[:most-3]) + "..."
	}
	return line
}

// sessionJSON is dbops/sessions-show/v1.
type sessionJSON struct {
	Schema      string         `json:"schema"`
	Environment string         `json:"environment"`
	Instance    string         `json:"instance"`
	Sessions    []*live.Detail `json:"sessions"`
}

func runSessionsShow(ctx context.Context, c *cli, o *sessionsOptions) error {
	a, err := c.app()
	if err != nil {
		return err
	}
	defer a.Close()
	out := sessionJSON{"dbops/sessions-show/v1", o.env, o.instance, nil}
	for _, pid := range o.pids {
		d, err := a.LiveSession(ctx, o.env, o.instance, pid)
		if err != nil {
			return err
		}
		if d.Session == nil {
			return fault.Newf(fault.NotFound, fmt.Sprintf("show session %d of %s/%s", pid, o.env, o.instance), "there is none: it has ended").
				Hint("dbops sessions list -e %s %s", o.env, o.instance)
		}
		out.Sessions = append(out.Sessions, d)
	}
	if c.json() {
		return printJSON(c.out, out)
	}
	for i, d := range out.Sessions {
		if i > 0 {
			fmt.Fprintln(c.out)
		}
		printSession(c.out, d)
	}
	return nil
}

func printSession(w io.Writer, d *live.Detail) {
	s := *d.Session
	fact := func(label, value string) {
		if value != "" && value != "-" {
			fmt.Fprintf(w, "%-12s %s\n", label, oneBlock(value))
		}
	}
	fact("session", strconv.Itoa(s.PID))
	fact("user", s.User)
	fact("application", s.Application)
	fact("client", s.Client)
	fact("database", s.Database)
	if !s.Started.IsZero() {
		fact("connected", stamp(s.Started))
	}
	fact("state", sessionState(s)+" for "+spanWord(sessionAge(s)))
	fact("transaction", spanWord(s.InTransaction))
	if s.Wrote {
		fact("", "it has changed something")
	}
	fact("waits on", strings.TrimSpace(s.WaitType+" "+s.WaitEvent))
	fact("locks", lockWord(s))
	if x := s.Waits; x != nil {
		fact("wants", fmt.Sprintf("%s on %s, for %s", x.Mode, x.Object, spanWord(x.For)))
	}
	for _, one := range d.Waiting {
		fact("waiting", fmt.Sprintf("%d %s %s", one.PID, one.User, one.Application))
	}
	for _, l := range d.Locks {
		if l.Granted {
			fact("holds", l.Mode+" on "+l.Object)
		}
	}
	fact("statement", s.Query)
	printMissing(w, d.Missing)
}
