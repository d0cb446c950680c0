package secret

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/gofrs/flock"

	"dbops/internal/fault"
)

// What lies beside a file called PATH.
const (
	sidecarSuffix = ".dbops"      // the versions
	lockSuffix    = ".dbops.lock" // empty; held while the two are changed
	nextSuffix    = ".dbops.next" // the next file, before it takes the place of the old one
	newSuffix     = ".dbops.new"  // the next sidecar
)

const (
	lockPoll    = 5 * time.Millisecond
	lockTimeout = 20 * time.Second // nobody holds it for longer than a slow disk takes
	maxLooks    = 10
)

// filePlace is a file and its folder, and what is being done to it.
type filePlace struct {
	op   string
	path string // the file, behind all links
	base string // its name
	dir  string
	root *os.Root // its folder: what follows cannot be led elsewhere
	step func(string) error
}

// place opens the folder of a file. A link is followed, and what it points to is the file: replacing the link would leave whoever reads
// the target with the old text.
func (f File) place(doing string, r Ref) (*filePlace, error) {
	p := &filePlace{op: doing + " " + r.String(), step: f.step}
	if p.step == nil {
		p.step = func(string) error { return nil }
	}
	var err error
	p.path, err = filepath.EvalSymlinks(r.Name)
	if errors.Is(err, fs.ErrNotExist) {
		if info, err := os.Lstat(r.Name); err == nil && info.Mode()&fs.ModeSymlink != 0 {
			return nil, fault.Newf(fault.NotFound, p.op, "it is a link to nowhere").Hint("ls -l %s shows where; make that, or remove the link", r.Name)
		}
		var dir string
		dir, err = filepath.EvalSymlinks(filepath.Dir(r.Name))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fault.Newf(fault.NotFound, p.op, "there is no folder %s", filepath.Dir(r.Name)).
				Hint("install -d -m 700 %s, as the user whose secrets these are", filepath.Dir(r.Name))
		}
		p.path = filepath.Join(dir, filepath.Base(r.Name))
	}
	if err != nil {
		p.path = r.Name
		return nil, p.fault(err)
	}
	p.dir, p.base = filepath.Split(p.path)
	p.dir = filepath.Clean(p.dir)
	if p.root, err = os.OpenRoot(p.dir); err != nil {
		return nil, p.fault(err)
	}
	return p, nil
}

func (p *filePlace) close() { _ = p.root.Close() }

// lock waits until nobody else changes the place, and looks whether it is safe to write there. A killed process holds no lock; what it
// had not put in place yet is removed.
func (p *filePlace) lock(ctx context.Context) (unlock func(), err error) {
	if err := p.safe(); err != nil {
		return nil, err
	}
	if err := p.step("lock"); err != nil {
		return nil, p.fault(err)
	}
	ask, cancel := context.WithTimeout(ctx, lockTimeout)
	defer cancel()
	lock := flock.New(p.path+lockSuffix, flock.SetFlag(os.O_CREATE|os.O_RDWR), flock.SetPermissions(0o600)) // NFS wants it writable
	if _, err := lock.TryLockContext(ask, lockPoll); err != nil {
		switch {
		case ctx.Err() != nil:
			return nil, fault.New(fault.KindOf(ctx.Err()), p.op, ctx.Err())
		case errors.Is(err, context.DeadlineExceeded):
			return nil, fault.Newf(fault.Busy, p.op, "another process has changed it for %s", lockTimeout).
				Hint("fuser %s shows which", p.path+lockSuffix)
		}
		return nil, p.fault(err)
	}
	for _, suffix := range []string{nextSuffix, newSuffix} {
		if err := p.root.Remove(p.base + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, errors.Join(p.fault(err), lock.Unlock())
		}
	}
	return func() { _ = lock.Unlock() }, nil
}

