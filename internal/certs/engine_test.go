package certs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/sandbox/play"
	"dbops/internal/secret"
	"dbops/internal/state"
)

// spy stands between the operations and the cloud.
type spy struct {
	Cloud
	create func(ctx context.Context, name, client string) (cloud.ClientCert, secret.Value, cloud.Receipt, error)
}

func (s *spy) CreateClient(ctx context.Context, name, client string) (cloud.ClientCert, secret.Value, cloud.Receipt, error) {
	if s.create == nil {
		return s.Cloud.CreateClient(ctx, name, client)
	}
	return s.create(ctx, name, client)
}

func (s *spy) between(c Cloud) Cloud { s.Cloud = c; return s }

func blocks(p *op.Plan) (checks []string) {
	for _, f := range p.Blocked() {
		checks = append(checks, f.Check)
	}
	return checks
}

func TestAClientCertificateIsMadeUsedAndRevoked(t *testing.T) {
	t.Parallel()
	s := playedCloudSQL(t)
	b := s.bench(t, 17)
	dir := filepath.Join(t.TempDir(), "a folder", "tls")
	run := b.does(t, CreateClientKind, CreateRequest{Name: "laptop", Dir: dir, Host: "here", User: "postgres"}, state.Done)
	b.usable(t, dir, "laptop")
	if text := b.text(t, run.ID, stepVerify); !strings.Contains(text, "takes it") {
		t.Errorf("verify said %q", text)
	}
	for _, p := range []*op.Plan{
		b.plan(t, CreateClientKind, CreateRequest{Name: "laptop", Dir: filepath.Join(t.TempDir(), "other"), Host: "here"}),
		b.plan(t, CreateClientKind, CreateRequest{Name: "other", Dir: dir, Host: "here"}),
	} {
		if len(blocks(p)) != 1 {
			t.Errorf("%s: %+v", p.Title, p.Findings)
		}
	}
	b.does(t, RevokeClientKind, RevokeRequest{Client: "laptop"}, state.Done)
	if p := b.plan(t, RevokeClientKind, RevokeRequest{Client: "laptop"}); !slices.Equal(blocks(p), []string{"client"}) {
		t.Errorf("a second time: %+v", p.Findings)
	}
	if len(b.told(t).Clients) > 0 {
		t.Errorf("left: %+v", b.told(t).Clients)
	}
}

func TestAnAnswerThatWasLostLeavesNoOrphan(t *testing.T) {
	t.Parallel()
	var s spy
	lost := 0
	s.create = func(ctx context.Context, name, client string) (cloud.ClientCert, secret.Value, cloud.Receipt, error) {
		c, key, r, err := s.Cloud.CreateClient(ctx, name, client)
		if lost++; err == nil && lost == 1 {
			return cloud.ClientCert{}, secret.Value{}, cloud.Receipt{}, fault.Newf(fault.Unavailable, "make", "the answer is lost")
		}
		return c, key, r, err
	}
	b := playedCloudSQL(t).bench(t, 17, s.between)
	dir := t.TempDir()
	b.does(t, CreateClientKind, CreateRequest{Name: "laptop", Dir: dir, Host: "here", User: "postgres"}, state.Done)
	b.usable(t, dir, "laptop")
	if n := len(b.told(t).Clients); n != 1 || lost < 2 {
		t.Errorf("%d certificates after %d requests", n, lost)
	}
}

// The disk fills up, or becomes read-only, between the request and the answer.
func TestACertificateWhoseKeyCannotBeStoredIsDeletedAgain(t *testing.T) {
	t.Parallel()
	var s spy
	dir := t.TempDir()
	broken := true
	s.create = func(ctx context.Context, name, client string) (cloud.ClientCert, secret.Value, cloud.Receipt, error) {
		c, key, r, err := s.Cloud.CreateClient(ctx, name, client)
		if broken && err == nil {
			must(t, os.WriteFile(filepath.Join(dir, FileKey), []byte("somebody else's"), 0o600))
		}
		return c, key, r, err
	}
	b := playedCloudSQL(t).bench(t, 17, s.between)
	run := b.does(t, CreateClientKind, CreateRequest{Name: "laptop", Dir: dir, Host: "here", User: "postgres"}, state.Parked)
	if !strings.Contains(run.Problem, "deleted again") || run.Hint == "" {
		t.Errorf("run %+v", run)
	}
	if n := len(b.told(t).Clients); n != 0 {
		t.Errorf("%d certificates are left without a key", n)
	}
	if text, err := os.ReadFile(filepath.Join(dir, FileKey)); err != nil || string(text) != "somebody else's" {
		t.Errorf("what was there was overwritten: %v", err)
	}
	broken = false
	must(t, os.Remove(filepath.Join(dir, FileKey)))
	b.is(t, b.tell(t, run.ID, state.Retry), state.Done)
	b.usable(t, dir, "laptop")
}

