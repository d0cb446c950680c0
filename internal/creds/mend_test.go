package creds

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/sandbox/pgtest"
	"dbops/internal/sandbox/statetest"
	"dbops/internal/secret"
	"dbops/internal/state"
)

// file is the first place of a container.
func (c Container) file() string { return strings.TrimPrefix(c.Places[0], "file:") }

// credentialOf is the text of a credential that somebody writes by hand.
func credentialOf(user, password string) string {
	return fmt.Sprintf(`{"username":%q,"password":%q}`, user, password)
}

// after does something after the nth login as a role.
func (b *bench) after(t testing.TB, role string, n int64, do func()) {
	t.Helper()
	login, count := b.deps.Login, atomic.Int64{}
	d := b.deps
	d.Login = func(ctx context.Context, target op.Target, database string, l Login) (*pgx.Conn, error) {
		conn, err := login(ctx, target, database, l)
		if l.User == role && count.Add(1) == n {
			do()
		}
		return conn, err
	}
	*b = *newBench(t, b.stage, statetest.New(t, "sqlite"), d)
}

// parked runs a request until it waits for somebody, at a step.
func (b *bench) parked(t testing.TB, kind string, request any, step string) (string, state.Run) {
	t.Helper()
	id := b.submit(t, b.plan(t, kind, request))
	run := b.attach(t, id)
	if run.State != state.Parked || run.Step != step {
		t.Fatalf("the run is %s at %s: %s", run.State, run.Step, run.Problem)
	}
	return id, run
}

// decides tells a run, and wants it to end so.
func (b *bench) decides(t testing.TB, id string, v state.Verb, want state.RunState) state.Run {
	t.Helper()
	b.tell(t, id, v)
	run := b.attach(t, id)
	if run.State != want {
		t.Fatalf("the run is %s at %s: %s", run.State, run.Step, run.Problem)
	}
	return run
}

func TestNothingOldGoesWhereTheNewCredentialIsNotRead(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		name  string
		looks int64 // as the new slot: the verification, then before each step that cannot bear another credential
		step  string
		write func(c Container) (string, bool)
		end   func(b *bench, t *testing.T, id, version string)
	}{
		{"a wrong password before the old slot is disabled", 2, stepDisable, func(c Container) (string, bool) {
			return credentialOf(SlotRole(c.Name, SlotB), "correct-horse"), true
		}, (*bench).abandonedAndRepaired},
		{"a file that is deleted while it soaks", 3, stepSoak, func(Container) (string, bool) { return "", false }, (*bench).undoneAtOnce},
		{"another user while it soaks", 3, stepSoak, func(Container) (string, bool) { return credentialOf("me", "correct-horse"), true }, (*bench).undoneAtOnce},
		{"garbage before the old password is destroyed", 4, stepScrub, func(Container) (string, bool) { return "correct-horse", true }, (*bench).putBackAndRetried},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			b := start(t, 17, 1)
			c := b.Containers[0]
			old, _ := b.current(t, c)
			b.after(t, SlotRole(c.Name, SlotB), x.looks, func() {
				if text, there := x.write(c); there {
					must(t, os.WriteFile(c.file(), []byte(text), 0o600))
				} else {
					must(t, os.Remove(c.file()))
				}
			})
			id, run := b.parked(t, RotateKind, b.rotation(), x.step)
			version := secret.TokenID(id + "/" + c.Name)
			if !strings.Contains(run.Problem, version) || strings.Contains(run.Problem+run.Hint, "correct-horse") {
				t.Errorf("it says %s; %s", run.Problem, run.Hint)
			}
			if x.step == stepDisable {
				b.serves(t, c, old, "the running container")
			}
			var kept bool
			super := pgtest.Start(t, 17).Superuser(t, b.Database)
			must(t, super.QueryRow(t.Context(), "SELECT rolpassword IS NOT NULL FROM pg_authid WHERE rolname = $1", old.User).Scan(&kept))
			if !kept {
				t.Error("the old password is destroyed")
			}
			x.end(b, t, id, version)
		})
	}
}

