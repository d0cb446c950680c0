package core

import (
	"context"

	"dbops/internal/app"
	"dbops/internal/migrate"
)

// Migrations is how the migrations of databases are looked at. No method changes anything.
type Migrations interface {
	// MigrationSets are the folders of an instance with their files, as each database has them.
	MigrationSets(ctx context.Context, env, instance string) ([]app.MigrationSet, error)
	// LintSets are the linter's findings, by set. The first time it takes seconds; folders that have not changed cost nothing.
	LintSets(ctx context.Context, env, instance string) (map[string]app.MigrationLint, error)
	// LintPending judges what a database does not have yet by its real tables.
	LintPending(ctx context.Context, one migrate.Ask) (app.MigrationLint, error)
	// InspectMigrations looks at what a migration that ended half-way left, and RepairWays are the commands that lead out.
	InspectMigrations(ctx context.Context, one migrate.Ask) (migrate.RepairFacts, error)
	RepairWays(ctx context.Context, one migrate.Ask, f migrate.RepairFacts) ([]string, error)
	// FollowRehearsal runs what is pending on a scratch copy of the schema, and tells what it does.
	FollowRehearsal(ctx context.Context, asks []migrate.Ask, late bool, to *int64, o app.RehearseOptions) <-chan app.RehearsalNews
}
