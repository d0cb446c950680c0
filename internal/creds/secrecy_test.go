package creds

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/sandbox/pgtest"
	"dbops/internal/sandbox/statetest"
	"dbops/internal/secret"
	"dbops/internal/state"
)

// Neither the server's log with every statement, nor what dbops keeps of plans, runs and audit, holds a password.
func TestNoLogAndNoJournalHoldsAPassword(t *testing.T) {
	t.Parallel()
	server := pgtest.StartOwn(t, 16)
	super := server.Superuser(t, "postgres")
	for _, sql := range []string{"ALTER SYSTEM SET log_statement = 'all'", "ALTER SYSTEM SET log_min_error_statement = 'debug5'", "SELECT pg_reload_conf()"} {
		_, err := super.Exec(t.Context(), sql)
		must(t, err)
	}
	s := newStage(t, server, 2)
	place := statetest.New(t, "sqlite")
	b := newBench(t, s, place, s.deps())
	b.issueAll(t)
	var passwords []string
	remember := func() {
		for _, c := range s.Containers {
			l, _ := s.current(t, c)
			passwords = append(passwords, l.Password.Reveal())
		}
	}
	remember()
	b.does(t, RotateKind, b.rotation(), state.Done)
	remember()
	r := b.rotation()
	r.Compromised, r.Reason = true, "a test"
	b.does(t, RotateKind, r, state.Done)
	remember()
	b.does(t, RevokeKind, RevokeRequest{Container: s.Containers[0].Name, Reason: "a test"}, state.Done)
	_, err := super.Exec(t.Context(), "SELECT 'the log is written to here'")
	must(t, err)

	log, err := os.ReadFile(serverLog(t, server))
	must(t, err)
	if !bytes.Contains(log, []byte("the log is written to here")) || !bytes.Contains(log, []byte("SCRAM-SHA-256$4096:")) {
		t.Fatal("the server's log does not hold the statements")
	}
	texts := map[string][]byte{"the server's log": log}
	must(t, filepath.WalkDir(place.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		texts[path], err = os.ReadFile(path)
		return err
	}))
	if len(texts) < 2 {
		t.Fatal("the state is not there")
	}
	for name, text := range texts {
		for _, p := range passwords {
			if bytes.Contains(text, []byte(p)) {
				t.Errorf("%s holds a password", name)
			}
		}
	}
}

func serverLog(t *testing.T, s *pgtest.Server) string {
	t.Helper()
	var dir string
	must(t, s.Superuser(t, "postgres").QueryRow(t.Context(), "SHOW data_directory").Scan(&dir))
	return filepath.Join(filepath.Dir(dir), "postgres.log")
}

func TestARevokedContainerGetsInNoMoreUntilItIsIssuedAnew(t *testing.T) {
	t.Parallel()
	b := start(t, 17, 1)
	c := b.Containers[0]
	old, _ := b.current(t, c)
	conn, err := b.login(t.Context(), b.Database, old)
	must(t, err)
	b.does(t, RevokeKind, RevokeRequest{Container: c.Name}, state.Done)
	if _, err := conn.Exec(t.Context(), "SELECT 1"); err == nil {
		t.Error("its session lives")
	}
	if _, err := b.login(t.Context(), b.Database, old); sqlState(err) == "" {
		t.Errorf("it logs in: %v", err)
	}
	r := b.rotation() // gives no access back by the way
	for range 2 {
		if got := checks(b.plan(t, RotateKind, r), op.Block); len(got) != 1 || got[0] != "disabled" {
			t.Errorf("blocked by %v", got)
		}
		r.Compromised, r.Reason = true, "a test"
	}
	b.does(t, IssueKind, IssueRequest{Container: c.Name}, state.Done)
	now, _ := b.current(t, c)
	b.serves(t, c, now, "after it was issued anew")

	// A new credential for a server that it does not log in to is none.
	b.does(t, RevokeKind, RevokeRequest{Container: c.Name}, state.Done)
	path := strings.TrimPrefix(c.Places[0], "file:")
	text, err := os.ReadFile(path)
	must(t, err)
	must(t, os.WriteFile(path, []byte(strings.ReplaceAll(string(text), b.Host, "192.0.2.7")), 0o600))
	p := b.plan(t, IssueKind, IssueRequest{Container: c.Name})
	if got := checks(p, op.Block); len(got) != 1 || got[0] != "other-server" || !strings.Contains(p.Blocked()[0].Evidence, "192.0.2.7") {
		t.Errorf("blocked by %+v", p.Blocked())
	}
	if got := checks(b.plan(t, RotateKind, b.rotation()), op.Warn); !slices.Contains(got, "other-server") {
		t.Errorf("a rotation warns of %v", got)
	}
}

