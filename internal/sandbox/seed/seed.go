// Package seed fills the played instances with believable databases, their roles and their migrations.
//
// [Apply] makes one database on a server: the roles, the schema by its first migrations, the rows. The same database has the same
// rows on every server, so that copies, restores and upgrades of it can be compared; a few migrations are left pending.
package seed

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"dbops/internal/config"
	"dbops/internal/secret"
)

//go:embed migrations data
var files embed.FS

// Database is one database to make on a server.
type Database struct {
	Name  string // on the server
	Data  string // which of [Names] fills it; empty: Name
	Owner string // group role that owns its objects: shop_owner

	Roles      []Role
	Containers []Container

	IAMGroup string // the role whose members log in with a token: rds_iam, cloudsqliamuser; needed by Role.IAM
	Master   string // the customer's master role, which becomes a member of Owner; empty: none
}

// Role is a login role of people or of dbops. It is the same role for all databases of a server.
type Role struct {
	Name     string
	Access   config.Access // read (default) and write reach every database; admin makes it a member of the owner
	Password secret.Value  // empty: no password
	IAM      bool          // logs in with a token, as a member of Database.IAMGroup
}

// Container is a deployed process: a group role with its rights, and two login roles, its slots, which act as the group.
type Container struct {
	Name     string        // as in dbops.yaml
	Access   config.Access // default: read
	Password secret.Value  // of slot a when it is made; later ones are not touched. Slot b cannot log in
}

// Group is the container's group role: c_shop_api.
func (c Container) Group() string { return "c_" + identifier(c.Name) }

// Slot is one of the container's login roles, "a" or "b": shop_api_a.
func (c Container) Slot(slot string) string { return identifier(c.Name) + "_" + slot }

func identifier(name string) string {
	return strings.NewReplacer("-", "_", ".", "_").Replace(strings.ToLower(name))
}

// DBOps returns dbops's own roles, dbops_read, dbops_write and dbops_admin, with these passwords.
func DBOps(read, write, admin secret.Value) []Role {
	return []Role{
		{Name: "dbops_read", Access: config.Read, Password: read},
		{Name: "dbops_write", Access: config.Write, Password: write},
		{Name: "dbops_admin", Access: config.Admin, Password: admin},
	}
}

// Names lists the databases there is data for.
func Names() []string { return []string{"billing", "events", "shop"} }

// Migrations are the migration files of one of [Names], as golang-migrate wants them: 000001_customers.up.sql. Up to [Applied]
// they are in a seeded database; the rest is pending. Of an unknown name it is empty.
func Migrations(name string) fs.FS {
	sub, err := fs.Sub(files, path.Join("migrations", path.Base(name)))
	if err != nil || !slices.Contains(Names(), name) {
		return embed.FS{}
	}
	return sub
}

// Applied is the version of the last migration that a seeded database has.
func Applied(name string) uint64 {
	switch name {
	case "shop":
		return 7
	case "billing":
		return 4
	case "events":
		return 2
	}
	return 0
}

// Connect connects to a database of the server as a superuser. The caller closes the connection.
type Connect func(ctx context.Context, database string) (*pgx.Conn, error)

// Apply makes the database and all its roles. It may be called again at any time, also after it was interrupted: what is there is
// kept, the rows included, and the passwords of Roles are set anew.
func Apply(ctx context.Context, connect Connect, d Database) error {
	if d.Data == "" {
		d.Data = d.Name
	}
	if !slices.Contains(Names(), d.Data) {
		return fmt.Errorf("seed %s: there is no data named %q", d.Name, d.Data)
	}
	for _, step := range []struct {
		doing, database string
		do              func(context.Context, *pgx.Conn, Database) error
	}{
		{"make its roles", "postgres", makeRoles},
		{"make the database", "postgres", makeDatabase},
		{"fill it", d.Name, fill},
		{"grant rights", d.Name, grant},
	} {
		if err := on(ctx, connect, step.database, func(conn *pgx.Conn) error { return step.do(ctx, conn, d) }); err != nil {
			return fmt.Errorf("seed %s: %s: %w", d.Name, step.doing, err)
		}
	}
	return nil
}

func on(ctx context.Context, connect Connect, database string, do func(*pgx.Conn) error) error {
	conn, err := connect(ctx, database)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	return do(conn)
}

// migration is one file that goes up.
type migration struct {
	version uint64
	file    string
	sql     string
}

// applied returns the migrations that a seeded database has, in order.
func applied(name string) ([]migration, error) {
	entries, err := fs.ReadDir(Migrations(name), ".")
	if err != nil {
		return nil, err
	}
	var out []migration
	for _, e := range entries {
		number, _, _ := strings.Cut(e.Name(), "_")
		version, err := strconv.ParseUint(number, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.Name(), err)
		}
		if version > Applied(name) || !strings.HasSuffix(e.Name(), ".up.sql") {
			continue
		}
		sql, err := fs.ReadFile(Migrations(name), e.Name())
		if err != nil {
			return nil, err
		}
		out = append(out, migration{version, e.Name(), string(sql)})
	}
	return out, nil
}
