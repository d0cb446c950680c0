//go:build unix

package secret

import (
	"io/fs"
	"syscall"
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
