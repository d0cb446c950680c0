package main

import (
	"os"
	"path/filepath"

	"github.com/gofrs/flock"
)

// logMax is how long a log of processes in the background may be when the next one starts: then it is put aside, in place of the one before.
const logMax = 10 << 20

// openLog opens such a log to append to, for its owner only.
func openLog(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	lock := flock.New(path) // of two that start now, the second must not put aside what the first has just begun
	if err := lock.Lock(); err != nil {
		return nil, err
	}
	defer func() { _ = lock.Unlock() }()
	if info, err := os.Stat(path); err == nil && info.Size() > logMax {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, err
		}
	}
	return os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
}
