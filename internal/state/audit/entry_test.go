package audit

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// The order of fields and their form are what is hashed: a change of this test is a new version of the entry.
func TestTheCanonicalFormOfAnEntry(t *testing.T) {
	t.Parallel()
	zone := time.FixedZone("there", 2*3600)
	e := step("run-1", "modify")[1]
	e.Seq, e.At = 7, time.Date(2026, 11, 28, 21, 4, 5, 120_000_000, zone)
	got, err := e.encode()
	if err != nil {
		t.Fatal(err)
	}
	want := `{"v":1,"seq":7,"at":"2026-11-28T19:04:05.12Z","actor":"alice@example.com","via":"aws","host":"laptop-7","run":"run-1",` +
		`"kind":"upgrade","step":"modify","attempt":1,"phase":"result","target":"prod/main","plan":"sha256:3fe2","outcome":"done",` +
		`"changes":[{"setting":"engine_version","from":"16.4","to":"17.2"}],"request_id":"4d2c0d7e-57f4",` +
		`"text":"it said: \"available\" <now>"}`
	if string(got) != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	again, err := decode(got)
	if err != nil || !reflect.DeepEqual(again, e) {
		t.Errorf("%+v, want %+v, %v", again, e, err)
	}
	least := Entry{Kind: "note", Phase: Note}
	got, err = least.encode()
	if err != nil || !strings.Contains(string(got), `"via":"unverified"`) || !strings.Contains(string(got), `"changes":[]`) {
		t.Errorf("%s, %v", got, err)
	}
}

func TestEntriesAreBounded(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ä", 100_000)
	e := Entry{Actor: long, Via: long, Host: long, Run: long, Kind: long, Step: long, Target: long, Plan: long, Outcome: long, RequestID: long, Text: long, Phase: Intent}
	for range 1000 {
		e.Changes = append(e.Changes, Change{long, "\x00\xff" + long, long})
	}
	b, err := e.encode()
	if err != nil || len(b) > maxBody {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	got, err := decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Text) > maxText || len(got.Run) > maxField || !utf8.ValidString(got.Text) || !strings.HasSuffix(got.Text, "ä"+cutMark) {
		t.Errorf("text of %d bytes, run of %d", len(got.Text), len(got.Run))
	}
	if n := len(got.Changes); n != maxChanges || got.Changes[n-1].Setting != "… and 745 more" {
		t.Errorf("%d changes, the last is %+v", n, got.Changes[n-1])
	}
	if !reflect.DeepEqual(got, e) {
		t.Error("the entry that is returned is not the one that was written")
	}
	for _, wrong := range []Entry{{Kind: "a"}, {Kind: "a", Phase: "done"}, {Phase: Note}} {
		if _, err := wrong.encode(); err == nil {
			t.Errorf("%+v was taken", wrong)
		}
	}
}

// FuzzScan compares the cheap reader with the real one.
func FuzzScan(f *testing.F) {
	for _, e := range step("run-1", `a "b" \`) {
		b, err := e.encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, "x")
		f.Add(b[:len(b)/2], `\`)
	}
	f.Add([]byte(`{"v":1,"seq":1,"at":"\`), "")
	f.Fuzz(func(t *testing.T, b []byte, s string) {
		if got, ok := scan(b); ok && got.v == Version && len(got.run) < 2 {
			t.Errorf("%q: %+v", b, got)
		}
		e := Entry{Actor: s, Run: s, Kind: "k" + s, Step: s, Target: s, Phase: Result, Seq: int64(len(s))}
		body, err := e.encode()
		if err != nil {
			t.Fatal(err)
		}
		got, ok := scan(body)
		if !ok || got.seq != e.Seq || unquote(got.run) != e.Run || unquote(got.step) != e.Step || unquote(got.target) != e.Target || unquote(got.kind) != e.Kind {
			t.Errorf("%s: %+v", body, got)
		}
		if !bytes.Equal(got.phase, []byte(`"result"`)) || !json.Valid(body) {
			t.Errorf("%s", body)
		}
	})
}
