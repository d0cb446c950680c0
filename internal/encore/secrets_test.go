package encore

import (
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"

	"dbops/internal/fault"
	"dbops/internal/secret"
)

func raw(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func parseSecrets(t testing.TB, text string, vars map[string]string) *Secrets {
	t.Helper()
	s, err := ParseSecrets(text, func(name string) (string, bool) { v, ok := vars[name]; return v, ok })
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func values(t testing.TB, s *Secrets) map[string]string {
	t.Helper()
	all, err := s.Values()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, v := range all {
		out[v.Name] = v.Value.Reveal()
	}
	return out
}

func TestAppSecretsRoundTrip(t *testing.T) {
	t.Parallel()
	body := "ApiKey=" + raw("hunter2-key?>~") + ",DbPassword=" + raw("hunter2-old") + ",Empty=,Unsorted=" + raw("ä\n")
	for _, c := range []struct{ name, text string }{
		{"pairs", body},
		{"a newline behind them", body + "\n"},
		{"gzip", "gzip:" + base64.StdEncoding.EncodeToString(zipped(t, body, gzip.Header{Name: "s", OS: 3}, 9))},
		{"gzip, the other alphabet", "gzip:" + base64.RawURLEncoding.EncodeToString(zipped(t, body, gzip.Header{OS: 255}, 1))},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := parseSecrets(t, c.text, nil)
			if got := values(t, s)[SecretsVariable]; got != c.text {
				t.Fatalf("unchanged: got %q, want %q", got, c.text)
			}
			if got := s.Names(); !slices.Equal(got, []string{"ApiKey", "DbPassword", "Empty", "Unsorted"}) {
				t.Errorf("names %v", got)
			}
			if v, ok := s.Get("ApiKey"); !ok || !v.Equal("hunter2-key?>~") {
				t.Error("another value")
			}
			if changed, err := s.Set("DbPassword", secret.New("hunter2-old")); changed || err != nil || values(t, s)[SecretsVariable] != c.text {
				t.Errorf("the same value: %t, %v", changed, err)
			}
			for name, value := range map[string]string{"DbPassword": "hunter2-new", "Cache": "hunter2-cache"} {
				if changed, err := s.Set(name, secret.New(value)); !changed || err != nil {
					t.Errorf("%s: %t, %v", name, changed, err)
				}
			}
			got := values(t, s)[SecretsVariable]
			if strings.HasPrefix(got, "gzip:") != strings.HasPrefix(c.text, "gzip:") || strings.HasSuffix(got, "\n") != strings.HasSuffix(c.text, "\n") {
				t.Error("they are packed in another way")
			}
			if strings.HasPrefix(got, "gzip:") {
				got = opened(t, got)
			}
			want := strings.NewReplacer("DbPassword="+raw("hunter2-old"), "Cache="+raw("hunter2-cache")+",DbPassword="+raw("hunter2-new")).Replace(body)
			if strings.TrimSpace(got) != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

func TestNoSecretsAreSecretsToo(t *testing.T) {
	t.Parallel()
	s := parseSecrets(t, "", nil)
	if len(s.Names()) != 0 || values(t, s)[SecretsVariable] != "" {
		t.Error("want none")
	}
	if _, err := s.Set("A", secret.New("x")); err != nil || values(t, s)[SecretsVariable] != "A="+raw("x") {
		t.Errorf("%v, %v", err, values(t, s))
	}
}

func TestReferencesAreFollowedOnce(t *testing.T) {
	t.Parallel()
	body := "A=" + raw("hunter2-a") + ",B=" + raw("hunter2-b")
	vars := map[string]string{"PART_0": body[:10], "PART_1": body[10:]}
	s := parseSecrets(t, "envref:PART_0,PART_1", vars)
	if v, ok := s.Get("B"); !ok || !v.Equal("hunter2-b") {
		t.Error("another value")
	}
	if got := values(t, s); len(got) != 1 || got[SecretsVariable] != "envref:PART_0,PART_1" {
		t.Errorf("unchanged: %v", got)
	}
	if _, err := s.Set("B", secret.New("hunter2-longer-than-before")); err != nil {
		t.Fatal(err)
	}
	got := values(t, s)
	if len(got) != 2 || len(got["PART_0"]) != 10 {
		t.Errorf("changed: %v", got)
	}
	again := parseSecrets(t, "envref:PART_0,PART_1", got)
	if v, ok := again.Get("B"); !ok || !v.Equal("hunter2-longer-than-before") || len(again.Names()) != 2 {
		t.Error("what was split is not what was set")
	}

	zip := "gzip:" + base64.StdEncoding.EncodeToString(zipped(t, body, gzip.Header{OS: 255}, 6))
	inZip := parseSecrets(t, "envref:Z0,Z1", map[string]string{"Z0": zip[:7], "Z1": zip[7:]})
	if len(inZip.Names()) != 2 {
		t.Error("gzip behind references")
	}
	for _, c := range []struct{ text, say string }{
		{"envref:PART_0,GONE", "GONE"}, {"envref:", "no name"}, {"envref:A,,B", "not known here"}, {"envref:LOOP", "no ="},
	} {
		_, err := ParseSecrets(c.text, func(n string) (string, bool) {
			v, ok := map[string]string{"PART_0": "x", "LOOP": "envref:LOOP"}[n]
			return v, ok
		})
		if fault.KindOf(err) != fault.Config || !strings.Contains(err.Error(), c.say) || fault.HintOf(err) == "" {
			t.Errorf("%s: %v", c.text, err)
		}
	}
	if _, err := ParseSecrets("envref:A", nil); fault.KindOf(err) != fault.Config {
		t.Errorf("without a lookup: %v", err)
	}
}

func TestMalformedAppSecrets(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, text, say string }{
		{"no pair", hidden, "the secret 1 has no ="},
		{"no name", "A=" + raw(hidden) + ",=" + raw(hidden), "the secret 2 has no name"},
		{"a value that is not base64", "A=hunter2!", `the value of "A"`},
		{"a padded value", "A=" + base64.URLEncoding.EncodeToString([]byte("hunter2")), `the value of "A"`},
		{"a value in the standard alphabet", "A=hunter2/+", `the value of "A"`},
		{"a name twice", "A=" + raw(hidden) + ",A=" + raw(hidden), `"A" is there twice`},
		{"a comma too many", "A=" + raw(hidden) + ",", "the secret 2 has no ="},
		{"a value that lost its name", strings.Repeat("x", 70) + "=!", "more than 64 bytes"},
		{"white space in a name", "A B=" + raw(hidden), "white space"},
		{"gzip that is none", "gzip:" + raw(hidden), "not gzip"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := ParseSecrets(c.text, nil)
			if fault.KindOf(err) != fault.Config || err == nil || !strings.Contains(err.Error(), c.say) {
				t.Fatalf("got %v, want %q", err, c.say)
			}
			if strings.Contains(err.Error()+fault.HintOf(err), hidden) {
				t.Errorf("the error holds a secret: %v", err)
			}
		})
	}
	s := parseSecrets(t, "A="+raw(hidden), nil)
	for _, name := range []string{"", "a,b", "a=b", "a b", "a\n"} {
		if _, err := s.Set(name, secret.New(hidden)); fault.KindOf(err) != fault.Usage {
			t.Errorf("the name %q: %v", name, err)
		}
	}
	if all := fmt.Sprintf("%v %+v", s.Names(), must(s.Values())); strings.Contains(all, hidden) || strings.Contains(all, raw(hidden)) {
		t.Error("a secret is printed")
	}
}

func must[T any](v T, _ error) T { return v }
