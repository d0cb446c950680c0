package gcpapi

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/jackc/pgx/v5"
	sqladmin "google.golang.org/api/sqladmin/v1"

	"dbops/internal/sandbox/world"
)

// flagIAM switches logins with a cloud identity on. It is the service's own: PostgreSQL does not know it.
const flagIAM = "cloudsql.iam_authentication"

// flagType is one database flag that is played: a setting of PostgreSQL, except [flagIAM].
type flagType struct {
	kind     string // BOOLEAN, INTEGER, FLOAT, STRING
	restart  bool
	min, max int64
	words    []string
	until    int // the last major that has it; 0: all
}

// flagTypes lists the flags that are played for a major.
func flagTypes(major int) map[string]flagType {
	all := everyFlag()
	maps.DeleteFunc(all, func(_ string, f flagType) bool { return f.until != 0 && f.until < major })
	return all
}

// everyFlag lists the flags of every major.
func everyFlag() map[string]flagType {
	const most = 2147483647
	boolean := flagType{kind: "BOOLEAN"}
	return map[string]flagType{
		flagIAM:                               boolean,
		"autovacuum":                          boolean,
		"log_connections":                     boolean,
		"log_disconnections":                  boolean,
		"log_lock_waits":                      boolean,
		"track_io_timing":                     boolean,
		"log_statement":                       {kind: "STRING", words: []string{"none", "ddl", "mod", "all"}},
		"log_min_duration_statement":          {kind: "INTEGER", min: -1, max: most},
		"idle_in_transaction_session_timeout": {kind: "INTEGER", max: most},
		"lock_timeout":                        {kind: "INTEGER", max: most},
		"statement_timeout":                   {kind: "INTEGER", max: most},
		"maintenance_work_mem":                {kind: "INTEGER", min: 1024, max: most},
		"work_mem":                            {kind: "INTEGER", min: 64, max: most},
		"random_page_cost":                    {kind: "FLOAT", max: most},
		"max_connections":                     {kind: "INTEGER", restart: true, min: 14, max: 262143},
		"max_wal_senders":                     {kind: "INTEGER", restart: true, min: 5, max: 262143},
		"max_worker_processes":                {kind: "INTEGER", restart: true, min: 8, max: 262143},
		"old_snapshot_threshold":              {kind: "INTEGER", restart: true, max: 86400, until: 16},
		"vacuum_defer_cleanup_age":            {kind: "INTEGER", max: 1000000, until: 15},
	}
}

// check refuses a value that the flag cannot have.
func (f flagType) check(value string) error {
	bad := fmt.Errorf("invalid value %q", value)
	switch f.kind {
	case "BOOLEAN":
		if value == "on" || value == "off" {
			return nil
		}
	case "STRING":
		if slices.Contains(f.words, value) {
			return nil
		}
	case "INTEGER":
		if n, err := strconv.ParseInt(value, 10, 64); err == nil && n >= f.min && n <= f.max {
			return nil
		}
	case "FLOAT":
		if n, err := strconv.ParseFloat(value, 64); err == nil && n >= float64(f.min) && n <= float64(f.max) {
			return nil
		}
	}
	return bad
}

func validFlags(db *sqladmin.DatabaseInstance) error {
	n, err := major(db.DatabaseVersion)
	if err != nil {
		return err
	}
	every, all, seen := everyFlag(), flagTypes(n), map[string]bool{}
	for _, f := range db.Settings.DatabaseFlags {
		t, ok := all[f.Name]
		_, other := every[f.Name]
		switch {
		case !ok && other:
			return invalid("Invalid flag for instance role: %s is not supported by %s.", f.Name, db.DatabaseVersion)
		case !ok:
			return notEmulated("database flag %s", f.Name)
		case seen[f.Name]:
			return invalid("The flag %s is set twice.", f.Name)
		case t.check(f.Value) != nil:
			return invalid("Invalid flag value for %s: %v.", f.Name, t.check(f.Value))
		}
		seen[f.Name] = true
	}
	return nil
}

