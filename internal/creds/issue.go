package creds

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"dbops/internal/config"
	"dbops/internal/fault"
	"dbops/internal/op"
)

// IssueRequest asks for the first credential of a container, or for a new one after a revocation.
type IssueRequest struct {
	Container string `json:"container"`
}

// The steps that only an issue or an adoption has.
const (
	stepRoles  = "roles"
	stepGrants = "grants"
	stepPlaces = "places"
)

func issue(d Deps) op.Kind {
	return op.Operation[IssueRequest, Facts]{
		Kind: IssueKind, Words: words(),
		Observe: func(ctx context.Context, t op.Target, r IssueRequest) (Facts, error) {
			return d.observe(ctx, t, []string{r.Container}, false)
		},
		Derive: planIssue,
		Steps: func(t op.Target, _ IssueRequest, f Facts) []op.Step {
			m := issuing{moving{Deps: d, t: t, all: f.Containers}}
			return []op.Step{
				{Name: stepRoles, Title: "make the group role and its two slots, which cannot log in yet", Do: m.roles, Undo: m.unroles, UndoTitle: "drop the roles that this run made"},
				{Name: stepGrants, Title: "grant the group what its access needs", Do: m.grants},
				{Name: stepPlaces, Title: "make the places of delivery", Do: m.places},
				{Name: stepPending, Title: "put the credential, pending, where the container will read it", Do: m.pend, Undo: m.unpend, UndoTitle: "take the pending credential out of use"},
				{Name: stepSet, Title: "give the slot its verifier", Do: m.set, Undo: m.unset, UndoTitle: "let the slot log in no more"},
				{Name: stepVerify, Title: "log in with the credential, and see that it acts as the container", Do: m.verify},
				{Name: stepPromote, Title: "make the credential current", Do: m.promote},
				{Name: stepRollout, Title: "roll the container out", Do: m.rollout},
			}
		},
	}.AsKind()
}

// planIssue works out what a first credential means.
func planIssue(t op.Target, r IssueRequest, f Facts) op.Draft {
	d := op.Draft{
		Title:    fmt.Sprintf("issue a credential for %s on %s", r.Container, t),
		Downtime: op.Downtime{Expected: "none", Text: "nobody uses it yet"},
		Back:     command("revoke "+r.Container, t),
	}
	d.Findings = capable(t, f)
	for i := range f.Containers {
		c := &f.Containers[i]
		for _, found := range delivered(t, c) {
			if found.Check == "other-server" { // nobody has seen it work
				found.Severity, found.Remedy = op.Block, "correct the address there; a place that is empty gets the right one with its first credential"
			}
			if found.Check == "not-delivered" {
				found.Remedy = "" // this does it
			}
			d.Findings = append(d.Findings, found)
		}
		d.Findings = append(d.Findings, issuable(t, f, c)...)
		for _, role := range c.missing() {
			d.Changes = append(d.Changes, op.Change{Target: role, Setting: "role", From: "none", To: "made"})
		}
		for _, database := range c.Databases {
			d.Changes = append(d.Changes, op.Change{Target: c.Group, Setting: "rights in " + database, To: accessText(c)})
		}
		for _, p := range c.Places {
			d.Changes = append(d.Changes, op.Change{Target: c.Name, Setting: p.Place, From: orNone(p.Current), To: "a new version, of " + c.idle().Role})
		}
	}
	return d
}

func accessText(c *ContainerFacts) string {
	switch c.Access {
	case config.Admin:
		return "those of the owner: it becomes a member"
	case config.Write:
		return "SELECT, INSERT, UPDATE, DELETE, also on what its owner will make"
	default:
		return "SELECT, also on what its owner will make"
	}
}

// missing are the roles that are to be made.
func (c *ContainerFacts) missing() (roles []string) {
	if !c.GroupThere {
		roles = append(roles, c.Group)
	}
	for _, s := range c.Slots {
		if !s.There {
			roles = append(roles, s.Role)
		}
	}
	return roles
}

