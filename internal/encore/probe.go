package encore

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"dbops/internal/secret"
)

// Look reads the infra config at path. It writes nothing.
func Look(path string, lang Language) (*Infra, error) {
	text, _, err := readFile(path)
	if err != nil {
		return nil, fileFault("look at "+path, err)
	}
	config, err := ParseInfra(text, lang)
	if err != nil {
		return nil, in(path, err)
	}
	return config, nil
}

// Probe is the error that a delivery to path would end with, by modes, owners and attributes. It leaves nothing behind.
func Probe(path string) error {
	op := "deliver to " + path
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return fileFault(op, err)
	}
	_, info, err := readFile(real)
	if err != nil {
		return fileFault(op, err)
	}
	if err := secret.Replaceable(filepath.Dir(real), real); err != nil {
		return fileFault(op, err)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && os.Geteuid() != 0 && int(st.Uid) != os.Geteuid() {
		return fileFault(op, fmt.Errorf("%w: it belongs to user %d: %w", errOwner, st.Uid, fs.ErrPermission))
	}
	return nil
}