// flagsRestart tells whether the change from one list of flags to another needs a restart.
func flagsRestart(from, to []*sqladmin.DatabaseFlags) bool {
	a, b := flagMap(from), flagMap(to)
	for name, t := range everyFlag() {
		if t.restart && a[name] != b[name] {
			return true
		}
	}
	return false
}

func flagMap(list []*sqladmin.DatabaseFlags) map[string]string {
	m := map[string]string{}
	for _, f := range list {
		m[f.Name] = f.Value
	}
	return m
}

// applyFlags makes the settings of a running server those of list. Those that need a restart wait for one. It may be called twice.
func applyFlags(ctx context.Context, srv *world.Server, list []*sqladmin.DatabaseFlags) (err error) {
	conn, err := srv.DB(ctx, "postgres")
	if err != nil {
		return fmt.Errorf("apply flags: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	const inForce = `SELECT name, setting FROM pg_file_settings WHERE sourcefile LIKE '%/postgresql.auto.conf'`
	have := map[string]string{}
	if err := each(ctx, conn, inForce, func(row pgx.CollectableRow) error {
		var name, setting string
		err := row.Scan(&name, &setting)
		have[name] = setting
		return err
	}); err != nil {
		return fmt.Errorf("read the settings in force: %w", err)
	}
	want := flagMap(list)
	for _, name := range slices.Sorted(maps.Keys(everyFlag())) {
		value, wanted := want[name]
		_, had := have[name]
		var q string
		switch {
		case name == flagIAM || value == have[name] && wanted == had:
			continue
		case wanted:
			q = "ALTER SYSTEM SET " + pgx.Identifier{name}.Sanitize() + " = " + literal(value)
		default:
			q = "ALTER SYSTEM RESET " + pgx.Identifier{name}.Sanitize()
		}
		if _, err := conn.Exec(ctx, q); err != nil {
			return fmt.Errorf("set flag %s: %w", name, err)
		}
	}
	_, err = conn.Exec(ctx, "SELECT pg_reload_conf()")
	return err
}

// bringFlags gives a server that was just made its flags.
func bringFlags(ctx context.Context, srv *world.Server, list []*sqladmin.DatabaseFlags) error {
	if len(list) == 0 {
		return nil
	}
	if err := applyFlags(ctx, srv, list); err != nil || !flagsRestart(nil, list) {
		return err
	}
	return srv.Restart(ctx, nil)
}

// listFlags lists the flags of one version, or of all.
func (*Server) listFlags(c *call) (any, error) {
	wanted := versions()
	if v := c.URL.Query().Get("databaseVersion"); v != "" {
		if _, err := major(v); err != nil {
			return nil, err
		}
		wanted = []string{v}
	}
	out := &sqladmin.FlagsListResponse{Kind: "sql#flagsList"}
	all := everyFlag()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		f := all[name]
		applies := slices.DeleteFunc(slices.Clone(wanted), func(v string) bool {
			n, err := major(v)
			return err != nil || f.until != 0 && f.until < n
		})
		if len(applies) == 0 {
			continue
		}
		out.Items = append(out.Items, &sqladmin.Flag{
			Kind: "sql#flag", Name: name, Type: f.kind, AppliesTo: applies, RequiresRestart: f.restart,
			MinValue: f.min, MaxValue: f.max, AllowedStringValues: f.words, FlagScope: "SQL_FLAG_SCOPE_DATABASE",
		})
	}
	return out, nil
}

func (*Server) listTiers(*call) (any, error) {
	out := &sqladmin.TiersListResponse{Kind: "sql#tiersList"}
	all := tiers()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		out.Items = append(out.Items, &sqladmin.Tier{
			Kind: "sql#tier", Tier: name, RAM: all[name][1] << 20, DiskQuota: 65536 << 30, Region: []string{"europe-west1", "us-central1"},
		})
	}
	return out, nil
}