func TestRollbackAfterARunThatWasLeft(t *testing.T) {
	t.Parallel()
	b := start(t, 15, 1)
	c := b.Containers[0]
	old, version := b.current(t, c)
	conn, err := b.login(t.Context(), b.Database, old)
	must(t, err)
	b.deps.Pace.Patience = 1 // nobody waits
	b = newBench(t, b.stage, statetest.New(t, "sqlite"), b.deps)
	id := b.submit(t, b.plan(t, RotateKind, b.rotation()))
	if run := b.attach(t, id); run.State != state.Parked || run.Step != stepDrain {
		t.Fatalf("the run is %s at %s: %s", run.State, run.Step, run.Problem)
	}
	b.tell(t, id, state.Abandon)
	b.attach(t, id)
	must(t, conn.Close(t.Context()))
	newer, _ := b.current(t, c)
	if newer.User == old.User {
		t.Fatal("it was not rotated")
	}
	b.does(t, RollbackKind, RollbackRequest{Containers: b.names(), Polls: 1}, state.Done)
	now, back := b.current(t, c)
	if now.User != old.User || back != version {
		t.Errorf("current is %s, version %s", now.User, back)
	}
	b.serves(t, c, now, "a fresh container")
	b.serves(t, c, b.running(t, c), "the running container")
	if r := b.roles(t, c); !r[SlotA] || r[SlotB] {
		t.Errorf("slots that may log in: %v", r)
	}
}

