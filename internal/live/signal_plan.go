package live

import (
	"fmt"
	"strings"
	"time"

	"dbops/internal/op"
)

const checkNoStatement = "no-statement"

// derive says who is hit, and what each loses.
func (g signal) derive(t op.Target, _ Request, f facts) op.Draft {
	hit := f.hit(g)
	d := op.Draft{
		Title: fmt.Sprintf("%s %s on %s", g.verb(), whom(hit), t),
		// What is signalled is no part of what a lease guards, and may be just what a run under way waits for.
		Untouched: true,
	}
	for _, one := range f.Targets {
		d.Findings = append(d.Findings, g.findings(t, f.Login, one)...)
	}
	if len(hit) == 0 {
		d.Title = fmt.Sprintf("%s on %s: %s", g.verb(), t, d.Findings[0].Text)
		for i := range d.Findings {
			if d.Findings[i].Check == checkNoStatement {
				d.Findings[i].Severity = op.Block
			}
		}
		return d
	}
	for _, one := range hit {
		d.Changes = append(d.Changes, g.change(one))
	}
	if g.cancels() {
		d.Downtime = op.Downtime{Expected: "none", Text: "the sessions stay; each client gets an error for the statement that runs"}
		d.Notes = []string{"a client that tries again by itself runs the same statement again"}
		return d
	}
	d.Downtime = op.Downtime{Expected: "none", Text: "the server goes on; the clients of these sessions are cut, and may connect again"}
	d.Notes = []string{"with a session go its temporary tables, prepared statements, settings and advisory locks"}
	return d
}

func (g signal) change(one target) op.Change {
	to := "terminated"
	if g.cancels() {
		to = "its statement is cancelled"
	}
	return op.Change{Setting: fmt.Sprintf("session %d", one.PID), From: one.doing(), To: to}
}

// doing is who a session is, and what it did when it was seen.
func (t target) doing() string {
	who := t.User
	if t.Application != "" {
		who = strings.TrimSpace(who + " (" + t.Application + ")")
	}
	since := t.InState
	if t.Active {
		since = t.Statement
	}
	return fmt.Sprintf("%s, %s for %s", who, t.State, since.text())
}

// text is the span for a person.
func (s Span) text() string {
	d := s.Duration()
	if d >= time.Minute {
		return d.Round(time.Second).String()
	}
	return d.Round(100 * time.Millisecond).String()
}

func (g signal) findings(t op.Target, login string, one target) (out []op.Finding) {
	add := func(severity op.Severity, check, remedy, format string, args ...any) {
		out = append(out, op.Finding{Severity: severity, Check: check, Remedy: remedy, Text: fmt.Sprintf(format, args...)})
	}
	switch {
	case !one.There:
		add(op.Info, "gone", "", "session %d is not there: it has ended", one.PID)
		return out
	case one.Other:
		add(op.Info, "other", "", "session %d is not what was meant any more: its process or its statement has ended, and another one began", one.PID)
		return out
	case one.Started.IsZero():
		add(op.Block, "hidden", monitor, "%s may not see session %s, so it cannot be told from the next one of this number", login, one.named())
		return out
	case !one.May:
		add(op.Block, "rights", g.mayRemedy(login, one), "%s may not signal session %s, which is a %s", login, one.named(), one.sort())
	}
	if g.cancels() && !one.Active {
		add(op.Warn, checkNoStatement, fmt.Sprintf("dbops sessions terminate -e %s %s %d", t.Environment, t.Instance, one.PID),
			"session %s is %s: it runs no statement that could be cancelled", one.named(), one.State)
		return out
	}
	who := fmt.Sprintf("session %d: %s on database %s from %s", one.PID, one.doing(), orDash(one.Database), orDash(one.Client))
	if one.Transaction != nil {
		who += fmt.Sprintf(", in a transaction for %s", one.Transaction.text())
	}
	out = append(out, op.Finding{Severity: op.Info, Check: "session", Text: who, Evidence: one.Shape})
	if n := len(one.Waiting); n > 0 {
		add(op.Info, "waiting", "", "%s", waitingText(n, one.Waiting))
	}
	out = append(out, g.losses(one)...)
	return out
}

// losses are what goes with a session or its statement.
func (g signal) losses(one target) (out []op.Finding) {
	if one.Wrote && !g.cancels() {
		out = append(out, op.Finding{Severity: op.Warn, Check: "rolled-back", Text: fmt.Sprintf("what the transaction of session %d has changed is rolled back", one.PID)})
	}
	if one.Wrote && g.cancels() {
		out = append(out, op.Finding{Severity: op.Warn, Check: "rolled-back", Text: fmt.Sprintf("the transaction of session %d can only be rolled back after this, unless it has a savepoint", one.PID)})
	}
	switch {
	case one.Type == "walsender":
		out = append(out, op.Finding{Severity: op.Warn, Check: "replication", Text: fmt.Sprintf("session %d feeds a replica: it falls behind until it has connected again", one.PID)})
	case one.Application == Application || strings.HasPrefix(one.Application, Application+" "):
		out = append(out, op.Finding{
			Severity: op.Warn, Check: "dbops", Text: fmt.Sprintf("session %d is one of dbops itself: a run may be at work with it", one.PID), Remedy: "dbops runs list --active; cancel the run instead",
		})
	case one.Type == "autovacuum worker":
		out = append(out, op.Finding{Severity: op.Warn, Check: "vacuum", Text: fmt.Sprintf("session %d is an autovacuum: it begins again by itself; one that prevents wraparound must finish", one.PID)})
	case one.Type != "client backend":
		out = append(out, op.Finding{Severity: op.Warn, Check: "background", Text: fmt.Sprintf("session %d is a %s, no client", one.PID, one.Type)})
	}
	return out
}

// sort says why a session is not everybody's to signal.
func (t target) sort() string {
	if t.User == "" {
		return "process of the server's own"
	}
	return "session of another role, or of a superuser"
}

func (g signal) mayRemedy(login string, one target) string {
	if one.User == "" {
		return "leave it: it ends by itself"
	}
	return fmt.Sprintf("GRANT pg_signal_backend TO %s; a superuser's session only a superuser may signal, which no managed server has", login)
}

func waitingText(n int, who []string) string {
	const most = 5
	text := "1 session waits for it: "
	if n > 1 {
		text = fmt.Sprintf("%d sessions wait for it: ", n)
	}
	if n > most {
		return text + strings.Join(who[:most], ", ") + ", ..."
	}
	return text + strings.Join(who, ", ")
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
