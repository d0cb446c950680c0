package tui

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"dbops/internal/app"
	"dbops/internal/creds"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/state"
)

// rotating lets a rotation of shop-api run on prod's orders-main.
func rotating(s *stage, st state.RunState) {
	request, err := json.Marshal(creds.RotateRequest{Containers: []string{"shop-api"}})
	if err != nil {
		panic(err)
	}
	s.core.Put(app.RunView{
		Run: state.Run{
			ID: "r7f3a", Kind: creds.RotateKind, Environment: "prod", Instance: "orders-main", State: st, Step: "drain", Alive: st == state.Running,
			Created: s.model().now, Updated: s.model().now.Add(-3 * time.Minute),
		},
		Plan: &op.Plan{Request: request, Steps: []op.StepInfo{
			{Name: "set"}, {Name: "drain", Title: "wait until nobody is logged in with the old credential"}, {Name: "scrub"},
		}},
	})
}

// tabOf opens a tab of orders-main.
func (s *stage) tabOf(env, key string) {
	s.Press("/")
	s.Type("orders-main " + env)
	s.Press("enter", "enter", key)
}

func TestCredentialsOfAnInstance(t *testing.T) {
	play(t, 120, 40, Options{RefreshEvery: 10 * time.Second}, nil, func(s *stage) {
		rotating(s, state.Running)
		s.tabOf("prod", "4")
		s.Want("[4 Cred", "~ rotate shop-api runs: step 2 of 3, wait until nobody is logged in with the old credential, for 3m")
		for container, want := range map[string]string{
			"  shop-legacy": "! revoked", "  shop-mailer": "! no credential", "  shop-reports": "x login fails", "  shop-worker": "! 1 finding", "> shop-api": "~ rotate runs",
		} {
			if l := s.Line(container); !strings.Contains(l, want) {
				t.Errorf("no %q in %q", want, l)
			}
		}
		if l := s.Line("  shop-worker"); !strings.Contains(l, "* 20") || !strings.Contains(l, "! 2") {
			t.Errorf("sessions: %q", l)
		}
		s.Press("s")
		if l := s.Line("CONTAINER"); l == "" || strings.Index(s.Screen(), "  shop-legacy") > strings.Index(s.Screen(), "  shop-reports") {
			t.Error("the oldest credential does not come first")
		}
		s.Press("/")
		s.Type("reports")
		s.Want("/reports_  1 of 5 containers")
		s.Press("enter", "enter")
		s.Want("does not log in, tried", "28P01", "next: dbops creds repair -e prod shop-reports", "/etc/shop/reports.json", "previous 4f0c91de of shop_reports_b")
		s.Press("esc", "esc")
		s.WantNot("1 of 5")
		s.Press("s", "g", "o")
		s.Want("orders-main › run r7f3a")
		s.Press("esc")
		tries := func() int {
			return len(slices.DeleteFunc(s.core.Looks(), func(l creds.Look) bool { return !l.Login }))
		}
		looks := len(s.core.Looks())
		s.Pass(25 * time.Second)
		if n := len(s.core.Looks()) - looks; n != 2 || tries() != 1 {
			t.Errorf("%d looks in 25 s, %d logins tried in all", n, tries())
		}
		s.Press("c")
		if tries() != 2 {
			t.Error("c tried nothing")
		}
		s.Press("u")
		s.Want("bi_import can log in", "! unknown", "slot b of shop-api", "SESSIONS")
		s.Press("esc")
		s.Want("> shop-api")
	})
}

