package component

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/colorprofile"
	"github.com/charmbracelet/x/ansi"
	"pgregory.net/rapid"

	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

var plain = theme.New(theme.Options{Profile: colorprofile.ASCII})

func sample(n int) Table {
	t := Table{
		Columns: []Column{{Title: "NAME", Min: 6}, {Title: "STATE", Min: 9, Leave: 1}, {Title: "SIZE", Right: true, Min: 6, Leave: 2}},
		Empty:   "nothing here",
	}
	var rows []Row
	for g := range 2 {
		rows = append(rows, Row{Key: fmt.Sprint("h", g), Heading: &Heading{Word: "PROTECTED", Name: fmt.Sprint("env", g), Band: theme.BandProtected}})
		for i := range n {
			name := fmt.Sprintf("g%d-%02d", g, i)
			rows = append(rows, Row{Key: name, Cells: []Cell{{Text: name}, {Text: "available"}, {Text: fmt.Sprint(i, " GiB")}}})
		}
	}
	return t.WithRows(rows)
}

func view(t Table, w, h int) []string {
	return strings.Split(ansi.Strip(t.View(plain, w, h, true)), "\n")
}

func TestColumnsLeaveInTheirOrderAndTheFirstNever(t *testing.T) {
	for w, want := range map[int]string{
		40: "  NAME    STATE        SIZE", 27: "  NAME    STATE", 20: "  NAME    STATE", 12: "  NAME", 6: "  NAM…",
	} {
		got := strings.TrimRight(view(sample(1), w, 4)[0], " ")
		if got != want {
			t.Errorf("width %d: got %q, want %q", w, got, want)
		}
	}
}

func TestNumbersEndAtTheRight(t *testing.T) {
	lines := view(sample(12), 40, 30)
	if a, b := strings.Index(lines[2], "GiB"), strings.Index(lines[13], "GiB"); a != b {
		t.Errorf("%q and %q are not aligned", lines[2], lines[13])
	}
}

func TestTheSelectionIsReverseAndMarked(t *testing.T) {
	v := sample(2).View(plain, 40, 10, true)
	for l := range strings.SplitSeq(v, "\n") {
		marked, reverse := strings.HasPrefix(ansi.Strip(l), ">"), strings.HasPrefix(l, "\x1b[7m")
		if marked != reverse {
			t.Errorf("mark %v, reverse %v: %q", marked, reverse, l)
		}
	}
	if strings.Contains(sample(2).View(plain, 40, 10, false), "\x1b[7m>") {
		t.Error("a list without the focus has a reverse selection")
	}
}

func TestTheSelectionStaysWithItsRow(t *testing.T) {
	tb := sample(5).Move(3)
	if tb.Selected() != "g0-03" {
		t.Fatalf("selected %q", tb.Selected())
	}
	rows := slices.Clone(tb.rows)
	slices.Reverse(rows[1:6])
	if got := tb.WithRows(rows).Selected(); got != "g0-03" {
		t.Errorf("after a new order: %q", got)
	}
	gone := slices.DeleteFunc(slices.Clone(tb.rows), func(r Row) bool { return r.Key == "g0-03" })
	if got := tb.WithRows(gone).Selected(); got != "g0-04" {
		t.Errorf("after the row has gone: %q", got)
	}
	if got := tb.WithRows(nil).Selected(); got != "" {
		t.Errorf("without rows: %q", got)
	}
	if got := tb.WithRows(nil).WithRows(tb.rows).Selected(); got != "g0-00" {
		t.Errorf("with rows again: %q", got)
	}
}

func TestMovesSkipHeadingsAndStopAtTheEnds(t *testing.T) {
	tb := sample(3)
	for _, c := range []struct {
		step int
		want string
	}{{-1, "g0-00"}, {2, "g0-02"}, {1, "g1-00"}, {-1, "g0-02"}, {1 << 30, "g1-02"}, {1, "g1-02"}, {-(1 << 30), "g0-00"}} {
		tb = tb.Move(c.step)
		if got := tb.Selected(); got != c.want {
			t.Errorf("step %d: %q, want %q", c.step, got, c.want)
		}
	}
}

