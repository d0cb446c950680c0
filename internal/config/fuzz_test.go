package config

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// Whatever the bytes, parsing ends soon and without a panic, and gives either a configuration whose look-ups work or problems with
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
		if took := time.Since(start); took > time.Minute {
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
	var aliases, merges, deep strings.Builder
	for _, b := range []*strings.Builder{&aliases, &merges} {
		b.WriteString("version: 1\nenvironments:\n  base:\n    instances: &all\n")
		for i := range 300 {
			fmt.Fprintf(b, "      i%d: {rds: {region: eu-west-1, identifier: i%d}}\n", i, i)
		}
	}
	for i := range 500 {
		fmt.Fprintf(&aliases, "  e%d: {instances: *all}\n", i)
		fmt.Fprintf(&merges, "  e%d: {instances: {<<: *all}}\n", i)
	}
	for i := range 1200 {
		deep.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	for name, c := range map[string]struct{ text, want string }{
		"brackets":         {strings.Repeat("[", 1<<20), "the file is too long"},
		"fewer brackets":   {strings.Repeat("[", 40_000), "brackets are nested more than 32 deep"},
		"braces":           {strings.Repeat("{a: ", 10_000), "brackets are nested more than 32 deep"},
		"dashes":           {strings.Repeat("- ", 1<<19), "the file is too long"},
		"questions":        {strings.Repeat("? ", 24_000), "unexpected scalar"},
		"keys":             {strings.Repeat("a:\n", 1<<18), "the file is too long"},
		"fewer keys":       {strings.Repeat("a: b\n", 8_000), "there are more problems than these"},
		"anchors":          {strings.Repeat("&a ", 24_000), "unexpected scalar"},
		"tags":             {strings.Repeat("!a ", 24_000), "value is not allowed"},
		"many aliases":     {aliases.String(), "the aliases of the file expand to too much"},
		"many merges":      {merges.String(), "<< brings in too much"},
		"deep":             {deep.String(), `unknown key "a"`},
		"one long word":    {strings.Repeat("a", 1<<18), "want a mapping, got text"},
		"one long comment": {"# " + strings.Repeat("postgres://a:", 1<<13), "the file is empty"},
		"secrets":          {strings.Repeat("- ghp_aaaaaaaaaaaaaaaaaaaa\n", 8_000), "there are more problems than these"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, problems := parse("dbops.yaml", "/dbops.yaml", []byte(c.text))
			if problems == nil {
				t.Fatal("accepted")
			}
			if text := problems.Error(); !strings.Contains(text, c.want) || len(problems.Problems) > maxProblems+1 {
				t.Errorf("%d problems: %.300s", len(problems.Problems), text)
			}
		})
	}
}
