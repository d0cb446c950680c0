package secret

import (
	"context"
	"path/filepath"

	"dbops/internal/fault"
)

var _ Prober = File{}

// Probe looks at the folder, its owner and modes, and at those of the file and what lies beside it. A disk that is full is not noticed.
func (f File) Probe(_ context.Context, r Ref) error {
	p, err := f.place("write secret", r)
	if err != nil {
		return err
	}
	defer p.close()
	if err := p.safe(); err != nil {
		return err
	}
	s, err := p.load()
	if err != nil && fault.KindOf(err) != fault.NotFound {
		return err
	}
	if _, err := p.attributes(s); err != nil {
		return err
	}
	if err := p.step("probe"); err != nil {
		return p.fault(err)
	}
	return p.fault(Replaceable(p.dir, p.path, p.path+sidecarSuffix, p.path+nextSuffix, p.path+newSuffix))
}

// Replaceable is the error that replacing files in a folder would end with, by its modes and attributes and theirs. A file that is not there
// is one that would be made.
func Replaceable(dir string, names ...string) error {
	if err := mayWrite(dir); err != nil {
		return err
	}
	for _, name := range names {
		if err := mayBeReplaced(filepath.Join(dir, filepath.Base(name))); err != nil {
			return err
		}
	}
	return nil
}
