package encore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"dbops/internal/fault"
)

// KeepFirst copies the infra config at path, as it is before dbops changes it for the first time, to PATH.before-dbops: it may hold a login
// that nobody has written down elsewhere. A copy that is there stays.
func KeepFirst(path string) error {
	copied := path + ".before-dbops"
	if _, err := os.Lstat(copied); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return keep(path, copied)
}

// KeepBefore copies it to PATH.before-export, or where there is such a copy already to PATH.before-export.2 and so on, and returns the copy's
// path: every copy is the way back from one export.
func KeepBefore(path string) (string, error) {
	copied := path + ".before-export"
	for n := 2; ; n++ {
		if _, err := os.Lstat(copied); errors.Is(err, fs.ErrNotExist) {
			return copied, keep(path, copied)
		}
		copied = fmt.Sprintf("%s.before-export.%d", path, n)
	}
}

func keep(path, copied string) error {
	text, _, err := readFile(path)
	if err != nil {
		return nil //nolint:nilerr // the delivery says what is wrong with it
	}
	if err := renameio.WriteFile(copied, text, 0o600, renameio.WithTempDir(filepath.Dir(copied)), renameio.WithStaticPermissions(0o600)); err != nil {
		return fault.New(fault.Failed, "copy "+path, err).Hint("the config is copied before it is changed: dbops must be able to write in its folder")
	}
	return nil
}