func TestAnAdoptedLoginIsRotatedToASlot(t *testing.T) {
	t.Parallel()
	for _, major := range majors {
		t.Run(map[int]string{15: "15", 17: "17"}[major], func(t *testing.T) {
			t.Parallel()
			s := newStage(t, pgtest.Start(t, major), 1)
			c := s.Containers[0]
			super := pgtest.Start(t, major).Superuser(t, s.Database)
			legacy := "svc" + strings.TrimPrefix(s.Owner, "owner")
			v, err := verifierOf("the-old-password")
			must(t, err)
			for _, sql := range []string{
				"CREATE ROLE all" + legacy, "CREATE ROLE " + legacy + " LOGIN PASSWORD '" + v + "'", "GRANT all" + legacy + " TO " + legacy,
				"GRANT USAGE ON SCHEMA app TO all" + legacy, "GRANT INSERT, SELECT ON app.item TO all" + legacy,
				"GRANT CREATE, USAGE ON SCHEMA app TO " + legacy, "CREATE TABLE app.its (id int)", "ALTER TABLE app.its OWNER TO " + legacy,
				"GRANT " + legacy + ", all" + legacy + " TO " + s.Admin + " WITH ADMIN OPTION",
			} {
				if _, err := super.Exec(t.Context(), sql); err != nil {
					t.Fatal(strings.Fields(sql)[:2], err)
				}
			}
			where := filepath.Join(s.Dir, "legacy")
			must(t, os.WriteFile(where, []byte("the-old-password\n"), 0o600))
			must(t, os.WriteFile(filepath.Join(s.Dir, c.Name+".runs"), nil, 0o600))
			b := newBench(t, s, statetest.New(t, "sqlite"), s.deps())
			if major >= 16 { // a membership may be there once for each who granted it
				_, err := super.Exec(t.Context(), "GRANT all"+legacy+" TO "+legacy+" GRANTED BY "+s.Admin)
				must(t, err)
			}
			s.declare("other-" + legacy)
			if got := checks(b.plan(t, AdoptKind, AdoptRequest{Container: "other-" + legacy, Login: SlotRole(c.Name, SlotA)}), "block"); !slices.Contains(got, "no-role") {
				t.Errorf("a role that is not there: %v", got)
			}
			request := AdoptRequest{Container: c.Name, Login: legacy}
			if got := checks(b.plan(t, AdoptKind, request), "block"); len(got) != 1 || got[0] != "no-password" {
				t.Errorf("without its password: %v", got)
			}
			request.Secret = "the-old-password"
			if _, err := b.Plan(t.Context(), op.PlanRequest{Kind: AdoptKind, Target: b.target(), Request: request, Requester: actor}); fault.KindOf(err) != fault.Usage ||
				strings.Contains(err.Error()+fault.HintOf(err), "the-old-password") {
				t.Errorf("a password in place of its place: %v", err)
			}
			request.Secret = "file:" + where
			must(t, os.WriteFile(where, []byte("another-password\n"), 0o600))
			if got := checks(b.plan(t, AdoptKind, request), "block"); len(got) != 1 || got[0] != "no-password" {
				t.Errorf("with a wrong password: %v", got)
			}
			must(t, os.WriteFile(where, []byte(`{"password":"the-old-password"}`), 0o600))
			request.Secret += "#password"
			p := b.plan(t, AdoptKind, request)
			if groups := slices.IndexFunc(p.Changes, func(c op.Change) bool { return c.To == "all"+legacy }); groups < 0 || !slices.Contains(checks(p, "info"), "not-acting") {
				t.Errorf("%+v", p)
			}
			b.does(t, AdoptKind, request, state.Done)
			if got := checks(b.plan(t, AdoptKind, AdoptRequest{Container: "other-" + legacy, Login: legacy}), "block"); !slices.Contains(got, "others-slot") {
				t.Errorf("another container's slot: %v", got)
			}
			s.Containers = s.Containers[:1]
			if l, _ := s.current(t, c); l.User != legacy || !l.Password.Equal("the-old-password") {
				t.Errorf("current is %s", l.User)
			}
			conn, err := s.login(t.Context(), s.Database, Login{legacy, secret.New("the-old-password")})
			must(t, err)
			if _, err := conn.Exec(t.Context(), "INSERT INTO app.item (note) VALUES ('as before'); INSERT INTO app.its VALUES (1)"); err != nil {
				t.Errorf("it does not work as before: %v", err)
			}
			must(t, conn.Close(t.Context()))
			var owner string
			must(t, super.QueryRow(t.Context(), "SELECT relowner::regrole::text FROM pg_class WHERE oid = 'app.its'::regclass").Scan(&owner))
			if owner != s.Owner {
				t.Errorf("its table belongs to %s", owner)
			}
			for _, want := range []string{SlotRole(c.Name, SlotB), legacy} { // and back to the adopted one, which acts as the group from now on
				b.does(t, RotateKind, b.rotation(), state.Done)
				l, _ := s.current(t, c)
				if l.User != want {
					t.Errorf("current is %s, want %s", l.User, want)
				}
				s.serves(t, c, l, "a fresh container")
			}
		})
	}
}

func TestListAndAuditTellWhatIsWrong(t *testing.T) {
	t.Parallel()
	b := start(t, 17, 1)
	c := b.Containers[0]
	super := pgtest.Start(t, 17).Superuser(t, b.Database)
	slot := SlotRole(c.Name, SlotA)
	l, _ := b.current(t, c)
	conn, err := b.login(t.Context(), b.Database, l)
	must(t, err)
	defer func() { _ = conn.Close(t.Context()) }()
	all, err := b.deps.List(t.Context(), b.target(), Look{Login: true}, t0)
	must(t, err)
	if len(all) != 1 || all[0].Active != SlotA || all[0].Sessions[SlotA] != 1 || all[0].Sessions[SlotB] != 0 || all[0].Created.IsZero() || len(all[0].Findings) != 0 || all[0].Works == nil || !*all[0].Works {
		t.Errorf("%+v", all)
	}
	stranger := "stranger_" + b.Owner
	for _, sql := range []string{
		"CREATE TABLE app.mine (id int)", "ALTER TABLE app.mine OWNER TO " + slot, "GRANT SELECT ON app.item TO " + slot, "ALTER ROLE " + slot + " CREATEDB",
		"CREATE ROLE " + stranger + " LOGIN CREATEROLE", "GRANT CREATE ON SCHEMA app TO PUBLIC",
	} {
		_, err := super.Exec(t.Context(), sql)
		must(t, err)
	}
	r, err := b.deps.Audit(t.Context(), b.target(), nil, t0) // dbops itself is known
	must(t, err)
	found := map[string]bool{}
	for _, f := range r.Findings {
		if strings.Contains(f.Text, slot) || strings.Contains(f.Text, stranger) || strings.Contains(f.Text, "schema app") {
			found[f.Check] = true
		}
		if strings.Contains(f.Text, b.Admin+" can log in") {
			t.Errorf("a declared login: %s", f.Text)
		}
	}
	for _, want := range []string{"slot-owns", "slot-rights", "too-mighty", "undeclared-mighty", "open-schema"} {
		if !found[want] {
			t.Errorf("%s is not found: %+v", want, r.Findings)
		}
	}
	v, err := verifierOf("another")
	must(t, err)
	_, err = super.Exec(t.Context(), fmt.Sprintf("ALTER ROLE %s PASSWORD '%s'", slot, v))
	must(t, err)
	for _, look := range []Look{{}, {Login: true}, {Login: true, Patience: 1}} {
		all, err := b.deps.List(t.Context(), b.target(), look, t0)
		must(t, err)
		want := map[bool]string{true: "current-fails", false: ""}[look.Login]
		if look.Patience == 1 {
			want = "not-tried"
		}
		if found := slices.ContainsFunc(all[0].Findings, func(f op.Finding) bool { return f.Check == want }); found != (want != "") {
			t.Errorf("with %+v: %+v", look, all[0].Findings)
		}
	}
}

