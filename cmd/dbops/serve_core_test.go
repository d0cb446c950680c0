package main

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"dbops/internal/app"
	"dbops/internal/config"
	"dbops/internal/fault"
	"dbops/internal/tui"
)

// What the terminal UI does on the machine that it runs on must not happen on a server that people log in to. Each method of its core is one
// that reads, one of [app.Desk], which knows who asks and what they may do, or one that guestCore refuses.
func TestEveryMethodOfTheCoreIsJudgedForPeopleElsewhere(t *testing.T) {
	t.Parallel()
	judged := map[string][]string{
		"reads": {
			"Instances", "Status", "Loads", "ReadOnly", "NoVotes", "Elsewhere", "Runs", "View", "Follow", "Approvals", "PlanChange", "Availability", "Credentials",
			"AuditCredentials", "Recovery", "CredentialAges", "Drifts",
			"AuditEntries", "VerifyAudit", "Attention", "Approval", "Drift", "Certificates", "LiveFigures", "LiveSession", "LiveSessions", "MigrationSets",
			"InspectMigrations", "RepairWays", "LintSets", "LintPending", "FollowRehearsal", "UpgradeOffers", "Upgrading",
		},
		"asks":    {"Begin", "Decide", "Resume", "Vote"},
		"refused": {"OpenProxy", "SavePlan", "FetchKit", "ClientRequest", "SaveUpgradeReport"},
	}
	var all []string
	for _, names := range judged {
		all = append(all, names...)
	}
	core := reflect.TypeFor[tui.Core]()
	for i := range core.NumMethod() {
		name := core.Method(i).Name
		if !slices.Contains(all, name) {
			t.Errorf("%s: does it write a file, listen, show a secret, or change something without asking the desk? Then refuse it in guestCore; name it here", name)
		}
	}
}

func TestPeopleElsewhereOpenNoProxyAndWriteNoFile(t *testing.T) {
	t.Parallel()
	c := guestCore{}
	if c.Elsewhere() == "" || c.core.Elsewhere() != "" {
		t.Error("the screen does not know beforehand")
	}
	_, err := c.OpenProxy(t.Context(), app.ProxyOptions{Environment: "prod"})
	if fault.KindOf(err) != fault.Denied || !strings.Contains(fault.HintOf(err), "dbops proxy -e prod") {
		t.Error(err)
	}
	_, kit := c.FetchKit(t.Context(), app.KitRequest{Environment: "prod", Instance: "main", Dir: "/etc"})
	_, client := c.ClientRequest(t.Context(), "prod", "main", "bi", "/etc", "", "")
	for _, err := range []error{c.SavePlan(nil, "/etc/passwd"), kit, client, c.SaveUpgradeReport(t.Context(), "r1", "/etc/passwd")} {
		if fault.KindOf(err) != fault.Denied || fault.HintOf(err) == "" {
			t.Error(err)
		}
	}
}

func TestTheDeskOfAGuest(t *testing.T) {
	t.Parallel()
	for right, want := range map[config.Right][2]bool{
		config.MayRead: {true, false}, "": {true, false}, "anything": {true, false}, config.MayChange: {false, true}, config.MayApprove: {false, false},
	} {
		o := deskOf(app.Guest{Name: "alice", Right: right}, nil)
		if got := [2]bool{o.ReadOnly != "", o.NoVotes != ""}; got != want || o.As.Name != "alice" || !o.As.Verified() {
			t.Errorf("%q: read only, no votes: %v", right, got)
		}
	}
}
