package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every name of a JSON object in the code is described in docs/scripting.md, and every one that is described is in the code.
func TestSchemasAreDescribed(t *testing.T) {
	t.Parallel()
	written := map[string]string{} // with a file that has it
	inCode := regexp.MustCompile(`"(dbops/[a-z-]+/v[0-9]+)"`)
	for _, dir := range []string{"../../cmd", "../../internal"} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			for _, m := range inCode.FindAllSubmatch(text, -1) {
				written[string(m[1])] = path
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(written) < 60 {
		t.Fatalf("only %d were found", len(written))
	}
	page, err := os.ReadFile("../../docs/scripting.md")
	if err != nil {
		t.Fatal(err)
	}
	described := map[string]bool{}
	for _, m := range regexp.MustCompile("`(dbops/[a-z-]+/v[0-9]+)`").FindAllSubmatch(page, -1) {
		described[string(m[1])] = true
	}
	for _, m := range regexp.MustCompile(`"schema":"(dbops/error/v1)"`).FindAllSubmatch(page, -1) {
		described[string(m[1])] = true
	}
	for name, path := range written {
		if !described[name] {
			t.Errorf("%s of %s is not in docs/scripting.md", name, path)
		}
	}
	for name := range described {
		if written[name] == "" {
			t.Errorf("docs/scripting.md describes %s, which nothing writes", name)
		}
	}
}

// Every page stands in docs/index.md, and what a page leads to in this repository is there.
func TestPagesLeadSomewhere(t *testing.T) {
	t.Parallel()
	link := regexp.MustCompile(`\]\(([^)#: ]+)(#[^) ]*)?\)`)
	listed := map[string]bool{}
	for _, p := range pages(t) {
		text, err := os.ReadFile(filepath.Join("../..", p.path))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			to := filepath.Join(filepath.Dir(p.path), m[1])
			if p.path == "docs/index.md" {
				listed[to] = true
			}
			if _, err := os.Stat(filepath.Join("../..", to)); err != nil {
				t.Errorf("%s leads to %s, which is not there", p.path, m[1])
			}
		}
	}
	for _, p := range pages(t) {
		if filepath.Dir(p.path) == "docs" && p.path != "docs/index.md" && !listed[p.path] {
			t.Errorf("%s is not in docs/index.md", p.path)
		}
	}
}

// What the threat model names as its proof is there.
func TestProofsOfTheThreatModelAreThere(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/threat-model.md")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`(Test[A-Za-z]+)`").FindAllSubmatch(page, -1)
	if len(named) < 20 {
		t.Fatalf("it names %d tests", len(named))
	}
	there := map[string]bool{}
	for _, dir := range []string{"../../cmd", "../../internal"} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			for _, m := range regexp.MustCompile(`(?m)^func (Test[A-Za-z]+)\(`).FindAllSubmatch(text, -1) {
				there[string(m[1])] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range named {
		if !there[string(m[1])] {
			t.Errorf("there is no %s", m[1])
		}
	}
	for _, m := range regexp.MustCompile("`((?:internal|cmd)/[a-z_/.]+)`").FindAllSubmatch(page, -1) {
		if _, err := os.Stat(filepath.Join("../..", string(m[1]))); err != nil {
			t.Error(err)
		}
	}
}
