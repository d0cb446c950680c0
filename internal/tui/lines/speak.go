package lines

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/charmbracelet/x/ansi"

	"dbops/internal/tui/component"
	"dbops/internal/tui/dialog"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
)

// longest is how many lines of a page are read out at once, and lineLimit how many bytes a line that is typed may have.
const (
	longest   = 40
	lineLimit = 8 << 10
)

// read sends lines until there are no more, or done closes.
func read(in io.Reader, to chan<- typed, done <-chan struct{}) {
	r := bufio.NewReaderSize(in, lineLimit)
	for {
		head, err := r.ReadSlice('\n')
		line := string(head)
		for errors.Is(err, bufio.ErrBufferFull) { // of what is longer, the head is enough to say that it is wrong
			_, err = r.ReadSlice('\n')
		}
		t := typed{line: strings.TrimRight(line, "\r\n")}
		if err != nil && len(line) == 0 {
			t.end = true
		}
		select {
		case to <- t:
		case <-done:
			return
		}
		if t.end {
			return
		}
	}
}

// print writes a line that holds nothing but text.
func (h *host) print(s string) {
	cells := 0
	if h.o.Cells != nil {
		cells = h.o.Cells()
	}
	h.fresh()
	_, _ = fmt.Fprintln(h.o.Out, broken(strings.TrimRight(text.Clean(s), " "), cells))
}

// copied writes a line that is to be copied: it stays one.
func (h *host) copied(s string) {
	h.fresh()
	_, _ = fmt.Fprintln(h.o.Out, strings.TrimRight(text.Clean(s), " "))
}

// broken is a line that goes on below between two words where it is wider than some cells; 0 for any width. A wider word stays whole.
func broken(line string, cells int) string {
	if cells <= 0 || text.Width(line) <= cells {
		return line
	}
	var out strings.Builder
	used := 0
	for i, word := range strings.Split(line, " ") {
		w := text.Width(word)
		switch {
		case i == 0:
		case used+1+w > cells:
			out.WriteByte('\n')
			used = 0
		default:
			out.WriteByte(' ')
			used++
		}
		out.WriteString(word)
		used += w
	}
	return out.String()
}

// say writes a sentence.
func (h *host) say(s string) { h.print(sentence(s)) }

// fresh ends the line of the prompt.
func (h *host) fresh() {
	if h.prompt {
		_, _ = fmt.Fprintln(h.o.Out)
		h.prompt = false
	}
}

// ready shows that a line is waited for.
func (h *host) ready() {
	if !h.prompt {
		_, _ = io.WriteString(h.o.Out, "> ")
		h.prompt = true
	}
}

// SameBy is how a message begins that is a command line.
const SameBy = "the same by: "

// same says the command line that does the same; without a stop, which would be read as part of it.
func (h *host) same(by string) {
	if by != "" && by != h.by {
		h.copied(SameBy + by)
		h.by = by
	}
}

// write puts a value where it was asked for.
func (h *host) write(w Write) {
	value := w.Text
	if !w.Secret.IsZero() {
		value = w.Secret.Reveal()
	}
	if value == "" {
		h.say("there is no " + w.What)
		return
	}
	h.say("the " + w.What + ":")
	for l := range strings.SplitSeq(value, "\n") {
		h.copied(l)
	}
}

// speak says what is new, and asks for the next line.
func (h *host) speak() {
	h.speakMessages()
	p := h.program()
	if h.quit {
		return
	}
	if d := h.dialog(p); d != nil {
		h.ask(d)
		return
	}
	h.asked, h.last = false, dialog.Question{}
	if now := placeOf(p); now != h.at {
		h.due, h.whole = true, true
	}
	loading := h.loading(p)
	if _, tells := p.Page().(screen.Teller); tells && !h.whole { // what is new is told
		h.due = false
	}
	switch {
	case h.due && (!loading || h.hastens(p)):
		h.readOut(p)
		h.due, h.whole, h.partial = false, false, loading
	case h.due:
		return
	case h.partial && !loading:
		h.whole = false
		h.readOut(p)
		h.partial = false
	}
	if !loading {
		h.hasty, h.renew = nil, false
	}
	if h.tell(p) {
		h.speak()
		return
	}
	h.ready()
}

// tell says what has happened on the page. It returns true when it has asked what to do.
func (h *host) tell(p Program) bool {
	t, ok := p.Page().(screen.Teller)
	if !ok {
		return false
	}
	said, next, wants := t.Tell(h.told, p.Scene())
	h.told = next
	for _, s := range said {
		h.say(words(s))
	}
	if !wants {
		return false
	}
	var can []screen.Action
	for _, a := range own(p) {
		if a.Write && a.Off == "" {
			can = append(can, a)
		}
	}
	if len(can) > 0 {
		h.offer("It waits for you", can)
	}
	return len(can) > 0
}

// speakMessages says the messages to the person that are new.
func (h *host) speakMessages() {
	all := h.program().Messages()
	from := 0
	for i, m := range slices.Backward(all) {
		if m == h.said {
			from = i + 1
			break
		}
	}
	for _, m := range all[from:] {
		if by, ok := strings.CutPrefix(m.Text, SameBy); ok {
			h.same(by)
		} else {
			h.say(spoken(m))
		}
		h.said = m
	}
}

func spoken(m dialog.Message) string {
	out := m.Text
	if m.Failure {
		out = "Failed: " + out
	}
	if m.Hint != "" {
		out = sentence(out) + " Next: " + m.Hint
	}
	return out
}

// row is a line of a list that can be chosen.
type row struct {
	key, words string
	selected   bool
}

// name is what a row is called.
func (r row) name() string {
	name, _, _ := strings.Cut(r.words, ", ")
	return name
}

