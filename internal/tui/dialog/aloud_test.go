package dialog

import (
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/tui/screen"
)

// answers gives lines to a dialog, one by one, and collects what it says.
func answers(t *testing.T, d screen.Dialog, lines ...string) (screen.Dialog, []tea.Msg) {
	t.Helper()
	var said []tea.Msg
	for _, l := range lines {
		if d == nil {
			t.Fatalf("it is closed before %q", l)
		}
		var out screen.Out
		d, out = d.Update(Answer(l), scene())
		said = append(said, out.Say...)
	}
	return d, said
}

func question(t *testing.T, d screen.Dialog) Question {
	t.Helper()
	a, ok := d.(Asker)
	if !ok {
		t.Fatalf("%T asks nothing", d)
	}
	return a.Question()
}

func TestOnlyYesConfirms(t *testing.T) {
	d := Confirm{Title: "Stop", Body: []string{"really"}, Yes: "stop it", No: "keep it", Then: yes{}}
	for _, no := range []string{"", "1", "ok", "yes please", "stop it"} {
		next, said := answers(t, d, no)
		if len(said) != 0 || question(t, next).Complaint == "" {
			t.Errorf("%q: said %v, closed %v", no, said, next == nil)
		}
	}
	if next, said := answers(t, d, "no"); next != nil || len(said) != 0 {
		t.Errorf("no says %v", said)
	}
	for _, y := range []string{"y", " YES "} {
		if next, said := answers(t, d, y); next != nil || len(said) != 1 || said[0] != (yes{}) {
			t.Errorf("%q says %v", y, said)
		}
	}
}

func TestANameIsTypedToTheLetter(t *testing.T) {
	d := NewTyped("Run it", "prod", "orders-main", nil, nil, yes{})
	for _, no := range []string{"", "yes", "orders", "Orders-main", "orders-main "} {
		if next, said := answers(t, d, no); len(said) != 0 || question(t, next).Complaint == "" {
			t.Errorf("%q: said %v", no, said)
		}
	}
	if next, said := answers(t, d, "orders-main"); next != nil || len(said) != 1 {
		t.Errorf("the name says %v", said)
	}
}

func TestAFormAsksForEachFieldThatIsNotOut(t *testing.T) {
	var got Answers
	f := NewForm("Rotate", "prod", true, []Field{
		{Name: "whose", Label: "whose", Options: []string{"one", "all"}, Value: "one"},
		{Name: "age", Label: "older than", Off: func(a Answers) bool { return a["whose"] != "all" }},
		{Name: "reason", Label: "reason", Need: true},
		{Name: "note", Label: "note", Value: "old"},
	}, func(a Answers) (tea.Msg, string) {
		if a["reason"] == "bad" {
			return nil, "not this reason"
		}
		got = a
		return yes{}, ""
	})
	d, _ := answers(t, f, "") // the default
	if q := question(t, d); !strings.HasPrefix(q.Asks, "reason") {
		t.Fatalf("asks %q", q.Asks)
	}
	d, _ = answers(t, f, "3")
	if q := question(t, d); q.Complaint != `"3" is none of one, all` || len(q.Choices) != 2 {
		t.Errorf("%+v", q)
	}
	d, _ = answers(t, f, "2")
	if q := question(t, d); !strings.HasPrefix(q.Asks, "older than") {
		t.Fatalf("asks %q", q.Asks)
	}
	d, _ = answers(t, d, "30d", "")
	if q := question(t, d); q.Complaint != "reason is needed" {
		t.Errorf("%+v", q)
	}
	d, said := answers(t, d, "bad", "-")
	if q := question(t, d); q.Complaint != "not this reason" || !strings.HasPrefix(q.Asks, "whose") || len(said) != 0 {
		t.Errorf("%+v, said %v", q, said)
	}
	d, said = answers(t, d, "all", "", "good", "")
	if d != nil || len(said) != 1 || got["whose"] != "all" || got["age"] != "30d" || got["reason"] != "good" || got["note"] != "" {
		t.Errorf("said %v, got %v", said, got)
	}
}

func TestAMenuIsAnsweredByNumberNameOrWords(t *testing.T) {
	items := []Item{
		{Title: "creds rotate", Note: "new credentials", CLI: []string{"dbops", "creds", "rotate"}, Then: yes{}},
		{Title: "certs rotate-ca", Note: "another CA", Off: "it is a plain server"},
		{Title: "drift"},
	}
	for _, m := range []Menu{NewPalette("Command", items), NewMenu("Actions", "", false, items)} {
		for _, l := range []string{"1", "creds ROTATE", "credentials"} {
			next, said := answers(t, m, l)
			if next != nil || len(said) != 2 || said[1] != (yes{}) || strings.Join(said[0].(screen.Same).CLI, " ") != "dbops creds rotate" {
				t.Errorf("%q says %v", l, said)
			}
		}
		d, _ := answers(t, m, "rotate")
		if q := question(t, d); len(q.Choices) != 2 || !strings.Contains(q.Choices[1], "not now: it is a plain server") {
			t.Errorf("%+v", q)
		}
		if d, said := answers(t, d, "2"); len(said) != 0 || !strings.Contains(question(t, d).Complaint, "it is a plain server") {
			t.Errorf("what cannot run says %v", said)
		}
		for _, l := range []string{"", "0", "9", "nonsense"} {
			if d, said := answers(t, m, l); len(said) != 0 || question(t, d).Complaint == "" {
				t.Errorf("%q says %v", l, said)
			}
		}
	}
}

func TestATextMayNotBeEmpty(t *testing.T) {
	a := NewAsk("Open", "prod", true, "Why?", func(answer string) screen.Dialog { return Confirm{Title: answer} })
	d, _ := answers(t, a, " ")
	if q := question(t, d); q.Complaint == "" {
		t.Errorf("%+v", q)
	}
	if d, _ = answers(t, d, " ticket 42 "); d.(Confirm).Title != "ticket 42" {
		t.Errorf("%+v", d)
	}
}
