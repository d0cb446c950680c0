package world

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"dbops/internal/sandbox/pgbin"
)

// copyTree copies a data folder, to belong to user, and returns how many bytes its files have. Files that vanish meanwhile are
// left out: a running server drops some. skip, if not nil, leaves out what it names, by the path below src.
func copyTree(src, dst string, user *pgbin.User, skip func(rel string) bool) (int64, error) {
	var total int64
	err := filepath.WalkDir(src, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			if path != src {
				return unlessGone(err)
			}
			return err
		}
		rel, err := filepath.Rel(src, path)
		if err != nil {
			return err
		}
		if skip != nil && skip(rel) {
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		to := filepath.Join(dst, rel)
		switch {
		case d.IsDir():
			err = os.MkdirAll(to, 0o700)
		case d.Type().IsRegular():
			var n int64
			if n, err = copyFile(path, to); err != nil {
				return unlessGone(err)
			}
			total += n
		default:
			return nil // neither sockets nor links belong to the data
		}
		if err != nil {
			return err
		}
		return user.Own(to)
	})
	return total, err
}

func unlessGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func copyFile(src, dst string) (n int64, err error) {
	in, err := os.Open(src)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	out, err := os.OpenFile(dst, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	return io.Copy(out, in)
}

// removeTree deletes a folder.
func removeTree(dir string) error {
	return untilEmpty(func() error { return os.RemoveAll(dir) })
}

// untilEmpty repeats a removal that finds a folder written to: the last children of a killed server take a moment to end.
func untilEmpty(remove func() error) error {
	deadline := time.Now().Add(5 * time.Second)
	for {
		err := remove()
		if !errors.Is(err, syscall.ENOTEMPTY) || time.Now().After(deadline) {
			return err
		}
		<-time.NewTimer(10 * time.Millisecond).C
	}
}

// writeFor replaces a file, to be read by user only.
func writeFor(user *pgbin.User, path string, b []byte) error {
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return err
	}
	if err := user.Own(path + ".new"); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
