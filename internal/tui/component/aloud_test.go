package component

import (
	"strings"
	"testing"

	"dbops/internal/tui/theme"
)

var aloud = theme.New(theme.Options{Aloud: true})

func TestATableIsReadOutAsSentences(t *testing.T) {
	tb := Table{Columns: []Column{{Title: "NAME"}, {Title: "STATE"}, {Title: "LAG"}}, Empty: "nothing here"}.WithRows([]Row{
		{Key: "h", Heading: &Heading{Word: "PROTECTED", Name: "prod", Note: "proxy open"}},
		{Key: "a", Cells: []Cell{{Text: "billing"}, {Text: "x unreachable"}, {Text: "-"}}},
		{Key: "b", Cells: []Cell{{Text: "led\x1eger"}, {Text: "~ modifying"}, {Text: "3s"}}},
	}).Move(1)
	got := tb.View(aloud, 1, 1, true)
	want := "PROTECTED prod, proxy open:\n\x1ea\x1ebilling, state problem: unreachable\n\x1db\x1eled?ger, state under way: modifying, lag 3s\n\x1f"
	if got != want {
		t.Errorf("got %q", got)
	}
	if got := tb.View(aloud, 1, 1, false); strings.ContainsAny(got, "\x1e\x1d\x1f") {
		t.Errorf("rows of a list that is not in front can be chosen: %q", got)
	}
	if got := tb.WithRows(nil).View(aloud, 1, 1, true); got != "nothing here" {
		t.Errorf("got %q", got)
	}
}

func TestWhatIsReadOutIsNotLaidOut(t *testing.T) {
	d := NewDoc(aloud, 20)
	d.Heading("FINDINGS")
	long := strings.Repeat("a long sentence ", 10)
	d.Mark(theme.Danger, long)
	d.Fact(theme.Warn, "until", "! "+long)
	d.Change("zone", "a", "a, b", 4, 4)
	d.Raw(Bar(aloud, 0.5, 10), Spark(aloud, []int64{1, 2}, 4))
	got := strings.Join(d.Lines(), "|")
	want := " Findings:| problem: " + long + "| until: warning: " + long + "| zone: from a to a, b| | "
	if got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	blocks := Blocks(aloud, []Block{{Title: "TLS", Facts: []Fact{{Label: "mode", Value: long}, {Value: "more"}}}, {Title: "f  FAIL OVER", Alarm: true, Facts: []Fact{{Value: "no"}}}, {Title: "EMPTY"}}, 3, 20)
	if got := strings.Join(blocks, "|"); got != "TLS:|mode: "+long+"|more|Problem: Fail over:|no" {
		t.Errorf("got %q", got)
	}
	if got := (Scroll{Top: 1}).View(aloud, []string{"one", "two"}, 1, 1); got != "one\ntwo" {
		t.Errorf("got %q", got)
	}
	if got := (Panes{}).View(aloud, "list", []string{"about"}); got != "list\n\x1f\nabout" {
		t.Errorf("got %q", got)
	}
}
