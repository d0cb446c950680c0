package main

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"dbops/internal/app"
	"dbops/internal/config"
	"dbops/internal/state"
	"dbops/internal/tui/tuitest/console"
)

const sshPatience = time.Minute

// host is a shared host of those on call.
type host struct {
	t            *testing.T
	dir, config  string
	signers      string
	env          []string
	port         string
	cmd          *exec.Cmd
	fingerprints map[string]string
}

// startHost serves the sandbox to some people, by name and right; an empty right says nothing of them.
func startHost(t *testing.T, people map[string]string) *host {
	t.Helper()
	h := &host{t: t, dir: t.TempDir(), fingerprints: map[string]string{}}
	h.env = environ(t, "DBOPS_STATE_DIR="+filepath.Join(h.dir, "state"))
	h.signers = filepath.Join(h.dir, "allowed_signers")
	users := ""
	var lines strings.Builder
	for name, right := range people {
		lines.WriteString(name + ` namespaces="dbops" ` + h.key(name))
		if right != "" {
			users += fmt.Sprintf("    %s: %s\n", name, right)
		}
	}
	text, err := os.ReadFile(filepath.Join(shared.dir, "cloud", "dbops.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	h.config = filepath.Join(shared.dir, "cloud", "serve-"+filepath.Base(h.dir)+".yaml") // its paths are relative
	text = append(text, "\napprovals: {allowed_signers: "+h.signers+"}\nserve:\n  users:\n"+users...)
	if err := errors.Join(os.WriteFile(h.signers, []byte(lines.String()), 0o600), os.WriteFile(h.config, text, 0o600)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(h.config) })
	h.cmd = exec.CommandContext(context.WithoutCancel(t.Context()), shared.program, "--config", h.config, "serve", "--ssh", "127.0.0.1:0")
	h.cmd.Env = h.env
	complaints, err := h.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := h.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(io.TeeReader(complaints, t.Output())).ReadString('\n')
	_, h.port, _ = net.SplitHostPort(strings.Fields(strings.TrimPrefix(line, "serving the terminal UI on "))[0])
	if err != nil || h.port == "" {
		t.Fatalf("%v: %q", err, line)
	}
	done := make(chan struct{})
	go func() { defer close(done); _, _ = io.Copy(t.Output(), complaints) }()
	t.Cleanup(func() {
		_ = h.cmd.Process.Signal(syscall.SIGTERM) // which it may have had
		<-done
		if err := h.cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// key makes somebody's key and returns its public line.
func (h *host) key(name string) string {
	h.t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		h.t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, name)
	if err != nil {
		h.t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(h.dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
		h.t.Fatal(err)
	}
	h.fingerprints[name] = ssh.FingerprintSHA256(key)
	return string(ssh.MarshalAuthorizedKey(key))
}

// person is somebody in front of a terminal, with the real OpenSSH.
type person struct {
	*console.Term
	t *testing.T
}

// loginInTmux is login in a window of tmux, where there is one: its end is not seen.
func (h *host) loginInTmux(name string) person {
	tmux := os.Getenv("DBOPS_PEER_TMUX")
	if tmux == "" {
		return h.login(name)
	}
	h.t.Helper()
	conf, sock := filepath.Join(h.dir, "tmux.conf"), filepath.Join(h.dir, "tmux")
	if err := os.WriteFile(conf, []byte("set -g status off\nset -g default-terminal tmux-256color\nset -s escape-time 10\n"), 0o600); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		_ = exec.CommandContext(context.WithoutCancel(h.t.Context()), tmux, "-S", sock, "kill-server").Run()
	})
	return h.person(append([]string{tmux, "-S", sock, "-f", conf, "new-session", "ssh"}, h.ssh(name)...))
}

func (h *host) login(name string, more ...string) person {
	h.t.Helper()
	return h.person(append(append([]string{"ssh"}, more...), h.ssh(name)...))
}

// ssh are the arguments with which somebody logs in.
func (h *host) ssh(name string) []string {
	return []string{
		"-tt", "-F", "none", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o", "StrictHostKeyChecking=accept-new",
		"-o", "UserKnownHostsFile=" + filepath.Join(h.dir, "known_hosts"), "-o", "BatchMode=yes", "-i", filepath.Join(h.dir, name), "-p", h.port, "127.0.0.1",
	}
}

func (h *host) person(command []string) person {
	h.t.Helper()
	term, err := console.Start(h.t.Context(), console.Options{Cols: 120, Rows: 40}, command[0], command[1:]...)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(term.Close)
	return person{term, h.t}
}

func (p person) want(texts ...string) {
	p.t.Helper()
	for _, text := range texts {
		if err := p.Wait(text, sshPatience); err != nil {
			p.t.Fatal(err)
		}
	}
}

func (p person) press(keys ...string) {
	p.t.Helper()
	if err := p.Send(keys...); err != nil {
		p.t.Fatal(err)
	}
}

// planFailover goes to the plan of a failover of prod's main instance.
func (p person) planFailover() {
	p.t.Helper()
	p.want("PROTECTED", "> billing", "live")
	p.press("enter")
	p.want("Avail")
	p.press("6")
	p.want("fail over")
	p.press("f")
	p.want("WAY BACK")
}

func (h *host) dbops(args ...string) string {
	h.t.Helper()
	cmd := exec.CommandContext(h.t.Context(), shared.program, append([]string{"--config", h.config}, args...)...)
	cmd.Env = h.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		h.t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

func TestPeopleShareAHostOverSSH(t *testing.T) {
	for _, kv := range shared.env { // for the votes, which are cast in this process
		k, v, _ := strings.Cut(kv, "=")
		t.Setenv(k, v)
	}
	h := startHost(t, map[string]string{"alice@example.com": "approve", "bob@example.com": "change", "carol@example.com": ""})

	carol, bob := h.login("carol@example.com"), h.login("bob@example.com")
	carol.planFailover()
	carol.want("by carol@example.com")
	carol.press("R")
	carol.want("may only read over SSH")
	if err := carol.Resize(100, 30); err != nil {
		t.Fatal(err)
	}
	carol.press("q")
	bob.planFailover()
	bob.press("s")
	bob.want("no file is written from here")
	bob.press("R")
	bob.want("Type billing to go on:")
	bob.press(strings.Split("billing", "")...)
	bob.press("enter")
	bob.want("waits for 1 other")

	a, others := h.app(nil), h.app(map[string]config.Right{})
	waiting, err := a.Desk(app.DeskOptions{}).Approvals(t.Context())
	if err != nil || len(waiting) != 1 || waiting[0].Approval.Requester != "bob@example.com" {
		t.Fatalf("%v %+v", err, waiting)
	}
	id := waiting[0].Approval.ID
	for _, no := range []struct {
		who   app.Guest
		words string
	}{
		{app.Guest{Name: "carol@example.com", Right: config.MayRead}, "may only read"},
		{app.Guest{Name: "dave@example.com", Right: config.MayChange}, "may not approve"},
		{app.Guest{Name: "bob@example.com", Right: config.MayApprove}, "somebody else has to approve"},
	} {
		if _, err := a.Desk(deskOf(no.who, nil)).Vote(t.Context(), id, true, ""); err == nil || !strings.Contains(err.Error(), no.words) {
			t.Errorf("%s: %v", no.who.Name, err)
		}
	}
	alice := h.loginInTmux("alice@example.com")
	alice.want("live")
	alice.press("3")
	alice.want("bob@example.com")
	alice.press("enter")
	alice.want("v approve", "WAY BACK")
	alice.press("v")
	alice.want("reason")
	alice.press(strings.Split("as discussed", "")...)
	alice.press("enter")
	alice.want("Asked for by bob@example.com", "Type billing to go on:")
	alice.press(strings.Split("billing", "")...)
	alice.press("enter")
	alice.want("approved")
	bob.want("is given by alice@example.com") // without asking
	untrusting := others.Desk(deskOf(app.Guest{Name: "bob@example.com", Right: config.MayChange}, nil))
	if _, err := untrusting.Begin(t.Context(), waiting[0].Plan, "billing"); err == nil || !strings.Contains(err.Error(), "does not let alice@example.com approve over SSH") {
		t.Errorf("a vote that dbops.yaml does not allow counts: %v", err)
	}

	bob.press("R")
	bob.want("Type billing to go on:")
	bob.press(strings.Split("billing", "")...)
	bob.press("enter")
	bob.want("run r")
	ctx, cancel := context.WithTimeout(t.Context(), sshPatience)
	defer cancel()
	run, err := a.Desk(app.DeskOptions{}).Follow(ctx, waiting[0].Plan.RunID(), 0)
	if err != nil {
		t.Fatal(err)
	}
	stopped, end := false, app.RunView{}
	for f := range run { // to its end, which it finds without the server
		if f.View == nil {
			continue
		}
		end = *f.View
		if stopped || end.Run.State == state.Queued {
			continue
		}
		stopped = true
		if err := h.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	if end.Run.State != state.Done || end.Run.Actor != "bob@example.com" {
		t.Errorf("the run of %s is %s", end.Run.Actor, end.Run.State)
	}
	for _, p := range []person{carol, bob} {
		p.want("the server is being stopped; what runs goes on")
		if status, err := p.Exit(sshPatience); status != 130 || err != nil {
			t.Errorf("status %d, %v", status, err)
		}
	}
	log := h.dbops("audit", "list", "-o", "json")
	for _, want := range []string{
		"approval " + id + " requested", "approval " + id + ": approve: as discussed", `"alice@example.com"`, `"bob@example.com"`, `"ssh-session"`,
		"with the key " + h.fingerprints["carol@example.com"] + ", may read",
	} {
		if !strings.Contains(log, want) {
			t.Errorf("the audit log lacks %q:\n%s", want, log)
		}
	}
}

func TestASessionOverSSHIsReadOut(t *testing.T) {
	h := startHost(t, map[string]string{"alice@example.com": "change"})
	alice := h.login("alice@example.com", "-o", "SetEnv=DBOPS_ACCESSIBLE=1")
	alice.want("dbops, line by line", "PROTECTED prod", "1. billing", "the same by: dbops status")
	alice.press(strings.Split("prod/billinx", "")...)
	alice.press("backspace")
	alice.press("g", "enter")
	alice.want("name: billing-prod", "enter reads on")
	alice.press("a", "enter")
	alice.want("b to leave it")
	alice.press("ctrl+c") // leaves the question, not the session
	alice.want("cancelled")
	alice.press("p", "enter")
	alice.want("not started")
	alice.press("t", "enter")
	alice.want("do it on your own machine")
	alice.press("q", "enter")
	if status, err := alice.Exit(sshPatience); status != 0 || err != nil {
		t.Errorf("status %d, %v", status, err)
	}
}

func TestWhoIsReadTo(t *testing.T) {
	t.Parallel()
	for env, want := range map[string]bool{
		"TERM=dumb": true, "TERM=xterm": false, "TERM=dumb DBOPS_ACCESSIBLE=0": false, "DBOPS_ACCESSIBLE=1 TERM=xterm": true,
		"DBOPS_ACCESSIBLE=maybe TERM=xterm": false, "DBOPS_ACCESSIBLE=1 DBOPS_ACCESSIBLE=false TERM=dumb": false,
	} {
		if got := readOut(strings.Fields(env)); got != want {
			t.Errorf("%s: %v", env, got)
		}
	}
}

// app is the host's, to be used in this process; with other rights if there are any.
func (h *host) app(users map[string]config.Right) *app.App {
	h.t.Helper()
	cfg, err := config.Load(h.config)
	if err != nil {
		h.t.Fatal(err)
	}
	if users != nil {
		cfg.Serve.Users = users
	}
	a := app.New(cfg, app.Options{StateDir: filepath.Join(h.dir, "state")})
	h.t.Cleanup(func() { _ = a.Close() })
	return a
}
