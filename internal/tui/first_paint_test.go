package tui_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/charmbracelet/x/vt"
	"github.com/creack/pty"

	"dbops/internal/tui/tuitest/console"
)

// silentConfig is a dbops.yaml of 500 instances in 12 environments, and the environment in which no provider of theirs answers.
func silentConfig(b *testing.B) (file string, env []string) {
	b.Helper()
	l, err := new(net.ListenConfig).Listen(b.Context(), "tcp", "127.0.0.1:0") // it takes connections, and says nothing
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = l.Close() })
	var y strings.Builder
	y.WriteString("version: 1\nenvironments:\n")
	for e := range 12 {
		fmt.Fprintf(&y, "  env-%02d:\n    instances:\n", e)
		for i := e * 500 / 12; i < (e+1)*500/12; i++ {
			fmt.Fprintf(&y, "      orders-%03d: {rds: {identifier: orders-%03d, region: eu-west-1}}\n", i, i)
		}
	}
	dir := b.TempDir()
	file = filepath.Join(dir, "dbops.yaml")
	if err := os.WriteFile(file, []byte(y.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	return file, console.Env("AWS_ENDPOINT_URL=http://"+l.Addr().String(), "AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b", "AWS_EC2_METADATA_DISABLED=true",
		"DBOPS_STATE_DIR="+filepath.Join(dir, "state"))
}

// BenchmarkFirstPaint measures the real program, from its start to the first frame with all that is configured: make bench-tui.
func BenchmarkFirstPaint(b *testing.B) {
	bin := filepath.Join(b.TempDir(), "dbops")
	build := exec.CommandContext(b.Context(), "go", "build", "-trimpath", "-o", bin, "dbops/cmd/dbops")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	file, env := silentConfig(b)
	b.Run("first frame", func(b *testing.B) {
		var took []time.Duration
		for range b.N {
			took = append(took, firstPaint(b, bin, file, env))
		}
		spread(b, took)
	})
	b.Run("dbops version", func(b *testing.B) {
		var took []time.Duration
		for range b.N {
			cmd := exec.CommandContext(b.Context(), bin, "version")
			cmd.Env = env
			began := time.Now()
			if out, err := cmd.CombinedOutput(); err != nil {
				b.Fatalf("%v: %s", err, out)
			}
			took = append(took, time.Since(began))
		}
		spread(b, took)
	})
}

// firstPaint is how long the program takes to a frame with its list and its keys.
func firstPaint(b *testing.B, bin, config string, env []string) time.Duration {
	b.Helper()
	const cols, rows = 120, 40
	ctx, cancel := context.WithTimeout(b.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, "--config", config)
	cmd.Env = env
	began := time.Now()
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: rows, Cols: cols})
	if err != nil {
		b.Fatal(err)
	}
	emu := vt.NewEmulator(cols, rows)
	var answers sync.WaitGroup
	answers.Go(func() { _, _ = io.Copy(tty, emu) })
	buf := make([]byte, 64<<10)
	var took time.Duration
	for took == 0 {
		n, err := tty.Read(buf)
		if err != nil {
			b.Fatalf("%v:\n%s", err, emu.String())
		}
		_, _ = emu.Write(buf[:n])
		if s := emu.String(); strings.Contains(s, "orders-000") && strings.Contains(s, "q quit") {
			took = time.Since(began)
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	_ = tty.Close()
	if in, ok := emu.InputPipe().(io.Closer); ok {
		_ = in.Close()
	}
	answers.Wait()
	return took
}

func spread(b *testing.B, took []time.Duration) {
	b.Helper()
	slices.Sort(took)
	at := func(q float64) float64 { return float64(took[int(q*float64(len(took)-1))]) / float64(time.Millisecond) }
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(at(0.50), "p50-ms")
	b.ReportMetric(at(0.99), "p99-ms")
	b.ReportMetric(at(1), "max-ms")
}
