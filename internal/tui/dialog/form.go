package dialog

import (
	"slices"
	"strings"

	"charm.land/bubbles/v2/textinput"
	tea "charm.land/bubbletea/v2"

	"dbops/internal/tui/component"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

// Field is one thing a [Form] asks for.
type Field struct {
	Name    string // of its answer
	Label   string
	Value   string   // as it begins
	Options []string // to choose from with left and right; none: it is typed
	Need    bool     // it may not stay empty
	Help    string   // what it means, while it is in front
	// Off takes it out for some answers, such as an option that another one rules out.
	Off func(Answers) bool
}

// Answers are what was chosen and typed, by the names of the fields; fields that are out have none.
type Answers map[string]string

// Yes tells whether a field that offers "yes" and "no" says yes.
func (a Answers) Yes(name string) bool { return a[name] == "yes" }

// Form asks for several things at once. Enter on the last field goes on to what then makes of the answers, which decides nothing itself: a plan, a
// confirmation. When then returns a complaint, the form stays and shows it.
type Form struct {
	title, environment string
	protected          bool
	fields             []Field
	inputs             []textinput.Model
	at                 int
	complaint          string
	then               func(Answers) (msg tea.Msg, complaint string)
}

// NewForm returns a form.
func NewForm(title, env string, protected bool, fields []Field, then func(Answers) (tea.Msg, string)) Form {
	const limit = 400
	f := Form{title: title, environment: env, protected: protected, fields: slices.Clone(fields), then: then}
	for _, one := range fields {
		in := component.NewInput("", limit)
		in.SetValue(one.Value)
		in.CursorEnd()
		f.inputs = append(f.inputs, in)
	}
	f.inputs[0].Focus()
	return f
}

// Complaining is the form with what is wrong with its answers.
func (f Form) Complaining(of string) Form {
	f.complaint = of
	return f
}

func (f Form) answers() Answers {
	out := Answers{}
	for i, one := range f.fields {
		if one.Off == nil || !one.Off(out) {
			out[one.Name] = strings.TrimSpace(f.inputs[i].Value())
		}
	}
	return out
}

// off tells whether a field is out.
func (f Form) off(i int) bool {
	_, in := f.answers()[f.fields[i].Name]
	return !in
}

// move goes to the next field in a direction; at an end it stays.
func (f Form) move(dir int) Form {
	for i := f.at + dir; i >= 0 && i < len(f.fields); i += dir {
		if !f.off(i) {
			f.inputs = slices.Clone(f.inputs)
			f.inputs[f.at].Blur()
			f.inputs[i].Focus()
			f.at = i
			break
		}
	}
	return f
}

func (f Form) last() bool { return f.move(1).at == f.at }

// choose takes the next of a field's options.
func (f Form) choose(dir int) Form {
	o := f.fields[f.at].Options
	i := slices.Index(o, f.inputs[f.at].Value())
	f.inputs = slices.Clone(f.inputs)
	f.inputs[f.at].SetValue(o[(max(i, 0)+dir+len(o))%len(o)])
	return f
}

// Update implements [screen.Dialog].
func (f Form) Update(msg tea.Msg, _ screen.Scene) (screen.Dialog, screen.Out) {
	if next, out, ok := answered(f, msg); ok {
		return next, out
	}
	chooses := len(f.fields[f.at].Options) > 0
	if k, ok := msg.(tea.KeyPressMsg); ok {
		switch s := k.String(); {
		case s == "esc":
			return nil, screen.Out{}
		case s == "up" || s == "shift+tab":
			return f.move(-1), screen.Out{}
		case s == "down" || s == "tab" || s == "enter" && !f.last():
			return f.move(1), screen.Out{}
		case s == "enter" || s == "ctrl+s":
			return f.done()
		case chooses && (s == "left" || s == "h"):
			return f.choose(-1), screen.Out{}
		case chooses && (s == "right" || s == "l" || s == "space"):
			return f.choose(1), screen.Out{}
		}
	}
	if chooses {
		return f, screen.Out{}
	}
	var cmd tea.Cmd
	f.inputs = slices.Clone(f.inputs)
	f.inputs[f.at], cmd = f.inputs[f.at].Update(msg)
	f.complaint = ""
	return f, screen.Run(cmd)
}

func (f Form) done() (screen.Dialog, screen.Out) {
	a := f.answers()
	for _, one := range f.fields {
		if v, in := a[one.Name]; in && one.Need && v == "" {
			f.complaint = one.Label + " is needed"
			return f, screen.Out{}
		}
	}
	msg, complaint := f.then(a)
	if complaint != "" {
		f.complaint = complaint
		return f, screen.Out{}
	}
	return nil, screen.Say(msg)
}

// View implements [screen.Dialog].
func (f Form) View(s screen.Scene, a screen.Area) (string, *tea.Cursor) {
	th, w := s.Theme, min(76, a.W)
	label := 0
	for _, one := range f.fields {
		label = max(label, text.Width(one.Label))
	}
	lines := []string{""}
	var cursor *tea.Cursor
	for i, one := range f.fields {
		if f.off(i) {
			continue
		}
		mark, role := "  ", theme.Muted
		if i == f.at {
			mark, role = "> ", theme.Focus
		}
		line := mark + th.Paint(role, text.Left(one.Label, label, "")) + "  "
		room := max(8, inner(w)-text.Width(line)-1)
		switch {
		case len(one.Options) > 0:
			line += f.options(th, i, room)
		case i == f.at:
			in := f.inputs[i]
			in.SetWidth(room)
			if cursor = in.Cursor(); cursor != nil {
				cursor.X += 1 + padX + text.Width(line)
				cursor.Y = 1 + len(lines)
			}
			line += in.View()
		default:
			line += th.Paint(theme.Text, text.Cut(text.Clean(f.inputs[i].Value()), room, th.Glyphs.Tail))
		}
		lines = append(lines, line)
	}
	lines = append(lines, "")
	about, role := f.fields[f.at].Help, theme.Muted
	if f.complaint != "" {
		about, role = theme.Mark(theme.Danger)+" "+f.complaint, theme.Danger
	}
	for _, l := range text.Wrap(text.Clean(about), inner(w)) {
		lines = append(lines, th.Paint(role, l))
	}
	lines = append(lines, "", hints(th, f.Keys()))
	word, band := badge(f.environment, f.protected)
	return box(th, f.title, word, band, false, lines, w, a.H), cursor
}

// options draws what a field offers, the chosen one in brackets.
func (f Form) options(th theme.Theme, i, room int) string {
	chosen, parts := f.inputs[i].Value(), []string{}
	for _, o := range f.fields[i].Options {
		if o == chosen {
			parts = append(parts, "["+o+"]")
		} else {
			parts = append(parts, " "+o+" ")
		}
	}
	if all := strings.Join(parts, ""); text.Width(all) > room {
		return th.Paint(theme.Strong, text.Cut("< "+text.Clean(chosen)+" >", room, th.Glyphs.Tail))
	}
	for j, o := range f.fields[i].Options {
		role := theme.Muted
		if o == chosen {
			role = theme.Strong
		}
		parts[j] = th.Paint(role, text.Clean(parts[j]))
	}
	return strings.Join(parts, "")
}

// Keys implements [screen.Dialog].
func (f Form) Keys() []screen.Action {
	out := []screen.Action{{ID: "form.no", Short: "cancel", Key: screen.Keys("esc")}, {ID: "form.move", Short: "field", Key: screen.ShownAs(screen.Keys("down"), "up/down")}}
	if len(f.fields[f.at].Options) > 0 {
		out = append(out, screen.Action{ID: "form.choose", Short: "choose", Key: screen.ShownAs(screen.Keys("right"), "left/right")})
	}
	next := screen.Action{ID: "form.next", Short: "next", Key: screen.Keys("enter")}
	if f.last() {
		next.Short = "go on"
	}
	return append(out, next)
}