func issuable(t op.Target, f Facts, c *ContainerFacts) (all []op.Finding) {
	if c.Works {
		all = append(all, op.Finding{
			Severity: op.Block, Check: "has-credential", Text: fmt.Sprintf("%s has a credential that works, of %s", c.Name, c.User), Evidence: c.Places[0].Place,
			Remedy: command("rotate "+c.Name, t) + " gives it a new one",
		})
	}
	if c.User != "" && c.Active == "" {
		all = append(all, op.Finding{
			Severity: op.Block, Check: "foreign-login", Text: fmt.Sprintf("%s holds a credential of %s, which is none of the slots of %s", c.Places[0].Place, c.User, c.Name),
			Remedy: c.wayBack(t, command("adopt "+c.Name+" --login "+c.User, t)+" takes it over; if nobody needs that login, empty the place: a file, and PATH.dbops beside it"),
		})
	}
	for _, p := range c.Places {
		if p.Current == "" && p.Seen != "" {
			all = append(all, op.Finding{
				Severity: op.Warn, Check: "replaces-login", Text: fmt.Sprintf("%s logs in as %s in %s, which is replaced", c.Name, p.Seen, p.Place),
				Remedy: "the text as it is now is kept beside it, in a file whose name ends in .before-dbops",
			})
		}
	}
	if f.Major >= 16 && !f.Admin.Superuser {
		if c.GroupThere && !c.GroupAdmin {
			all = append(all, op.Finding{
				Severity: op.Block, Check: "admin-option", Text: fmt.Sprintf("%s: %s has no ADMIN OPTION on %s", c.Name, f.Admin.Role, c.Group),
				Remedy: fmt.Sprintf("as who made the role: GRANT %s TO %s WITH ADMIN OPTION", quoted(c.Group), quoted(f.Admin.Role)),
			})
		}
		all = append(all, manageable(f, c, &c.Slots[0], &c.Slots[1])...)
	}
	if slices.Contains(c.Owners, "") {
		all = append(all, op.Finding{
			Severity: op.Block, Check: "no-owner", Text: c.Name + ": dbops.yaml does not say which role owns the objects of " + containerDatabases(c),
			Remedy: "write owner under the database in dbops.yaml: rights on what is made later are granted in its name",
		})
	}
	idle := c.idle()
	if idle.InUse {
		all = append(all, op.Finding{
			Severity: op.Block, Check: "slot-in-use", Text: fmt.Sprintf("%s: somebody is logged in as %s", c.Name, idle.Role), Remedy: c.wayBack(t, command("list", t)+" shows who"),
		})
	}
	if old := c.slot(other(idle.Slot)); old.Login && !c.Works {
		all = append(all, op.Finding{
			Severity: op.Warn, Check: "both-slots", Text: fmt.Sprintf("%s: %s may log in, too, with a credential that is not delivered any more", c.Name, old.Role),
			Remedy: "nothing is taken from who is logged in with it; a rotation afterwards ends it",
		})
	}
	return all
}

func containerDatabases(c *ContainerFacts) string {
	if len(c.Databases) == 1 {
		return c.Databases[0]
	}
	return fmt.Sprint(c.Databases)
}

// issuing makes containers and their first credentials.
type issuing struct{ moving }

// made are the roles that a run made.
type made struct {
	Roles []string `json:"roles"`
}

// roles makes what is missing. A role that exists is not touched but for its membership and its role setting.
func (m issuing) roles(ctx context.Context, s *op.Session) (op.Result, error) {
	var out made
	err := m.onEach(ctx, "make the roles", func(ctx context.Context, c *ContainerFacts, a *admin) error {
		if err := s.Fence(); err != nil {
			return err
		}
		out.Roles = append(out.Roles, c.missing()...) // of one container
		return a.change(ctx, c.Name, func(tx pgx.Tx) error {
			if err := ensureRole(ctx, tx, c.Group); err != nil {
				return err
			}
			for _, slot := range c.Slots {
				if err := ensureRole(ctx, tx, slot.Role); err != nil {
					return err
				}
				err := statements(ctx, tx,
					fmt.Sprintf("GRANT %s TO %s", quoted(c.Group), quoted(slot.Role)),
					fmt.Sprintf("ALTER ROLE %s SET role = %s", quoted(slot.Role), literal(c.Group)))
				if err != nil {
					return err
				}
			}
			return nil
		})
	})
	return op.Result{Output: out, Changes: roleMade(out.Roles, "made"), Text: fmt.Sprintf("%d roles made", len(out.Roles))}, err
}

func roleMade(roles []string, to string) (out []op.Change) {
	for _, r := range roles {
		out = append(out, op.Change{Target: r, Setting: "role", To: to})
	}
	return out
}