func TestAFileThatIsGoneIsPutBack(t *testing.T) {
	t.Parallel()
	b := start(t, 15, 1)
	c := b.Containers[0]
	path := strings.TrimPrefix(c.Places[0], "file:")
	text, err := os.ReadFile(path)
	must(t, err)
	if p := b.plan(t, RepairKind, RepairRequest{Containers: b.names()}); !p.Nothing() {
		t.Errorf("there is nothing to repair: %+v", p.Changes)
	}
	must(t, os.Remove(path))
	all, err := b.deps.List(t.Context(), b.target(), Look{Login: true}, t0)
	must(t, err)
	if len(all[0].Findings) != 1 || all[0].Findings[0].Check != "not-delivered" || !strings.Contains(all[0].Findings[0].Remedy, "dbops creds repair "+c.Name+" -e prod") {
		t.Errorf("%+v", all[0].Findings)
	}
	if s, err := b.deps.Show(t.Context(), b.target(), c.Name); err != nil || s.Amiss == "" {
		t.Errorf("%+v, %v", s, err)
	}
	b.does(t, RepairKind, RepairRequest{Containers: b.names()}, state.Done)
	if now, err := os.ReadFile(path); err != nil || string(now) != string(text) {
		t.Errorf("it is not as before: %v", err)
	}
	must(t, os.Remove(path))
	p := b.plan(t, RotateKind, b.rotation())
	if got := checks(p, op.Warn); len(got) != 1 || got[0] != "not-delivered" {
		t.Errorf("a rotation warns of %v", got)
	}
	if run := b.attach(t, b.submit(t, p)); run.State != state.Done {
		t.Fatalf("the run is %s at %s: %s", run.State, run.Step, run.Problem)
	}
	now, _ := b.current(t, c)
	b.serves(t, c, now, "a fresh container")
	if _, err := os.Stat(path); err != nil || now.User != SlotRole(c.Name, SlotB) {
		t.Errorf("current is %s: %v", now.User, err)
	}
	b.does(t, RotateKind, b.rotation(), state.Done) // to the slot a, which is the one for what is new

	// Where the versions are lost, too, who runs is left alone.
	running, err := b.login(t.Context(), b.Database, b.running(t, c))
	must(t, err)
	defer func() { _ = running.Close(context.WithoutCancel(t.Context())) }()
	must(t, os.Remove(path))
	must(t, os.Remove(path+".dbops"))
	p = b.plan(t, IssueKind, IssueRequest{Container: c.Name})
	if got := checks(p, op.Warn); len(got) != 1 || got[0] != "both-slots" {
		t.Errorf("an issue warns of %v", got)
	}
	if run := b.attach(t, b.submit(t, p)); run.State != state.Done {
		t.Fatalf("the run is %s at %s: %s", run.State, run.Step, run.Problem)
	}
	if now, _ = b.current(t, c); now.User != SlotRole(c.Name, SlotB) {
		t.Errorf("current is %s", now.User)
	}
	b.serves(t, c, now, "a fresh container")
	if _, err := running.Exec(t.Context(), "SELECT 1"); err != nil || !b.roles(t, c)[SlotA] {
		t.Errorf("who ran was ended: %v", err)
	}
}