func TestAFilterHidesRowsAndEmptyGroups(t *testing.T) {
	for f, want := range map[string]string{
		"g0 01": "g0-01", "G1-0 !00": "g1-01 g1-02", "env1 02": "g1-02", "env1": "g1-00 g1-01 g1-02", "!env0": "g1-00 g1-01 g1-02", "zzz": "", "!": "g0-00 g0-01 g0-02 g1-00 g1-01 g1-02",
	} {
		tb := sample(3).WithFilter(f)
		var got []string
		for _, r := range tb.shown {
			if r.Heading == nil {
				got = append(got, r.Key)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q shows %v, want %s", f, got, want)
		}
		if want == "" && !strings.Contains(tb.View(plain, 40, 5, true), "nothing here") {
			t.Error("an empty list does not say so")
		}
	}
}

func TestRowsHaveTheirEdgeAndMarkWhetherSelectedOrNot(t *testing.T) {
	tb := Table{Columns: []Column{{Title: "NAME", Min: 6}}, Edges: true}.WithRows([]Row{
		{Key: "a", Cells: []Cell{{Text: "one"}}, Edge: "P", Band: theme.BandProtected, Marked: true},
		{Key: "b", Cells: []Cell{{Text: "two"}}, Edge: "P", Band: theme.BandProtected},
		{Key: "c", Cells: []Cell{{Text: "three"}}},
	})
	if got := view(tb.Select("b"), 12, 4); got[1] != "P*  one     " || got[2] != "P > two     " || got[3] != "    three   " {
		t.Errorf("got %q", got)
	}
	if got := strings.Join(tb.Select("nobody").Shown(), " "); got != "a b c" || tb.Select("nobody").Selected() != "a" {
		t.Errorf("shown %s", got)
	}
}

func TestTheHeadingOfTheFirstRowIsAlwaysThere(t *testing.T) {
	tb := sample(20)
	for range 40 {
		lines := view(tb, 40, 8)
		if !strings.Contains(lines[1], "PROTECTED") {
			t.Fatalf("with %s selected no heading is on top:\n%s", tb.Selected(), strings.Join(lines, "\n"))
		}
		tb = tb.Move(1)
	}
}

func TestATableAlwaysFitsAndShowsItsSelection(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tb := sample(rapid.IntRange(0, 30).Draw(t, "rows")).Move(rapid.IntRange(0, 70).Draw(t, "step"))
		w, h := rapid.IntRange(1, 60).Draw(t, "w"), rapid.IntRange(2, 40).Draw(t, "h")
		v := tb.View(plain, w, h, rapid.Bool().Draw(t, "focus"))
		if lipgloss.Height(v) != h {
			t.Fatalf("%d lines, want %d", lipgloss.Height(v), h)
		}
		for l := range strings.SplitSeq(v, "\n") {
			if text.Width(l) != w {
				t.Fatalf("a line of %d cells, want %d: %q", text.Width(l), w, l)
			}
		}
		if w > 10 && tb.Selected() != "" && !strings.Contains(ansi.Strip(v), "> "+tb.Selected()) {
			t.Fatalf("%s is not on the screen:\n%s", tb.Selected(), ansi.Strip(v))
		}
	})
}

func TestCellsAreCleaned(t *testing.T) {
	tb := Table{Columns: []Column{{Title: "A"}}}.WithRows([]Row{
		{Key: "h", Heading: &Heading{Word: "\x1b[2J", Name: "\n"}}, {Key: "r", Cells: []Cell{{Text: "\x1b]0;x\x07"}}},
	})
	if s := ansi.Strip(tb.View(plain, 30, 4, true)); !strings.Contains(s, "?]0;x?") || !strings.Contains(s, "?[2J") {
		t.Errorf("got %q", s)
	}
}

func TestSpark(t *testing.T) {
	for _, c := range []struct {
		samples []int64
		w       int
		want    string
	}{
		{nil, 3, "▁▁▁"},
		{[]int64{0, 1, 1000, 500}, 4, "▁▂█▅"},
		{[]int64{9, 9, 0, 5}, 2, "▁█"},
		{[]int64{1}, 0, ""},
	} {
		if got := Spark(theme.New(theme.Options{}), c.samples, c.w); got != c.want {
			t.Errorf("%v in %d: %q, want %q", c.samples, c.w, got, c.want)
		}
	}
}

func TestScrollStaysWithinItsLines(t *testing.T) {
	s := Scroll{}.By(1<<30, 100, 10)
	if s.Top != 90 {
		t.Errorf("top %d", s.Top)
	}
	if s = s.By(-95, 100, 10); s.Top != 0 {
		t.Errorf("top %d", s.Top)
	}
	s = Scroll{Top: 50}.By(0, 5, 10)
	if s.Top != 0 {
		t.Errorf("top %d of a short text", s.Top)
	}
	lines := make([]string, 100)
	for i := range lines {
		lines[i] = fmt.Sprint("line ", i)
	}
	v := ansi.Strip(Scroll{Top: 40}.View(plain, lines, 30, 10))
	if !strings.Contains(v, "↑ 40 lines") || !strings.Contains(v, "↓ 50 lines") || strings.Contains(v, "…") {
		t.Errorf("got\n%s", v)
	}
	v = Scroll{Left: 5}.View(plain, []string{"0123456789"}, 8, 1)
	if v != "56789   " {
		t.Errorf("aside: %q", v)
	}
}

func TestBlocksFillColumnsInReadingOrder(t *testing.T) {
	block := func(title string, n int) Block {
		b := Block{Title: title}
		for i := range n {
			b.Facts = append(b.Facts, Fact{Label: fmt.Sprint("label", i), Value: "value"})
		}
		return b
	}
	lines := Blocks(plain, []Block{block("ONE", 3), block("TWO", 2), block("EMPTY", 0), block("THREE", 4)}, 2, 80)
	all := ansi.Strip(strings.Join(lines, "\n"))
	if strings.Contains(all, "EMPTY") || !strings.HasPrefix(ansi.Strip(lines[0]), "ONE") || !strings.Contains(lines[0], "THREE") {
		t.Errorf("got\n%s", all)
	}
	for _, l := range lines {
		if text.Width(l) > 80 {
			t.Errorf("%d cells: %q", text.Width(l), l)
		}
	}
}

func TestAFilterIsTypedKeptAndCleared(t *testing.T) {
	f, _ := NewFilter().Edit()
	for _, r := range "ab" {
		f, _ = f.Update(tea.KeyPressMsg{Code: r, Text: string(r)})
	}
	f, _ = f.Update(tea.PasteMsg{Content: "cd\x1b"})
	if note, cursor := f.Note(); !strings.HasPrefix(note, "/abcd") || cursor < 5 {
		t.Errorf("%q, cursor %d", note, cursor)
	}
	f, _ = f.Update(tea.KeyPressMsg{Code: tea.KeyEnter})
	if _, cursor := f.Note(); f.Editing() || cursor != -1 {
		t.Error("enter does not end typing")
	}
	f, _ = f.Edit()
	f, _ = f.Update(tea.KeyPressMsg{Code: tea.KeyEscape})
	if f.Editing() || f.Value() != "" {
		t.Error("esc does not clear")
	}
}
