package tui

import (
	"testing"
	"time"

	"dbops/internal/backup"
	"dbops/internal/cloud"
)

func TestBackupsAreRestoredDrilledAndConfiguredThroughPlans(t *testing.T) {
	play(t, 120, 40, Options{}, mend, func(s *stage) {
		s.tab("prod", "orders-main", "Backups")
		s.Want("from 6d back to 5m ago", "~ creating", "x 1h48m0s, the target is 1h0m0s", "4m0s, within the target of 5m0s")
		s.Press("enter")
		s.Want("restore this: this backup is not ready: it is creating")
		planned := func(cli string) {
			t.Helper()
			s.Want("PROTECTED  prod  orders-main › plan")
			s.Press("y")
			if s.Clipboard != cli {
				t.Errorf("copied %q, want %q", s.Clipboard, cli)
			}
			s.Press("esc")
			s.Want("[8 Backups]")
		}
		s.Press("j", "enter")
		s.Want("This backup is rds:orders-prod-2026-11-21-00-12.", "[this backup]")
		s.Press("down", "enter")
		s.Want("x new instance is needed")
		s.Type("orders-2")
		s.Press("enter")
		planned("dbops backup restore -e prod orders-main --backup rds:orders-prod-2026-11-21-00-12 --to orders-2")
		s.Press("t", "right", "down")
		s.Type("yesterday")
		s.Press("down")
		s.Type("orders-3")
		s.Press("enter")
		s.Want(`x "yesterday" is no moment: write it as in 2026-11-28T03:15:00Z`)
		s.Press("up", "ctrl+u")
		s.Type("2026-11-20T03:15:00Z")
		s.Press("down", "enter")
		planned("dbops backup restore -e prod orders-main --at 2026-11-20T03:15:00Z --to orders-3")
		s.Press("d", "down")
		s.Type("orders")
		s.Press("down", "right", "enter")
		planned("dbops backup drill -e prod orders-main --database orders --keep")
		s.Press("o")
		s.Want("days kept", "0 turns them off")
		s.Press("down", "enter")
		s.Want("x nothing is changed")
		s.Press("up", "ctrl+u")
		s.Type("x")
		s.Press("down", "enter")
		s.Want("x x is no number")
		s.Press("up", "ctrl+u")
		s.Type("30")
		s.Press("down", "enter")
		planned("dbops backup configure -e prod orders-main --retention 30")
		s.Press("b")
		s.Type("before")
		s.Press("enter")
		planned("dbops backup create -e prod orders-main --label before")
		s.Press("n")
		s.Type("orders-new")
		s.Press("enter")
		planned("dbops rename -e prod orders-main --to orders-new")
		s.Press("p")
		s.Want("it is protected already")

		got := s.core.Planned()
		if len(got) != 6 {
			t.Fatalf("%d plans: %+v", len(got), got)
		}
		if r := got[1].Request.(backup.RestoreRequest); !r.Time.Equal(time.Date(2026, 11, 20, 3, 15, 0, 0, time.UTC)) || r.Latest || r.Backup != "" {
			t.Errorf("restore %+v", r)
		}
		if r := got[2].Request.(backup.DrillRequest); !r.Keep || len(r.Databases) != 1 || r.Targets.RTO == 0 {
			t.Errorf("drill %+v", r)
		}
		if r := got[3].Request.(backup.ConfigureRequest); r.RetentionDays == nil || *r.RetentionDays != 30 || r.Enabled != nil || r.Window != nil {
			t.Errorf("configure %+v", r)
		}
		if r := got[5].Request.(backup.RenameRequest); len(r.Names) == 0 {
			t.Errorf("rename %+v", r)
		}
	})
}

func TestBackupsThatAreOffOrNobodysAreToldSo(t *testing.T) {
	play(t, 120, 40, Options{}, mend, func(s *stage) {
		s.tab("staging", "billing", "Backups")
		s.Want("! no: only what a backup holds", "! off", "there is no backup", "never by dbops")
		s.Press("o", "down", "down", "down", "right", "down", "right", "enter")
		s.Want("› plan")
		s.Press("y")
		if want := "dbops backup configure -e staging billing --enabled=true --pitr=true"; s.Clipboard != want {
			t.Errorf("copied %q", s.Clipboard)
		}
		s.Press("esc", "esc")
		s.tab("dev", "local", "Backups")
		s.Want("No cloud makes backups of local")
		s.Press("b")
		s.Want("back up: no cloud makes backups of a plain server")
	})
}

// A protected environment says what it lacks; the same elsewhere is no alarm.
func TestABackupThatFailedAndAMissingGuardAreMarked(t *testing.T) {
	play(t, 120, 40, Options{}, mend, func(s *stage) {
		s.core.Change("prod/orders-main", func(i *cloud.Instance) { i.DeletionProtection = false })
		s.tab("prod", "orders-main", "Backups")
		s.Want("! not protected")
		s.Press("p")
		s.Want("› plan")
	})
}

// A window that the instance is too young for is promised nowhere.
func TestAYoungInstanceIsNotSaidToReachFurtherBackThanItself(t *testing.T) {
	play(t, 200, 60, Options{}, mend, func(s *stage) {
		now := s.model().now
		s.core.Change("prod/orders-main", func(i *cloud.Instance) { i.Created = now.Add(-23 * time.Minute) })
		s.tab("prod", "orders-main", "Overview")
		s.Press("r")
		s.Want("reaches back 23m of 14 days")
		s.Press("8")
		s.Want("to a moment  ! not yet: there is no automatic backup")
		s.core.Change("prod/orders-main", func(i *cloud.Instance) { i.Backups.EarliestRestorable = now.Add(-20 * time.Minute) })
		s.Press("r")
		s.Want("to a moment  from 20m back to 5m ago")
	})
}
