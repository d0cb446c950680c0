package lint_test

import (
	"strings"
	"testing"

	"dbops/internal/migrate/lint"
	"dbops/internal/migrate/source"
)

func FuzzCheck(f *testing.F) {
	if _, err := lint.Drops("select 1"); err != nil { // the grammar's start is no input's time
		f.Fatal(err)
	}
	for _, c := range all {
		f.Add(c.before + ";" + c.sql)
	}
	for _, sql := range []string{"-- dbops:allow", "x;-- dbops:allow a b\n", "alter table t add check", "alter table t add x int, add check ('", "create table (;", "set x", "update t set a = '\xff'", "copy a from stdin;\n1\n"} {
		f.Add(sql)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		found, err := lint.New().Check(t.Context(), []lint.Input{{Path: "1_x.up.sql", SQL: sql, Direction: source.Up}, {Path: "1_x.down.sql", SQL: sql, Direction: source.Down}}, lint.Offline{})
		if err != nil {
			t.Fatalf("%q: %v", sql, err)
		}
		lines := 1 + strings.Count(sql, "\n")
		for _, x := range found {
			if x.Line > lines || x.Line < 0 || (x.Line > 0) != (x.Column > 0) || x.Title == "" {
				t.Errorf("%q: %+v", sql, x)
			}
		}
		_ = lint.NewReport(1, found, true).Text()
	})
}
