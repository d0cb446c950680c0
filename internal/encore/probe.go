package encore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/google/renameio/v2"

	"dbops/internal/fault"
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

// Keep copies the infra config at path as it is before dbops changes it for the first time, to PATH.before-dbops: it may hold a login that
// nobody has written down elsewhere. A copy that is there stays. It returns the copy's path if it made one.
func Keep(path string) (string, error) {
	copied := path + ".before-dbops"
	text, _, err := readFile(path)
	if err != nil {
		return "", nil //nolint:nilerr // the delivery says what is wrong with it
	}
	if _, err := os.Lstat(copied); !errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err := renameio.WriteFile(copied, text, 0o600, renameio.WithTempDir(filepath.Dir(copied))); err != nil {
		return "", fault.New(fault.Failed, "copy "+path, err).Hint("the config is copied before it is changed for the first time")
	}
	return copied, nil
}