func ensureRole(ctx context.Context, tx pgx.Tx, role string) error {
	var there bool
	if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)`, role).Scan(&there); err != nil || there {
		return err
	}
	return statements(ctx, tx, "CREATE ROLE "+quoted(role)+" NOLOGIN")
}

// unroles drops what the run made, with the rights that it granted.
func (m issuing) unroles(ctx context.Context, s *op.Session) (op.Result, error) {
	var out made
	if _, err := s.Output(stepRoles, &out); err != nil {
		return op.Result{}, err
	}
	err := m.each(ctx, m.all, func(ctx context.Context, c *ContainerFacts) error {
		what := m.what("drop the roles", c)
		if slices.Contains(out.Roles, c.Group) {
			for i, database := range c.Databases {
				if err := m.revokeRights(ctx, s, c, database, c.Owners[i], what); err != nil {
					return err
				}
			}
		}
		a, err := m.admin(ctx, m.t, c.Databases[0], what)
		if err != nil {
			return err
		}
		defer a.close(ctx)
		return a.change(ctx, c.Name, func(tx pgx.Tx) error {
			for _, role := range slices.Backward(out.Roles) { // the slots before their group
				if err := statements(ctx, tx, "DROP ROLE IF EXISTS "+quoted(role)); err != nil {
					return err
				}
			}
			return nil
		})
	})
	return op.Result{Changes: roleMade(out.Roles, "dropped"), Text: "the roles that this run made are dropped"}, err
}

// inDatabase works in one database in the name of its owner.
func (m issuing) inDatabase(ctx context.Context, s *op.Session, c *ContainerFacts, database, owner, what string, do func(context.Context, pgx.Tx, []string) error) error {
	a, err := m.admin(ctx, m.t, database, what)
	if err != nil {
		return err
	}
	defer a.close(ctx)
	if err := s.Fence(); err != nil {
		return err
	}
	return a.change(ctx, c.Name, func(tx pgx.Tx) error {
		var schemas []string
		rows, err := tx.Query(ctx, `SELECT nspname FROM pg_namespace WHERE nspowner = (SELECT oid FROM pg_roles WHERE rolname = $1) ORDER BY 1`, owner)
		if err == nil {
			schemas, err = pgx.CollectRows(rows, pgx.RowTo[string])
		}
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "SET LOCAL ROLE "+quoted(owner)); err != nil {
			return fault.New(fault.Denied, what, err).Hint("the admin login must be a member of the owner: GRANT %s TO the admin login", quoted(owner))
		}
		return do(ctx, tx, schemas)
	})
}

// grants gives the group what its access needs, in each of its databases: on what is there, and on what the owner will make.
func (m issuing) grants(ctx context.Context, s *op.Session) (op.Result, error) {
	var changes []op.Change
	err := m.each(ctx, m.all, func(ctx context.Context, c *ContainerFacts) error {
		what := m.what("grant the rights", c)
		for i, database := range c.Databases {
			changes = append(changes, op.Change{Target: c.Group, Setting: "rights in " + database, To: accessText(c)}) // of one container
			owner := c.Owners[i]
			if c.Access == config.Admin {
				a, err := m.admin(ctx, m.t, database, what)
				if err != nil {
					return err
				}
				err = a.change(ctx, c.Name, func(tx pgx.Tx) error {
					return statements(ctx, tx, fmt.Sprintf("GRANT %s TO %s", quoted(owner), quoted(c.Group)))
				})
				a.close(ctx)
				if err != nil {
					return err
				}
				continue
			}
			err := m.inDatabase(ctx, s, c, database, owner, what, func(ctx context.Context, tx pgx.Tx, schemas []string) error {
				return grantAll(ctx, tx, c, database, schemas)
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return op.Result{Changes: changes, Text: "the rights are granted"}, err
}

func grantAll(ctx context.Context, tx pgx.Tx, c *ContainerFacts, database string, schemas []string) error {
	tables := "SELECT"
	if c.Access == config.Write {
		tables = "SELECT, INSERT, UPDATE, DELETE"
	}
	to := " TO " + quoted(c.Group)
	var connects bool
	err := tx.QueryRow(ctx, `SELECT has_database_privilege($1, current_database(), 'CONNECT')`, c.Group).Scan(&connects)
	if err != nil {
		return err
	}
	if !connects {
		if err := statements(ctx, tx, "GRANT CONNECT ON DATABASE "+quoted(database)+to); err != nil {
			return err
		}
	}
	for _, schema := range schemas {
		in := " IN SCHEMA " + quoted(schema)
		err := statements(ctx, tx,
			"GRANT USAGE ON SCHEMA "+quoted(schema)+to,
			"GRANT "+tables+" ON ALL TABLES"+in+to,
			"GRANT USAGE, SELECT ON ALL SEQUENCES"+in+to,
			"ALTER DEFAULT PRIVILEGES"+in+" GRANT "+tables+" ON TABLES"+to,
			"ALTER DEFAULT PRIVILEGES"+in+" GRANT USAGE, SELECT ON SEQUENCES"+to)
		if err != nil {
			return err
		}
	}
	return nil
}

func (m issuing) revokeRights(ctx context.Context, s *op.Session, c *ContainerFacts, database, owner, what string) error {
	return m.inDatabase(ctx, s, c, database, owner, what, func(ctx context.Context, tx pgx.Tx, schemas []string) error {
		var there bool
		if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)`, c.Group).Scan(&there); err != nil || !there {
			return err
		}
		from := " FROM " + quoted(c.Group)
		for _, schema := range schemas {
			in := " IN SCHEMA " + quoted(schema)
			err := statements(ctx, tx,
				"ALTER DEFAULT PRIVILEGES"+in+" REVOKE ALL ON TABLES"+from,
				"ALTER DEFAULT PRIVILEGES"+in+" REVOKE ALL ON SEQUENCES"+from,
				"REVOKE ALL ON ALL TABLES"+in+from,
				"REVOKE ALL ON ALL SEQUENCES"+in+from,
				"REVOKE ALL ON SCHEMA "+quoted(schema)+from)
			if err != nil {
				return err
			}
		}
		return statements(ctx, tx, "REVOKE CONNECT ON DATABASE "+quoted(database)+from)
	})
}

