package runbook

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"dbops/internal/fault"
	"dbops/internal/op"
)

// Finding is something about a runbook that will not do, or that somebody should look at.
type Finding struct {
	Line     int         `json:"line,omitempty"`
	Step     string      `json:"step,omitempty"`
	Severity op.Severity `json:"severity"` // block or warn
	Text     string      `json:"text"`
	Remedy   string      `json:"remedy,omitempty"`
}

// Guard is what an environment wants of whoever changes an instance of it.
type Guard struct {
	Protected bool `json:"protected,omitempty"`
	Approvals int  `json:"approvals,omitempty"`
}

// House is what a runbook is checked against. Nothing of it asks anybody.
type House struct {
	// Guard is that of an instance; an error if there is no such instance.
	Guard func(environment, instance string) (Guard, error)
	// Check says what is wrong with an operation as it is written: its command, its arguments, its flags.
	Check func(environment string, o Operation) error
}

var stepName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,47}$`)

// Lint checks what can be checked before anything is asked: that what is written is something that dbops does, in an order that can work.
func Lint(b Runbook, h House) (all []Finding) {
	say := func(s Step, severity op.Severity, remedy, format string, args ...any) {
		all = append(all, Finding{Line: max(s.Line, 1), Step: s.Name, Severity: severity, Text: fmt.Sprintf(format, args...), Remedy: remedy})
	}
	if len(b.Steps) == 0 {
		say(Step{}, op.Block, "steps: is a list of operations and gates", "it has no steps")
		return all
	}
	if b.Environment == "" {
		say(Step{}, op.Block, "write environment: NAME, or give --env NAME", "it names no environment")
		return all
	}
	if b.Instance == "" {
		say(Step{}, op.Block, "write instance: NAME at the top", "it names no instance")
		return all
	}
	if !slices.ContainsFunc(b.Steps, func(s Step) bool { return s.Operation.Is() }) {
		say(Step{}, op.Block, "add one: operation: NAME", "it has no operation: nothing would be done")
	}
	guard, err := h.Guard(b.Environment, b.Instance)
	if err != nil {
		say(Step{}, op.Block, fault.HintOf(err), "%s", fault.Reason(err))
		return all
	}
	if names := b.Instances(); guard.Protected && len(names) > 1 {
		say(Step{}, op.Block, "write a runbook for each", "%s is protected, where each instance is confirmed by its name, and it is about several: %s", b.Environment, strings.Join(names, ", "))
	}
	for i, s := range b.Steps {
		if !stepName.MatchString(s.Name) || s.Name == op.CheckStep {
			say(s, op.Block, "use small letters, digits and hyphens, up to 48", "the name %q will not do", s.Name)
		}
		if slices.Contains(b.StepNames()[:i], s.Name) {
			say(s, op.Block, "give each step a name of its own", "a step before it is called %s, too", s.Name)
		}
		b.lintStep(i, h, func(severity op.Severity, remedy, format string, args ...any) {
			say(s, severity, remedy, format, args...)
		})
	}
	return all
}

// lintStep checks one step.
func (b Runbook) lintStep(i int, h House, say func(severity op.Severity, remedy, format string, args ...any)) {
	s := b.Steps[i]
	o := s.Operation
	switch {
	case !o.Is() && s.Gate == "":
		say(op.Block, "write operation: or gate:", "it says neither what to do nor what to wait for")
		return
	case !o.Is() && (o.Instance != "" || len(o.Args) > 0 || len(o.With) > 0):
		say(op.Block, "write operation:", "it says how, and not what")
		return
	case !o.Is():
		return
	}
	if o.Instance != "" {
		if _, err := h.Guard(b.Environment, o.Instance); err != nil {
			say(op.Block, fault.HintOf(err), "%s", fault.Reason(err))
		}
	}
	for _, flag := range slices.Sorted(maps.Keys(o.With)) {
		if len(o.With[flag]) == 0 {
			say(op.Block, "write true, or what it is", "the flag %s has no value", flag)
			return
		}
	}
	o.Instance = b.instanceOf(o)
	if err := h.Check(b.Environment, o); err != nil {
		say(op.Block, fault.HintOf(err), "%s", fault.Reason(err))
		return
	}
	if o.Command == UpgradeRun && !b.stops(i) && !slices.Equal(o.With["unattended"], Words{"true"}) {
		say(op.Block, "add a step with operation: "+UpgradeCutover, "its run waits at the gate of the cut-over, and no later step goes through that")
	}
	before := func(p Step) bool {
		return p.Operation.Command == UpgradeRun && b.instanceOf(p.Operation) == o.Instance
	}
	if o.Command == UpgradeCutover && !slices.ContainsFunc(b.Steps[:i], before) {
		say(op.Warn, "that is well if the upgrade was begun by hand", "no step before it begins the upgrade that it goes on with")
	}
}

// Blocks are the findings that forbid it.
func Blocks(all []Finding) (blocks []Finding) {
	for _, f := range all {
		if f.Severity == op.Block {
			blocks = append(blocks, f)
		}
	}
	return blocks
}
