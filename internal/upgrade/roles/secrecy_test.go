package roles_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dbops/internal/upgrade/roles"
)

func TestNoVerifierIsInTheLogOfTheTarget(t *testing.T) {
	for _, c := range []struct {
		super bool
		level string
	}{{false, "ddl"}, {true, "all"}} {
		t.Run(fmt.Sprintf("super %t logs %s", c.super, c.level), func(t *testing.T) {
			from, to := newSide(t, 16, true), newSide(t, 18, c.super)
			from.exec("create role o login password 'of-o-1'; create role q login replication password 'of-q-1'")
			m := from.read()
			login := "postgres"
			if c.super {
				login = "sandbox_super"
			}
			path := filepath.Join(filepath.Dir(to.names("select current_setting('hba_file')")[0]), "..", "postgres.log")
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			to.exec("alter role " + login + " set log_statement = '" + c.level + "'")
			r, err := m.Apply(t.Context(), to.connect, roles.Options{})
			to.exec("alter role " + login + " reset log_statement")
			if err != nil || r.Passwords < 2 {
				t.Fatal(r, err)
			}
			after, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			logged := string(after[len(before):])
			if !strings.Contains(logged, "comment on role") && !strings.Contains(logged, "set_config") {
				t.Errorf("nothing was logged: %s", logged)
			}
			if strings.Contains(logged, "SCRAM-SHA-256$") {
				t.Errorf("logged: %s", logged)
			}
		})
	}
}
