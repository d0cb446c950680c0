//go:build unix

package secret

import (
	"io/fs"
	"os"
	"strconv"
	"syscall"

	"dbops/internal/fault"
)

// openTo says who else may use a file; empty if nobody.
func openTo(info fs.FileInfo) string {
	perm := info.Mode().Perm()
	if perm&0o007 != 0 {
		return "everybody"
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid == 0 {
		perm &^= 0o040
	}
	if perm&0o070 != 0 {
		return "its group"
	}
	return ""
}

// inode tells files of one date apart.
func inode(info fs.FileInfo) string {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return "-" + strconv.FormatUint(st.Ino, 36)
	}
	return ""
}

// safe is a fault.Denied for a folder in which somebody else could put something in the way: it belongs to this user, to root or to the
// file's owner, and nobody else may write there.
func (p *filePlace) safe() error {
	info, err := p.root.Stat(".")
	if err != nil {
		return p.fault(err)
	}
	if perm := info.Mode().Perm(); perm&0o022 != 0 {
		return fault.Newf(fault.Denied, p.op, "others may write in its folder: the mode of %s is %#o", p.dir, perm).Hint("chmod go-w %s", p.dir)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || st.Uid == 0 || int(st.Uid) == os.Geteuid() {
		return nil
	}
	if file, err := p.root.Lstat(p.base); err == nil {
		if fst, ok := file.Sys().(*syscall.Stat_t); ok && fst.Uid == st.Uid {
			return nil
		}
	}
	return fault.Newf(fault.Denied, p.op, "its folder %s belongs to user %d, and the file does not", p.dir, st.Uid).
		Hint("run dbops as that user; or make the file for it first: install -m 600 -o %d /dev/null %s", st.Uid, p.path)
}

// attributes are the owner, group and mode of the file, for the one that replaces it. One that everybody may read, or others may write,
// is a fault.Denied; so is one whose owner could not be kept.
func (p *filePlace) attributes(s *fileState) (attributes, error) {
	like := attributes{perm: 0o600, uid: -1, gid: -1}
	if s.info == nil {
		return like, nil
	}
	like.perm = s.info.Mode().Perm()
	if like.perm&0o137 != 0 {
		return like, fault.Newf(fault.Denied, p.op, "it is open to others: the mode of %s is %#o", p.path, like.perm).
			Hint("chmod 600 %s, or 640 for a group that reads it", p.path)
	}
	st, ok := s.info.Sys().(*syscall.Stat_t)
	if !ok {
		return like, nil
	}
	if euid := os.Geteuid(); int(st.Uid) != euid {
		if euid != 0 {
			return like, fault.Newf(fault.Denied, p.op, "%s belongs to user %d, who would lose it", p.path, st.Uid).
				Hint("run dbops as that user, or as root")
		}
		like.uid = int(st.Uid)
	}
	if int(st.Gid) != os.Getegid() || like.uid >= 0 {
		like.gid = int(st.Gid)
	}
	return like, nil
}
