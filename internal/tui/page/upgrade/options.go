package upgrade

import (
	"cmp"
	"errors"
	"strconv"
	"time"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/tui/dialog"
	"dbops/internal/tui/screen"
	"dbops/internal/upgrade"
)

// What is done about tables without a primary key while a copy catches up.
const (
	keyRefuse = "refuse"
	keyFollow = "follow"
)

// yesNo are what such a field offers, and the one of them that is so.
func yesNo(is bool) (options []string, value string) {
	options, value = []string{"no", "yes"}, "no"
	if is {
		value = "yes"
	}
	return options, value
}

func (p Page) askOptions(w want) screen.Dialog {
	own, copies := func(dialog.Answers) bool { return w.way.own() }, func(dialog.Answers) bool { return !w.way.own() }
	alone := func(dialog.Answers) bool { return w.way != catchUp }
	both, unattended := yesNo(w.unattended)
	_, back := yesNo(!w.noWayBack)
	keyless := keyRefuse
	if w.fullIdentity {
		keyless = keyFollow
	}
	return dialog.NewForm("Upgrade "+p.At.Name+": "+string(w.way), p.At.Environment, p.At.Protected, []dialog.Field{
		{Name: "name", Label: "name of the new instance", Value: w.name, Help: "The provider's. Empty: that of the old one with -pgMAJOR.", Off: own},
		{Name: "into", Label: "or into", Value: w.into, Help: "An empty instance of dbops.yaml in place of a new one; a plain server needs it.", Off: own},
		{
			Name: "verify", Label: "compare", Value: cmp.Or(w.verify, upgrade.VerifyFull), Options: []string{upgrade.VerifyFull, upgrade.VerifySample, upgrade.VerifyCount},
			Help: "full: every row; sample: all are counted, one in 100 of large tables is summed; count.", Off: own,
		},
		{Name: "jobs", Label: "jobs", Value: strconv.Itoa(cmp.Or(w.jobs, upgrade.DefaultJobs)), Help: "Tables that are copied at once.", Off: own},
		{
			Name: "keyless", Label: "tables without a key", Value: keyless, Options: []string{keyRefuse, keyFollow},
			Help: "refuse: one without a primary key blocks the plan; follow: by all their columns, which is slow on large ones.", Off: alone,
		},
		{
			Name: "back", Label: "writes are carried back", Value: back, Options: both,
			Help: "Yes: after the switch the old instance follows the new one. No: going back then loses what was written since.", Off: alone,
		},
		{
			Name: "grace", Label: "open transactions get", Value: cmp.Or(spoken(w.grace), spoken(upgrade.DefaultGrace)),
			Help: "As in 10s: how long they may go on at the cut-over before their sessions are ended.", Off: own,
		},
		{
			Name: "observe", Label: "watch who logs in for", Value: cmp.Or(spoken(w.observe), spoken(upgrade.DefaultObserve)),
			Help: "As in 5m: who logs in where, after the switch.", Off: own,
		},
		{Name: "parameters", Label: "parameter group", Value: w.parameters, Help: "Of the new major's family (rds); empty where the instance has a default one.", Off: copies},
		{
			Name: "unattended", Label: "without the gate", Value: unattended, Options: both,
			Help: "Yes: nobody is asked before clients are shut out; whoever approves the plan approves that.",
		},
	}, func(a dialog.Answers) (tea.Msg, string) { return p.opted(w, a) })
}

// opted is what was wanted with other options.
func (p Page) opted(w want, a dialog.Answers) (tea.Msg, string) {
	w.unattended = a.Yes("unattended")
	if w.way.own() { // the rest was not asked
		w.parameters = a["parameters"]
		return chosenMsg{p.ID(), w}, ""
	}
	w.name, w.into = a["name"], a["into"]
	if w.verify = a["verify"]; w.verify == upgrade.VerifyFull {
		w.verify = ""
	}
	var bad error
	if w.jobs, bad = number(a["jobs"], upgrade.DefaultJobs); bad != nil {
		return nil, "jobs: " + bad.Error()
	}
	if w.grace, bad = span(a["grace"], upgrade.DefaultGrace); bad != nil {
		return nil, "open transactions get: " + bad.Error()
	}
	if w.observe, bad = span(a["observe"], upgrade.DefaultObserve); bad != nil {
		return nil, "watch who logs in for: " + bad.Error()
	}
	if w.way == catchUp {
		w.fullIdentity, w.noWayBack = a["keyless"] == keyFollow, !a.Yes("back")
	}
	q := w.copies()
	q.To = max(q.To, 10) // which may not be chosen yet
	return chosenMsg{p.ID(), w}, complaint(q.Check())
}

// number is 0 for the usual one, and for none.
func number(s string, usual int) (int, error) {
	if s == "" || s == strconv.Itoa(usual) {
		return 0, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		return 0, errors.New("a number from 1 on")
	}
	return n, nil
}

// span is 0 for the usual one, and for none; where it is to be no time at all, a nanosecond.
func span(s string, usual time.Duration) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, errors.New("a time, as in 10s or 5m")
	}
	return unless(max(d, time.Nanosecond), usual), nil
}
