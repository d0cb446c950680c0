package tui

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"dbops/internal/app"
	"dbops/internal/fault"
	"dbops/internal/migrate"
	"dbops/internal/state"
	"dbops/internal/tui/internal/fake"
)

func TestTheSameKeysLeadBack(t *testing.T) {
	for _, key := range []string{"q", "esc"} {
		play(t, 120, 40, Options{}, mend, func(s *stage) {
			s.tab("prod", "orders-main", "Migrations")
			s.Press("enter")
			s.Want("files") // the key to them
			s.Press(key)
			s.Want("[3 Migrate]", "u up")
			s.Press(key)
			s.Want("[1 Fleet]")
		})
	}
}

func TestMigrationsOfAnInstance(t *testing.T) {
	play(t, 120, 40, Options{RefreshEvery: 10 * time.Second}, nil, func(s *stage) {
		s.core.SlowLint(2 * time.Second)
		s.core.Put(app.RunView{Run: state.Run{ID: "r9", Kind: migrate.UpKind, Environment: "prod", Instance: "orders-main", State: state.Parked, Problem: "no lock on orders"}})
		s.tabOf("prod", "3")
		s.Want("[3 Migrat", "! up waits for a person: no lock on orders", "orders   at 44 of 47, 3 pending, 1 older file not shown", "carts   at 44 of 44, up to date", "~ judging")
		s.WantNot("000041_customers")
		s.Pass(3 * time.Second)
		for file, want := range map[string][]string{
			"000046": {"~ pending", "x 1 ! 1"}, "000047": {"~ pending", "x 1"}, "000044": {"applied", "3m12s", "ci@example.com"},
		} {
			for _, w := range want {
				if l := s.Line(file); file != "000044" && !strings.Contains(l, w) {
					t.Errorf("no %q in %q", w, l)
				}
			}
		}
		s.Press("v")
		s.Want("000041_customers")
		s.Press("/")
		s.Type("000046")
		s.Press("enter")
		s.Want("/000046  1 of", "line 2: drops a column", "line 5: rewrites the table", "ACCESS EXCLUSIVE on orders")
		s.Press("l")
		s.Want("by the real tables, 0s ago", "orders has 41 GiB")
		s.Press("enter")
		s.Want("DROP COLUMN legacy_status;", "x rewrites the table", "each row is written again", "do: -- add a column")
		s.Press("f")
		s.Want("000046_drop_legacy_status.down.sql", "ADD COLUMN legacy_status")
		s.Press("y")
		if !strings.Contains(s.Clipboard, "000046_drop_legacy_status.down.sql") {
			t.Errorf("copied %q", s.Clipboard)
		}
		s.Press("esc", "h")
		s.Want("HISTORY OF orders", "000044_backfill_customer_ref  3m12s  by ci@example.com, commit 9f31c2ae")
		s.Press("esc", "p")
		s.Want("REHEARSAL OF orders", "000046_drop_legacy_status.up.sql", "public.orders")
		s.Press("esc")
		s.Pass(35 * time.Second)
		if text, live := s.core.Judged(); text != 1 || live != 1 {
			t.Errorf("judged %d times by the text, %d times by the tables", text, live)
		}
		s.core.EditMigrations(func(m *app.MigrationSet) { m.Print = "2" })
		s.Press("r")
		if text, _ := s.core.Judged(); text != 2 {
			t.Errorf("files that changed were judged %d times in all", text)
		}
		s.WantNot("orders has 41 GiB") // of what the files were
		s.Press("o")
		s.Want("run r9")
	})
}

func TestAMigrationThatEndedHalfWay(t *testing.T) {
	play(t, 120, 40, Options{}, nil, func(s *stage) {
		s.core.EditMigrations(func(m *app.MigrationSet) { fake.Dirty(m); fake.Unreachable(m) })
		s.tabOf("prod", "3")
		s.Want("x unreachable", "log in to prod/orders-main: dial tcp", "open the VPN", "x dirty", "0 of 1 statements done of 000045", "x cut short")
		s.Press("/")
		s.Type("dirty")
		s.Press("enter")
		s.Want("lock timeout (SQLSTATE 55P03)", "not done: line 1: CREATE INDEX CONCURRENTLY")
		s.Press("enter")
		s.Want("REPAIR OF orders", "if it has version 44", "WAYS OUT", "dbops migrate repair -e prod orders --resume")
		s.Press("m", "enter", "enter", "enter")
		s.Want("PROTECTED  prod  orders-main › plan")
		if p := s.core.Planned(); len(p) != 1 || p[0].Kind != migrate.RepairKind {
			t.Errorf("planned %+v", p)
		}
	})
}

