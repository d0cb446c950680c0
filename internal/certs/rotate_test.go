package certs

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/state"
)

func TestACAOfCloudSQLIsAddedRotatedAndRotatedBack(t *testing.T) {
	t.Parallel()
	b := playedCloudSQL(t).bench(t, 17)
	old := b.root(t, b.name)
	if p := b.plan(t, RotateKind, RotateRequest{Back: true, Now: time.Now()}); !slices.Equal(blocks(p), []string{"ca"}) {
		t.Errorf("back to nothing: %+v", p.Findings)
	}
	run := b.does(t, RotateKind, RotateRequest{Now: time.Now()}, state.Gate)
	if !strings.Contains(run.Problem, "certs fetch") {
		t.Errorf("the gate says %q", run.Problem)
	}
	// At the gate clients get both CAs, and the server still shows the old one.
	subject := b.subject(t, b.name)
	seen, err := Look(t.Context(), "look", subject.Addresses, dialer())
	must(t, err)
	k, err := NewKit(subject, seen, KitOptions{Dir: t.TempDir(), Database: "postgres"}, time.Now())
	must(t, err)
	if len(k.Certs) != 2 || SHA1(k.Active) != old || b.root(t, b.name) != old {
		t.Errorf("clients get %d CAs, active %s", len(k.Certs), SHA1(k.Active))
	}
	b.is(t, b.tell(t, run.ID, state.Continue), state.Done)
	next := b.root(t, b.name)
	if next == old || b.told(t).CA(cloud.CAPrevious).ID != old {
		t.Errorf("it proves itself by %s; told %+v", next, b.told(t).CAs)
	}
	// Who was given both goes on without a change.
	subject.Told = b.told(t)
	seen, err = Look(t.Context(), "look", subject.Addresses, dialer())
	must(t, err)
	if bad := seen.Judge(Expect{Roots: k.Certs, Names: subject.Names, CommonName: true}, time.Now(), 0); len(bad) > 0 {
		t.Errorf("with the files from before: %+v", bad)
	}
	b.does(t, RotateKind, RotateRequest{Back: true, Now: time.Now()}, state.Done)
	if got := b.root(t, b.name); got != old {
		t.Errorf("back at %s, not %s", got, old)
	}
	// The CA that was rotated away from is the next one again: nothing is added.
	run = b.does(t, RotateKind, RotateRequest{Now: time.Now()}, state.Gate)
	b.is(t, b.tell(t, run.ID, state.Continue), state.Done)
	if got := b.root(t, b.name); got != next {
		t.Errorf("forward to %s, not %s", got, next)
	}
}

func TestARotationIsUndone(t *testing.T) {
	t.Parallel()
	for _, s := range []*stage{playedCloudSQL(t), playedRDS(t)} {
		t.Run(string(s.kind), func(t *testing.T) {
			t.Parallel()
			var broken breaker
			b := s.bench(t, 17, broken.between)
			old := b.root(t, b.name)
			r := RotateRequest{Now: time.Now()}
			if s.kind == cloud.RDS {
				r.To = b.told(t).CA(cloud.CAOffered).ID
			}
			id := b.submit(t, b.plan(t, RotateKind, r))
			if s.kind == cloud.CloudSQL {
				b.is(t, b.attach(t, id), state.Gate)
				must(t, b.Tell(t.Context(), id, state.Continue, actor, "a test"))
			}
			broken.progress = true // so that the run parks after it was asked for
			b.is(t, b.attach(t, id), state.Parked)
			broken.progress = false
			b.is(t, b.tell(t, id, state.UndoRun), state.Undone)
			if got := b.root(t, b.name); got != old {
				t.Errorf("it proves itself by %s, not %s", got, old)
			}
		})
	}
}

// breaker refuses to tell how far a change is.
type breaker struct {
	Cloud
	progress bool
}

func (b *breaker) between(c Cloud) Cloud { b.Cloud = c; return b }

func (b *breaker) Progress(ctx context.Context, r cloud.Receipt) (cloud.Progress, error) {
	if b.progress {
		return cloud.Progress{}, fault.Newf(fault.Denied, "follow", "not now")
	}
	return b.Cloud.Progress(ctx, r)
}

func TestACAOfRDSIsRotated(t *testing.T) {
	t.Parallel()
	s := playedRDS(t)
	for major, restarts := range map[int]bool{17: false, restarting: true} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Parallel()
			b := s.bench(t, major)
			const other = "rds-ca-ecc384-g1"
			if p := b.plan(t, RotateKind, RotateRequest{Now: time.Now()}); !p.Nothing() || len(p.Findings) == 0 {
				t.Errorf("to the CA that it has: %+v", p.Draft)
			}
			p := b.plan(t, RotateKind, RotateRequest{To: other, Now: time.Now()})
			warned := slices.ContainsFunc(p.Findings, func(f op.Finding) bool { return f.Check == "restart" && f.Severity == op.Warn })
			if warned != restarts || (p.Downtime.Expected == "brief") != restarts {
				t.Errorf("plan %+v", p.Draft)
			}
			up := b.started(t)
			run := b.attach(t, b.submit(t, p))
			b.is(t, run, state.Done)
			told := b.told(t)
			if told.CA(cloud.CAActive).ID != other || b.root(t, b.name) != told.CA(cloud.CAActive).Fingerprint {
				t.Errorf("told %+v", told.CAs)
			}
			if (b.started(t) != up) != restarts {
				t.Errorf("restarted: %t", b.started(t) != up)
			}
			if text := b.text(t, run.ID, stepVerify); !strings.Contains(text, "ECC384") {
				t.Errorf("verify said %q", text)
			}
		})
	}
}

