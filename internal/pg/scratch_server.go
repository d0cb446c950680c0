package pg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	"github.com/jackc/pgx/v5"
)

// scratchServer is one that was started here.
type scratchServer struct {
	dir  string // private; the socket is in it
	bin  string
	user *OSUser
	lock *flock.Flock
	cmd  *exec.Cmd
	done chan struct{}
}

func startScratch(ctx context.Context, bin string, major int, o ScratchOptions) (*Scratch, error) {
	osUser, err := RunAs()
	if err != nil {
		return nil, err
	}
	sweepScratch(ctx)
	srv, err := openScratch(bin, osUser)
	if err != nil {
		return nil, err
	}
	if err = srv.fill(ctx, major, o.User); err == nil {
		err = srv.start(ctx)
	}
	s := &Scratch{Major: major, Own: true, Dir: srv.dir, user: o.User, connect: srv.connect, close: func(context.Context) error { return srv.end() }}
	if err == nil && o.User != ScratchAdmin {
		err = s.maintain(ctx, "create role "+pgx.Identifier{o.User}.Sanitize()+" login createdb createrole replication bypassrls")
	}
	if err != nil {
		return nil, errors.Join(err, srv.end())
	}
	return s, nil
}

func (s *scratchServer) connect(ctx context.Context, user, database string, tune func(*pgx.ConnConfig)) (*pgx.Conn, error) {
	cfg, err := Config(Params{Host: s.dir, Port: scratchPort, Database: database, User: user, SSLMode: "disable"})
	if err != nil {
		return nil, err
	}
	c, err := pgx.ParseConfig("")
	if err != nil {
		return nil, err
	}
	c.Config = *cfg
	tune(c)
	return pgx.ConnectConfig(ctx, c)
}

const scratchPort = 5432 // only part of the socket's name

// scratchSettings make a server that is small, quick, and keeps nothing.
var scratchSettings = []string{
	"listen_addresses=", "unix_socket_permissions=0777", // the folder is private
	"fsync=off", "full_page_writes=off", "synchronous_commit=off", "wal_level=minimal", "max_wal_senders=0", "min_wal_size=32MB", "max_wal_size=256MB",
	"shared_buffers=24MB", "max_connections=20", "max_locks_per_transaction=1024", "autovacuum=off", "jit=off", "track_counts=on",
	"max_parallel_workers_per_gather=0", "max_parallel_maintenance_workers=0", "lc_messages=C", "logging_collector=off", "shared_preload_libraries=",
}

// start runs the server and returns when it accepts connections.
func (s *scratchServer) start(ctx context.Context) error {
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	args := []string{"-D", s.data(), "-k", s.dir, "-p", strconv.Itoa(scratchPort)}
	for _, kv := range scratchSettings {
		args = append(args, "-c", kv)
	}
	cmd := scratchProgram(context.WithoutCancel(ctx), s.bin, "postgres", s.user, s.data(), args...)
	cmd.Stdout, cmd.Stderr = log, log
	if s.done, err = StartDying(cmd); err != nil {
		return err
	}
	s.cmd = cmd
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !s.ready() {
		select {
		case <-tick.C:
		case <-s.done:
			return fmt.Errorf("it ended instead of starting: %s", s.lastWords())
		case <-ctx.Done():
			return fmt.Errorf("it did not become ready: %w: %s", context.Cause(ctx), s.lastWords())
		}
	}
	return nil
}

func (s *scratchServer) data() string { return filepath.Join(s.dir, "data") }

// ready reads the state that the server keeps in its lock file.
func (s *scratchServer) ready() bool {
	b, err := os.ReadFile(filepath.Join(s.data(), "postmaster.pid"))
	if err != nil {
		return false
	}
	lines := strings.Split(string(b), "\n")
	return len(lines) > 7 && strings.TrimSpace(lines[7]) == "ready"
}

func (s *scratchServer) lastWords() string {
	b, err := os.ReadFile(filepath.Join(s.dir, "log"))
	if err != nil || len(strings.TrimSpace(string(b))) == 0 {
		return "nothing was logged"
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-4):], " | ")
}

// end kills the server, whose data nobody wants, and removes its folder.
func (s *scratchServer) end() error {
	if s.cmd != nil {
		for _, sig := range []syscall.Signal{syscall.SIGQUIT, syscall.SIGKILL} {
			_ = s.cmd.Process.Signal(sig)
			t := time.NewTimer(10 * time.Second)
			select {
			case <-s.done:
			case <-t.C:
				continue
			}
			t.Stop()
			break
		}
		<-s.done
		s.cmd = nil
	}
	return errors.Join(removeScratch(s.dir), s.lock.Unlock())
}

// whoami is this process's user, as the server's peer authentication sees it.
func whoami() (string, error) {
	u, err := user.Current()
	if err != nil {
		return "", err
	}
	return u.Username, nil
}
