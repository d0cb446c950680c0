package secret

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestASidecarIsNotPrinted(t *testing.T) {
	t.Parallel()
	s := fileState{sidecar: sidecar{Versions: []fileVersion{{ID: "one", Created: time.Now(), Text: keptText(hidden)}}}}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q"} {
		for _, v := range []any{s.sidecar, s.Versions[0], &s.Versions[0], s.Versions[0].Text} {
			if text := fmt.Sprintf(verb, v); strings.Contains(text, hidden) || strings.Contains(text, fmt.Sprintf("%x", hidden)) {
				t.Errorf("%s of %T shows the secret", verb, v)
			}
		}
	}
}

func FuzzSidecar(f *testing.F) {
	s := sidecar{Current: "one", Pending: "two", Versions: []fileVersion{{ID: "one", Text: keptText(hidden)}, {ID: "two"}, {ID: "three", Text: keptText("x")}}}
	b, err := s.marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"schema":"dbops/secret-file/v1","current":"x","versions":[{"id":"x"},{"id":"x","text":"eA=="}]}`))
	f.Add([]byte(`{`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseSidecar(b)
		if err != nil {
			if strings.Contains(err.Error(), hidden) {
				t.Error("the error holds the secret")
			}
			return
		}
		first, err := s.marshal()
		if err != nil {
			return // a date beyond what JSON can say
		}
		again, err := parseSidecar(first)
		if err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		second, err := again.marshal()
		if err != nil || !bytes.Equal(first, second) {
			t.Errorf("it changes when it is written again: %v", err)
		}
		state := fileState{sidecar: s}
		state.holding()
		state.conclude()
	})
}