// page is a view in words.
type page struct {
	lines []string // rows among them, numbered
	rows  []row
	about []string // the row that is selected
}

// parse makes words of a view that was drawn to be read out.
func parse(view string) (out page) {
	into := &out.lines
	for l := range strings.SplitSeq(ansi.Strip(view), "\n") {
		trimmed := strings.TrimSpace(l)
		if trimmed == "" {
			continue
		}
		switch mark := rune(trimmed[0]); mark {
		case component.AloudAbout:
			into = &out.about
		case component.AloudRow, component.AloudSelected:
			key, said, _ := strings.Cut(trimmed[1:], string(component.AloudRow))
			r := row{key: key, words: words(said), selected: mark == component.AloudSelected}
			out.rows = append(out.rows, r)
			out.lines = append(out.lines, fmt.Sprintf("%d. %s", len(out.rows), r.words))
		default:
			*into = append(*into, words(trimmed))
		}
	}
	return out
}

// gaps are what stands between two columns.
var gaps = regexp.MustCompile(` {2,}`)

// inner is a sign within a text.
var inner = regexp.MustCompile(`(, [x!~]|\d [!~]) `)

// words are a line that was laid out, for the ear.
func words(line string) string {
	parts := gaps.Split(strings.TrimSpace(line), -1)
	out := ""
	for i, part := range parts {
		part = inner.ReplaceAllStringFunc(component.Words(part), func(s string) string {
			return strings.Replace(s[:1]+", ", ",, ", ", ", 1) + component.Words(s[2:3]) + ": "
		})
		switch {
		case i == 0:
		case strings.HasSuffix(out, ":") || strings.HasSuffix(out, ","):
			out += " "
		default:
			out += ", "
		}
		out += part
	}
	return out
}

// sentence ends with a stop.
func sentence(s string) string {
	s = strings.TrimSpace(s)
	if s == "" || strings.ContainsAny(s[len(s)-1:], ".:?!") {
		return s
	}
	return s + "."
}

// passing are numbers, most of which only say that time passes.
var passing = regexp.MustCompile(`\d[\d.]*[a-z]*`)

// heard are the words of a page as they are remembered.
func heard(v page) string {
	return passing.ReplaceAllString(strings.Join(append(v.lines[:len(v.lines):len(v.lines)], v.about...), "\n"), "#")
}

func placeOf(p Program) place {
	return place{p.Page().ID(), p.Header().Active}
}

// readOut says the page.
func (h *host) readOut(p Program) {
	view := parse(p.Page().View(p.Scene()))
	now, said := placeOf(p), heard(view)
	if !h.whole && now == h.at && said == h.heard {
		return
	}
	if now != h.at {
		h.told, h.chosen = screen.Told{}, ""
	}
	if now != h.at || h.whole {
		h.headline(p)
	}
	if note := p.Header().Note; note != h.note {
		if h.note = note; note != "" && now == h.at && !h.whole {
			h.say(words(note))
		}
	}
	h.rest = view.lines
	if now == h.at && !h.whole {
		h.rest = changed(view.lines, h.read)
	}
	h.at, h.heard, h.rows, h.read = now, said, view.rows, view.lines
	h.readOn()
	if len(view.rows) == 0 {
		for _, l := range view.about {
			h.print(l)
		}
	}
	if len(view.lines) > 0 {
		h.same(text.Shell(p.Page().CLI(p.Scene())))
	}
}

// few are so many lines that they are said alone where they changed.
const few = 3

// changed are the lines that were not there before, where they are few; else all.
func changed(lines, before []string) (out []string) {
	had := map[string]bool{}
	for _, l := range before {
		had[passing.ReplaceAllString(l, "#")] = true
	}
	for _, l := range lines {
		if !had[passing.ReplaceAllString(l, "#")] {
			out = append(out, l)
		}
	}
	if len(out) == 0 || len(out) > few {
		return lines
	}
	return out
}

// readOn says what of the page has not been said.
func (h *host) readOn() {
	n := min(longest, len(h.rest))
	if len(h.rest) == n+1 { // the line that says how many there are would be as long
		n++
	}
	for _, l := range h.rest[:n] {
		h.print(l)
	}
	if h.rest = h.rest[n:]; len(h.rest) > 0 {
		h.say(text.Count(len(h.rest), "line") + " more: enter reads on")
	}
}

// headline says where the person is.
func (h *host) headline(p Program) {
	hd, s := p.Header(), p.Scene()
	var parts []string
	add := func(s string) {
		if s = words(s); s != "" {
			parts = append(parts, sentence(s))
		}
	}
	if env := hd.Environment; env != "" {
		word := "Environment "
		if s.Protected(env) {
			word = screen.Protected + " environment "
		}
		add(word + env)
	}
	title := strings.Join(hd.Title, ", ")
	add(title)
	if hd.Active < len(hd.Tabs) && hd.Tabs[hd.Active].Name != title {
		add(hd.Tabs[hd.Active].Name)
	}
	add(hd.Facts)
	add(hd.Mode.Word)
	add(hd.Note)
	for i, t := range hd.Tabs {
		if i != hd.Active && t.Badge != "" {
			add(t.Name + ": " + component.Words(t.Badge))
		}
	}
	h.print("")
	h.print(strings.Join(parts, " "))
	age := ""
	if !hd.Fresh.At.IsZero() {
		age = " What follows is " + text.Age(s.Now.Sub(hd.Fresh.At)) + " old."
	}
	switch {
	case hd.Fresh.Err != "":
		h.print("It could not be read anew: " + sentence(hd.Fresh.Err) + age)
	case !hd.Fresh.Still && s.Stale(hd.Fresh.At):
		h.print("It is stale." + age)
	}
}
