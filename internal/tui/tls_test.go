package tui

import (
	"testing"

	"dbops/internal/certs"
	"dbops/internal/cloud"
	"dbops/internal/fault"
)

func TestTLSIsCheckedAndChangedThroughPlans(t *testing.T) {
	play(t, 120, 40, Options{}, mend, func(s *stage) {
		planned := func(cli string) {
			t.Helper()
			s.Want("› plan")
			s.Press("y")
			if s.Clipboard != cli {
				t.Errorf("copied %q, want %q", s.Clipboard, cli)
			}
			s.Press("esc")
		}
		s.tab("prod", "orders-main", "TLS")
		s.Want("right: a handshake works", "340 days left", "TLS 1.3", "required (rds.force_ssl=1)", "active ca")
		s.Press("n")
		s.Want("new client: RDS makes no client certificates")
		s.Press("t", "right", "down", "right", "enter")
		planned("dbops certs rotate-ca -e prod orders-main --to rds-ca-ecc384-g1 --in-window")
		s.Press("esc")
		s.tab("prod", "ledger", "TLS")
		s.Want("! 21 days left", "laptop-ann", "! 19 days", "required: each has its own", "next: ")
		s.Press("x")
		s.Want("revoke: select a client certificate first")
		s.Press("G", "x")
		planned("dbops certs revoke-client -e prod ledger metabase")
		s.Press("n")
		s.Type("bi")
		s.Press("down", "enter")
		planned("dbops certs create-client -e prod ledger bi --dir certs/prod-ledger-bi")
		s.Press("t", "right", "enter")
		planned("dbops certs rotate-ca -e prod ledger --back")
		got := s.core.Planned()
		if len(got) != 4 || got[0].Request.(certs.RotateRequest).When != cloud.CAInWindow || got[1].Request.(certs.RevokeRequest).Client != "metabase" ||
			got[2].Request.(certs.CreateRequest).Dir != "certs/prod-ledger-bi" || !got[3].Request.(certs.RotateRequest).Back {
			t.Errorf("planned %+v", got)
		}
	})
}

func TestFilesForClientsAreWrittenUnlessNothingMayBe(t *testing.T) {
	play(t, 120, 40, Options{}, mend, func(s *stage) {
		s.tab("prod", "orders-main", "TLS")
		s.Press("f", "down", "down", "enter")
		s.Want("written: certs/prod-orders-main/root.crt", "the settings have no user")
		if got := s.core.Fetched(); len(got) != 1 || got[0].Dir != "certs/prod-orders-main" || got[0].Instance != "orders-main" {
			t.Errorf("fetched %+v", got)
		}
	})
	play(t, 120, 40, Options{}, mend, func(s *stage) {
		s.core.FailKits(fault.Newf(fault.Config, "write root.crt", "not a directory"))
		s.tab("prod", "orders-main", "TLS")
		s.Press("f")
		s.Type("2")
		s.Press("down", "down", "enter")
		s.Want("Files for clients", "certs/prod-orders-main2", "x not a directory")
		s.core.FailKits(nil)
		s.Press("backspace", "3", "down", "down", "enter") // keys go on being what is typed
		s.Want("written: certs/prod-orders-main3/root.crt")
	})
	play(t, 80, 24, Options{}, mend, func(s *stage) {
		s.tab("staging", "search", "TLS") // it is stopped
		s.Want("! reach:", "x not reached, so not checked")
		s.Press("esc")
		s.tab("dev", "local", "TLS")
		s.Want("no provider vouches for it")
		s.Press("t")
		s.Want("no cloud manages the certificates")
	})
}
