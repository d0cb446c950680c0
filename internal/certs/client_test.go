package certs

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dbops/internal/certs/bundle"
	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/op"
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
	again := b.plan(t, CreateClientKind, CreateRequest{Name: "laptop", Dir: dir, Host: "here", User: "postgres"})
	if !slices.Equal(blocks(again), []string{"files"}) || !strings.Contains(again.Blocked()[0].Remedy, "rm '"+dir+"/client'.*") {
		t.Errorf("another of that name: %+v", again.Findings)
	}
	if p := b.plan(t, RevokeClientKind, RevokeRequest{Client: "laptop"}); !slices.Equal(blocks(p), []string{"client"}) {
		t.Errorf("a second time: %+v", p.Findings)
	}
	if len(b.told(t).Clients) > 0 {
		t.Errorf("left: %+v", b.told(t).Clients)
	}
}

// Certificates come and go beside each other: a plan is about its own.
func TestAPlanIsNotVoidedByAnotherClientsCertificate(t *testing.T) {
	t.Parallel()
	b := playedCloudSQL(t).bench(t, 17)
	request := func(name string) CreateRequest {
		return CreateRequest{Name: name, Dir: filepath.Join(t.TempDir(), name), Host: "here", User: "postgres"}
	}
	first, second := b.plan(t, CreateClientKind, request("first")), b.plan(t, CreateClientKind, request("second"))
	rotate := b.plan(t, RotateKind, RotateRequest{Now: time.Now()})
	b.is(t, b.attach(t, b.submit(t, first)), state.Done)
	revoke := b.plan(t, RevokeClientKind, RevokeRequest{Client: "first"})
	b.is(t, b.attach(t, b.submit(t, second)), state.Done)
	b.is(t, b.attach(t, b.submit(t, revoke)), state.Done)
	b.is(t, b.attach(t, b.submit(t, rotate)), state.Gate)
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
	var s spy
	dir := t.TempDir()
	s.create = func(ctx context.Context, name, client string) (cloud.ClientCert, secret.Value, cloud.Receipt, error) {
		must(t, os.WriteFile(filepath.Join(dir, FileRoots), []byte("mine"), 0o600)) // the third step does not overwrite it
		return s.Cloud.CreateClient(ctx, name, client)
	}
	b := playedCloudSQL(t).bench(t, 17, s.between)
	p := b.plan(t, CreateClientKind, CreateRequest{Name: "laptop", Dir: dir, Host: "here", User: "postgres"})
	must(t, os.WriteFile(filepath.Join(dir, "mine.txt"), []byte("mine"), 0o600))
	run := b.attach(t, b.submit(t, p))
	b.is(t, run, state.Parked)
	if run.Step != stepFiles || !strings.Contains(run.Problem, FileRoots+" is of somebody else") || strings.Contains(run.Hint, "--dir") || !strings.Contains(run.Hint, dir) {
		t.Errorf("at %s: %s (%s)", run.Step, run.Problem, run.Hint)
	}
	b.is(t, b.tell(t, run.ID, state.UndoRun), state.Undone)
	if len(b.told(t).Clients) > 0 {
		t.Errorf("left at the provider: %+v", b.told(t).Clients)
	}
	if found, _ := inTheWay(dir); len(found) > 0 || len(hidden(t, dir)) > 0 {
		t.Errorf("left in the folder: %v %v", found, hidden(t, dir))
	}
	for _, name := range []string{"mine.txt", FileRoots} {
		if text, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(text) != "mine" {
			t.Errorf("%s, which was not its own, is %q: %v", name, text, err)
		}
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
	wide := filepath.Join(t.TempDir(), "wide")
	must(t, os.Mkdir(wide, 0o700))
	must(t, os.Chmod(wide, 0o777))
	for _, dir := range []string{wide, filepath.Join(wide, "tls")} {
		if p := b.plan(t, CreateClientKind, CreateRequest{Name: "x", Dir: dir, Host: "here"}); !slices.Equal(blocks(p), []string{"folder"}) || !strings.Contains(p.Findings[0].Text, "0777") {
			t.Errorf("a folder that is open to all: %+v", p.Findings)
		}
	}
	foreign := t.TempDir()
	must(t, os.WriteFile(filepath.Join(foreign, FileRoots), []byte("mine"), 0o600))
	if p := b.plan(t, CreateClientKind, CreateRequest{Name: "x", Dir: foreign, Host: "here"}); !slices.Equal(blocks(p), []string{"foreign"}) {
		t.Errorf("a folder with somebody's root.crt: %+v", p.Findings)
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
	cert := authority(t, "laptop", time.Hour).Certificate()
	print256 := bundle.Fingerprint(cert)
	var colons strings.Builder
	for i := range 32 {
		colons.WriteString(strings.ToUpper(print256[2*i:2*i+2]) + ":")
	}
	all := []cloud.ClientCert{{ID: "00aa11bb22cc33dd", Name: "laptop", PEM: PEM(cert)}, {ID: "0123456789abcdef", Name: "00aa11bb22cc"}}
	for word, want := range map[string]string{
		"laptop": "laptop", "00aa11bb22cc33dd": "laptop", "00:AA:11:BB:22:CC:33:DD": "laptop", print256[:12]: "laptop", colons.String(): "laptop",
		"00aa11bb22cc": "00aa11bb22cc", "0123456789ab": "00aa11bb22cc", print256[:11]: "", "lap": "",
	} {
		got := ""
		if c := FindClient(all, word); c != nil {
			got = c.Name
		}
		if got != want {
			t.Errorf("%s is %q, want %q", word, got, want)
		}
	}
}