// load reads the sidecar and the file as they are at one moment. A place that does not exist is a fault.NotFound, and an empty state.
func (p *filePlace) load() (*fileState, error) {
	for range maxLooks {
		first, err := p.readSidecar()
		if err != nil {
			return nil, err
		}
		s := &fileState{hasSidecar: first != nil}
		if s.text, s.info, err = p.read(p.base, maxText); err != nil {
			return nil, p.fault(err)
		}
		again, err := p.readSidecar()
		if err != nil {
			return nil, err
		}
		if !bytes.Equal(first, again) {
			continue // somebody promotes: what was read may be of two moments
		}
		if s.hasSidecar {
			if s.sidecar, err = parseSidecar(first); err != nil {
				return nil, fault.New(fault.Invalid, p.op, fmt.Errorf("%s: %w", p.path+sidecarSuffix, err)).
					Hint("if no rotation is under way, remove it: %s itself stays as it is", p.path)
			}
		}
		s.conclude()
		if !s.there() {
			return s, p.missing()
		}
		return s, nil
	}
	return nil, fault.Newf(fault.Busy, p.op, "it changes all the time").Hint("find out what writes %s, then try again", p.path)
}

func (p *filePlace) missing() error {
	return fault.Newf(fault.NotFound, p.op, "there is no file %s", p.path).Hint("a relative path is relative to dbops.yaml")
}

// readSidecar returns nil if there is none.
func (p *filePlace) readSidecar() ([]byte, error) {
	b, info, err := p.read(p.base+sidecarSuffix, maxSidecar)
	if err != nil || info == nil {
		return nil, p.fault(err)
	}
	if open := openTo(info); open != "" || info.Mode().Perm()&0o077 != 0 {
		return nil, fault.Newf(fault.Denied, p.op, "%s is open to others: its mode is %#o", p.path+sidecarSuffix, info.Mode().Perm()).
			Hint("chmod 600 %s, and change the passwords that are in it", p.path+sidecarSuffix)
	}
	return append([]byte{}, b...), nil
}

// read returns a file of the folder; no info if there is none.
func (p *filePlace) read(name string, most int64) ([]byte, fs.FileInfo, error) {
	info, err := p.root.Lstat(name) // first, because opening a pipe would wait for its writer
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%s %w", filepath.Join(p.dir, name), errNotRegular)
	}
	f, err := p.root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = f.Close() }()
	if info, err = f.Stat(); err != nil {
		return nil, nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("%s %w", filepath.Join(p.dir, name), errTooLarge)
	}
	return b, info, err
}

// What is not a secret.
var (
	errNotRegular = errors.New("is not a regular file")
	errTooLarge   = errors.New("is too large")
)

// fault is what the disk said, in words. It is nil for nil.
func (p *filePlace) fault(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EFBIG):
		return fault.New(fault.Failed, p.op, err).Hint("make room where %s is, then try again: nothing is lost", p.dir)
	case errors.Is(err, syscall.EROFS):
		return fault.New(fault.Denied, p.op, err).Hint("mount what holds %s writable, or deliver to another place", p.dir)
	case errors.Is(err, syscall.EBUSY):
		return fault.New(fault.Busy, p.op, err).Hint("%s is a mount of its own: mount its folder instead, so that the file can be replaced", p.path)
	case errors.Is(err, syscall.EPERM): // not EACCES, which modes lead to
		return fault.New(fault.Denied, p.op, err).Hint("lsattr -d %s; lsattr %s*: what is immutable there (i, a) stays so until root runs chattr -i -a on it", p.dir, p.path)
	case errors.Is(err, fs.ErrPermission):
		return fault.New(fault.Denied, p.op, err).Hint("run dbops as the owner of %s", p.dir)
	case errors.Is(err, errNotRegular), errors.Is(err, errTooLarge), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ELOOP):
		return fault.New(fault.Invalid, p.op, err).Hint("check the path: ls -l %s", p.path)
	}
	return fault.New(fault.Failed, p.op, err).Hint("check %s and the disk, then try again: nothing is lost", p.path)
}
