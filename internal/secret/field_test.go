package secret

import (
	"strings"
	"testing"

	"dbops/internal/fault"
)

func TestField(t *testing.T) {
	t.Parallel()
	const rds = `{"username":"orders","password":"` + hidden + `","port":5432,"ratio":1.50,"host":null,"tags":["a"],"on":true,"empty":""}`
	for _, c := range []struct {
		name, key, text string
		want            string
		kind            fault.Kind
	}{
		{"plain text", "", hidden, hidden, ""},
		{"one newline at the end goes", "", hidden + "\n", hidden, ""},
		{"a Windows newline goes", "", hidden + "\r\n", hidden, ""},
		{"only one newline goes", "", hidden + "\n\n", hidden + "\n", ""},
		{"spaces stay", "", " a b ", " a b ", ""},
		{"text that starts like JSON", "", "{" + hidden, "{" + hidden, ""},
		{"a JSON object without a password is text", "", `{"key":"x"}`, `{"key":"x"}`, ""},
		{"a field", "password", rds, hidden, ""},
		{"a field after white space", "password", "\n " + rds, hidden, ""},
		{"a number", "port", rds, "5432", ""},
		{"a number keeps its digits", "ratio", rds, "1.50", ""},
		{"escapes are undone", "p", `{"p":"a\"\u00e4\n"}`, "a\"ä\n", ""},

		{"a JSON object with a password as a whole", "", rds, "", fault.Config},
		{"a field of plain text", "password", hidden, "", fault.Config},
		{"a field of a JSON list", "password", `["` + hidden + `"]`, "", fault.Config},
		{"a field of broken JSON", "password", `{"password":"` + hidden, "", fault.Config},
		{"a missing field", "Password", rds, "", fault.NotFound},
		{"null", "host", rds, "", fault.Invalid},
		{"a list", "tags", rds, "", fault.Invalid},
		{"a truth value", "on", rds, "", fault.Invalid},
		{"an empty field", "empty", rds, "", fault.Invalid},
		{"an empty text", "", "", "", fault.NotFound},
		{"only a newline", "", "\n", "", fault.NotFound},
		{"bytes that are no text", "", "\xff" + hidden, "", fault.Invalid},
		{"a zero byte", "", hidden + "\x00", "", fault.Invalid},
		{"a zero byte in a field", "p", `{"p":"hunter2\u0000"}`, "", fault.Invalid},
		{"too much", "", strings.Repeat("x", maxText+1), "", fault.Invalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			v, err := Field(Ref{Scheme: SchemeAWS, Name: "orders", Key: c.key}, []byte(c.text))
			if c.kind == "" {
				if err != nil || !v.Equal(c.want) {
					t.Fatalf("error %v, or another text", err)
				}
				return
			}
			if err == nil || fault.KindOf(err) != c.kind || !v.IsZero() {
				t.Fatalf("error %v, want %s", err, c.kind)
			}
			if strings.Contains(err.Error()+fault.HintOf(err), "hunter2") {
				t.Error("the error holds a part of the secret")
			}
		})
	}
}

func TestAWholeObjectIsRefusedWithTheRightReference(t *testing.T) {
	t.Parallel()
	_, err := Field(Ref{Scheme: SchemeAWS, Name: "eu-west-1/orders"}, []byte(`{"password":"x"}`))
	if want := "aws-sm:eu-west-1/orders#password"; !strings.Contains(fault.HintOf(err), want) {
		t.Errorf("hint %q does not name %s", fault.HintOf(err), want)
	}
}

// Whatever a store holds, an error never says it.
func FuzzField(f *testing.F) {
	f.Add("", hidden)
	f.Add("password", `{"password":"hunter2"}`)
	f.Add("password", `{"password":{"a":"hunter2"}}`)
	f.Add("password", `{"password":hunter2}`)
	f.Fuzz(func(t *testing.T, key, text string) {
		if strings.Contains(key, "#") {
			return
		}
		v, err := Field(Ref{Scheme: SchemeFile, Name: "name", Key: key}, []byte("hunter2-"+text))
		if err == nil && key != "" {
			t.Error("a text that is no object has a field")
		}
		if err == nil && !strings.HasPrefix(v.Reveal(), "hunter2-") {
			t.Error("the text changed")
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") && !strings.Contains(key, "hunter2") {
			t.Error("the error holds a part of the secret")
		}
	})
}