// undoneAtOnce takes back a run that has said who is in its way.
func (b *bench) undoneAtOnce(t *testing.T, id, _ string) {
	t.Helper()
	c := b.Containers[0]
	b.decides(t, id, state.UndoRun, state.Undone)
	now, _ := b.current(t, c)
	if now.User != SlotRole(c.Name, SlotA) {
		t.Errorf("current is %s", now.User)
	}
	if text, err := os.ReadFile(c.file()); err != nil || !strings.Contains(string(text), now.Password.Reveal()) {
		t.Errorf("the file does not hold it: %v", err)
	}
	b.serves(t, c, now, "a fresh container")
}

// putBackAndRetried goes on once the right version is there again.
func (b *bench) putBackAndRetried(t *testing.T, id, version string) {
	t.Helper()
	c := b.Containers[0]
	store, ref, err := b.deps.Place(t.Context(), c.Places[0])
	must(t, err)
	held, err := store.Inspect(t.Context(), ref)
	must(t, err)
	must(t, store.Promote(t.Context(), ref, held.Current.ID, version))
	b.decides(t, id, state.Retry, state.Done)
	b.verified(t)
}

// abandonedAndRepaired finds the one command that leads back, wherever it looks.
func (b *bench) abandonedAndRepaired(t *testing.T, id, version string) {
	t.Helper()
	c := b.Containers[0]
	b.decides(t, id, state.Abandon, state.Failed)
	want := "dbops creds repair " + c.Name + " -e prod makes version " + version
	leads := func(what string, all []op.Finding) {
		for _, f := range all {
			if f.Severity != op.Info && strings.HasPrefix(f.Remedy, want) {
				return
			}
		}
		t.Errorf("%s does not lead to the repair: %+v", what, all)
	}
	leads("a rotation", b.plan(t, RotateKind, b.rotation()).Findings)
	all, err := b.deps.List(t.Context(), b.target(), Look{Login: true}, t0)
	must(t, err)
	leads("the list", all[0].Findings)
	p := b.plan(t, RepairKind, RepairRequest{Containers: b.names()})
	if len(p.Notes) != 1 || !strings.Contains(p.Notes[0], "which does not log in") || !strings.Contains(p.Notes[0], version) {
		t.Errorf("it says %v", p.Notes)
	}
	b.does(t, RepairKind, RepairRequest{Containers: b.names()}, state.Done)
	now, current := b.current(t, c)
	if current != version {
		t.Errorf("current is %s, want %s", current, version)
	}
	b.serves(t, c, now, "a fresh container")
}

// spoilt rolls nothing out, and changes the secret by hand.
type spoilt struct{ do func() }

func (s spoilt) Start(context.Context, string, string, string) (string, error) {
	s.do()
	return "", fault.New(fault.Failed, "roll out", errors.New("the image is gone"))
}

func (spoilt) Done(context.Context, string, string) (bool, string, error) { return true, "", nil }

func TestUndoOverwritesOnlyWhatItHasTold(t *testing.T) {
	t.Parallel()
	b := start(t, 15, 1)
	c := b.Containers[0]
	old, version := b.current(t, c)
	d := b.deps
	d.Rollout = func(context.Context, op.Target, string) (Rollout, error) {
		if text, err := os.ReadFile(c.file()); err == nil && strings.Contains(string(text), "\"slot\":\"b\"") {
			return spoilt{func() { must(t, os.WriteFile(c.file(), []byte(credentialOf(old.User, "correct-horse")), 0o600)) }}, nil
		}
		return notes{b.Dir}, nil
	}
	b = newBench(t, b.stage, statetest.New(t, "sqlite"), d)
	id, _ := b.parked(t, RotateKind, b.rotation(), stepRollout)
	run := b.decides(t, id, state.UndoRun, state.Parked)
	if text, err := os.ReadFile(c.file()); err != nil || !strings.Contains(string(text), "correct-horse") || !strings.Contains(run.Problem, "somebody put version by-hand-") {
		t.Errorf("it was overwritten unseen, or is not told: %s", run.Problem)
	}
	b.decides(t, id, state.Retry, state.Undone)
	if now, back := b.current(t, c); back != version || !now.same(old) {
		t.Errorf("current is %s, want %s", back, version)
	}
	b.serves(t, c, old, "a fresh container")
}

