package secret

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"dbops/internal/fault"
)

// File keeps secrets in files. As for libpq's keys, nobody but the owner may read one; root's own may be read by a group.
//
// As a [Store] it replaces a file in one instant, keeping its owner, group and mode, and keeps what is pending and previous beside it, in
// PATH.dbops. What reads the file needs to know nothing of that.
type File struct {
	// step, for tests, is asked before everything that reaches the disk; its error stands for the disk's.
	step func(what string) error
}

var _ Source = File{}

// Get reads the file that r names. A file that others may read is a fault.Denied.
func (File) Get(_ context.Context, r Ref) (Value, error) {
	op := "read secret " + r.String()
	text, err := readFile(r.Name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Value{}, fault.New(fault.NotFound, op, err).Hint("a relative path is relative to dbops.yaml")
	case errors.Is(err, errOpenToOthers):
		return Value{}, fault.New(fault.Denied, op, err).Hint("chmod 600 %s", r.Name)
	case errors.Is(err, fs.ErrPermission):
		return Value{}, fault.New(fault.Denied, op, err)
	case err != nil:
		return Value{}, fault.New(fault.Invalid, op, err)
	}
	return Field(r, text)
}

var errOpenToOthers = errors.New("others may read the file")

func readFile(name string) ([]byte, error) {
	info, err := os.Stat(name) // first, because opening a pipe would wait for its writer
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	if info, err = f.Stat(); err != nil {
		return nil, err
	}
	if open := openTo(info); open != "" {
		return nil, fmt.Errorf("%w: its mode is %#o, open to %s", errOpenToOthers, info.Mode().Perm(), open)
	}
	return io.ReadAll(io.LimitReader(f, maxText+1))
}
