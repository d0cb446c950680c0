package pg

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/gofrs/flock"
)

// scratchPrefix of the folders; the name is short, as that of a socket may not be long.
const scratchPrefix = "dbops-scratch-"

// openScratch makes the private folder of a server. Its lock is held as long as this process lives.
func openScratch(bin string, u *OSUser) (*scratchServer, error) {
	root := os.TempDir()
	if err := u.Reaches(root); err != nil || len(root) > 60 {
		root = "/tmp"
	}
	dir, err := os.MkdirTemp(root, scratchPrefix)
	if err != nil {
		return nil, err
	}
	s := &scratchServer{dir: dir, bin: bin, user: u, lock: flock.New(filepath.Join(dir, "lock"))}
	ok, err := s.lock.TryLock()
	if err == nil && !ok {
		err = errors.New("its folder is in use")
	}
	if err == nil {
		err = u.Own(dir)
	}
	if err == nil {
		err = u.Reaches(bin)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, nil
}

// fill makes the server's data, and who may log in to it: this process's user, by the word of the kernel.
func (s *scratchServer) fill(ctx context.Context, major int, dbUser string) error {
	template, err := scratchTemplate(ctx, s.bin, major, s.user)
	switch {
	case err == nil:
		err = copyFolder(template, s.data(), s.user)
	case ctx.Err() == nil: // the cache cannot be written
		err = scratchInit(ctx, s.bin, s.data(), s.user)
	}
	if err != nil {
		return err
	}
	me, err := whoami()
	if err != nil {
		return err
	}
	var ident strings.Builder
	for _, name := range []string{ScratchAdmin, dbUser} {
		fmt.Fprintf(&ident, "dbops %s %s\n", quoteIdent(me), quoteIdent(name))
	}
	for name, text := range map[string]string{
		"pg_hba.conf": "local all all peer map=dbops\n", "pg_ident.conf": ident.String(), "postgresql.conf": "",
	} {
		path := filepath.Join(s.data(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return err
		}
		if err := s.user.Own(path); err != nil {
			return err
		}
	}
	return nil
}

func quoteIdent(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

// scratchProgram prepares one of PostgreSQL's programs, run as the unprivileged user and in an environment of its own.
func scratchProgram(ctx context.Context, bin, name string, u *OSUser, dir string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(bin, name), args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=/usr/bin:/bin", "TZ=UTC", "LC_ALL=C"}
	cmd.SysProcAttr = scratchAttr(u)
	return cmd
}

func scratchInitArgs() []string {
	args := []string{"-U", ScratchAdmin, "-A", "reject", "-E", "UTF8", "--wal-segsize=1", "-N", "--no-instructions", "--lc-messages=C"}
	if runtime.GOOS == "darwin" {
		return append(args, "--locale=C", "--lc-ctype=UTF-8")
	}
	return append(args, "--locale=C.UTF-8")
}

// scratchInit makes a fresh cluster.
func scratchInit(ctx context.Context, bin, data string, u *OSUser) error {
	if err := os.Mkdir(data, 0o700); err != nil {
		return err
	}
	if err := u.Own(data); err != nil {
		return err
	}
	cmd := scratchProgram(ctx, bin, "initdb", u, data, append(scratchInitArgs(), "-D", data)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	runtime.LockOSThread() // the death signal is bound to the thread
	defer runtime.UnlockOSThread()
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, bytes.TrimSpace(out.Bytes()))
	}
	return nil
}

// scratchTemplate returns a folder with a fresh cluster, to be copied: a tenth of what initdb takes. It is made once for each build of the
// programs and kept in the cache.
func scratchTemplate(ctx context.Context, bin string, major int, u *OSUser) (string, error) {
	info, err := os.Stat(filepath.Join(bin, "postgres"))
	if err != nil {
		return "", err
	}
	uid := os.Geteuid()
	if u != nil {
		uid = u.UID
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "1|%s|%d|%d|%d|%q", bin, info.Size(), info.ModTime().UnixNano(), uid, scratchInitArgs()))
	root := filepath.Join(CacheDir(), "scratch")
	if err := os.MkdirAll(root, 0o755); err != nil { //nolint:gosec // the server's user passes through
		return "", err
	}
	if err := u.Reaches(root); err != nil {
		return "", err
	}
	path := filepath.Join(root, fmt.Sprintf("%d-%x", major, sum[:8]))
	return MadeOnce(ctx, path, func(draft string) error { return scratchInit(ctx, bin, draft, u) })
}

func copyFolder(src, dst string, u *OSUser) error {
	return filepath.WalkDir(src, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(src, path)
		if err != nil {
			return err
		}
		to := filepath.Join(dst, rel)
		switch {
		case d.IsDir():
			err = os.Mkdir(to, 0o700)
		case d.Type().IsRegular():
			err = copyOne(path, to)
		default:
			return nil
		}
		if err != nil {
			return err
		}
		return u.Own(to)
	})
}

func copyOne(src, dst string) (err error) {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(dst, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// removeScratch deletes a folder: the last children of a killed server take a moment to end.
func removeScratch(dir string) error {
	deadline := time.Now().Add(5 * time.Second)
	for {
		err := os.RemoveAll(dir)
		if err == nil || !errors.Is(err, syscall.ENOTEMPTY) || time.Now().After(deadline) {
			return err
		}
		<-time.NewTimer(10 * time.Millisecond).C
	}
}

// sweepScratch ends what killed processes have left: their folders, and their servers where those do not die with them.
func sweepScratch(ctx context.Context) {
	roots := map[string]bool{os.TempDir(): true, "/tmp": true}
	for root := range roots {
		found, err := filepath.Glob(filepath.Join(root, scratchPrefix+"*", "lock"))
		if err != nil {
			continue
		}
		for _, path := range found {
			if info, err := os.Lstat(path); err != nil || !ours(info) || time.Since(info.ModTime()) < time.Minute {
				continue // perhaps one that is only beginning
			}
			lock := flock.New(path) // held as long as its process lives
			if ok, err := lock.TryLock(); err != nil || !ok {
				continue
			}
			endOrphan(ctx, filepath.Join(filepath.Dir(path), "data"))
			_ = removeScratch(filepath.Dir(path)) // the next one tries again
			_ = lock.Unlock()
		}
	}
}

// ours tells that a file belongs to this process's user.
func ours(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}

// endOrphan kills the server of a data folder, if there is one still.
func endOrphan(ctx context.Context, data string) {
	b, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		return
	}
	pid, err := strconv.Atoi(strings.SplitN(string(b), "\n", 2)[0])
	if err != nil || pid <= 1 || !worksIn(ctx, pid, data) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	_ = syscall.Kill(pid, syscall.SIGQUIT)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for worksIn(ctx, pid, data) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

var keywordPassword = regexp.MustCompile(`(?i)(^|[\s?&])(ssl)?password\s*=`)

// hasPassword tells whether a connection string holds a password.
func hasPassword(s string) bool {
	if u, err := url.Parse(s); err == nil && u.User != nil {
		if _, ok := u.User.Password(); ok {
			return true
		}
	}
	return keywordPassword.MatchString(s)
}