func TestTheMakingOfAClientCertificateIsUndone(t *testing.T) {
	t.Parallel()
	s := playedCloudSQL(t)
	b := s.bench(t, 17)
	dir := t.TempDir()
	p := b.plan(t, CreateClientKind, CreateRequest{Name: "laptop", Dir: dir, Host: "here", User: "postgres"})
	must(t, os.WriteFile(filepath.Join(dir, "mine.txt"), []byte("mine"), 0o600))
	must(t, os.Mkdir(filepath.Join(dir, FileRoots), 0o700)) // the third step cannot write root.crt
	must(t, os.WriteFile(filepath.Join(dir, FileRoots, "x"), nil, 0o600))
	run := b.attach(t, b.submit(t, p))
	b.is(t, run, state.Parked)
	b.is(t, b.tell(t, run.ID, state.UndoRun), state.Undone)
	if len(b.told(t).Clients) > 0 {
		t.Errorf("left at the provider: %+v", b.told(t).Clients)
	}
	if found, _ := inTheWay(dir); len(found) > 0 || len(hidden(t, dir)) > 0 {
		t.Errorf("left in the folder: %v %v", found, hidden(t, dir))
	}
	if _, err := os.Stat(filepath.Join(dir, "mine.txt")); err != nil {
		t.Error("what was not its own was removed")
	}
}

func TestWhatForbidsAClientCertificate(t *testing.T) {
	t.Parallel()
	b := playedCloudSQL(t).bench(t, 17)
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	if p := b.plan(t, CreateClientKind, CreateRequest{Name: "x", Dir: filepath.Join(file, "tls"), Host: "here"}); !slices.Equal(blocks(p), []string{"folder"}) {
		t.Errorf("a file in place of a folder: %+v", p.Findings)
	}
	p := b.plan(t, CreateClientKind, CreateRequest{Name: "x", Dir: t.TempDir(), Host: "elsewhere"})
	run := b.attach(t, b.submit(t, p))
	if run.State != state.Parked || !strings.Contains(run.Problem, "elsewhere") {
		t.Errorf("on another machine: %+v", run)
	}
	b.is(t, b.tell(t, run.ID, state.Abandon), state.Failed)
	for _, name := range []string{"", "-x", "a/b", "a b", strings.Repeat("x", 64), "ü"} {
		_, err := b.Plan(t.Context(), op.PlanRequest{
			Kind: CreateClientKind, Target: op.Target{Environment: "prod", Instance: b.name}, Request: CreateRequest{Name: name, Dir: "/tmp/x", Host: "here"}, Requester: actor,
		})
		if fault.KindOf(err) != fault.Usage {
			t.Errorf("%q: %v", name, err)
		}
	}
	r := playedRDS(t).bench(t, 17)
	for kind, request := range map[string]any{
		CreateClientKind: CreateRequest{Name: "x", Dir: t.TempDir(), Host: "here"}, RevokeClientKind: RevokeRequest{Client: "x"},
	} {
		if p := r.plan(t, kind, request); !slices.Contains(blocks(p), "provider") {
			t.Errorf("%s on RDS: %+v", kind, p.Findings)
		}
	}
}

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
			if text := b.text(t, run.ID, stepVerify); !strings.Contains(text, "waits") {
				t.Errorf("verify said %q", text)
			}
			if told := b.told(t); told.CA(cloud.CANext) == nil || told.CA(cloud.CANext).ID != other || b.root(t, b.name) != old {
				t.Errorf("told %+v", told.CAs)
			}
			// Asking for the CA that it has takes the wish back.
			b.does(t, RotateKind, RotateRequest{When: cloud.CAInWindow, Now: time.Now()}, state.Done)
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

