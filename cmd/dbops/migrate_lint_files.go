package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"dbops/internal/app"
	"dbops/internal/fault"
	"dbops/internal/migrate/lint"
	"dbops/internal/migrate/source"
)

// folderGroup is a folder of which all files are judged, or those that git has as new.
func (o *migrateLintOptions) folderGroup(ctx context.Context, path, provider string) (*lintGroup, error) {
	f, err := source.Read(path)
	if err != nil {
		return nil, err
	}
	g := &lintGroup{folder: f, inputs: lint.Inputs(f), linter: &lint.Linter{Apart: true}, offline: lint.Offline{Major: o.serverVersion, Provider: provider}, whole: true}
	if o.changedSince == "" {
		return g, nil
	}
	changed, err := changedSince(ctx, path, o.changedSince)
	if err != nil {
		return nil, err
	}
	g.linter.Apart = false
	for i := range g.inputs {
		g.inputs[i].Old = !changed[filepath.Base(g.inputs[i].Path)]
	}
	g.folder.Problems = slices.DeleteFunc(g.folder.Problems, func(p source.Problem) bool {
		name, _, _ := strings.Cut(p.File, "/")
		return !p.Fatal && !changed[name] && !changed[p.File]
	})
	return g, nil
}

// changedSince are the files of a folder, by their names in it, that are new or changed since a commit, also those that are not committed.
func changedSince(ctx context.Context, folder, ref string) (map[string]bool, error) {
	what := "ask git what is new in " + folder + " since " + ref
	out := map[string]bool{}
	for _, args := range [][]string{
		{"diff", "--relative", "--name-only", "--diff-filter=d", "--no-renames", "-z", "--merge-base", ref, "--", "."},
		{"ls-files", "--others", "--exclude-standard", "-z", "--", "."},
	} {
		cmd := exec.CommandContext(ctx, "git", append([]string{"-C", folder}, args...)...)
		cmd.Env = append(os.Environ(), "LC_ALL=C", "GIT_OPTIONAL_LOCKS=0")
		text, err := cmd.Output()
		if err != nil {
			if exit, ok := errors.AsType[*exec.ExitError](err); ok {
				said, _, _ := strings.Cut(strings.TrimSpace(string(exit.Stderr)), "\n")
				err = errors.New(said)
			}
			return nil, fault.New(fault.Usage, what, err).Hint("in CI the whole history has to be there (actions/checkout: fetch-depth: 0), and the name is as in origin/main")
		}
		for name := range strings.SplitSeq(string(text), "\x00") {
			if name != "" {
				out[name] = true
			}
		}
	}
	return out, nil
}

// pathGroups are the files and folders that were named, those of one folder together.
func (o *migrateLintOptions) pathGroups(ctx context.Context, paths []string, known []app.LintFolder) ([]*lintGroup, error) {
	var out []*lintGroup
	byFolder := map[string]*lintGroup{}
	for _, p := range paths {
		info, err := os.Stat(p)
		if err != nil {
			e := fault.New(fault.Usage, "lint "+p, errors.Unwrap(err))
			if !strings.ContainsAny(p, "/.") {
				return nil, e.Hint("a database is named after its environment: dbops migrate lint -e ENV %s", p)
			}
			return nil, e.Hint("name files, folders, or nothing for those of dbops.yaml")
		}
		if info.IsDir() {
			g, err := o.folderGroup(ctx, p, providerOf(p, known))
			if err != nil {
				return nil, err
			}
			if len(g.inputs) == 0 && len(g.folder.Problems) == 0 {
				return nil, fault.Newf(fault.Usage, "lint "+p, "there are no migrations in it").Hint("they are called VERSION_name.up.sql and VERSION_name.down.sql")
			}
			out = append(out, g)
			continue
		}
		dir := filepath.Dir(p)
		g, ok := byFolder[dir]
		if !ok {
			f, err := source.Read(dir)
			if err != nil {
				return nil, err
			}
			g = &lintGroup{folder: f, inputs: lint.Inputs(f), linter: lint.New(), offline: lint.Offline{Major: o.serverVersion, Provider: providerOf(dir, known)}}
			for i := range g.inputs {
				g.inputs[i].Old = true
			}
			byFolder[dir] = g
			out = append(out, g)
		}
		i := slices.IndexFunc(g.inputs, func(in lint.Input) bool { return filepath.Clean(in.Path) == filepath.Clean(p) })
		if i >= 0 {
			g.inputs[i].Old = false
			continue
		}
		in, err := loose(p)
		if err != nil {
			return nil, err
		}
		g.inputs = append(g.inputs, in)
	}
	return out, nil
}

func providerOf(folder string, known []app.LintFolder) string {
	abs, err := filepath.Abs(folder)
	if err != nil {
		return ""
	}
	for _, k := range known {
		if k.Path == abs {
			return k.Provider
		}
	}
	return ""
}

const maxLintFile = 64 << 20

// loose is a file that is no migration by its name.
func loose(path string) (lint.Input, error) {
	bad := func(format string, args ...any) error {
		return fault.Newf(fault.Usage, "lint "+path, format, args...).Hint("lint reads SQL, in UTF-8")
	}
	info, err := os.Stat(path)
	if err != nil {
		return lint.Input{}, fault.New(fault.Usage, "lint "+path, errors.Unwrap(err))
	}
	if !info.Mode().IsRegular() || info.Size() > maxLintFile {
		return lint.Input{}, bad("it is no file of SQL")
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return lint.Input{}, fault.New(fault.Usage, "lint "+path, errors.Unwrap(err))
	}
	b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))
	if !utf8.Valid(b) || bytes.IndexByte(b, 0) >= 0 {
		return lint.Input{}, bad("it is no text in UTF-8")
	}
	direction := source.Up
	if strings.HasSuffix(path, ".down.sql") {
		direction = source.Down
	}
	return lint.Input{Path: path, SQL: string(b), Direction: direction}, nil
}
