package app

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"dbops/internal/cloud"
	"dbops/internal/config"
	"dbops/internal/fault"
	"dbops/internal/migrate"
	"dbops/internal/migrate/driver"
	"dbops/internal/migrate/lint"
)

// LintFolder is a folder of migrations, and where its databases are.
type LintFolder struct {
	Path     string
	Provider string // as [lint.Facts.Provider]; empty where its databases have several
	Sets     []migrate.Ask
}

// LintFolders are the folders that a pick names, each once.
func (a *App) LintFolders(p MigrationPick) ([]LintFolder, error) {
	asks, err := a.Asked(p)
	if err != nil {
		return nil, err
	}
	var out []LintFolder
	for _, one := range asks {
		inst, err := a.instance(one.Target.Environment, one.Target.Instance)
		if err != nil {
			return nil, err
		}
		provider := lintProvider(inst.Kind())
		i := slices.IndexFunc(out, func(f LintFolder) bool { return f.Path == one.Set.Folder })
		if i < 0 {
			i = len(out)
			out = append(out, LintFolder{Path: one.Set.Folder, Provider: provider})
		}
		if out[i].Provider != provider {
			out[i].Provider = ""
		}
		out[i].Sets = append(out[i].Sets, one)
	}
	if len(out) == 0 {
		return nil, fault.Newf(fault.Config, "lint migrations", "no database in dbops.yaml has a folder of them").
			Hint("write migrations: FOLDER at a database in dbops.yaml, or name files or folders: dbops migrate lint FOLDER")
	}
	return out, nil
}

func lintProvider(k cloud.Kind) string {
	switch k {
	case cloud.RDS:
		return "rds"
	case cloud.CloudSQL:
		return "cloudsql"
	default:
		return "postgres"
	}
}

// Waiting are the migrations of a set that its database does not have yet, as [source.Migration.String] calls them.
func (a *App) Waiting(ctx context.Context, one migrate.Ask) (map[string]bool, error) {
	s := a.migrations().Status(ctx, []migrate.Ask{one}, false)[0]
	if err := s.Err(); err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for _, name := range slices.Concat(s.Pending, s.Late) {
		out[name] = true
	}
	return out, nil
}

// LintCatalog logs in to a set's database for reading. The caller closes the connection.
func (a *App) LintCatalog(ctx context.Context, one migrate.Ask) (*lint.Live, *pgx.Conn, error) {
	conn, err := a.connectSet(ctx, one.Target, one.Set, config.Read, "", func(c *pgx.ConnConfig) {
		if one.Set.Table != (driver.Table{}) && one.Set.Table.Schema != "" { // names mean what they will mean to the file
			c.RuntimeParams["search_path"] = pgx.Identifier{one.Set.Table.Schema}.Sanitize() + ", public"
		}
	})
	if err != nil {
		return nil, nil, err
	}
	return lint.NewLive(conn), conn, nil
}
