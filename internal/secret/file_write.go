package secret

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// attributes are what a new file takes over from the one it replaces.
type attributes struct {
	perm     fs.FileMode
	uid, gid int // -1: those of this process
}

// save replaces the sidecar. It is on the disk when save returns.
func (p *filePlace) save(s *sidecar) error {
	if err := p.prepareSidecar(s); err != nil {
		return err
	}
	return p.commit(newSuffix, sidecarSuffix)
}

// replace replaces the file, and then the sidecar. Both are on the disk before the first of them takes its place, so a full disk leaves
// everything as it was.
func (p *filePlace) replace(text []byte, like attributes, s *sidecar) error {
	if err := p.prepareSidecar(s); err != nil {
		return err
	}
	if err := p.prepare(p.base+nextSuffix, text, like); err != nil {
		_ = p.root.Remove(p.base + newSuffix) // the next change would, too
		return err
	}
	if err := p.commit(nextSuffix, ""); err != nil {
		_ = p.root.Remove(p.base + newSuffix)
		return err
	}
	return p.commit(newSuffix, sidecarSuffix)
}

func (p *filePlace) prepareSidecar(s *sidecar) error {
	b, err := s.marshal()
	if err != nil {
		return p.fault(err)
	}
	return p.prepare(p.base+newSuffix, b, attributes{perm: 0o600, uid: -1, gid: -1})
}

// prepare writes a file that takes another one's place later.
func (p *filePlace) prepare(name string, text []byte, like attributes) (err error) {
	defer func() {
		if err != nil {
			_ = p.root.Remove(name)
			err = p.fault(err)
		}
	}()
	if err := p.step("make " + name); err != nil {
		return err
	}
	f, err := p.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if like.uid >= 0 || like.gid >= 0 {
		if err := f.Chown(like.uid, like.gid); err != nil {
			return err
		}
	}
	if err := f.Chmod(like.perm); err != nil { // after chown, which may drop bits; and whatever the umask is
		return err
	}
	if err := p.step("write " + name); err != nil {
		return err
	}
	if _, err := f.Write(text); err != nil {
		return err
	}
	if err := p.step("flush " + name); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return f.Close()
}

// commit renames a prepared file to the one whose place it takes, and makes that last.
func (p *filePlace) commit(from, to string) error {
	if err := p.step("rename " + p.base + from); err != nil {
		_ = p.root.Remove(p.base + from)
		return p.fault(err)
	}
	if err := p.root.Rename(p.base+from, p.base+to); err != nil {
		_ = p.root.Remove(p.base + from)
		return p.fault(err)
	}
	if err := p.step("flush the folder"); err != nil {
		return p.fault(err)
	}
	dir, err := p.root.Open(".")
	if err != nil {
		return p.fault(err)
	}
	defer func() { _ = dir.Close() }()
	if err := dir.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, errors.ErrUnsupported) { // some disks cannot
		return p.fault(err)
	}
	return nil
}
