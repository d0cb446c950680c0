package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
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
	Protected   bool          `json:"protected,omitempty"`
	Access      config.Access `json:"access"`
	Addr        string        `json:"addr"`             // host:port; empty if it has a socket only
	Socket      string        `json:"socket,omitempty"` // path
	TLS         bool          `json:"tls,omitempty"`    // clients by TCP must encrypt
	PID         int           `json:"pid"`
	Since       time.Time     `json:"since"`
	Until       time.Time     `json:"until,omitzero"` // when its time is over
	Control     string        `json:"control,omitempty"`
	PassFile    string        `json:"pass_file,omitempty"` // for PGPASSFILE
	CAFile      string        `json:"ca_file,omitempty"`   // by which its own TLS is verified
	URIs        []DatabaseURI `json:"uris"`

	base string // of its files, where it was read
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

// entry is the files of a proxy in the runtime folder: proxy-PID-N, and what each is. A lock tells which are of a living process.
type entry struct {
	base string
	lock *flock.Flock
}

// The kinds of an entry's files.
const (
	fileLock    = ".lock"
	fileFacts   = ".json" // of a proxy that other commands may find
	filePass    = ".pgpass"
	fileCA      = ".pem"
	fileControl = ".sock"
)

// newEntry makes an entry without facts, and clears away what a process of the same number left.
func newEntry(dir string) (*entry, error) {
	if err := ownDir(dir); err != nil {
		return nil, err
	}
	const tries = 10000
	for n := 1; n < tries; n++ {
		e := &entry{base: filepath.Join(dir, fmt.Sprintf("proxy-%d-%d", os.Getpid(), n))}
		e.lock = flock.New(e.base + fileLock)
		if ok, err := e.lock.TryLock(); err != nil {
			return nil, err
		} else if !ok {
			continue
		}
		if !e.holds() { // somebody cleared it away before it was locked
			_ = e.lock.Unlock()
			continue
		}
		return e, e.clear()
	}
	return nil, errors.New("too many proxies are open in this process")
}

// holds tells whether the file that was locked is the one that others would look at.
func (e *entry) holds() bool {
	there, err := os.Stat(e.lock.Path())
	if err != nil {
		return false
	}
	own, err := e.lock.Stat()
	return err == nil && os.SameFile(there, own)
}

// write keeps a file of the entry, for its owner only.
func (e *entry) write(kind string, content []byte) error {
	path := e.base + kind
	return renameio.WriteFile(path, content, 0o600, renameio.WithTempDir(filepath.Dir(path)))
}

func (e *entry) publish(p RunningProxy) error {
	p.PID = os.Getpid()
	b, err := json.MarshalIndent(p, "", "  ")
	if err == nil {
		err = e.write(fileFacts, b)
	}
	return err
}

// clear removes the files but for the lock.
func (e *entry) clear() error {
	var errs []error
	for _, path := range []string{e.base + fileFacts, e.base + filePass, e.base + fileCA, e.controlPath()} {
		errs = append(errs, ignoreMissing(os.Remove(path)))
	}
	return errors.Join(errs...)
}

func (e *entry) remove() error {
	return errors.Join(e.clear(), ignoreMissing(os.Remove(e.lock.Path())), e.lock.Unlock())
}

const socketPathMax = 103 // bytes that every system takes

// controlPath is beside the other files, unless the path would be too long for a socket.
func (e *entry) controlPath() string {
	if path := e.base + fileControl; len(path) <= socketPathMax {
		return path
	}
	sum := sha256.Sum256([]byte(e.base))
	return filepath.Join(os.TempDir(), "dbops-"+strconv.Itoa(os.Getuid()), hex.EncodeToString(sum[:8])+fileControl)
}

// listenControl listens on the entry's own socket.
func (e *entry) listenControl(ctx context.Context) (net.Listener, error) {
	path := e.controlPath()
	if err := ownDir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	if err := ignoreMissing(os.Remove(path)); err != nil {
		return nil, err
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	return ln, nil
}

// RunningProxies lists the open proxies of this user for this configuration and environment, newest first. An access of "" matches any.
func (a *App) RunningProxies(env string, access config.Access) ([]RunningProxy, error) {
	all, err := ListProxies(a.opts.RuntimeDir)
	return slices.DeleteFunc(all, func(p RunningProxy) bool {
		return p.Config != a.cfg.Path || p.Environment != env || access != "" && p.Access != access
	}), err
}

// ListProxies lists all open proxies of this user, newest first, and clears away what ended without saying so.
func ListProxies(dir string) ([]RunningProxy, error) {
	files, err := filepath.Glob(filepath.Join(dir, "proxy-*"+fileLock))
	if err != nil || len(files) == 0 {
		return nil, err
	}
	if err := ownDir(dir); err != nil {
		return nil, err
	}
	var out []RunningProxy
	for _, f := range files {
		p, listed, err := readRunning(strings.TrimSuffix(f, fileLock))
		if err != nil {
			return nil, err
		}
		if listed {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(x, y RunningProxy) int { return y.Since.Compare(x.Since) })
	return out, nil
}

func readRunning(base string) (p RunningProxy, listed bool, err error) {
	e := &entry{base: base, lock: flock.New(base + fileLock)}
	free, err := e.lock.TryLock()
	if err != nil {
		return p, false, err
	}
	if free { // nobody holds it: its process is gone
		return p, false, e.remove()
	}
	b, err := os.ReadFile(base + fileFacts)
	if err != nil {
		return p, false, ignoreMissing(err)
	}
	if err := json.Unmarshal(b, &p); err != nil {
		return p, false, fmt.Errorf("read %s: %w", base+fileFacts, err)
	}
	p.base = base
	return p, true, nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Gone tells whether a proxy that was listed in dir has ended.
func (p RunningProxy) Gone(dir string) (bool, error) {
	all, err := ListProxies(dir)
	if err != nil || slices.ContainsFunc(all, func(q RunningProxy) bool { return q.PID == p.PID && q.Since.Equal(p.Since) }) {
		return false, err
	}
	if slices.ContainsFunc(all, func(q RunningProxy) bool { return q.base == p.base }) { // its process has opened another one
		return true, nil
	}
	_, err = os.Lstat(p.base + fileLock) // the last of its files
	return errors.Is(err, fs.ErrNotExist), ignoreMissing(err)
}

// Ask asks a proxy over its own socket, as in GET /readiness. The status is that of HTTP.
func (p RunningProxy) Ask(ctx context.Context, method, path string) (status int, body []byte, err error) {
	if p.Control == "" {
		return 0, nil, errors.New("it has no socket to ask it by")
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://dbops"+path, nil)
	if err != nil {
		return 0, nil, err
	}
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", p.Control)
		},
	}}
	res, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = res.Body.Close() }()
	const answerMax = 16 << 20
	body, err = io.ReadAll(io.LimitReader(res.Body, answerMax))
	return res.StatusCode, body, err
}