func TestADeliveryThatCannotBeWrittenChangesNothing(t *testing.T) {
	t.Parallel()
	b := start(t, 15, 1)
	c := b.Containers[0]
	old, _ := b.current(t, c)
	deps := b.deps
	deps.Place = failingPlace(deps, fault.Newf(fault.Denied, "stage "+c.Places[0], "read-only file system"))
	b = newBench(t, b.stage, statetest.New(t, "sqlite"), deps)
	id := b.submit(t, b.plan(t, RotateKind, b.rotation()))
	run := b.attach(t, id)
	if run.State != state.Parked || run.Step != stepPending || !strings.Contains(run.Problem, "read-only") {
		t.Fatalf("the run is %s at %s: %s", run.State, run.Step, run.Problem)
	}
	b.tell(t, id, state.UndoRun)
	if run := b.attach(t, id); run.State != state.Undone {
		t.Fatalf("the run is %s at %s: %s", run.State, run.Step, run.Problem)
	}
	now, _ := b.current(t, c)
	if now.User != old.User || b.roles(t, c)[SlotB] {
		t.Error("something was changed")
	}
}

// broken is a rollout that fails.
type broken struct{ notes }

func (broken) Start(context.Context, string, string, string) (string, error) {
	return "", fault.Newf(fault.Failed, "roll out", "the image is gone")
}

func TestThereIsNoWayBackToADestroyedCredential(t *testing.T) {
	t.Parallel()
	for name, compromised := range map[string]bool{"it was compromised": true, "somebody changed its password": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, 15, 1)
			c := b.Containers[0]
			deps := b.deps
			deps.Rollout = func(context.Context, op.Target, string) (Rollout, error) { return broken{notes{b.Dir}}, nil }
			b = newBench(t, b.stage, statetest.New(t, "sqlite"), deps)
			r := b.rotation()
			r.Compromised, r.Reason = compromised, "a test"
			id := b.submit(t, b.plan(t, RotateKind, r))
			run := b.attach(t, id)
			if run.State != state.Parked || run.Step != stepRollout || slices.Contains(run.Verbs, string(state.UndoRun)) == compromised {
				t.Fatalf("the run is %s at %s, for %v: %s", run.State, run.Step, run.Verbs, run.Problem)
			}
			newer, _ := b.current(t, c)
			if compromised { // nobody is led to what cannot work
				if err := b.Tell(t.Context(), id, state.UndoRun, actor, ""); err == nil {
					t.Error("undo is taken")
				}
				b.tell(t, id, state.Retry)
				if run = b.attach(t, id); run.State != state.Parked || run.Step != stepRollout {
					t.Errorf("the run is %s at %s", run.State, run.Step)
				}
			} else {
				_, err := pgtest.Start(t, 15).Superuser(t, b.Database).Exec(t.Context(), "ALTER ROLE "+SlotRole(c.Name, SlotA)+" PASSWORD NULL")
				must(t, err)
				b.tell(t, id, state.UndoRun)
				if run = b.attach(t, id); run.State != state.Parked || !strings.Contains(run.Problem, "it does not log in any more") {
					t.Fatalf("the run is %s at %s: %s", run.State, run.Step, run.Problem)
				}
			}
			if now, _ := b.current(t, c); now.User != newer.User {
				t.Errorf("current is %s", now.User)
			}
			b.serves(t, c, newer, "a fresh container")
		})
	}
}

// unretired is a place that does not give up what is old.
type unretired struct{ secret.Store }

func (unretired) Retire(context.Context, secret.Ref, string) error {
	return fault.Newf(fault.Denied, "retire", "no permission")
}

