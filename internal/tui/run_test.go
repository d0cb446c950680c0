package tui

import (
	"os"
	"slices"
	"testing"
	"time"

	"dbops/internal/fault"
	"dbops/internal/tui/internal/fake"
)

func TestRunRefusesWhatIsNoTerminal(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	err = Run(t.Context(), fake.New(time.Now), Options{In: r, Out: w})
	if fault.KindOf(err) != fault.Usage || fault.HintOf(err) == "" {
		t.Errorf("got %v, hint %q", err, fault.HintOf(err))
	}
}

func TestALocaleThatIsNotUTF8GetsASCII(t *testing.T) {
	for _, c := range []struct {
		env  []string
		want bool
	}{
		{nil, true},
		{[]string{"LANG=C.UTF-8"}, true},
		{[]string{"LANG=en_US.utf8"}, true},
		{[]string{"LANG=C"}, false},
		{[]string{"LANG=en_US.UTF-8", "LC_ALL=POSIX"}, false},
		{[]string{"LANG=C", "LC_CTYPE=de_DE.UTF-8"}, true},
		{[]string{"LANG="}, true},
	} {
		if got := utf8Locale(c.env); got != c.want {
			t.Errorf("%v: %v", c.env, got)
		}
	}
}

func TestNotesKeepTheLastTwoHundredAndRenewARepeatedOne(t *testing.T) {
	var n notes
	for i := range 300 {
		n = n.add(night, string(rune('a'+i%26)), nil)
	}
	if len(n.all) != keepNotes {
		t.Errorf("%d are kept", len(n.all))
	}
	before := len(n.all)
	n = n.add(night.Add(time.Second), n.all[before-1].Text, nil)
	if len(n.all) != before || !n.all[before-1].At.Equal(night.Add(time.Second)) {
		t.Error("a repeated message is not renewed")
	}
	old := slices.Clone(n.all)
	_ = n.add(night, "another", nil)
	if !slices.Equal(old, n.all) {
		t.Error("adding changed the value it was made from")
	}
}
