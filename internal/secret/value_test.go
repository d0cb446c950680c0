package secret

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

const hidden = "S3cr3t-hunter2"

type holder struct {
	User     string
	Password Value
	own      Value
	pointer  *Value
	list     []Value
	inMap    map[string]Value
}

func held() holder {
	v := New(hidden)
	return holder{User: "u", Password: v, own: v, pointer: &v, list: []Value{v}, inMap: map[string]Value{"k": v}}
}

func TestASecretIsNeverPrinted(t *testing.T) {
	t.Parallel()
	things := map[string]any{
		"itself": New(hidden), "a pointer to it": new(New(hidden)), "a struct with it": held(), "a pointer to a struct with it": new(held()),
		"a slice": []Value{New(hidden)}, "a map": map[string]Value{"k": New(hidden)}, "a key of a map": map[Value]int{New(hidden): 1},
		"inside any": []any{held()},
	}
	for name, thing := range things {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%T", "%10.3s"} {
				if got := fmt.Sprintf(verb, thing); strings.Contains(got, "hunter2") || strings.Contains(got, fmt.Sprintf("%x", "hunter2")) {
					t.Errorf("%s prints it", verb)
				}
			}
			var out bytes.Buffer
			slog.New(slog.NewTextHandler(&out, nil)).Info("x", "thing", thing)
			slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "thing", thing)
			if strings.Contains(out.String(), "hunter2") {
				t.Error("a log shows it")
			}
			if err := fmt.Errorf("with %v", thing); strings.Contains(err.Error(), "hunter2") {
				t.Error("an error shows it")
			}
		})
	}
}

func TestASecretIsNeverMarshalled(t *testing.T) {
	t.Parallel()
	b, err := json.Marshal(held())
	if err != nil || !strings.Contains(string(b), Redacted) || strings.Contains(string(b), "hunter2") {
		t.Errorf("JSON: %s, %v", b, err)
	}
	if b, err = xml.Marshal(New(hidden)); err != nil || strings.Contains(string(b), "hunter2") {
		t.Errorf("XML: %s, %v", b, err)
	}
	var out bytes.Buffer
	if err := gob.NewEncoder(&out).Encode(struct{ V Value }{New(hidden)}); err == nil && strings.Contains(out.String(), "hunter2") {
		t.Error("gob holds it")
	}
}

func TestRevealGivesTheTextAndNothingElseDoes(t *testing.T) {
	t.Parallel()
	v := New(hidden)
	if v.Reveal() != hidden || v.IsZero() || !v.Equal(hidden) || v.Equal("other") || v.String() != Redacted {
		t.Error("a secret does not hold its text")
	}
	for name, empty := range map[string]Value{"the zero value": {}, "the empty text": New("")} {
		if empty.Reveal() != "" || !empty.IsZero() || !empty.Equal("") || empty.Equal("x") {
			t.Errorf("%s is not the empty secret", name)
		}
	}
}
