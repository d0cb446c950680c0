package pgbin

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// User is the unprivileged user that runs PostgreSQL.
type User struct {
	Name     string
	UID, GID int
}

// RunAs returns the user to drop to: nil unless this process is root's.
func RunAs() (*User, error) {
	if os.Geteuid() != 0 {
		return nil, nil //nolint:nilnil // nobody to drop to is an answer
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.Atoi(u.Uid)
		if err != nil || uid == 0 {
			continue
		}
		gid, err := strconv.Atoi(u.Gid)
		if err != nil {
			continue
		}
		return &User{Name: name, UID: uid, GID: gid}, nil
	}
	return nil, errNoUser
}

// Credential is how a child process becomes u.
func (u *User) Credential() *syscall.Credential {
	if u == nil {
		return nil
	}
	return &syscall.Credential{Uid: uint32(u.UID), Gid: uint32(u.GID)} //nolint:gosec // ids of the system
}

// Own makes path belong to u.
func (u *User) Own(path string) error {
	if u == nil {
		return nil
	}
	return os.Lchown(path, u.UID, u.GID)
}

// Reaches checks that u may pass through every folder above dir. The error names the one that it may not.
func (u *User) Reaches(dir string) error {
	if u == nil {
		return nil
	}
	for d := filepath.Clean(dir); ; d = filepath.Dir(d) {
		info, err := os.Stat(d)
		if err == nil {
			st, ok := info.Sys().(*syscall.Stat_t)
			if ok && !passes(info.Mode().Perm(), st, u) {
				return fmt.Errorf("user %s, which runs PostgreSQL because root may not, cannot pass through %s (mode %o): use a folder elsewhere (--dir), such as one under /var/lib or /tmp",
					u.Name, d, info.Mode().Perm())
			}
		}
		if d == filepath.Dir(d) {
			return nil
		}
	}
}

func passes(mode os.FileMode, st *syscall.Stat_t, u *User) bool {
	switch {
	case int(st.Uid) == u.UID:
		return mode&0o100 != 0
	case int(st.Gid) == u.GID:
		return mode&0o010 != 0
	default:
		return mode&0o001 != 0
	}
}
