package encore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"

	"dbops/internal/fault"
)

// Delivery is what a file should hold about one database.
type Delivery struct {
	Database string // by its name in the app's code
	Change
	// Variables tells that the caller sets the variables of the environment that the report names. Without it a file that names variables
	// is left as it is, with a fault.Blocked: the new password would reach nobody.
	Variables bool
}

// Delivered is what a delivery did; of several databases, to any of them.
type Delivered struct {
	Report
	Written bool `json:"written"` // false: the file held all of it
}

// Deliver makes the infra config at path hold every one of ds. The file is replaced as a whole, durably, or not touched; its other bytes
// stay. Doing it again writes nothing. Processes that deliver to the same folder wait for each other; a change by somebody else in between is a
// fault.Stale.
//
// The new file is its owner's alone (0600, or narrower if it was; one that root owns stays readable by its group if it was), and keeps owner
// and group: where that is not possible it is a fault.Denied, because the app could not read it any more.
func Deliver(ctx context.Context, path string, lang Language, ds ...Delivery) (Delivered, error) {
	op := "deliver to " + path
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return Delivered{}, fileFault(op, err)
	}
	unlock, err := lockFolder(ctx, filepath.Dir(real))
	if err != nil {
		return Delivered{}, fault.New(fault.Busy, op, err)
	}
	defer unlock()
	sweep(real)
	old, info, err := readFile(real)
	if err != nil {
		return Delivered{}, fileFault(op, err)
	}
	config, err := ParseInfra(old, lang)
	if err != nil {
		return Delivered{}, in(path, err)
	}
	var report Report
	for _, d := range ds {
		r, err := config.Set(d.Database, d.Change)
		if err != nil {
			return Delivered{}, in(path, err)
		}
		if len(r.Variables) > 0 && !d.Variables {
			v := r.Variables[0]
			return Delivered{}, fault.Newf(fault.Blocked, op, "the file takes the %s of %s from the variable %s of the container's environment, "+
				"which is not set here", v.Holds, d.Database, v.Name).
				Hint("let the delivery write it into the file itself, or deliver to the place that the variable is set from")
		}
		report.add(r)
	}
	text := config.Text()
	if bytes.Equal(text, old) {
		if wide := info.Mode().Perm() &^ mode(info); wide != 0 && config.holdsPasswords() {
			report.warn(fmt.Sprintf("its mode is %#o, and it holds a password: chmod %#o %s", info.Mode().Perm(), mode(info), path))
		}
		return Delivered{Report: report}, nil
	}
	if err := replace(real, text, old, info); err != nil {
		return Delivered{}, fileFault(op, err)
	}
	if narrowed := info.Mode().Perm() &^ mode(info); narrowed != 0 {
		report.warn(fmt.Sprintf("the file's mode was %#o and is %#o now: it holds a password, so the app has to run as the file's owner",
			info.Mode().Perm(), mode(info)))
	}
	return Delivered{Report: report, Written: true}, nil
}

// Holds tells how much of d the infra config at path holds. It writes nothing.
func Holds(path string, lang Language, d Delivery) (Holding, error) {
	config, err := Look(path, lang)
	if err != nil {
		return Holding{}, err
	}
	h, err := config.Holds(d.Database, d.Change)
	if err != nil {
		return Holding{}, in(path, err)
	}
	return h, nil
}

// in adds the file to an error that has everything else.
func in(path string, err error) error {
	return fault.New(fault.KindOf(err), path, err)
}

var (
	errMoved = errors.New("somebody changed it meanwhile")
	errOwner = errors.New("keep its owner")
)

func fileFault(op string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fault.New(fault.NotFound, op, err).Hint("put the app's infra config there: dbops changes one, and makes none")
	case errors.Is(err, errMoved):
		return fault.New(fault.Stale, op, err).Hint("nothing was written; do it again")
	case errors.Is(err, syscall.EBUSY):
		return fault.New(fault.Invalid, op, err).Hint("the file itself is mounted; mount its folder instead, so that the file can be replaced")
	case errors.Is(err, syscall.EPERM) && !errors.Is(err, errOwner): // not EACCES, which modes lead to
		return fault.New(fault.Denied, op, err).Hint("lsattr -d shows what is immutable there (i, a): it stays so until root runs chattr -i -a on it")
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return fault.New(fault.Denied, op, err).Hint("dbops must be able to write in its folder, and to keep its owner: run it as the file's owner")
	}
	return fault.New(fault.Invalid, op, err)
}

func readFile(path string) ([]byte, fs.FileInfo, error) {
	info, err := os.Stat(path) // first, because opening a pipe would wait for its writer
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, errors.New("it is not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = f.Close() }() // only read
	if info, err = f.Stat(); err != nil {
		return nil, nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, MaxText+1))
	if err == nil && len(text) > MaxText {
		err = fmt.Errorf("it is larger than %d MiB", MaxText>>20)
	}
	return text, info, err
}

// lockFolder keeps other deliveries away from a folder. It leaves nothing behind.
func lockFolder(ctx context.Context, dir string) (func(), error) {
	lock := flock.New(dir, flock.SetFlag(os.O_RDONLY))
	if ok, err := lock.TryLockContext(ctx, 20*time.Millisecond); !ok {
		return nil, fmt.Errorf("wait for another delivery to the folder: %w", err)
	}
	return func() { _ = lock.Unlock() }, nil
}

// sweep removes what a delivery that was killed left: nobody else writes files of such names while the folder is locked.
func sweep(path string) {
	leftover := regexp.MustCompile(`^` + regexp.QuoteMeta(prefix(path)) + `[0-9]+$`)
	files, _ := os.ReadDir(filepath.Dir(path)) // if it cannot be read, writing will say why
	for _, f := range files {
		if leftover.MatchString(f.Name()) {
			_ = os.Remove(filepath.Join(filepath.Dir(path), f.Name()))
		}
	}
}

// prefix is how renameio begins the names of its temporary files.
func prefix(path string) string { return "." + filepath.Base(path) }

// mode is what a file with a password may have of info's mode.
func mode(info fs.FileInfo) fs.FileMode {
	allowed := fs.FileMode(0o600)
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid == 0 {
		allowed |= 0o040 // as for libpq's keys
	}
	return info.Mode().Perm() & allowed
}

func replace(path string, text, old []byte, info fs.FileInfo) error {
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)), renameio.WithStaticPermissions(0o600))
	if err != nil {
		return err
	}
	defer func() { _ = f.Cleanup() }() // nothing, once it has replaced the file
	if _, err := f.Write(text); err != nil {
		return err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		if err := f.Chown(int(st.Uid), int(st.Gid)); err != nil {
			return fmt.Errorf("%w: %w", errOwner, err)
		}
	}
	if err := f.Chmod(mode(info)); err != nil {
		return err
	}
	if now, _, err := readFile(path); err != nil || !bytes.Equal(now, old) {
		return errMoved
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	if err := dir.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) { // some file systems have nothing to do
		return err
	}
	return nil
}
