package db

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// SQLite's driver binds arguments to placeholders in the order of their first use, whatever their numbers: $2 before $1 is right in
// PostgreSQL and wrong there, without an error.
func TestPlaceholdersAreNumberedInTheOrderOfTheirUse(t *testing.T) {
	t.Parallel()
	var files []string
	for _, dir := range []string{"..", ".", "../audit"} {
		more, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, more...)
	}
	statements := 0
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			e, ok := n.(ast.Expr)
			if !ok {
				return true
			}
			text, ok := literal(e)
			if !ok {
				return true
			}
			if first := firstUses(text); len(first) > 0 && isSQL.MatchString(text) {
				statements++
				for i, n := range first {
					if n != i+1 {
						t.Errorf("%s: placeholder %d is used first at place %d:\n%s", set.Position(e.Pos()), n, i+1, text)
						break
					}
				}
			}
			return false
		})
	}
	if statements < 40 {
		t.Errorf("only %d statements were found", statements)
	}
}

var (
	isSQL        = regexp.MustCompile(`(?is)^\s*(select|insert|update|delete|where|with)\b`)
	placeholders = regexp.MustCompile(`\$[0-9]+`)
)

// literal is the text of a string, or of a sum of strings and whatever stands between them.
func literal(e ast.Expr) (text string, ok bool) {
	switch x := e.(type) {
	case *ast.BasicLit:
		if x.Kind != token.STRING {
			return "", false
		}
		s, err := strconv.Unquote(x.Value)
		return s, err == nil
	case *ast.BinaryExpr:
		a, okA := literal(x.X)
		b, okB := literal(x.Y)
		return a + b, okA || okB
	case *ast.ParenExpr:
		return literal(x.X)
	}
	return "", false
}

// firstUses are the numbers of the placeholders in a text, each where it is first.
func firstUses(text string) (out []int) {
	seen := map[string]bool{}
	for _, p := range placeholders.FindAllString(text, -1) {
		if !seen[p] {
			seen[p] = true
			n, _ := strconv.Atoi(p[1:])
			out = append(out, n)
		}
	}
	return out
}
