package proxy

import (
	"fmt"
	"net"
	"os/exec"
	"slices"
	"testing"
	"time"
)

// crowd is one process that opens connections as fast as they are accepted.
func crowd(tb testing.TB, n int) (accepted []net.Conn, pid int) {
	tb.Helper()
	ln, err := Listen(tb.Context(), "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = ln.Close() })
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	script := fmt.Sprintf("for ((i = 0; i < %d; i++)); do exec {fd}<>/dev/tcp/127.0.0.1/%s; done; read -u $fd x", n, port)
	cmd := exec.CommandContext(tb.Context(), "bash", "-c", script)
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	for range n {
		c, err := ln.Accept()
		if err != nil {
			tb.Fatal(err)
		}
		accepted = append(accepted, c)
	}
	tb.Cleanup(func() {
		for _, c := range accepted {
			_ = c.Close()
		}
		_ = cmd.Wait()
	})
	return accepted, cmd.Process.Pid
}

func TestOneLookFindsAProcessWithManyConnections(t *testing.T) {
	conns, pid := crowd(t, 400)
	p := newProcesses()
	var look time.Time
	for i, c := range conns {
		id, err := p.ofTCP(c)
		must(t, err)
		if id.pid != pid {
			t.Fatalf("connection %d: process %d, want %d", i, id.pid, pid)
		}
		if i == 0 {
			look = p.next
		}
	}
	if !p.next.Equal(look) {
		t.Error("it was looked for again")
	}
}

func TestTheYoungestProcessIsKnownAfterNumbersBeganAgain(t *testing.T) {
	pids := []int{12, 31000, 2, 500, 32000}
	oldestFirst(pids, 300)
	if want := []int{500, 31000, 32000, 2, 12}; !slices.Equal(pids, want) {
		t.Errorf("%v, want %v", pids, want)
	}
	if lastPID() == 0 {
		t.Error("the system does not tell which process was made last")
	}
}

// BenchmarkPeerOfACrowd finds the newest of n connections of one process: it costs the same however many there are.
func BenchmarkPeerOfACrowd(b *testing.B) {
	for _, n := range []int{10, 1000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			conns, pid := crowd(b, n)
			p := newProcesses()
			if _, err := p.ofTCP(conns[0]); err != nil { // looks at all
				b.Fatal(err)
			}
			p.found(holding{pid, n})
			for b.Loop() {
				id, err := p.ofTCP(conns[n-1])
				if err != nil || id.pid != pid {
					b.Fatal(id, err)
				}
			}
		})
	}
}