func TestTroubleOfTheCloud(t *testing.T) {
	t.Parallel()
	s := playedCloudSQL(t)
	b := s.bench(t, 17)
	// What passes is waited for.
	for _, action := range []string{"instances.addServerCa", "instances.rotateServerCa", "sslCerts.insert", "sslCerts.delete"} {
		for _, effect := range []play.Effect{play.Throttle, play.Unavailable, play.Drop} {
			s.faults.Add(play.Fault{Service: "cloudsql", Action: action, Target: b.name, Effect: effect, Count: 1})
		}
	}
	run := b.does(t, RotateKind, RotateRequest{Now: time.Now()}, state.Gate)
	b.is(t, b.tell(t, run.ID, state.Continue), state.Done)
	dir := t.TempDir()
	b.does(t, CreateClientKind, CreateRequest{Name: "laptop", Dir: dir, Host: "here", User: "postgres"}, state.Done)
	b.usable(t, dir, "laptop")
	b.does(t, RevokeClientKind, RevokeRequest{Client: "laptop"}, state.Done)
	// An operation that the provider gives up parks the run, and leaves nothing behind.
	s.faults.Add(play.Fault{Service: "cloudsql", Action: "sslCerts.insert", Target: b.name, Effect: play.Fail, Count: 1})
	dir = t.TempDir()
	run = b.does(t, CreateClientKind, CreateRequest{Name: "phone", Dir: dir, Host: "here", User: "postgres"}, state.Parked)
	if run.Step != stepWait {
		t.Errorf("it is parked at %s: %s", run.Step, run.Problem)
	}
	b.is(t, b.tell(t, run.ID, state.UndoRun), state.Undone)
	if found, _ := inTheWay(dir); len(found) > 0 || len(b.told(t).Clients) > 0 {
		t.Errorf("left: %v, %+v", found, b.told(t).Clients)
	}
	s.faults.Add(play.Fault{Service: "cloudsql", Action: "instances.rotateServerCa", Target: b.name, Effect: play.Deny, Count: 1})
	run = b.does(t, RotateKind, RotateRequest{Back: true, Now: time.Now()}, state.Parked)
	if !strings.Contains(run.Problem, "rotateServerCa") {
		t.Errorf("who is denied learns %q, %q", run.Problem, run.Hint)
	}
	b.is(t, b.tell(t, run.ID, state.Retry), state.Done)
}

func TestAnUnknownInstanceIsNotFound(t *testing.T) {
	t.Parallel()
	for _, s := range []*stage{playedCloudSQL(t), playedRDS(t)} {
		_, err := s.cloud.Certificates(t.Context(), "nobody")
		if fault.KindOf(err) != fault.NotFound || !strings.Contains(err.Error(), "nobody") {
			t.Errorf("%s: %v", s.kind, err)
		}
		if _, err := s.cloud.Certificates(t.Context(), ""); fault.KindOf(err) != fault.Invalid {
			t.Errorf("%s, no name: %v", s.kind, err)
		}
	}
	c := playedRDS(t).cloud
	_, add := c.AddCA(t.Context(), "x")
	_, _, _, create := c.CreateClient(t.Context(), "x", "y")
	_, revoke := c.DeleteClient(t.Context(), "x", "y")
	for _, err := range []error{add, create, revoke} {
		if !errors.Is(err, cloud.ErrUnsupported) || fault.HintOf(err) == "" {
			t.Errorf("got %v", err)
		}
	}
}

func TestUndoNeedsTheCloudOnly(t *testing.T) {
	t.Parallel()
	s := lostSlot(filepath.Join(t.TempDir(), "gone"))
	defer s.close()
	if s.holdsKeyOf(cloud.ClientCert{}) || s.remove() != nil || !time.Now().Add(time.Hour).Before(s.since) {
		t.Error("a place that cannot be had holds something, or makes a certificate the run's own")
	}
}

func TestAClientIsNamedByItsFingerprints(t *testing.T) {
	t.Parallel()
	f := Facts{Clients: []Client{{ID: "00aa11bb22cc33dd", Name: "laptop", SHA256: "ffeeddccbbaa9988"}, {ID: "0123456789abcdef", Name: "00aa11bb22cc"}}}
	for word, want := range map[string]string{
		"laptop": "laptop", "00aa11bb22cc33dd": "laptop", "00:AA:11:BB:22:CC:33:DD": "laptop", "ffeeddccbbaa": "laptop", "FF:EE:DD:CC:BB:AA:99:88": "laptop",
		"00aa11bb22cc": "00aa11bb22cc", "0123456789ab": "00aa11bb22cc", "ffeedd": "", "lap": "",
	} {
		got := ""
		if c := f.client(word); c != nil {
			got = c.Name
		}
		if got != want {
			t.Errorf("%s is %q, want %q", word, got, want)
		}
	}
}

func TestDraftsOfAKilledProcessAreSwept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{".client.pk8123456", ".client.pk8", ".client.pk8x1", ".other123"} {
		must(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	if _, err := writeAll(dir, map[string][]byte{"client.pk8": []byte("x")}, 0o600); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	must(t, err)
	var left []string
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if got := strings.Join(left, " "); got != ".client.pk8 .client.pk8x1 .other123 client.pk8" {
		t.Error(got)
	}
}
