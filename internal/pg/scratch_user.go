package pg

import (
	"errors"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"dbops/internal/fault"
)

// OSUser is the unprivileged user that runs PostgreSQL. The methods of a nil OSUser do nothing: this process is not root's, and
// its servers run as itself.
type OSUser struct {
	Name     string
	UID, GID int
}

var errNoUser = errors.New("running as root, and there is no unprivileged user (postgres, nobody) to run PostgreSQL as")

// RunAs returns the user to drop to, nil unless this process is root's.
func RunAs() (*OSUser, error) {
	if os.Geteuid() != 0 {
		return nil, nil //nolint:nilnil // nobody to drop to is an answer
	}
	for _, name := range []string{"postgres", "nobody"} {
		if u, err := lookup(name); err == nil && u.UID != 0 {
			return u, nil
		}
	}
	return nil, errNoUser
}

func lookup(name string) (*OSUser, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, err
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.Atoi(u.Gid)
	return &OSUser{Name: name, UID: uid, GID: gid}, err
}

// Credential is how a child process becomes u.
func (u *OSUser) Credential() *syscall.Credential {
	if u == nil {
		return nil
	}
	return &syscall.Credential{Uid: uint32(u.UID), Gid: uint32(u.GID)}
}

// Own makes path belong to u.
func (u *OSUser) Own(path string) error {
	if u == nil {
		return nil
	}
	return os.Lchown(path, u.UID, u.GID)
}

// Reaches checks that u may pass through dir and every folder above it, as far as they exist. The error names the one that is
// closed.
func (u *OSUser) Reaches(dir string) error {
	if u == nil {
		return nil
	}
	for d := filepath.Clean(dir); ; d = filepath.Dir(d) {
		if info, err := os.Stat(d); err == nil && !u.passes(info) {
			return fault.Newf(fault.Denied, "run PostgreSQL in "+dir, "root may not run it, and user %s cannot pass through %s (mode %04o)",
				u.Name, d, info.Mode().Perm()).
				Hint("use a folder that every user can pass through, as in --dir /var/lib/dbops, or: chmod o+x %s", d)
		}
		if d == filepath.Dir(d) {
			return nil
		}
	}
}

func (u *OSUser) passes(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return true
	}
	switch mode := info.Mode().Perm(); {
	case int(st.Uid) == u.UID:
		return mode&0o100 != 0
	case int(st.Gid) == u.GID:
		return mode&0o010 != 0
	default:
		return mode&0o001 != 0
	}
}
