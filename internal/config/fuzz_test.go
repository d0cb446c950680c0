package config

import (
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// Whatever the bytes, parsing ends soon, does not panic, and gives either a configuration whose look-ups work or problems with
// places that are in the text.
func FuzzParse(f *testing.F) {
	ten, err := os.ReadFile("testdata/ten-mistakes.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{
		string(ten), string(Starter(nil)), string(Starter(discoveries())), "version: 1\nenvironments: &a {b: *a}\n", "? a\n: b\n", "- - -\n",
		"a: |\n  b\n", "a: >-\n\tb\n", "\"a\\u0000\": 1", "%YAML 1.2\n---\na: 1\n...\n", "<<: [*a, *b]", "!!map {a: 1}", "{a: [b, {c: d}]}", "a: &x\nb: *x\n",
		"version: 1\nenvironments: {d: {instances: {i: {postgres: {url: \"postgres://%\"}}}}}\n",
	} {
		f.Add([]byte(s))
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text []byte) {
		start := time.Now()
		cfg, problems := parse("dbops.yaml", dir+"/dbops.yaml", text)
		if took := time.Since(start); took > 20*time.Second {
			t.Fatalf("took %s", took)
		}
		if (cfg == nil) != (problems != nil) {
			t.Fatalf("configuration %v, problems %v", cfg, problems)
		}
		if problems != nil {
			lines := strings.Count(string(text), "\n") + strings.Count(string(text), "\r") + 2
			for _, p := range problems.Problems {
				if p.Message == "" || p.Line < 0 || p.Line > lines || !utf8.ValidString(p.String()) || strings.ContainsAny(p.String(), "\n\x1b\x00") {
					t.Fatalf("problem %+v", p)
				}
			}
			return
		}
		for _, name := range cfg.EnvironmentNames() {
			env, err := cfg.Environment(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range env.InstanceNames() {
				if inst, err := env.Instance(i); err != nil || inst.Coordinates() == "" {
					t.Fatalf("instance %q: %v", i, err)
				}
				env.DatabasesOf(i)
			}
		}
	})
}

func TestParsingOfHostileTextIsBounded(t *testing.T) {
	t.Parallel()
	laughs := "version: 1\nenvironments:\n  a0: &a0 {instances: &i0 {x: &x {rds: &r {region: eu-west-1, identifier: a}}}}\n"
	var many, deep strings.Builder
	many.WriteString(laughs)
	for i := range 3000 {
		many.WriteString("  b" + strings.Repeat("b", i%40) + string(rune('a'+i%26)) + ": {instances: *i0, <<: *a0}\n")
	}
	for i := range 1200 {
		deep.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	wide := "version: 1\nenvironments:\n  base: &base\n    instances:\n"
	for i := range 2000 {
		wide += "      i" + strings.Repeat("x", i%30) + string(rune('a'+i%26)) + string(rune('a'+i/26%26)) + ": {rds: {region: eu-west-1, identifier: a}}\n"
	}
	for range 300 {
		wide += "  e: *base\n  f: {<<: *base}\n"
	}
	for name, text := range map[string]string{
		"brackets":         strings.Repeat("[", 1<<20),
		"braces":           strings.Repeat("{", 1<<20),
		"dashes":           strings.Repeat("- ", 1<<19),
		"questions":        strings.Repeat("? ", 24_000),
		"keys":             strings.Repeat("a:\n", 1<<18),
		"fewer keys":       strings.Repeat("a: b\n", 16_000),
		"anchors":          strings.Repeat("&a ", 24_000),
		"tags":             strings.Repeat("!a ", 24_000),
		"many aliases":     many.String(),
		"deep":             deep.String(),
		"wide":             wide,
		"one long word":    strings.Repeat("a", 1<<20),
		"one long comment": "# " + strings.Repeat("postgres://a:", 1<<15),
		"secrets":          strings.Repeat("- ghp_aaaaaaaaaaaaaaaaaaaa\n", 16_000),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			if _, problems := parse("dbops.yaml", "/dbops.yaml", []byte(text)); problems == nil {
				t.Error("accepted")
			} else if n := len(problems.Problems); n > maxProblems+1 {
				t.Errorf("%d problems", n)
			}
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("took %s", took)
			} else {
				t.Logf("%d bytes in %s", len(text), took)
			}
		})
	}
}
