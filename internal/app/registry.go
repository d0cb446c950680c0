package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"

	"dbops/internal/config"
)

// RunningProxy is an open proxy of this user, as other commands see it.
type RunningProxy struct {
	Config      string        `json:"config"` // the dbops.yaml it was opened from
	Environment string        `json:"environment"`
	Access      config.Access `json:"access"`
	Addr        string        `json:"addr"`
	PID         int           `json:"pid"`
	Since       time.Time     `json:"since"`
	URIs        []DatabaseURI `json:"uris"`
}

// DefaultRuntimeDir is $XDG_RUNTIME_DIR/dbops, else a folder of the user's own under the temporary one.
func DefaultRuntimeDir(getenv func(string) string) string {
	if d := getenv("XDG_RUNTIME_DIR"); d != "" {
		return filepath.Join(d, "dbops")
	}
	return filepath.Join(os.TempDir(), "dbops-"+strconv.Itoa(os.Getuid()))
}

// ownDir makes dir, and refuses one that another user could write to or has made: URIs in it hold passwords.
func ownDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() || int(st.Uid) != os.Getuid() {
		return fmt.Errorf("%s is not a folder of this user", dir)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return os.Chmod(dir, 0o700) //nolint:gosec // a folder needs its x
	}
	return nil
}

// listProxy lists a proxy until the returned function is called or the process ends: a lock tells which entries are alive.
func listProxy(dir string, p RunningProxy) (unlist func(), err error) {
	if err := ownDir(dir); err != nil {
		return nil, err
	}
	p.PID = os.Getpid()
	name := filepath.Join(dir, fmt.Sprintf("proxy-%d-%s.json", p.PID, strings.ReplaceAll(p.Addr, ":", "-")))
	lock := flock.New(strings.TrimSuffix(name, ".json") + ".lock")
	if ok, err := lock.TryLock(); err != nil || !ok {
		return nil, errors.Join(err, errors.New("its entry is locked"))
	}
	b, err := json.MarshalIndent(p, "", "  ")
	if err == nil {
		err = renameio.WriteFile(name, b, 0o600, renameio.WithTempDir(dir))
	}
	if err != nil {
		return nil, errors.Join(err, lock.Unlock())
	}
	return func() {
		_ = os.Remove(name)
		_ = os.Remove(lock.Path())
		_ = lock.Unlock()
	}, nil
}

// RunningProxies lists the open proxies of this user for this configuration and environment, newest first, and clears away what
// ended without saying so. An access of "" matches any.
func (a *App) RunningProxies(env string, access config.Access) ([]RunningProxy, error) {
	files, err := filepath.Glob(filepath.Join(a.opts.RuntimeDir, "proxy-*.json"))
	if err != nil || len(files) == 0 {
		return nil, err
	}
	if err := ownDir(a.opts.RuntimeDir); err != nil {
		return nil, err
	}
	var out []RunningProxy
	for _, f := range files {
		p, alive, err := readRunning(f)
		if err != nil {
			return nil, err
		}
		if alive && p.Config == a.cfg.Path && p.Environment == env && (access == "" || p.Access == access) {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(x, y RunningProxy) int { return y.Since.Compare(x.Since) })
	return out, nil
}

func readRunning(file string) (p RunningProxy, alive bool, err error) {
	lock := flock.New(strings.TrimSuffix(file, ".json") + ".lock")
	free, err := lock.TryLock()
	if err != nil {
		return p, false, err
	}
	if free { // nobody holds it: its process is gone
		return p, false, errors.Join(ignoreMissing(os.Remove(file)), ignoreMissing(os.Remove(lock.Path())), lock.Unlock())
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return p, false, ignoreMissing(err)
	}
	if err := json.Unmarshal(b, &p); err != nil {
		return p, false, fmt.Errorf("read %s: %w", file, err)
	}
	return p, true, nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
