package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// example is the annotated example of docs/configuration.md.
func example(t *testing.T) string {
	t.Helper()
	doc, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(doc), "```yaml\n")
	text, _, end := strings.Cut(rest, "```\n")
	if !ok || !end {
		t.Fatal("docs/configuration.md has no example")
	}
	return text
}

func TestTheExampleOfTheDocumentationLoads(t *testing.T) {
	t.Parallel()
	path := write(t, example(t))
	for _, name := range []string{"rds-eu-west-1.pem", "office-ca.pem"} {
		if err := os.Link(filepath.Join(filepath.Dir(path), "ca.pem"), filepath.Join(filepath.Dir(path), name)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Load(path); err != nil {
		t.Fatal(err)
	}
}

// Every key that the types know is explained.
func TestTheDocumentationNamesEveryKey(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	s := schema(t)
	types := map[string]any{"": s}
	for name, def := range s["$defs"].(map[string]any) {
		types[name] = def
	}
	for name, def := range types {
		for key := range def.(map[string]any)["properties"].(map[string]any) {
			if !strings.Contains(string(doc), "`"+key+"`") {
				t.Errorf("%s.%s is not explained", name, key)
			}
		}
	}
}
