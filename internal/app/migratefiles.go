package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"

	"dbops/internal/migrate"
	"dbops/internal/migrate/source"
)

// The states of a file in a database.
const (
	FileApplied = "applied"
	FilePending = "pending"
	FileLate    = "late"    // before the version, and not applied
	FileChanged = "changed" // since it was applied
	FileCut     = "cut short"
	FileUnknown = "unknown" // the database could not be looked at
)

// MigrationFile is a migration of a folder, as a database has it.
type MigrationFile struct {
	*source.Migration
	State   string
	Applied *migrate.Applied // the last time that it was; nil where the history does not know
}

// MigrationSet is a folder of migrations, its database, and every file.
type MigrationSet struct {
	migrate.Status
	Ask   migrate.Ask
	Files []MigrationFile // in the order of their versions; none where the folder cannot be read
	Print string          // another one when a file changes
}

// MigrationSets are the folders of an instance with their files.
func (a *App) MigrationSets(ctx context.Context, env, instance string) ([]MigrationSet, error) {
	asks, err := a.Asked(MigrationPick{Environment: env, Instance: instance})
	if err != nil {
		return nil, err
	}
	out := make([]MigrationSet, len(asks))
	for i, s := range a.migrations().Status(ctx, asks, true) {
		out[i] = MigrationSet{Status: s, Ask: asks[i]}
		f, err := source.Read(asks[i].Set.Folder)
		if err != nil {
			continue // the status says so
		}
		out[i].Print = fingerprint(f)
		applied := lastApplied(s.History)
		for _, m := range f.Migrations {
			out[i].Files = append(out[i].Files, MigrationFile{Migration: m, State: fileState(s, m), Applied: applied[m.Version]})
		}
	}
	return out, ctx.Err()
}

func fileState(s migrate.Status, m *source.Migration) string {
	name := m.String()
	switch {
	case s.Err() != nil:
		return FileUnknown
	case s.Dirty && s.Cut != nil && s.Cut.Version == m.Version:
		return FileCut
	case slices.Contains(s.Pending, name):
		return FilePending
	case slices.Contains(s.Late, name):
		return FileLate
	case slices.Contains(s.Changed, name):
		return FileChanged
	default:
		return FileApplied
	}
}

// lastApplied are the newest entries of versions that went up.
func lastApplied(history []migrate.Applied) map[int64]*migrate.Applied {
	out := map[int64]*migrate.Applied{}
	for i := range history {
		h := &history[i]
		if old := out[h.Version]; h.Direction == string(source.Up) && (old == nil || old.At.Before(h.At)) {
			out[h.Version] = h
		}
	}
	return out
}

// fingerprint tells folders apart by their files' names and texts.
func fingerprint(f *source.Folder) string {
	sums := map[string]string{}
	for _, m := range f.Migrations {
		for _, file := range []*source.File{m.Up, m.Down} {
			if file != nil {
				sums[file.Base()] = file.Sum
			}
		}
	}
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		fmt.Fprintf(h, "%s %s\n", name, sums[name])
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}
