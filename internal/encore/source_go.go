package encore

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// goSource takes every sqldb.NewDatabase("name", sqldb.DatabaseConfig{Migrations: "folder"}) of a file.
func (a *App) goSource(file string, text []byte) {
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, file, text, parser.SkipObjectResolution)
	if err != nil { // its text quotes the source
		a.unknown(file, 0, "is not Go that can be parsed")
		return
	}
	local := ""
	for _, i := range f.Imports {
		if p, err := strconv.Unquote(i.Path.Value); err == nil && p == sqldbPackage {
			local = path.Base(p)
			if i.Name != nil {
				local = i.Name.Name
			}
		}
	}
	if local == "" || local == "_" {
		return
	}
	for n := range ast.Preorder(f) {
		call, ok := n.(*ast.CallExpr)
		if !ok || !isFunction(call.Fun, local, "NewDatabase") {
			continue
		}
		line := fset.Position(call.Pos()).Line
		name := ""
		if len(call.Args) > 0 {
			name = goString(call.Args[0])
		}
		if name == "" {
			a.unknown(file, line, "the name of this database is not a literal")
			continue
		}
		migrations, ok := "", len(call.Args) == 1
		if len(call.Args) == 2 {
			migrations, ok = goMigrations(call.Args[1])
		}
		if !ok {
			a.unknown(file, line, "which folder of migrations the database %q has is not a literal", name)
		}
		a.declare(file, line, name, migrations, "")
	}
}

// isFunction tells whether e is pkg.name, or name where pkg is imported with a dot.
func isFunction(e ast.Expr, pkg, name string) bool {
	switch x := e.(type) {
	case *ast.SelectorExpr:
		id, ok := x.X.(*ast.Ident)
		return ok && id.Name == pkg && x.Sel.Name == name
	case *ast.Ident:
		return pkg == "." && x.Name == name
	}
	return false
}

// goMigrations is the field Migrations of a literal DatabaseConfig; "" if it has none.
func goMigrations(e ast.Expr) (string, bool) {
	config, ok := e.(*ast.CompositeLit)
	if !ok {
		return "", false
	}
	for _, field := range config.Elts {
		kv, ok := field.(*ast.KeyValueExpr)
		if !ok {
			return "", false
		}
		if key, ok := kv.Key.(*ast.Ident); ok && key.Name == "Migrations" {
			s := goString(kv.Value)
			return s, s != ""
		}
	}
	return "", true
}

// goString is a string literal, "" if e is none.
func goString(e ast.Expr) string {
	l, ok := e.(*ast.BasicLit)
	if !ok || l.Kind != token.STRING {
		return ""
	}
	s, _ := strconv.Unquote(l.Value) // the parser has accepted it
	return s
}

// packageName is the name of the Go package in a folder, "" if there is none.
func packageName(dir string) string {
	files, _ := os.ReadDir(dir) // the walk reported what cannot be read
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, f.Name()), nil, parser.PackageClauseOnly)
		if err == nil {
			return parsed.Name.Name
		}
	}
	return ""
}
