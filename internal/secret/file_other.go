//go:build !unix

package secret

import "io/fs"

// openTo says nothing: there are no modes to go by.
func openTo(fs.FileInfo) string { return "" }

// inode tells files of one date apart; there is nothing to tell them by.
func inode(fs.FileInfo) string { return "" }

// safe says nothing: there are no modes to go by.
func (*filePlace) safe() error { return nil }

// attributes are none: there are no owners and modes to take over.
func (*filePlace) attributes(*fileState) (attributes, error) {
	return attributes{perm: 0o600, uid: -1, gid: -1}, nil
}
