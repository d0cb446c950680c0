package creds

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/op"
)

// Account is a role that can log in, as an audit sees it.
type Account struct {
	Role      string    `json:"role"`
	Container string    `json:"container,omitempty"` // whose slot it is
	Slot      string    `json:"slot,omitempty"`
	Declared  bool      `json:"declared"` // dbops.yaml knows it: a slot of a container, or a login of dbops
	Mighty    []string  `json:"mighty,omitempty"`
	Groups    []string  `json:"groups,omitempty"`
	Expires   time.Time `json:"expires,omitzero"`
	Sessions  int       `json:"sessions"`
	Owns      int       `json:"owns"`   // objects, in all databases
	Rights    int       `json:"rights"` // objects that it has rights on in its own name
}

// AuditReport is who can log in to an instance, and what is wrong with that.
type AuditReport struct {
	Environment string       `json:"environment"`
	Instance    string       `json:"instance"`
	Accounts    []Account    `json:"accounts"`
	Findings    []op.Finding `json:"findings"`
}

// mighty are predefined roles that give nearly the rights of a superuser.
var mighty = []string{
	"rds_superuser", "cloudsqlsuperuser", "azure_pg_admin", "pg_execute_server_program", "pg_read_server_files", "pg_write_server_files",
}

// tokens are the groups whose members log in with a token of the cloud.
var tokens = []string{"rds_iam", "cloudsqliamuser", "cloudsqliamserviceaccount", "cloudsqliamgroupuser"}

// Audit reads who can log in to an instance. known are the logins of dbops.yaml, of dbops itself and of people. It changes nothing, and
// needs no more than the admin login: passwords, and when somebody logged in last, are not visible.
func (d Deps) Audit(ctx context.Context, t op.Target, known []string, now time.Time) (*AuditReport, error) {
	if d.Concurrency <= 0 {
		d.Concurrency = 4
	}
	f, err := d.observe(ctx, t, nil, true)
	if err != nil {
		return nil, err
	}
	what := "audit the roles of " + t.String()
	a, err := d.admin(ctx, t, "postgres", what)
	if err != nil {
		return nil, err
	}
	defer a.close(ctx)
	r := &AuditReport{Environment: t.Environment, Instance: t.Instance}
	if r.Accounts, err = readAccounts(ctx, a); err != nil {
		return nil, err
	}
	slots := map[string]*ContainerFacts{}
	for i := range f.Containers {
		for _, s := range f.Containers[i].Slots {
			slots[s.Role] = &f.Containers[i]
		}
	}
	for i := range r.Accounts {
		acc := &r.Accounts[i]
		if c := slots[acc.Role]; c != nil {
			acc.Container, acc.Declared = c.Name, true
			for _, s := range c.Slots {
				if s.Role == acc.Role {
					acc.Slot = s.Slot
				}
			}
		}
		acc.Declared = acc.Declared || slices.Contains(known, acc.Role) || acc.Role == f.Admin.Role // dbops.yaml may leave out the name of an IAM identity
		r.Findings = append(r.Findings, judge(t, acc, now)...)
	}
	open, err := readOpenSchemas(ctx, d, t, f)
	if err != nil {
		return nil, err
	}
	r.Findings = append(r.Findings, open...)
	for i := range f.Containers {
		r.Findings = append(r.Findings, health(t, f, &f.Containers[i], nil)...)
	}
	slices.SortStableFunc(r.Findings, func(x, y op.Finding) int { return rank(x.Severity) - rank(y.Severity) })
	return r, nil
}

func rank(s op.Severity) int { return slices.Index([]op.Severity{op.Block, op.Warn, op.Info}, s) }