func TestChangesOfCredentialsArePlanned(t *testing.T) {
	play(t, 120, 40, Options{}, nil, func(s *stage) {
		s.core.ForbidChanges("--read-only") // planning is reading
		s.tabOf("prod", "4")
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
			s.Want(cli)
			s.Press("esc")
			s.Want("[4 Cred")
		}
		s.Press("t", "enter", "enter", "enter", "enter", "enter")
		planned(creds.RotateKind, `{"containers":["shop-api"],"grace":"30s","polls":3,"soak":"5m0s"}`, "dbops creds rotate -e prod shop-api")
		s.Press("t", "right", "right", "enter", "enter", "enter", "enter", "enter", "enter")
		planned(creds.RotateKind, `{"containers":["shop-mailer","shop-reports"],"grace":"30s","polls":3,"soak":"5m0s"}`, "dbops creds rotate -e prod -i orders-main --older-than 90d")
		s.Press("t", "enter", "right", "enter", "enter")
		s.Want("x say why the old one is ended at once")
		s.Type("in a log")
		s.Press("enter")
		planned(creds.RotateKind, `{"containers":["shop-api"],"grace":"30s","polls":3,"soak":"5m0s","compromised":true,"reason":"in a log"}`,
			"dbops creds rotate -e prod shop-api --compromised --reason 'in a log'")
		s.Press("b", "enter", "enter")
		planned(creds.RollbackKind, `{"containers":["shop-api"],"grace":"30s","polls":3}`, "dbops creds rollback -e prod shop-api")
		s.Press("m")
		planned(creds.RepairKind, `{"containers":["shop-api"]}`, "dbops creds repair -e prod shop-api")
		s.Press("x", "enter")
		planned(creds.RevokeKind, `{"container":"shop-api"}`, "dbops creds revoke -e prod shop-api")
		s.Press("i")
		s.Want("issue: it has a credential: rotate it (t)")
		s.Press("j", "j", "i")
		planned(creds.IssueKind, `{"container":"shop-mailer"}`, "dbops creds issue -e prod shop-mailer")
		s.Press("d")
		s.Type("svc_mail")
		s.Press("enter")
		s.Type("secret")
		s.Press("enter")
		s.Want("that names no place")
		for range len("secret") {
			s.Press("backspace")
		}
		s.Press("enter")
		planned(creds.AdoptKind, `{"container":"shop-mailer","login":"svc_mail"}`, "dbops creds adopt -e prod shop-mailer --login svc_mail")
	})
}

func TestCredentialsThatCannotBeRead(t *testing.T) {
	denied := fault.New(fault.Unavailable, "log in to prod/orders-main", errors.New("dial tcp: i/o timeout")).Hint("open the VPN")
	play(t, 80, 24, Options{}, nil, func(s *stage) {
		s.core.FailCredentials(0, denied)
		s.tabOf("prod", "4")
		s.Want("x log in to prod/orders-main: dial tcp: i/o timeout", "open the VPN")
		s.Press("enter", "t")
		s.Want("rotate: no container is selected")
		s.core.FailCredentials(0, nil)
		s.Press("r", "c")
		s.Want("> shop-api", "logs in")
		s.core.FailCredentials(time.Hour, nil)
		s.Press("r")
		s.Want("~ reading", "> shop-api")
		s.Press("ctrl+c")
		s.WantNot("~ reading")
		s.Press("r")
		s.Pass(46 * time.Second)
		s.Want("no answer within 45s", "> shop-api")
	})
	play(t, 80, 24, Options{}, nil, func(s *stage) {
		s.Press("enter", "4")
		s.Want("declares no container")
	})
}

func TestFramesOfCredentials(t *testing.T) {
	shots(t, map[string]func(*stage){
		"list":   func(s *stage) { rotating(s, state.Running); s.tabOf("prod", "4"); s.Press("G") },
		"one":    func(s *stage) { s.tabOf("prod", "4"); s.Press("j", "j", "j", "enter") },
		"audit":  func(s *stage) { s.tabOf("staging", "4"); s.Press("u") },
		"rotate": func(s *stage) { s.tabOf("prod", "4"); s.Press("t", "right", "right") },
		"failed": func(s *stage) {
			s.tabOf("prod", "4")
			s.core.FailCredentials(0, fault.New(fault.Unavailable, "log in to prod/orders-main", errors.New("dial tcp 10.3.4.8:5432: i/o timeout")).Hint("open the VPN, or set a bastion in dbops.yaml"))
			s.Pass(40 * time.Second)
		},
	})
}