func (b *bench) started(t *testing.T) (at string) {
	t.Helper()
	conn, err := b.server(b.name).DB(t.Context(), "postgres")
	must(t, err)
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	must(t, conn.QueryRow(t.Context(), "select pg_postmaster_start_time()::text").Scan(&at))
	return at
}

func TestACAOfRDSWaitsAndIsTakenBack(t *testing.T) {
	t.Parallel()
	s := playedRDS(t)
	for _, when := range []cloud.CAWhen{cloud.CAInWindow, cloud.CAAtReboot} {
		t.Run(string(when), func(t *testing.T) {
			t.Parallel()
			b := s.bench(t, 17)
			const other = "rds-ca-ecc384-g1"
			old := b.root(t, b.name)
			run := b.does(t, RotateKind, RotateRequest{To: other, When: when, Now: time.Now()}, state.Done)
			if wait, text := b.text(t, run.ID, stepWait), b.text(t, run.ID, stepVerify); strings.Contains(wait, "done") || !strings.Contains(text, "pending: the server keeps") {
				t.Errorf("wait said %q, verify %q", wait, text)
			}
			survey := Observe(t.Context(), b.subject(t, b.name), dialer())
			found := survey.Check(time.Now(), 0)
			if !slices.ContainsFunc(found, func(f op.Finding) bool {
				return strings.Contains(f.Text, other+" is pending") && strings.Contains(f.Remedy, "takes it back")
			}) {
				t.Errorf("check says %+v", found)
			}
			if told := b.told(t); told.CA(cloud.CANext) == nil || told.CA(cloud.CANext).ID != other || b.root(t, b.name) != old {
				t.Errorf("told %+v", told.CAs)
			}
			// Asking for the CA that it has takes the wish back.
			back := b.plan(t, RotateKind, RotateRequest{When: cloud.CAInWindow, Now: time.Now()})
			if len(back.Changes) != 1 || back.Changes[0].From != other || len(back.Findings) > 0 {
				t.Errorf("plan %+v", back.Draft)
			}
			b.is(t, b.attach(t, b.submit(t, back)), state.Done)
			if told := b.told(t); told.CA(cloud.CANext) != nil || b.root(t, b.name) != old {
				t.Errorf("told %+v", told.CAs)
			}
		})
	}
}

func TestWhatIsPendingIsToldAndNothingElseIsAppliedAlong(t *testing.T) {
	t.Parallel()
	s := playedRDS(t)
	var broken denier
	b := s.bench(t, 17, broken.between)
	later := func(class string) {
		_, err := s.cloud.Modify(t.Context(), b.name, cloud.Modify{Settings: cloud.Settings{Class: &class}, When: cloud.InWindow})
		must(t, err)
	}
	later("db.r6g.xlarge")
	r := RotateRequest{To: "rds-ca-ecc384-g1", Now: time.Now()}
	p := b.plan(t, RotateKind, r)
	if !slices.ContainsFunc(p.Findings, func(f op.Finding) bool { return f.Check == "pending-modification" }) || len(p.Changes) != 2 || p.Downtime.Expected != "unknown" {
		t.Errorf("plan %+v", p.Draft)
	}
	broken.denied = true
	run := b.attach(t, b.submit(t, p))
	b.is(t, run, state.Parked)
	later("db.r6g.2xlarge") // nobody has seen that in the plan
	run = b.tell(t, run.ID, state.Retry)
	if run.State != state.Parked || !strings.Contains(run.Problem, "2xlarge") {
		t.Errorf("run %+v", run)
	}
	if b.told(t).CA(cloud.CAActive).ID == r.To {
		t.Error("it was asked for all the same")
	}
}

// denier denies the first rotation.
type denier struct {
	Cloud
	denied bool
}

func (d *denier) between(c Cloud) Cloud { d.Cloud = c; return d }

func (d *denier) RotateCA(ctx context.Context, name, id string, when cloud.CAWhen) (cloud.Receipt, error) {
	if d.denied {
		d.denied = false
		return cloud.Receipt{}, fault.Newf(fault.Denied, "rotate", "not yet")
	}
	return d.Cloud.RotateCA(ctx, name, id, when)
}

func TestWhatForbidsARotation(t *testing.T) {
	t.Parallel()
	now := time.Now()
	b := playedRDS(t).bench(t, 17)
	for want, r := range map[string]RotateRequest{
		"ca":      {To: "rds-ca-none", Now: now},
		"expired": {To: "rds-ca-2019", Now: now.Add(50 * 24 * time.Hour)},
	} {
		if p := b.plan(t, RotateKind, r); !slices.Equal(blocks(p), []string{want}) || p.Findings[0].Remedy == "" {
			t.Errorf("%+v: %+v", r, p.Findings)
		}
	}
	// dbops could not verify the server afterwards.
	stranger := playedRDS(t)
	own := *stranger
	own.roots = stranger.roots[:1]
	c := own.bench(t, 17)
	p := c.plan(t, RotateKind, RotateRequest{To: "rds-ca-2019", Now: now})
	if !slices.Equal(blocks(p), []string{"unknown-ca"}) {
		t.Errorf("a CA that is not known here: %+v", p.Findings)
	}
	g := playedCloudSQL(t).bench(t, 17)
	for want, r := range map[string]RotateRequest{"window": {When: cloud.CAInWindow, Now: now}, "ca": {To: "x", Now: now}} {
		if p := g.plan(t, RotateKind, r); !slices.Equal(blocks(p), []string{want}) {
			t.Errorf("%+v: %+v", r, p.Findings)
		}
	}
}
