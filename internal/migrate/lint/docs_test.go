package lint_test

import (
	"flag"
	"os"
	"strings"
	"testing"

	"dbops/internal/migrate/lint"
)

var update = flag.Bool("update", false, "write the table of rules into the manual")

func TestTheManualHasTheTableOfRules(t *testing.T) {
	const page = "../../../docs/migrate-lint.md"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	i := strings.Index(string(text), "| rule | severity |")
	if i < 0 && *update {
		i = len(text)
	}
	if i < 0 {
		t.Fatal("the page has no table of rules")
	}
	want := string(text[:i]) + lint.RulesMarkdown()
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if string(text) != want {
		t.Error("docs/migrate-lint.md is not in step with the rules: go test ./internal/migrate/lint -run Manual -update")
	}
}
