package world

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"dbops/internal/fault"
	"dbops/internal/pg"
	"dbops/internal/sandbox/pgbin"
)

// recipe is part of a template's name, and changes whenever what is in a template does.
const recipe = "4"

// initdbArgs are alike on every major. Small WAL segments keep copies, and the archive of an idle server, small.
func initdbArgs() []string {
	args := []string{
		"-U", superuser, "-A", "reject", "-E", "UTF8", "--data-checksums", "--wal-segsize=1", "-N", "--no-instructions", "--lc-messages=C",
	}
	if runtime.GOOS == "darwin" {
		return append(args, "--locale=C", "--lc-ctype=UTF-8")
	}
	return append(args, "--locale=C.UTF-8")
}

// template returns a folder with a fresh cluster of the programs in bin, to be copied. It is made once for each build of them,
// and shared by all worlds of the machine if the cache can be written.
func (w *world) template(ctx context.Context, bin string, major int) (string, error) {
	info, err := os.Stat(filepath.Join(bin, "initdb"))
	if err != nil {
		return "", err
	}
	version, err := runProgram(ctx, program(ctx, bin, "postgres", w.user, "/", "--version"), "")
	if err != nil {
		return "", err
	}
	uid := os.Geteuid()
	if w.user != nil {
		uid = w.user.UID
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s|%s|%s|%d|%d|%d|%q", recipe, bin, version, info.Size(), info.ModTime().UnixNano(), uid, initdbArgs()))
	name := fmt.Sprintf("%d-%x", major, sum[:8])
	shared, own := filepath.Join(pgbin.CacheDir(), "template"), filepath.Join(w.dir, "template")
	path, err := w.templateIn(ctx, shared, name, bin, major)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) || fault.KindOf(err) == fault.Denied {
		return w.templateIn(ctx, own, name, bin, major)
	}
	return path, err
}

func (w *world) templateIn(ctx context.Context, root, name, bin string, major int) (string, error) {
	if err := os.MkdirAll(filepath.Dir(root), 0o755); err != nil { //nolint:gosec // the servers' user passes through
		return "", err
	}
	if err := makeDir(root); err != nil {
		return "", err
	}
	if err := w.user.Reaches(root); err != nil {
		return "", err
	}
	path := filepath.Join(root, name)
	return pg.MadeOnce(ctx, path, func(draft string) error { return w.initdb(ctx, bin, draft, major) })
}

// initdb makes a cluster in data.
func (w *world) initdb(ctx context.Context, bin, data string, major int) error {
	if err := os.Mkdir(data, 0o700); err != nil {
		return err
	}
	if err := w.user.Own(data); err != nil {
		return err
	}
	if _, err := runProgram(ctx, program(ctx, bin, "initdb", w.user, data, append(initdbArgs(), "-D", data)...), ""); err != nil {
		return err
	}
	made, err := os.ReadFile(filepath.Join(data, "PG_VERSION"))
	if err != nil {
		return err
	}
	if got := strings.TrimSpace(string(made)); got != strconv.Itoa(major) {
		return fmt.Errorf("the programs in %s are of major %s, not %d", bin, got, major)
	}
	if hasLibrary(bin, "pg_stat_statements") {
		// The clouds let a customer create it, PostgreSQL lets only a superuser: so it is there already, where it is looked for.
		cmd := program(ctx, bin, "postgres", w.user, data, "--single", "-D", data, "-c", "log_min_messages=error", "postgres")
		out, err := runProgram(ctx, cmd, "CREATE EXTENSION pg_stat_statements\n")
		if err == nil && strings.Contains(out, "ERROR:") {
			err = errors.New(out)
		}
		if err != nil {
			return fmt.Errorf("create pg_stat_statements: %w", err)
		}
	}
	// Each server has its own beside its data.
	for _, name := range []string{"postgresql.conf", "pg_hba.conf", "pg_ident.conf"} {
		if err := os.Remove(filepath.Join(data, name)); err != nil {
			return err
		}
	}
	return nil
}

// hasLibrary tells whether the programs came with a library of that name.
func hasLibrary(bin, name string) bool {
	for _, dir := range []string{"../lib", "../lib/postgresql", "../lib/postgresql@*"} {
		if found, err := filepath.Glob(filepath.Join(bin, dir, name+".*")); err == nil && len(found) > 0 {
			return true
		}
	}
	return false
}
