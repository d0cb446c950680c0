package db

import (
	"errors"

	"golang.org/x/sys/unix"
)

// refuseNetwork refuses a folder on a network file system, where SQLite's locks cannot be trusted.
func refuseNetwork(dir string) error {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return nil //nolint:nilerr // opening the file says what is wrong with it
	}
	if network(uint32(s.Type)) {
		return errors.New("it is on a network file system, where the locks of SQLite cannot be trusted")
	}
	return nil
}

func network(magic uint32) bool {
	switch magic {
	case unix.NFS_SUPER_MAGIC, unix.SMB_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.AFS_SUPER_MAGIC, unix.V9FS_MAGIC:
		return true
	}
	return false
}
