package main

import (
	"regexp"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"dbops/internal/live"
)

// cmdMatch sets a variable to what the parentheses of an expression match in the last output: match NAME REGEXP.
func cmdMatch(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: match NAME REGEXP")
	}
	want, err := regexp.Compile(args[1])
	ts.Check(err)
	got := want.FindStringSubmatch(ts.ReadFile("stdout"))
	if len(got) != 2 {
		ts.Fatalf("no match for %s", want)
	}
	ts.Setenv(args[0], got[1])
}

func TestSpansAreShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0.0s", 1540 * time.Millisecond: "1.5s", 65 * time.Second: "1m05s", 62 * time.Minute: "1h02m", 50 * time.Hour: "2d2h",
	} {
		s := live.Span(d.Seconds())
		if got := spanWord(&s); got != want {
			t.Errorf("%s: %s, want %s", d, got, want)
		}
	}
	if got := spanWord(nil); got != "-" {
		t.Errorf("none: %s", got)
	}
}
