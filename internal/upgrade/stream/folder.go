package stream

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/fault"
)

// Folder is the engine of pg_dump and pg_restore, by way of a folder that needs room for the whole dump. A dump that is complete serves the
// next try, unless the source has changed since; a restore that was killed has to begin with an empty database again.
func Folder(dir string) Engine {
	return func(ctx context.Context, j Job) (Result, error) {
		j.defaults()
		f := &folder{Job: j, dir: dir, tell: newTeller(j.Progress), res: Result{Engine: "folder"}}
		began := time.Now()
		err := f.copy(ctx)
		f.res.Took = time.Since(began)
		if cause := context.Cause(ctx); err != nil && cause != nil {
			return f.res, fault.New(fault.Interrupted, "copy the database", cause).Hint("run it again")
		}
		return f.res, err
	}
}

type folder struct {
	Job
	dir   string
	tell  *teller
	book  *book
	major int
	res   Result
}

const completeMark = ".complete" // beside the folder: the dump in it is whole, and of what

func (f *folder) copy(ctx context.Context) (err error) {
	if f.book, err = openBook(ctx, f.Target, f.res.Engine); err != nil {
		return err
	}
	defer f.book.close(ctx)
	if f.major, err = majorOf(ctx, f.book.conn); err != nil {
		return err
	}
	switch f.book.phase {
	case phaseDone:
		f.res.Resumed = true
		return nil
	case phaseRestored:
		return fault.Newf(fault.Blocked, "go on with the copy", "the restore was interrupted, and half of it is on the target").
			Hint("drop the target database, create it again, and run it again: the dump in %s is kept", f.dir)
	}
	if err := f.dump(ctx); err != nil {
		return err
	}
	if err := f.book.start(ctx, f.res.Engine, phaseRestored, "", "", ""); err != nil {
		return err
	}
	if err := f.restore(ctx); err != nil {
		return err
	}
	return f.book.finish(ctx)
}

func (f *folder) dump(ctx context.Context) error {
	mark := filepath.Clean(f.dir) + completeMark
	s, err := openSnapshot(ctx, f.Source, f.Snapshot)
	if err != nil {
		return err
	}
	defer s.close(ctx)
	f.res.Snapshot = s.seen
	state := s.id + " " + s.seen
	switch made, err := os.ReadFile(mark); {
	case err == nil && string(made) == state:
		f.res.Resumed = true
		return nil
	case err == nil:
		f.res.Again = "the source has changed since it was dumped"
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("read what was dumped: %w", err)
	}
	if err := os.RemoveAll(mark); err != nil {
		return fmt.Errorf("clear the folder of the dump: %w", err)
	}
	if err := os.RemoveAll(f.dir); err != nil { // of a try that was killed
		return fmt.Errorf("clear the folder of the dump: %w", err)
	}
	f.tell.phase("dump", 0, 0)
	compress, err := f.compression(ctx)
	if err != nil {
		return err
	}
	err = f.run(ctx, program{
		name: "pg_dump", major: f.major, connect: f.Source, tune: readOnly, line: f.each("dumping contents of table "),
		args: []string{"--format=directory", "--file=" + f.dir, "--jobs=" + strconv.Itoa(f.Jobs), "--compress=" + compress, "--encoding=UTF8", "--verbose", "--no-sync", "--snapshot=" + s.name, "--lock-wait-timeout=10000"},
	})
	if err != nil {
		return dumpFailed(err)
	}
	return os.WriteFile(mark, []byte(state), 0o600)
}

// compression is lz4 where the program has it: gzip costs about half of a dump.
func (f *folder) compression(ctx context.Context) (string, error) {
	const fast = "lz4"
	none := "0"
	probe := filepath.Clean(f.dir) + ".probe"
	err := f.run(ctx, program{
		name: "pg_dump", major: f.major, connect: f.Source, tune: readOnly,
		args: []string{"--format=custom", "--schema-only", "--schema=pg_catalog_none", "--compress=" + fast, "--file=" + probe},
	})
	_ = os.Remove(probe)
	switch {
	case err == nil, ctx.Err() == nil && strings.Contains(err.Error(), "no matching schemas"):
		return fast, nil
	case ctx.Err() == nil && strings.Contains(err.Error(), "compress"):
		return none, nil
	}
	return "", dumpFailed(err)
}

func (f *folder) restore(ctx context.Context) error {
	f.tell.phase("restore", 0, 0)
	err := f.run(ctx, program{
		name: "pg_restore", major: f.major, connect: f.Target, line: f.each("processing data for table "),
		tune: func(c *pgx.ConnConfig) {
			c.RuntimeParams["application_name"] = ourName
			c.RuntimeParams["synchronous_commit"] = "off"
			c.RuntimeParams["default_transaction_read_only"] = "off"
		},
		args: []string{"--jobs=" + strconv.Itoa(f.Jobs), "--no-tablespaces", "--exit-on-error", "--verbose", f.dir},
	})
	if err == nil || errors.Is(err, context.Canceled) || fault.KindOf(err) != fault.Internal {
		return err
	}
	return fault.New(fault.Failed, "restore the dump", err).
		Hint("mend that, drop the target database, create it again, and run it again: the dump in %s is kept", f.dir)
}

// each counts the tables that a program tells of.
func (f *folder) each(words string) func(string) {
	return func(line string) {
		if _, table, ok := strings.Cut(line, words); ok {
			f.tell.item(strings.NewReplacer(`"`, "").Replace(table))
		}
	}
}
