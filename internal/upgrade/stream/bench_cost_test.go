package stream

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/sandbox/pgtest"
	"dbops/internal/secret"
)

// benchIn is the environment of a process of this test binary that copies: from where, to where, and the password of both.
const benchIn = "DBOPS_BENCH_IN"

// benchOut is what such a process tells of itself.
type benchOut struct {
	RSS   int64 `json:"rss"`   // at most; 0 where the system does not tell
	Wrote int64 `json:"wrote"` // to a disk, with the programs that it ran
}

// copyAndTell is what it does.
func copyAndTell(spec string) error {
	f := strings.Split(spec, "|")
	j := Job{Source: connectTo(f[0], f[2]), Target: connectTo(f[1], f[2]), Progress: func(Progress) {}}
	if _, err := Copy(context.Background(), j); err != nil {
		return err
	}
	if err := Finish(context.Background(), j.Target); err != nil {
		return err
	}
	out := benchOut{RSS: procNumber("/proc/self/status", "VmHWM:") << 10, Wrote: procNumber("/proc/self/io", "write_bytes:")}
	return json.NewEncoder(os.Stdout).Encode(out)
}

func connectTo(url, password string) Connect {
	return func(ctx context.Context, tune func(*pgx.ConnConfig)) (*pgx.Conn, error) {
		c, err := pgx.ParseConfig(url)
		if err != nil {
			return nil, err
		}
		c.Password = secret.New(password).Reveal()
		tune(c)
		return pgx.ConnectConfig(ctx, c)
	}
}

// procNumber is the number after a word at the beginning of a line; 0 where this system keeps none.
func procNumber(path, word string) int64 {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	lines := bufio.NewScanner(bytes.NewReader(b))
	for lines.Scan() {
		if f := strings.Fields(lines.Text()); len(f) > 1 && f[0] == word {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			return n
		}
	}
	return 0
}

// cost is what one copy took.
type cost struct {
	wall                    time.Duration
	clients, source, target time.Duration // of processor
	wal                     int64         // of the target
	rss                     int64         // of our process, at most
	wrote                   int64         // left in the folder that it was given, or written to a disk
	rows                    int
}

func (c cost) cpu() time.Duration { return c.clients + c.source + c.target }

func (c cost) String() string {
	s := fmt.Sprintf("wall %6.1fs  cpu %6.1fs = clients %5.1f + source %5.1f + target %5.1f  WAL %d MB, on disk %.1f MB",
		c.wall.Seconds(), c.cpu().Seconds(), c.clients.Seconds(), c.source.Seconds(), c.target.Seconds(), c.wal>>20, float64(c.wrote)/(1<<20))
	if c.rss > 0 {
		s += fmt.Sprintf(", memory %d MB at most", c.rss>>20)
	}
	return s
}

// measure copies once into a new database, which is dropped afterwards.
func measure(b *testing.B, w way, from, to *benchServer, source string) (c cost) {
	b.Helper()
	target := to.database()
	dir := pgtest.Dir(b)
	for _, s := range []*benchServer{from, to} {
		s.exec("checkpoint")
	}
	sourceBefore, targetBefore := groupTime(from.pid), groupTime(to.pid)
	wal := to.text("select pg_current_wal_lsn()::text")
	began := time.Now()
	for _, cmd := range w.cmds(b.Context(), from, to, source, target, dir) {
		var words bytes.Buffer
		cmd.Stderr = &words
		out, err := cmd.Output()
		if err != nil {
			b.Fatalf("%s: %v: %s", w.name, err, tailOf(words.String()))
		}
		c.clients += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
		var own benchOut
		if json.Unmarshal(out, &own) == nil && own.RSS > 0 {
			c.rss, c.wrote = own.RSS, own.Wrote
		}
	}
	c.wall = time.Since(began)
	c.source, c.target = groupTime(from.pid)-sourceBefore, groupTime(to.pid)-targetBefore
	c.wal, _ = strconv.ParseInt(to.text("select pg_wal_lsn_diff(pg_current_wal_lsn(), '"+wal+"')::bigint::text"), 10, 64)
	c.wrote += sizeOf(dir)
	if err := os.RemoveAll(dir); err != nil {
		b.Fatal(err)
	}
	conn, err := to.connect(target)(b.Context(), func(*pgx.ConnConfig) {})
	if err != nil {
		b.Fatal(err)
	}
	err = conn.QueryRow(b.Context(), "select count(*) from events").Scan(&c.rows)
	_ = conn.Close(context.WithoutCancel(b.Context()))
	if err != nil {
		b.Fatal(err)
	}
	to.exec("drop database " + target + " with (force)")
	return c
}

func tailOf(s string) string { return s[max(0, len(s)-2000):] }

func sizeOf(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if info, err := d.Info(); err == nil {
				n += info.Size()
			}
		}
		return nil
	})
	return n
}

// groupTime is the processor time of a postmaster, of its children, and of those that have ended.
func groupTime(pid int) time.Duration {
	const perSecond = 100 // of the clock that the kernel tells processes' times in
	var ticks int64
	all, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range all {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(b), ") ") // the name may hold anything
		f := strings.Fields(rest)
		if len(f) < 15 {
			continue
		}
		n := func(i int) int64 { v, _ := strconv.ParseInt(f[i], 10, 64); return v }
		switch {
		case path == fmt.Sprintf("/proc/%d/stat", pid):
			ticks += n(11) + n(12) + n(13) + n(14)
		case n(1) == int64(pid):
			ticks += n(11) + n(12)
		}
	}
	return time.Duration(ticks) * time.Second / perSecond
}
