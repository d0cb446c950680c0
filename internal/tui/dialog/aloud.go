package dialog

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/tui/component"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
)

// Question is what a dialog asks when it is read out.
type Question struct {
	Title       string
	Environment string // empty for none
	Protected   bool
	Body        []string // sentences before the question
	CLI         []string // the command line that does the same; nil for none
	Asks        string   // what is to be answered, and how
	Choices     []string // numbered from 1
	Want        string   // what must be typed to the letter; empty for anything
	Complaint   string   // why the last answer would not do
}

// Asker is a dialog whose questions can be answered line by line.
type Asker interface {
	screen.Dialog
	Question() Question
}

// Answer is a line that answers the [Question] of the dialog on top. What would not do is complained about in the next one.
type Answer string

// The moment at which a person confirms is never that of a number or an empty line: both are typed without reading.
const yesNo = "answer yes or no"

// Question implements [Asker].
func (d Confirm) Question() Question {
	return Question{
		Title: d.Title, Environment: d.Environment, Protected: d.Protected, Body: d.Body, CLI: d.CLI,
		Asks: fmt.Sprintf("yes: %s; no: %s", d.Yes, d.No), Complaint: d.complaint,
	}
}

func (d Confirm) answer(a Answer) (screen.Dialog, screen.Out) {
	switch strings.ToLower(strings.TrimSpace(string(a))) {
	case "y", "yes":
		return nil, screen.Say(d.Then)
	case "n", "no":
		return nil, screen.Out{}
	}
	d.complaint = yesNo
	return d, screen.Out{}
}

// Question implements [Asker].
func (d Typed) Question() Question {
	return Question{
		Title: d.title, Environment: d.environment, Protected: true, Body: d.body, CLI: d.cli,
		Asks: "type " + d.want + " to go on", Want: d.want, Complaint: d.complaint,
	}
}

func (d Typed) answer(a Answer) (screen.Dialog, screen.Out) {
	if string(a) == d.want {
		return nil, screen.Say(d.then)
	}
	d.complaint = fmt.Sprintf("%q is not %s", string(a), d.want)
	return d, screen.Out{}
}

// Question implements [Asker].
func (d Ask) Question() Question {
	return Question{
		Title: d.title, Environment: d.environment, Protected: d.protected, Body: []string{d.body}, Asks: "type a text", Complaint: d.complaint,
	}
}

func (d Ask) answer(a Answer) (screen.Dialog, screen.Out) { //nolint:unparam // as the answers of all dialogs
	if answer := strings.TrimSpace(string(a)); answer != "" {
		return d.then(answer), screen.Out{}
	}
	d.complaint = "it may not be empty"
	return d, screen.Out{}
}

// Question implements [Asker]: a form asks for one field after the other.
func (f Form) Question() Question {
	one := f.fields[f.at]
	q := Question{
		Title: f.title, Environment: f.environment, Protected: f.protected, Asks: one.Label, Choices: one.Options, Complaint: f.complaint,
	}
	if one.Help != "" {
		q.Asks += ": " + strings.TrimSuffix(one.Help, ".")
	}
	how := "type it"
	if len(one.Options) > 0 {
		how = "say its number or its name"
	}
	switch value := f.inputs[f.at].Value(); {
	case value != "" && one.Need || value != "" && len(one.Options) > 0:
		how += ", or enter for " + value
	case value != "":
		how += ", or enter for " + value + ", or a dash for none"
	case !one.Need:
		how += ", or enter for none"
	}
	q.Asks += "; " + how
	return q
}

func (f Form) answer(a Answer) (screen.Dialog, screen.Out) {
	one, said := f.fields[f.at], strings.TrimSpace(string(a))
	f.complaint = ""
	value := f.inputs[f.at].Value()
	switch {
	case said == "":
	case len(one.Options) > 0:
		i := chosen(said, one.Options)
		if i < 0 {
			f.complaint = fmt.Sprintf("%q is none of %s", said, strings.Join(one.Options, ", "))
			return f, screen.Out{}
		}
		value = one.Options[i]
	case said == "-" && !one.Need:
		value = ""
	default:
		value = said
	}
	if value == "" && one.Need {
		f.complaint = one.Label + " is needed"
		return f, screen.Out{}
	}
	f.inputs = slices.Clone(f.inputs)
	f.inputs[f.at].SetValue(value)
	if !f.last() {
		return f.move(1), screen.Out{}
	}
	next, out := f.done()
	if again, ok := next.(Form); ok { // any field may be at fault
		again.at = 0
		return again, out
	}
	return next, out
}

// chosen is which of the options is meant by a number from 1 or by its name, -1 for none.
func chosen(said string, options []string) int {
	if n, err := strconv.Atoi(said); err == nil && n >= 1 && n <= len(options) {
		return n - 1
	}
	return slices.IndexFunc(options, func(o string) bool { return strings.EqualFold(o, said) })
}

// mostChoices are read out at once.
const mostChoices = 20

// Question implements [Asker].
func (m Menu) Question() Question {
	items := m.matching()
	q := Question{Title: m.title, Environment: m.environment, Protected: m.protected, Asks: "say a number or a name", Complaint: m.complaint}
	for _, it := range items[:min(mostChoices, len(items))] {
		words := text.Clean(it.Title)
		if it.Note != "" {
			words += ", " + text.Clean(it.Note)
		}
		if it.Off != "" {
			words += "; not now: " + text.Clean(it.Off)
		}
		q.Choices = append(q.Choices, words)
	}
	if m.typed {
		q.Asks = "say a number, or words to look for"
	}
	if more := len(items) - mostChoices; more > 0 {
		q.Body = append(q.Body, fmt.Sprintf("the first %d of %d", mostChoices, len(items)))
	}
	return q
}

func (m Menu) answer(a Answer) (screen.Dialog, screen.Out) {
	said, items := strings.TrimSpace(string(a)), m.matching()
	m.complaint = ""
	var titles []string
	for _, it := range items {
		titles = append(titles, it.Title)
	}
	if i := chosen(said, titles); i >= 0 {
		return m.take(items[i])
	}
	if said == "" {
		m.complaint = "say a number from 1 to " + strconv.Itoa(min(mostChoices, len(items)))
		return m, screen.Out{}
	}
	found := m.search(said)
	if len(found) == 0 {
		m.complaint = "nothing here is called " + said
		return m, screen.Out{}
	}
	if len(found) == 1 {
		return m.take(found[0])
	}
	if !m.typed {
		m.typed, m.input = true, component.NewInput(": ", inputLimit)
	}
	m.at = 0
	m.input.SetValue(said)
	return m, screen.Out{}
}

func (m Menu) take(it Item) (screen.Dialog, screen.Out) {
	if it.Off != "" {
		m.complaint = it.Title + ": not now: " + it.Off
		return m, screen.Out{}
	}
	out := screen.Out{}
	if it.CLI != nil {
		out = out.And(screen.Same{CLI: it.CLI})
	}
	return nil, out.And(it.Then)
}

// answered hands an answer to the dialog that it is for; ok is false for another message.
func answered[T interface {
	answer(Answer) (screen.Dialog, screen.Out)
}](d T, msg tea.Msg) (next screen.Dialog, out screen.Out, ok bool) {
	a, ok := msg.(Answer)
	if !ok {
		return nil, out, false
	}
	next, out = d.answer(a)
	return next, out, true
}
