// Package runbook carries a sequence of operations with gates between them as one run.
//
// A runbook is a file: each of its steps names an operation as the command line does, a gate, or both. Its run ([Kind]) changes nothing by itself: each
// operation is planned when its turn comes, has a plan, approvals, leases, a run and a journal of its own, and is a part of the runbook's run. So
// nothing is done under a runbook that the same commands, typed one after the other, would not do.
package runbook

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Schema is that of the file, in its key schema.
const Schema = "dbops/runbook/v1"

// Kind is the name of the operation.
const Kind = "runbook.run"

// Runbook is a file, read and complete: each step has a name, and each operation its environment.
type Runbook struct {
	Title       string `json:"title"`
	Environment string `json:"environment"`
	Instance    string `json:"instance"` // of the steps that name none, and the one that the run is listed under
	Steps       []Step `json:"steps"`
}

// Step is an operation, a gate, or an operation whose plan is looked at through a gate before it is run.
type Step struct {
	Name      string    `json:"name"`
	Operation Operation `json:"operation,omitzero"`
	Gate      string    `json:"gate,omitempty"` // what a person has to see or do before the run goes on
	Line      int       `json:"-"`              // in the file
}

// Operation is what a command of dbops does, as it is written on the command line.
type Operation struct {
	Command  string           `json:"command"` // its words: "upgrade run"
	Instance string           `json:"instance,omitempty"`
	Args     []string         `json:"args,omitempty"` // besides the instance
	With     map[string]Words `json:"with,omitempty"` // its flags, without --
}

// Words are the values of one flag.
type Words []string

// String is the operation as a command line, without the environment.
func (o Operation) String() string {
	words := append([]string{o.Command}, o.Args...)
	for _, flag := range slices.Sorted(maps.Keys(o.With)) {
		for _, v := range o.With[flag] {
			if v == "true" {
				words = append(words, "--"+flag)
			} else {
				words = append(words, "--"+flag+" "+v)
			}
		}
	}
	return strings.Join(words, " ")
}

// Is tells whether there is an operation: a gate alone has none.
func (o Operation) Is() bool { return o.Command != "" }

// instanceOf is the instance that an operation is about.
func (b Runbook) instanceOf(o Operation) string { return cmp.Or(o.Instance, b.Instance) }

// Instances are those that the steps are about, in order and once each.
func (b Runbook) Instances() []string {
	all := []string{b.Instance}
	for _, s := range b.Steps {
		if i := b.instanceOf(s.Operation); s.Operation.Is() && !slices.Contains(all, i) {
			all = append(all, i)
		}
	}
	return all
}

// From is the rest of a runbook, from a step on. ok is false if it has no such step.
func (b Runbook) From(step string) (rest Runbook, ok bool) {
	i := slices.IndexFunc(b.Steps, func(s Step) bool { return s.Name == step })
	if i < 0 {
		return b, false
	}
	b.Steps = b.Steps[i:]
	if i > 0 {
		b.Title = fmt.Sprintf("%s (from %s)", b.Title, step)
	}
	return b, true
}

// StepNames are those of the steps, in order.
func (b Runbook) StepNames() (all []string) {
	for _, s := range b.Steps {
		all = append(all, s.Name)
	}
	return all
}

// The commands that belong together: the first ends at a gate of its run, and the second goes through it.
const (
	UpgradeRun     = "upgrade run"
	UpgradeCutover = "upgrade cutover"
)

// stops tells whether the run of a step's operation ends, for the runbook, at its own gate, which a later step goes through.
func (b Runbook) stops(i int) bool {
	o := b.Steps[i].Operation
	return o.Command == UpgradeRun && slices.ContainsFunc(b.Steps[i+1:], func(s Step) bool {
		return s.Operation.Command == UpgradeCutover && b.instanceOf(s.Operation) == b.instanceOf(o)
	})
}

// gateText is what a step waits for; empty: it does not wait. approvals are those that the environment wants.
func (s Step) gateText(approvals int) string {
	text := s.Gate
	if text == "" && s.Operation.Command == UpgradeCutover {
		text = "from now on clients are shut out, and switched when the rest is brought over"
	}
	if s.Operation.Is() && s.Operation.Command != UpgradeCutover && approvals > 0 {
		wait := "somebody else has to approve what is planned: dbops approvals list"
		if text != "" {
			text += "; "
		}
		text += wait
	}
	return text
}
