//go:build unix

package secret

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"
)

// mayWrite asks the kernel whether files may be made in a folder: modes, a disk that is read only, and attributes.
func mayWrite(dir string) error { return access(dir, unix.W_OK|unix.X_OK) }

// mayBeReplaced tells of an immutable file alone: to replace one takes the folder's permission, not the file's.
func mayBeReplaced(name string) error {
	if err := access(name, unix.W_OK); errors.Is(err, unix.EPERM) {
		return err
	}
	return nil
}

func access(name string, mode uint32) error {
	if err := unix.Access(name, mode); err != nil { // unlike Faccessat, which takes EPERM for a kernel that cannot answer
		return &fs.PathError{Op: "write", Path: name, Err: err}
	}
	return nil
}