// places makes the places that do not exist.
func (m issuing) places(ctx context.Context, s *op.Session) (op.Result, error) {
	n := 0
	err := m.each(ctx, m.all, func(ctx context.Context, c *ContainerFacts) error {
		for _, p := range c.Places {
			if p.There {
				continue
			}
			store, ref, err := m.Place(ctx, p.Place)
			if err != nil {
				return err
			}
			if err := s.Fence(); err != nil {
				return err
			}
			if err := store.Create(ctx, ref); err != nil {
				return err
			}
			n++
		}
		return nil
	})
	return op.Result{Text: fmt.Sprintf("%d places made", n)}, err
}

// pend stages the first credential.
func (m issuing) pend(ctx context.Context, s *op.Session) (op.Result, error) {
	containers, err := m.pick(m.t, []string{m.all[0].Name})
	if err != nil {
		return op.Result{}, err
	}
	at, err := m.Address(ctx, m.t)
	if err != nil {
		return op.Result{}, err
	}
	c, slot := &m.all[0], m.all[0].idle()
	what := m.what("stage the credential", c)
	l := Login{slot.Role, newPassword()}
	var g gather
	for i, p := range c.Places {
		text := newPayload(containers[0], at, l, slot.Slot)
		if p.Current != "" && p.Trouble == "" {
			if text, err = m.read(ctx, what, p.Place, p.Current); err != nil {
				return op.Result{}, err
			}
			text.Put(l, slot.Slot)
		}
		store, ref, err := m.Place(ctx, p.Place)
		if err != nil {
			return op.Result{}, err
		}
		v, err := text.Value()
		if err != nil {
			return op.Result{}, fault.New(fault.Invalid, what, err)
		}
		if err := s.Fence(); err != nil {
			return op.Result{}, err
		}
		version, err := store.Stage(ctx, ref, s.Run+"/"+c.Name, v)
		if err != nil {
			return op.Result{}, err
		}
		g.add(c.Name, p.Place, versions{p.Current, version.ID})
		if i == 0 {
			if l, err = m.pending(ctx, what, g.all, c); err != nil {
				return op.Result{}, err
			}
		}
	}
	return op.Result{Output: g.all, Changes: m.versionChanges(g.all, false), Text: "staged"}, nil
}