func TestWhatSomebodyWroteIsRepaired(t *testing.T) {
	t.Parallel()
	s := newStage(t, pgtest.Start(t, 15), 1)
	second := filepath.Join(s.Dir, "second.json")
	s.Containers[0].Places = append(s.Containers[0].Places, "file:"+second)
	b := newBench(t, s, statetest.New(t, "sqlite"), s.deps())
	b.issueAll(t)
	c := s.Containers[0]
	good, version := b.current(t, c)
	for _, x := range []struct{ name, path, text, says, check string }{
		{"a wrong password", c.file(), credentialOf(good.User, "correct-horse"), "does not log in", "current-fails"},
		{"a user who does not exist", c.file(), credentialOf("nobody", "correct-horse"), "none of its slots", "foreign-login"},
		{"another user, who does log in", c.file(), credentialOf(b.Admin, b.AdminPassword), "none of its slots", "foreign-login"},
		{"garbage", c.file(), "correct-horse", "no credential", "delivery-unreadable"},
		{"a wrong password in the second place", second, credentialOf(good.User, "correct-horse"), "", "not-delivered"},
		{"garbage in the second place", second, "correct-horse", "", "delivery-unreadable"},
	} {
		must(t, os.WriteFile(x.path, []byte(x.text), 0o600))
		all, err := b.deps.List(t.Context(), b.target(), Look{Login: true}, t0)
		must(t, err)
		found := false
		for _, f := range all[0].Findings {
			found = found || f.Check == x.check && strings.Contains(f.Remedy, "dbops creds repair "+c.Name)
		}
		if !found {
			t.Errorf("%s: the list says %+v", x.name, all[0].Findings)
		}
		p := b.plan(t, RepairKind, RepairRequest{Containers: b.names()})
		if x.says != "" && (len(p.Notes) != 1 || !strings.Contains(p.Notes[0], x.says)) || len(p.Changes) == 0 {
			t.Errorf("%s: %v, %+v", x.name, p.Notes, p.Changes)
		}
		if body, err := p.Encode(); err != nil || strings.Contains(string(body), "correct-horse") {
			t.Errorf("%s: the plan holds a password: %v", x.name, err)
		}
		b.does(t, RepairKind, RepairRequest{Containers: b.names()}, state.Done)
		if now, is := b.current(t, c); !now.same(good) || is != version {
			t.Errorf("%s: current is %s of %s", x.name, is, now.User)
		}
		if text, err := os.ReadFile(second); err != nil || !strings.Contains(string(text), good.Password.Reveal()) {
			t.Errorf("%s: the second place holds something else: %v", x.name, err)
		}
	}
	for _, f := range []string{second, second + ".dbops"} {
		must(t, os.Remove(f))
	}
	b.does(t, RepairKind, RepairRequest{Containers: b.names()}, state.Done) // without a version: a copy
	if text, err := os.ReadFile(second); err != nil || !strings.Contains(string(text), good.Password.Reveal()) {
		t.Errorf("the second place was not made: %v", err)
	}
	b.does(t, RevokeKind, RevokeRequest{Container: c.Name}, state.Done)
	if shown, err := b.deps.Show(t.Context(), b.target(), c.Name); err != nil || !strings.Contains(shown.Amiss, "may log in no more") || !strings.Contains(shown.Next, "issue") {
		t.Errorf("%+v, %v", shown, err)
	}
	if got := checks(b.plan(t, RepairKind, RepairRequest{Containers: b.names()}), op.Block); len(got) != 1 || got[0] != "disabled" {
		t.Errorf("a repair of what was revoked is blocked by %v", got)
	}
}
