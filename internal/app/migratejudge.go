package app

import (
	"context"
	"sync"

	"dbops/internal/migrate"
	"dbops/internal/migrate/lint"
	"dbops/internal/migrate/source"
)

// MigrationLint is what the linter found in the files of a folder.
type MigrationLint struct {
	Print    string // of the folder, as [MigrationSet.Print]
	Findings []lint.Finding
	Live     bool // the real tables were looked at: of what is pending only
}

// lintRoom keeps what was found in folders that have not changed since. The linter takes seconds of a processor.
type lintRoom struct {
	mu    sync.Mutex
	known map[string]MigrationLint // by folder and provider
}

// LintSets are the findings in the folders of an instance, by the names of the sets. Folders that have not changed are not judged again. One that
// cannot be read has none.
func (a *App) LintSets(ctx context.Context, env, instance string) (map[string]MigrationLint, error) {
	asks, err := a.Asked(MigrationPick{Environment: env, Instance: instance})
	if err != nil || len(asks) == 0 {
		return nil, err
	}
	folders, err := a.LintFolders(MigrationPick{Environment: env, Instance: instance})
	if err != nil {
		return nil, err
	}
	out := map[string]MigrationLint{}
	for _, f := range folders {
		found, err := a.lintFolder(ctx, f)
		if err != nil {
			return nil, err
		}
		for _, one := range f.Sets {
			out[one.Set.String()] = found
		}
	}
	return out, nil
}

func (a *App) lintFolder(ctx context.Context, at LintFolder) (MigrationLint, error) {
	f, err := source.Read(at.Path)
	if err != nil {
		return MigrationLint{}, nil // the status says so
	}
	out, key := MigrationLint{Print: fingerprint(f)}, at.Provider+" "+at.Path
	a.lints.mu.Lock()
	known, ok := a.lints.known[key]
	a.lints.mu.Unlock()
	if ok && known.Print == out.Print {
		return known, nil
	}
	linter := lint.Linter{Apart: true}
	if out.Findings, err = linter.Check(ctx, lint.Inputs(f), lint.Offline{Provider: at.Provider}); err != nil {
		return out, err
	}
	out.Findings = append(out.Findings, lint.FolderFindings(f)...)
	a.lints.mu.Lock()
	defer a.lints.mu.Unlock()
	if a.lints.known == nil {
		a.lints.known = map[string]MigrationLint{}
	}
	a.lints.known[key] = out
	return out, nil
}

// LintPending judges what a set's database does not have yet by the real tables.
func (a *App) LintPending(ctx context.Context, one migrate.Ask) (MigrationLint, error) {
	f, err := source.Read(one.Set.Folder)
	if err != nil {
		return MigrationLint{}, err
	}
	waiting, err := a.Waiting(ctx, one)
	if err != nil {
		return MigrationLint{}, err
	}
	inputs := lint.Inputs(f)
	for i := range inputs {
		inputs[i].Old = !waiting[inputs[i].Migration.String()]
	}
	live, conn, err := a.LintCatalog(ctx, one)
	if err != nil {
		return MigrationLint{}, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	out := MigrationLint{Print: fingerprint(f), Live: true}
	out.Findings, err = lint.New().Check(ctx, inputs, live)
	return out, err
}
