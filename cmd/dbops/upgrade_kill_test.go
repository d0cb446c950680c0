package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// environKey is where the environment of a script is.
type environKey struct{}

// process is one that a script runs beside itself.
type process struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	stdout bytes.Buffer
	mu     sync.Mutex
	stderr strings.Builder
	lines  chan string // of standard error
	end    chan error
}

// startProcess runs a command of the script's own environment.
func startProcess(ts *testscript.TestScript, args ...string) *process {
	env, ok := ts.Value(environKey{}).(*testscript.Env)
	if !ok {
		ts.Fatalf("the script has no environment")
	}
	p := &process{lines: make(chan string, 10000), end: make(chan error, 1)}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	p.cmd = exec.CommandContext(ctx, shared.program, args...)
	p.cmd.Dir, p.cmd.Env, p.cmd.Stdout = ts.MkAbs("."), env.Vars, &p.stdout
	in, err := p.cmd.StdinPipe()
	ts.Check(err)
	p.in = in
	out, err := p.cmd.StderrPipe()
	ts.Check(err)
	ts.Check(p.cmd.Start())
	go func() {
		defer cancel()
		for lines := bufio.NewScanner(out); lines.Scan(); {
			p.mu.Lock()
			p.stderr.WriteString(lines.Text() + "\n")
			p.mu.Unlock()
			p.lines <- lines.Text()
		}
		close(p.lines)
		p.end <- p.cmd.Wait()
	}()
	return p
}

// said waits until a line of standard error matches; a process that ends before has failed.
func (p *process) said(ts *testscript.TestScript, pattern string) {
	re, err := regexp.Compile(pattern)
	ts.Check(err)
	for line := range p.lines {
		if re.MatchString(line) {
			return
		}
	}
	ts.Fatalf("%v: it ended without a word that matches %s: %s", p.cmd.Args[1:], pattern, p.told())
}

func (p *process) told() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stderr.String()
}

// cmdKilled runs dbops and kills it as soon as it says something: killed PATTERN ARGUMENT...
func cmdKilled(ts *testscript.TestScript, _ bool, args []string) {
	p := startProcess(ts, args[1:]...)
	p.said(ts, args[0])
	ts.Check(p.cmd.Process.Kill())
	if err := <-p.end; err == nil {
		ts.Fatalf("it ended before it could be killed: %s", p.told())
	}
	if st, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !st.Signaled() {
		ts.Fatalf("it ended before it could be killed: %s", p.told())
	}
	ts.Logf("%s", p.told())
}

// cmdSecond lets two people cut one run over: second ENVIRONMENT INSTANCE DATABASE. A transaction of that database keeps the first from going on until
// the second has said that it only watches.
func cmdSecond(ts *testscript.TestScript, _ bool, args []string) {
	env, instance, database := args[0], args[1], args[2]
	holder := startProcess(ts, "psql", "-e", env, "--access", "write", database)
	_, err := io.WriteString(holder.in, "begin;\nselect 1;\n\\warn held\n")
	ts.Check(err)
	holder.said(ts, "^held$")
	first := startProcess(ts, "upgrade", "cutover", "-e", env, instance, "--yes")
	first.said(ts, "[1-9][0-9]* of them until their transaction ends")
	second := startProcess(ts, "upgrade", "cutover", "-e", env, instance, "--yes")
	second.said(ts, "has cut over already: watching run r[0-9a-f]+$")
	_, err = io.WriteString(holder.in, "rollback;\n\\q\n")
	ts.Check(err)
	for _, p := range []*process{first, second} {
		if err := <-p.end; err != nil || !strings.Contains(p.stdout.String(), "clients were shut out for ") {
			ts.Fatalf("%v: %v: %s\n%s", p.cmd.Args[1:], err, p.stdout.String(), p.told())
		}
	}
	if err := <-holder.end; err != nil {
		ts.Fatalf("the transaction: %v: %s", err, holder.told())
	}
	if !strings.Contains(first.told(), "ok   switch") && !strings.Contains(first.told(), "ok switch") || strings.Contains(first.told(), "watching run") {
		ts.Fatalf("the first did not work on it: %s", first.told())
	}
	ts.Logf("%s", second.told())
}