func readAccounts(ctx context.Context, a *admin) ([]Account, error) {
	rows, err := a.conn.Query(ctx, `
		SELECT r.rolname::text,
		       array_remove(ARRAY[CASE WHEN r.rolsuper THEN 'SUPERUSER' END, CASE WHEN r.rolcreaterole THEN 'CREATEROLE' END,
		                          CASE WHEN r.rolcreatedb THEN 'CREATEDB' END, CASE WHEN r.rolreplication THEN 'REPLICATION' END,
		                          CASE WHEN r.rolbypassrls THEN 'BYPASSRLS' END], NULL)
		         || coalesce((SELECT array_agg(g.rolname::text ORDER BY 1) FROM pg_roles g
		                       WHERE g.rolname = ANY ($1) AND g.oid <> r.oid AND NOT r.rolsuper AND pg_has_role(r.oid, g.oid, 'MEMBER')), '{}'),
		       coalesce((SELECT array_agg(DISTINCT g.rolname::text ORDER BY g.rolname::text) FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid WHERE m.member = r.oid), '{}'),
		       CASE WHEN isfinite(r.rolvaliduntil) THEN r.rolvaliduntil END,
		       (SELECT count(*) FROM pg_stat_activity s WHERE s.usesysid = r.oid)::int,
		       (SELECT count(*) FROM pg_shdepend s WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = r.oid AND s.deptype = 'o')::int,
		       (SELECT count(*) FROM pg_shdepend s WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = r.oid AND s.deptype = 'a')::int
		  FROM pg_roles r WHERE r.rolcanlogin ORDER BY 1`, mighty)
	if err != nil {
		return nil, sqlFault(a.what, err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (acc Account, err error) {
		var until *time.Time
		err = row.Scan(&acc.Role, &acc.Mighty, &acc.Groups, &until, &acc.Sessions, &acc.Owns, &acc.Rights)
		if until != nil {
			acc.Expires = *until
		}
		return acc, err
	})
	if err != nil {
		return nil, sqlFault(a.what, err)
	}
	return all, nil
}

// judge are the findings about one role that can log in.
func judge(t op.Target, a *Account, now time.Time) (all []op.Finding) {
	add := func(s op.Severity, check, evidence, remedy, text string, args ...any) {
		all = append(all, op.Finding{Severity: s, Check: check, Text: fmt.Sprintf(text, args...), Evidence: evidence, Remedy: remedy})
	}
	if a.Container != "" {
		if len(a.Mighty) > 0 {
			add(op.Warn, "too-mighty", strings.Join(a.Mighty, ", "), "take it away: a container needs none of it", "%s, a slot of %s, has rights nearly of a superuser", a.Role, a.Container)
		}
		if a.Owns > 0 {
			add(op.Warn, "slot-owns", "", fmt.Sprintf("REASSIGN OWNED BY %s TO the database's owner", quoted(a.Role)), "%s, a slot of %s, owns %d objects", a.Role, a.Container, a.Owns)
		}
		if a.Rights > 0 {
			add(op.Warn, "slot-rights", "", "grant the group what is needed, and revoke it from the slot: after a rotation the container would miss it",
				"%s, a slot of %s, has rights on %d objects in its own name", a.Role, a.Container, a.Rights)
		}
		return all
	}
	if !a.Expires.IsZero() && a.Expires.Before(now) {
		add(op.Info, "expired", "valid until "+a.Expires.UTC().Format(time.DateOnly), "drop it if nobody misses it", "the password of %s has expired", a.Role)
	}
	if a.Declared || strings.HasPrefix(a.Role, "rds") || strings.HasPrefix(a.Role, "cloudsql") {
		return all
	}
	evidence := fmt.Sprintf("%d sessions now, owns %d objects, member of %s", a.Sessions, a.Owns, orNone(strings.Join(a.Groups, ", ")))
	switch {
	case len(a.Mighty) == 0 && slices.ContainsFunc(a.Groups, func(g string) bool { return slices.Contains(tokens, g) }):
		add(op.Info, "token-login", evidence, "the cloud's own IAM says who may use it", "%s logs in with a token of the cloud, and dbops.yaml does not know it", a.Role)
	case len(a.Mighty) > 0:
		add(op.Warn, "undeclared-mighty", strings.Join(a.Mighty, ", ")+"; "+evidence, "if it is the master user, lock its password away; else take its rights away",
			"%s can log in, dbops.yaml does not know it, and it has rights nearly of a superuser", a.Role)
	default:
		add(op.Warn, "undeclared", evidence, command("adopt CONTAINER --login "+a.Role, t)+" if it is a container's; ALTER ROLE … NOLOGIN if it is nobody's",
			"%s can log in, and dbops.yaml does not know it", a.Role)
	}
	return all
}

// readOpenSchemas finds schemas where anybody may make objects.
func readOpenSchemas(ctx context.Context, d Deps, t op.Target, f Facts) (all []op.Finding, err error) {
	var databases []string
	for _, c := range f.Containers {
		for _, name := range c.Databases {
			if !slices.Contains(databases, name) {
				databases = append(databases, name)
			}
		}
	}
	for _, database := range databases {
		a, err := d.admin(ctx, t, database, "audit the schemas of "+database)
		if err != nil {
			return nil, err
		}
		var open []string
		err = a.conn.QueryRow(ctx, `
			SELECT coalesce(array_agg(nspname::text ORDER BY 1), '{}') FROM pg_namespace n
			 WHERE nspname !~ '^pg_' AND EXISTS (SELECT FROM aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) x WHERE x.grantee = 0 AND x.privilege_type = 'CREATE')`).
			Scan(&open)
		a.close(ctx)
		if err != nil {
			return nil, sqlFault(a.what, err)
		}
		for _, schema := range open {
			all = append(all, op.Finding{
				Severity: op.Warn, Check: "open-schema", Text: fmt.Sprintf("anybody who can log in to %s may make objects in its schema %s", database, schema),
				Remedy: fmt.Sprintf("REVOKE CREATE ON SCHEMA %s FROM PUBLIC", quoted(schema)),
			})
		}
	}
	return all, nil
}
