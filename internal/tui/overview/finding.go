package overview

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/tui/component"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

// Days before the end of a certificate at which it is a warning, and at which it is a danger.
const (
	certWarn   = 30
	certDanger = 7
)

// Finding is one thing that needs attention.
type Finding struct {
	Environment, Name string
	Protected         bool
	Role              theme.Role // Danger, Warn or Pending
	Text              string
	Hint              string // what to do; empty when there is nothing to say
}

// Findings are those of all instances, the worst first, protected environments first among equals.
func Findings(all []Known, now time.Time) []Finding {
	var out []Finding
	for _, k := range all {
		out = append(out, k.findings(now)...)
	}
	slices.SortStableFunc(out, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(rank(a.Role), rank(b.Role)), protectedFirst(a.Protected, b.Protected),
			strings.Compare(a.Environment, b.Environment), strings.Compare(a.Name, b.Name))
	})
	return out
}

func rank(r theme.Role) int {
	return slices.Index([]theme.Role{theme.Danger, theme.Warn, theme.Pending}, r)
}

func protectedFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	default:
		return 1
	}
}

// adder adds a finding about an instance.
type adder func(r theme.Role, hint, format string, args ...any)

// findings are those of one instance. What is known from an older answer still counts.
func (k Known) findings(now time.Time) []Finding {
	var out []Finding
	add := func(r theme.Role, hint, format string, args ...any) {
		out = append(out, Finding{
			Environment: k.Environment, Name: k.Name, Protected: k.Protected, Role: r, Text: fmt.Sprintf(format, args...), Hint: hint,
		})
	}
	k.statusFindings(now, add)
	k.watchedFindings(now, add)
	return out
}

// statusFindings are what the provider tells of the instance itself.
func (k Known) statusFindings(now time.Time, add adder) {
	if k.Err != nil {
		add(theme.Danger, Hint(k.Err), "%s", k.Err.Error())
	}
	i := k.Live
	if i == nil {
		return
	}
	if i.State == cloud.Failed || i.State == cloud.Unreachable {
		add(theme.Danger, "", "%s%s", i.State, rawState(i))
	}
	if i.State == cloud.Stopped && k.Protected {
		add(theme.Warn, "", "stopped")
	}
	if !i.TLS.Expires.IsZero() {
		switch days := text.Days(i.TLS.Expires, now); {
		case days < 0:
			add(theme.Danger, "", "certificate expired %s ago (%s)", text.Count(-days, "day"), text.Date(i.TLS.Expires))
		case days < certDanger:
			add(theme.Danger, "", "certificate expires in %s (%s)", text.Count(days, "day"), text.Date(i.TLS.Expires))
		case days < certWarn:
			add(theme.Warn, "", "certificate expires in %s (%s)", text.Count(days, "day"), text.Date(i.TLS.Expires))
		}
	}
	if k.Protected && told(i) {
		if !i.Backups.Enabled {
			add(theme.Warn, "", "automatic backups are off")
		}
		if !i.DeletionProtection {
			add(theme.Warn, "", "deletion protection is off")
		}
	}
	if n := len(i.Pending); n > 0 {
		add(theme.Pending, "", "%s pending: %s", text.Count(n, "change"), changes(i.Pending))
	}
}

func rawState(i *cloud.Instance) string {
	if i.RawState == "" || i.RawState == string(i.State) {
		return ""
	}
	return " (" + i.RawState + ")"
}

func changes(in []cloud.Change) string {
	out := make([]string, len(in))
	for i, c := range in {
		out[i] = change(c)
	}
	return strings.Join(out, ", ")
}

// change is one setting: "class db.r6g.large -> db.r6g.xlarge".
func change(c cloud.Change) string {
	if c.From == "" {
		return c.Setting + " -> " + c.To
	}
	return c.Setting + " " + c.From + " -> " + c.To
}

// Hint is what to do about a failure; a missing permission is named when nothing else is known.
func Hint(err error) string {
	if h := fault.HintOf(err); h != "" {
		return h
	}
	if p := fault.PermissionOf(err); p != "" {
		return "the permission " + p + " is missing"
	}
	return ""
}

// CertCell is the days that a certificate has left.
func (k Known) CertCell(now time.Time) component.Cell {
	if k.Live == nil || k.Live.TLS.Expires.IsZero() {
		return component.Cell{Text: "-", Role: theme.Muted}
	}
	days := text.Days(k.Live.TLS.Expires, now)
	s := fmt.Sprintf("%dd", days)
	switch {
	case days < certDanger:
		return marked(theme.Danger, s)
	case days < certWarn:
		return marked(theme.Warn, s)
	}
	return component.Cell{Text: s}
}

// BackupCell is how many days are kept: "pitr 7d", "daily", "off".
func (k Known) BackupCell() component.Cell {
	switch {
	case k.Live == nil || !told(k.Live):
		return component.Cell{Text: "-", Role: theme.Muted}
	case !k.Live.Backups.Enabled && k.Protected:
		return marked(theme.Warn, "off")
	case !k.Live.Backups.Enabled:
		return component.Cell{Text: "off", Role: theme.Muted}
	case k.Live.Backups.PITR && k.Live.Backups.RetentionDays > 0:
		return component.Cell{Text: fmt.Sprintf("pitr %dd", k.Live.Backups.RetentionDays)}
	case k.Live.Backups.PITR:
		return component.Cell{Text: "pitr"}
	default:
		return component.Cell{Text: "daily"}
	}
}

// GuardCell is the deletion protection.
func (k Known) GuardCell() component.Cell {
	switch {
	case k.Live == nil || !told(k.Live):
		return component.Cell{Text: "-", Role: theme.Muted}
	case k.Live.DeletionProtection:
		return component.Cell{Text: "protected"}
	case k.Protected:
		return marked(theme.Warn, "open")
	default:
		return component.Cell{Text: "open", Role: theme.Muted}
	}
}

// AgeCell is how old the values are; stale ones say so.
func (k Known) AgeCell(now time.Time, stale bool) component.Cell {
	if k.At.IsZero() {
		return component.Cell{Text: "-", Role: theme.Muted}
	}
	age := text.Age(now.Sub(k.At))
	if stale || k.Err != nil {
		return marked(theme.Warn, age)
	}
	return component.Cell{Text: age, Role: theme.Muted}
}

// PendingCell counts the changes that the provider has accepted and not made.
func (k Known) PendingCell() component.Cell {
	if k.Live == nil || len(k.Live.Pending) == 0 {
		return unknown
	}
	return marked(theme.Pending, strconv.Itoa(len(k.Live.Pending)))
}