func TestChangesOfMigrationsArePlanned(t *testing.T) {
	play(t, 120, 40, Options{}, nil, func(s *stage) {
		s.core.ForbidChanges("--read-only") // planning is reading
		s.tabOf("prod", "3")
		s.Press("/")
		s.Type("000046")
		s.Press("enter")
		const usual = `"lock_timeout":"2s","statement_timeout":"15m0s","patience":"5m0s"`
		planned := func(kind, request, cli string) {
			t.Helper()
			all := s.core.Planned()
			if len(all) == 0 {
				t.Fatalf("nothing was planned:\n%s", s.Screen())
			}
			last := all[len(all)-1]
			got, err := json.Marshal(last.Request)
			if err != nil || last.Kind != kind || last.Environment != "prod" || last.Instance != "orders-main" || string(got) != request {
				t.Errorf("planned %s %s %v, want %s %s", last.Kind, got, err, kind, request)
			}
			s.Press("y")
			if s.Clipboard != cli {
				t.Errorf("the command line is %s, want %s", s.Clipboard, cli)
			}
			s.Press("esc")
			s.Want("[3 Migrat")
		}
		s.Press("u", "enter", "enter", "enter", "enter", "enter", "enter")
		planned(migrate.UpKind, `{"sets":["orders"],`+usual+`,"concurrency":4,"rehearse":true}`, "dbops migrate up -e prod orders")
		s.Press("u", "right", "enter", "right", "enter", "left", "enter", "enter", "right", "enter")
		planned(migrate.UpKind, `{"sets":["carts","orders"],"late":true,`+usual+`,"end_blockers":true,"concurrency":4}`,
			"dbops migrate up -e prod -i orders-main --out-of-order --end-blockers --rehearse=false")
		s.Press("d", "enter", "enter", "enter", "enter")
		planned(migrate.DownKind, `{"set":"orders","steps":1,`+usual+`,"rehearse":true}`, "dbops migrate down -e prod orders")
		s.Press("t", "enter", "enter", "enter", "enter")
		planned(migrate.UpKind, `{"sets":["orders"],"to":46,`+usual+`,"rehearse":true}`, "dbops migrate goto -e prod orders 46")
		s.Press("t", "backspace", "backspace")
		s.Type("43")
		s.Press("enter", "enter", "enter", "enter")
		planned(migrate.DownKind, `{"set":"orders","to":43,`+usual+`,"rehearse":true}`, "dbops migrate goto -e prod orders 43")
		s.Press("t", "backspace", "backspace")
		s.Type("99")
		s.Press("enter", "enter", "enter", "enter")
		s.Want("x the folder has no version 99")
		s.Press("esc", "m", "right", "enter", "backspace")
		s.Type("5")
		s.Press("enter")
		s.Type("looked by hand")
		s.Press("enter", "enter", "enter")
		planned(migrate.RepairKind, `{"set":"orders","version":45,"reason":"looked by hand",`+usual+`}`, "dbops migrate repair -e prod orders --at 45 --reason 'looked by hand'")
		s.Press("b")
		if n := len(s.core.Planned()); n != 6 {
			t.Errorf("%d plans", n)
		}
	})
}

func TestMigrationsThatCannotBeRead(t *testing.T) {
	play(t, 80, 24, Options{}, nil, func(s *stage) {
		s.core.FailMigrations(0, fault.New(fault.Config, "read the migrations in /src/shop", errors.New("permission denied")).Hint("check the folder"))
		s.tabOf("prod", "3")
		s.Want("x read the migrations in /src/shop: permission denied", "check the folder")
		s.Press("enter", "u")
		s.Want("up: no database is selected")
		s.core.FailMigrations(0, nil)
		s.Press("r")
		s.Want("000044_backfill")
		s.core.FailMigrations(time.Hour, nil)
		s.Press("G", "l", "p")
		s.Want("REHEARSAL OF orders", "~ on a scratch copy", "start a scratch server")
		s.Press("ctrl+c")
		s.Want("it was cancelled")
		s.Press("p")
		s.Pass(11 * time.Minute)
		s.Want("no answer within 10m0s")
	})
	play(t, 80, 24, Options{}, nil, func(s *stage) {
		s.Press("enter", "3")
		s.Want("names no migrations")
	})
}

func TestFramesOfMigrations(t *testing.T) {
	last := func(s *stage) { s.tabOf("prod", "3"); s.Press("G", "k") }
	shots(t, map[string]func(*stage){
		"list":      last,
		"file":      func(s *stage) { last(s); s.Press("enter") },
		"history":   func(s *stage) { last(s); s.Press("h") },
		"rehearsal": func(s *stage) { last(s); s.Press("p") },
		"up":        func(s *stage) { last(s); s.Press("u") },
		"dirty": func(s *stage) {
			s.core.EditMigrations(func(m *app.MigrationSet) { fake.Dirty(m); fake.Unreachable(m) })
			s.tabOf("prod", "3")
			s.Press("j", "j", "j", "j")
		},
		"ways": func(s *stage) { s.core.EditMigrations(fake.Dirty); last(s); s.Press("e") },
		"failed": func(s *stage) {
			last(s)
			s.core.FailMigrations(0, fault.New(fault.Config, "read the migrations in /src/shop", errors.New("permission denied")).Hint("check the folder"))
			s.Pass(40 * time.Second)
		},
	})
}