func TestAScrubThatFailedHalfWayOffersNoWayBack(t *testing.T) {
	t.Parallel()
	b := start(t, 15, 1)
	deps, place := b.deps, b.deps.Place
	mended := false
	deps.Place = func(ctx context.Context, name string) (secret.Store, secret.Ref, error) {
		s, ref, err := place(ctx, name)
		if mended {
			return s, ref, err
		}
		return unretired{s}, ref, err
	}
	b = newBench(t, b.stage, statetest.New(t, "sqlite"), deps)
	id := b.submit(t, b.plan(t, RotateKind, b.rotation()))
	run := b.attach(t, id)
	if run.State != state.Parked || run.Step != stepScrub || !slices.Equal(run.Verbs, []string{string(state.Retry), string(state.Abandon)}) {
		t.Fatalf("the run is %s at %s, for %v: %s", run.State, run.Step, run.Verbs, run.Problem)
	}
	mended = true
	b.tell(t, id, state.Retry)
	if run = b.attach(t, id); run.State != state.Done {
		t.Fatalf("the run is %s at %s: %s", run.State, run.Step, run.Problem)
	}
}

func TestUndoTakesNoCredentialFromWhoIsLoggedIn(t *testing.T) {
	t.Parallel()
	b := start(t, 17, 1)
	c := b.Containers[0]
	old, _ := b.current(t, c)
	deps := b.deps
	deps.Pace.Patience = 50 * time.Millisecond
	b = newBench(t, b.stage, statetest.New(t, "sqlite"), deps)
	holder, err := b.login(t.Context(), b.Database, old) // keeps the rotation from going on
	must(t, err)
	id := b.submit(t, b.plan(t, RotateKind, b.rotation()))
	if run := b.attach(t, id); run.Step != stepDrain {
		t.Fatalf("the run is %s at %s: %s", run.State, run.Step, run.Problem)
	}
	newer, _ := b.current(t, c)
	restarted, err := b.login(t.Context(), b.Database, newer)
	must(t, err)
	b.tell(t, id, state.UndoRun)
	run := b.attach(t, id)
	if run.State != state.Parked || !strings.Contains(run.Problem, "still logged in as "+newer.User) {
		t.Fatalf("the run is %s at %s: %s", run.State, run.Step, run.Problem)
	}
	b.serves(t, c, newer, "who runs with the newer credential")
	if now, _ := b.current(t, c); now.User != old.User {
		t.Errorf("current is %s", now.User)
	}
	must(t, restarted.Close(t.Context()))
	b.tell(t, id, state.Retry)
	if run = b.attach(t, id); run.State != state.Undone {
		t.Fatalf("the run is %s at %s: %s", run.State, run.Step, run.Problem)
	}
	b.serves(t, c, old, "a fresh container")
	must(t, holder.Close(t.Context()))
}

func TestAForeignLoginIsNotIssuedOver(t *testing.T) {
	t.Parallel()
	s := newStage(t, pgtest.Start(t, 15), 1)
	c := s.Containers[0]
	must(t, os.WriteFile(strings.TrimPrefix(c.Places[0], "file:"), []byte(`{"username":"somebody","password":"else"}`), 0o600))
	b := newBench(t, s, statetest.New(t, "sqlite"), s.deps())
	if got := checks(b.plan(t, IssueKind, IssueRequest{Container: c.Name}), op.Block); len(got) != 1 || got[0] != "foreign-login" {
		t.Errorf("blocked by %v", got)
	}
}

func TestACredentialThatActsAsSomebodyElseIsNotPromoted(t *testing.T) {
	t.Parallel()
	b := start(t, 15, 1)
	c := b.Containers[0]
	old, version := b.current(t, c)
	deps, login := b.deps, b.deps.Login
	deps.Login = func(ctx context.Context, at op.Target, database string, l Login) (*pgx.Conn, error) {
		conn, err := login(ctx, at, database, l)
		if err == nil {
			_, err = conn.Exec(ctx, "SET ROLE NONE") // as where the membership is missing
		}
		return conn, err
	}
	b = newBench(t, b.stage, statetest.New(t, "sqlite"), deps)
	run := b.attach(t, b.submit(t, b.plan(t, RotateKind, b.rotation())))
	if run.State != state.Parked || run.Step != stepVerify || !strings.Contains(run.Problem, "acts as") {
		t.Fatalf("the run is %s at %s: %s", run.State, run.Step, run.Problem)
	}
	if now, current := b.current(t, c); now.User != old.User || current != version {
		t.Errorf("current is %s, version %s", now.User, current)
	}
}
