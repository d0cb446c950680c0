//go:build peers

package island

import (
	"bufio"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	Main()
	os.Exit(m.Run())
}

func TestNothingLeadsToAnIslandButItsDoors(t *testing.T) {
	outside := filepath.Join(Dir(t), "echo")
	ln, err := net.Listen("unix", outside)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.WriteString(c, "outside\n")
				_ = c.Close()
			}()
		}
	}()
	i := Start(t, Spec{
		Addresses: []string{"10.213.5.5"}, Hosts: map[string]string{"db.island.test": "10.213.5.5"},
		Bridges: map[string]string{"10.213.5.5:5432": "bridge"}, Doors: map[string]string{"door": "10.213.5.5:5432"},
		Servers: map[string][]string{"server": {"/bin/sh", "-c", "read line && echo \"heard $line\""}},
	})
	NewBridge(t, i.Socket("bridge"), "unix", outside)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	line := func(c net.Conn, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		text, _ := bufio.NewReader(c).ReadString('\n')
		return strings.TrimSpace(text)
	}
	if got := line(i.Dial(ctx, "tcp", "db.island.test:5432")); got != "outside" {
		t.Errorf("from within, by name: %q", got)
	}
	door := NewGate(t, "unix", i.Socket("door"))
	if got := line(net.Dial("tcp", door.Addr)); got != "outside" {
		t.Errorf("through a door: %q", got)
	}
	c, err := net.Dial("unix", i.Socket("server"))
	if err == nil {
		_, err = c.Write([]byte("hello\n"))
	}
	if got := line(c, err); got != "heard hello" {
		t.Errorf("a server's answer: %q", got)
	}
	if _, err := i.Dial(ctx, "tcp", "10.213.5.5:5433"); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("where nobody listens: %v", err)
	}
	if _, err := i.Dial(ctx, "tcp", "192.0.2.1:80"); err == nil || !strings.Contains(err.Error(), "unreachable") {
		t.Errorf("out of the island: %v", err)
	}
}

func TestAGateCloses(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	accepted := make(chan net.Conn, 4)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	g := NewGate(t, "tcp", ln.Addr().String())
	in, err := net.Dial("tcp", g.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out := <-accepted
	defer out.Close()
	g.Silence(true)
	if _, err := in.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	_ = out.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, _ := out.Read(make([]byte, 1)); n != 0 {
		t.Error("a silent gate lets something through")
	}
	_ = out.SetReadDeadline(time.Time{})
	g.Silence(false)
	if n, err := out.Read(make([]byte, 1)); n != 1 {
		t.Errorf("what was held back is lost: %v", err)
	}
	g.Close()
	if _, err := in.Read(make([]byte, 1)); err == nil {
		t.Error("a closed gate cuts nobody")
	}
	if _, err := net.Dial("tcp", g.Addr); err == nil {
		t.Error("a closed gate lets somebody in")
	}
}
