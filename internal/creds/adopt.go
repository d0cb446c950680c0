package creds

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/secret"
)

// AdoptRequest takes over a login role that a container uses already: it becomes the slot a.
type AdoptRequest struct {
	Container string `json:"container"`
	Login     string `json:"login"`
	// Secret is the place of its password, where the container's place of delivery does not hold it yet.
	Secret string `json:"secret,omitempty"`
}

// AdoptFacts are what an adoption depends on.
type AdoptFacts struct {
	Facts
	Legacy Legacy `json:"legacy"`
	// Unproven is why the password at the request's place cannot be used; "" if it logs in, or no place is named.
	Unproven string `json:"unproven,omitempty"`
	Next     string `json:"next,omitempty"` // what to do about it
}

// Legacy is the login role that is adopted.
type Legacy struct {
	There  bool           `json:"there"`
	Login  bool           `json:"login"`
	Admin  bool           `json:"admin"`            // the admin login may grant it
	Member bool           `json:"member,omitempty"` // of the container's group already
	Super  bool           `json:"super,omitempty"`
	Groups []string       `json:"groups,omitempty"` // it is a member of
	Barred []string       `json:"barred,omitempty"` // those that the admin login may not grant
	Owns   map[string]int `json:"owns,omitempty"`   // objects, by database
	Direct map[string]int `json:"direct,omitempty"` // objects that it has rights on in its own name
	Whose  string         `json:"whose,omitempty"`  // another container that has it as a slot
}

const (
	stepMember  = "member"
	stepReown   = "reassign"
	stepDeliver = "deliver"
)

func adopt(d Deps) op.Kind {
	return op.Operation[AdoptRequest, AdoptFacts]{
		Kind: AdoptKind, Words: words(),
		Observe: d.observeAdopt,
		Derive:  planAdopt,
		Steps: func(t op.Target, r AdoptRequest, f AdoptFacts) []op.Step {
			m := adopting{issuing{moving{Deps: d, t: t, all: f.Containers}}, r, f.Legacy}
			return []op.Step{
				{Name: stepRoles, Title: "make the group role and the slot b, which cannot log in yet", Do: m.roles, Undo: m.unroles, UndoTitle: "drop the roles that this run made"},
				{Name: stepReown, Title: "give what " + r.Login + " owns to the owner of each database", Do: m.reassign},
				{Name: stepGrants, Title: "grant the group what its access needs, and what " + r.Login + " is a member of", Do: m.grants},
				{Name: stepMember, Title: "make " + r.Login + " a member of the group", Do: m.join, Undo: m.leave, UndoTitle: "make it a member no more"},
				{Name: stepDeliver, Title: "put its credential where the container will read it, if it is not there", Do: m.deliver},
			}
		},
	}.AsKind()
}

func (d Deps) observeAdopt(ctx context.Context, t op.Target, r AdoptRequest) (f AdoptFacts, err error) {
	if r.Secret != "" { // before anything else is: it may be the password itself
		if _, err := secret.ParseRef(r.Secret); err != nil {
			return f, fault.New(fault.Usage, "read where the password of "+r.Login+" is", err).Hint("--secret names a place, and never the password; if that was one, it is in the history of your shell now")
		}
	}
	if f.Facts, err = d.observe(ctx, t, []string{r.Container}, false); err != nil {
		return f, err
	}
	f.Facts = f.unused()
	c := &f.Containers[0]
	for _, database := range c.Databases {
		if err := d.readLegacy(ctx, t, c, database, r.Login, &f.Legacy); err != nil {
			return f, err
		}
	}
	others, err := d.Containers(t)
	for _, o := range others {
		slot := r.Login == SlotRole(o.Name, SlotA) || r.Login == SlotRole(o.Name, SlotB) || slices.Contains(f.Legacy.Groups, GroupRole(o.Name))
		if o.Name != r.Container && slot {
			f.Legacy.Whose = o.Name
		}
	}
	if err != nil || r.Secret == "" || !f.Legacy.There {
		return f, err
	}
	if _, err := d.proven(ctx, t, c, r); err != nil {
		if passing(err) {
			return f, err
		}
		f.Unproven, f.Next = err.Error(), fault.HintOf(err)
	}
	return f, nil
}

// proven is the login that is adopted, with the password at the place of the request, once it is seen to log in.
func (d Deps) proven(ctx context.Context, t op.Target, c *ContainerFacts, r AdoptRequest) (Login, error) {
	password, err := d.Secret(ctx, r.Secret)
	if err != nil {
		return Login{}, err
	}
	l := Login{r.Login, password}
	if err := d.try(ctx, t, c.Databases[0], l); err != nil {
		if passing(err) {
			return Login{}, err
		}
		return Login{}, fault.New(fault.Failed, "log in as "+r.Login, err).Hint("the password in %s is not the right one", r.Secret)
	}
	return l, nil
}

func (d Deps) readLegacy(ctx context.Context, t op.Target, c *ContainerFacts, database, role string, l *Legacy) error {
	what := "read the role " + role + " on " + t.String()
	a, err := d.admin(ctx, t, database, what)
	if err != nil {
		return err
	}
	defer a.close(ctx)
	var owns, direct int
	var groups, barred []string
	err = a.conn.QueryRow(ctx, `
		SELECT r.rolcanlogin, pg_has_role(session_user, r.oid, 'MEMBER WITH ADMIN OPTION'), r.rolsuper OR r.rolcreaterole OR r.rolreplication OR r.rolbypassrls,
		       EXISTS (SELECT FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid WHERE m.member = r.oid AND g.rolname = $2),
		       coalesce((SELECT array_agg(DISTINCT g.rolname::text ORDER BY g.rolname::text) FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid WHERE m.member = r.oid AND g.rolname <> $2), '{}'),
		       coalesce((SELECT array_agg(DISTINCT g.rolname::text ORDER BY g.rolname::text) FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid
		                  WHERE m.member = r.oid AND g.rolname <> $2 AND NOT pg_has_role(session_user, g.oid, 'MEMBER WITH ADMIN OPTION')), '{}'),
		       (SELECT count(*) FROM pg_shdepend s WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = r.oid AND s.deptype = 'o'
		           AND s.dbid IN (0, (SELECT oid FROM pg_database WHERE datname = current_database())))::int,
		       (SELECT count(*) FROM pg_shdepend s WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = r.oid AND s.deptype = 'a'
		           AND s.dbid IN (0, (SELECT oid FROM pg_database WHERE datname = current_database())))::int
		  FROM pg_roles r WHERE r.rolname = $1`, role, c.Group).
		Scan(&l.Login, &l.Admin, &l.Super, &l.Member, &groups, &barred, &owns, &direct)
	if err == pgx.ErrNoRows { //nolint:errorlint // pgx returns it as it is
		return nil
	}
	if err != nil {
		return sqlFault(what, err)
	}
	l.There, l.Groups, l.Barred = true, groups, barred
	for n, into := range map[*map[string]int]int{&l.Owns: owns, &l.Direct: direct} {
		if into > 0 {
			if *n == nil {
				*n = map[string]int{}
			}
			(*n)[database] = into
		}
	}
	return nil
}

// planAdopt works out what an adoption means.
func planAdopt(t op.Target, r AdoptRequest, f AdoptFacts) op.Draft {
	c, l := &f.Containers[0], f.Legacy
	d := op.Draft{
		Title:    fmt.Sprintf("adopt the login %s on %s as the credential of %s", r.Login, t, r.Container),
		Downtime: op.Downtime{Expected: "none", Text: "the login keeps its password and its rights"},
		Back:     "none is needed: nothing is taken away from " + r.Login + " until the container is rotated to its other slot",
	}
	d.Findings = append(capable(t, f.Facts), delivered(t, c)...)
	block := func(check, remedy, text string, args ...any) {
		d.Findings = append(d.Findings, op.Finding{Severity: op.Block, Check: check, Text: fmt.Sprintf(text, args...), Remedy: remedy})
	}
	if !l.There {
		block("no-role", c.wayBack(t, command("audit", t)+" lists who can log in"), "there is no role %s on %s", r.Login, t)
		return d
	}
	switch {
	case l.Whose != "":
		block("others-slot", "name the login that "+r.Container+" uses now; if two containers share one: "+command("issue "+r.Container, t)+" gives it one of its own", "%s is a slot of the container %s", r.Login, l.Whose)
	case l.Super:
		block("too-mighty", "give the container a role without SUPERUSER, CREATEROLE, REPLICATION and BYPASSRLS", "%s has rights that no container should have", r.Login)
	case !l.Login:
		block("no-login", "ALTER ROLE "+quoted(r.Login)+" LOGIN, or issue a new credential", "%s may not log in", r.Login)
	case c.slot(SlotA).There && c.slot(SlotA).Role != r.Login:
		block("has-slots", c.wayBack(t, command("rotate "+c.Name, t)), "%s has its slots already: %s", c.Name, c.slot(SlotA).Role)
	}
	if slices.Contains(c.Owners, "") {
		block("no-owner", "write owner under the database in dbops.yaml", "%s: dbops.yaml does not say which role owns the objects of %s", c.Name, containerDatabases(c))
	}
	if f.Major >= 16 && !f.Admin.Superuser {
		if !l.Admin {
			block("admin-option", fmt.Sprintf("as who made the role: GRANT %s TO %s WITH ADMIN OPTION", quoted(r.Login), quoted(f.Admin.Role)), "%s has no ADMIN OPTION on %s", f.Admin.Role, r.Login)
		}
		for _, g := range l.Barred {
			block("admin-option", fmt.Sprintf("as who made the role: GRANT %s TO %s WITH ADMIN OPTION", quoted(g), quoted(f.Admin.Role)), "%s has no ADMIN OPTION on %s, of which %s is a member", f.Admin.Role, g, r.Login)
		}
	}
	if len(c.Places) > 0 && c.User != r.Login && r.Secret == "" {
		block("no-password", "--secret PLACE says where its password is now", "%s does not hold the credential of %s", c.Places[0].Place, r.Login)
	}
	if f.Unproven != "" {
		d.Findings = append(d.Findings, op.Finding{
			Severity: op.Block, Check: "no-password", Text: fmt.Sprintf("the password of %s cannot be taken from %s", r.Login, r.Secret), Evidence: f.Unproven,
			Remedy: cmp.Or(f.Next, "correct what the error names"),
		})
	}
	if c.User == r.Login && !c.Works && r.Secret == "" {
		block("current-fails", "put the right password there", "the credential of %s in %s does not log in: %s", r.Login, c.Places[0].Place, c.Why)
	}
	for _, database := range c.Databases {
		if n := l.Owns[database]; n > 0 {
			d.Findings = append(d.Findings, op.Finding{
				Severity: op.Warn, Check: "owns", Text: fmt.Sprintf("%s owns %d objects in %s: they are given to %s", r.Login, n, database, orNone(c.Owners[slices.Index(c.Databases, database)])),
				Remedy: "after that the container cannot alter them any more: its migrations must run as the owner",
			})
			d.Changes = append(d.Changes, op.Change{Target: database, Setting: fmt.Sprintf("owner of %d objects", n), From: r.Login, To: orNone(c.Owners[slices.Index(c.Databases, database)])})
		}
		if n := l.Direct[database]; n > 0 {
			d.Findings = append(d.Findings, op.Finding{
				Severity: op.Info, Check: "direct-grants", Text: fmt.Sprintf("%s has rights of its own on %d objects in %s; the group gets those of its access instead", r.Login, n, database),
				Remedy: "the first rotation moves the container to the group's rights: grant the group what it needs beyond its access",
			})
		}
	}
	if c.slot(SlotA).Role != r.Login || !c.slot(SlotA).Acts {
		d.Findings = append(d.Findings, op.Finding{
			Severity: op.Info, Check: "not-acting", Text: fmt.Sprintf("until its first rotation %s acts as itself, not as %s: what it makes belongs to it", r.Login, c.Group),
			Remedy: command("rotate "+c.Name, t) + " afterwards; until then dbops creds list says not-acting",
		})
	}
	for _, role := range c.missing() {
		if role != c.slot(SlotA).Role {
			d.Changes = append(d.Changes, op.Change{Target: role, Setting: "role", From: "none", To: "made"})
		}
	}
	if len(l.Groups) > 0 {
		d.Changes = append(d.Changes, op.Change{Target: c.Group, Setting: "member of", To: strings.Join(l.Groups, ", ")})
	}
	if !l.Member {
		d.Changes = append(d.Changes, op.Change{Target: r.Login, Setting: "member of", To: c.Group})
	}
	if len(c.Places) > 0 && c.User != r.Login {
		d.Changes = append(d.Changes, op.Change{Target: c.Name, Setting: c.Places[0].Place, From: orNone(c.Places[0].Current), To: "the credential of " + r.Login})
	}
	return d
}

// adopting takes a login role over.
type adopting struct {
	issuing
	r AdoptRequest
	l Legacy
}

// roles makes the group and the slot b.
func (m adopting) roles(ctx context.Context, s *op.Session) (op.Result, error) {
	var out made
	err := m.onEach(ctx, "make the roles", func(ctx context.Context, c *ContainerFacts, a *admin) error {
		if err := s.Fence(); err != nil {
			return err
		}
		b := SlotRole(c.Name, SlotB)
		for _, role := range c.missing() {
			if role == c.Group || role == b {
				out.Roles = append(out.Roles, role)
			}
		}
		return a.change(ctx, c.Name, func(tx pgx.Tx) error {
			for _, role := range []string{c.Group, b} {
				if err := ensureRole(ctx, tx, role); err != nil {
					return err
				}
			}
			return statements(ctx, tx, fmt.Sprintf("GRANT %s TO %s", quoted(c.Group), quoted(b)), fmt.Sprintf("ALTER ROLE %s SET role = %s", quoted(b), literal(c.Group)))
		})
	})
	return op.Result{Output: out, Changes: roleMade(out.Roles, "made"), Text: fmt.Sprintf("%d roles made", len(out.Roles))}, err
}

// reassign gives what the login owns to the owner of the database.
func (m adopting) reassign(ctx context.Context, s *op.Session) (op.Result, error) {
	c := &m.all[0]
	var changes []op.Change
	for i, database := range c.Databases {
		if m.l.Owns[database] == 0 {
			continue
		}
		a, err := m.admin(ctx, m.t, database, m.what("reassign what "+m.r.Login+" owns", c))
		if err != nil {
			return op.Result{}, err
		}
		err = s.Fence()
		if err == nil {
			err = a.change(ctx, c.Name, func(tx pgx.Tx) error {
				var may bool
				if err := tx.QueryRow(ctx, `SELECT pg_has_role(current_user, $1, 'USAGE')`, m.r.Login).Scan(&may); err != nil {
					return err
				}
				grant, give := "GRANT "+quoted(m.r.Login)+" TO CURRENT_USER", "REASSIGN OWNED BY "+quoted(m.r.Login)+" TO "+quoted(c.Owners[i])
				if may {
					return statements(ctx, tx, give)
				}
				return statements(ctx, tx, grant, give, "REVOKE "+quoted(m.r.Login)+" FROM CURRENT_USER")
			})
		}
		a.close(ctx)
		if err != nil {
			return op.Result{}, err
		}
		changes = append(changes, op.Change{Target: database, Setting: "owner of its objects", From: m.r.Login, To: c.Owners[i]})
	}
	return op.Result{Changes: changes, Text: fmt.Sprintf("in %d databases", len(changes))}, nil
}

// grants gives the group its rights, and the memberships of the login.
func (m adopting) grants(ctx context.Context, s *op.Session) (op.Result, error) {
	r, err := m.issuing.grants(ctx, s)
	if err != nil {
		return r, err
	}
	err = m.onEach(ctx, "grant the memberships", func(ctx context.Context, c *ContainerFacts, a *admin) error {
		return a.change(ctx, c.Name, func(tx pgx.Tx) error {
			for _, g := range m.l.Groups {
				if err := statements(ctx, tx, fmt.Sprintf("GRANT %s TO %s", quoted(g), quoted(c.Group))); err != nil {
					return err
				}
				r.Changes = append(r.Changes, op.Change{Target: c.Group, Setting: "member of", To: g})
			}
			return nil
		})
	})
	return r, err
}

func (m adopting) membership(ctx context.Context, s *op.Session, statement string) error {
	return m.onEach(ctx, "change the membership of "+m.r.Login, func(ctx context.Context, c *ContainerFacts, a *admin) error {
		if err := s.Fence(); err != nil {
			return err
		}
		return a.change(ctx, c.Name, func(tx pgx.Tx) error {
			return statements(ctx, tx, fmt.Sprintf(statement, quoted(c.Group), quoted(m.r.Login)))
		})
	})
}

func (m adopting) join(ctx context.Context, s *op.Session) (op.Result, error) {
	return op.Result{Changes: []op.Change{{Target: m.r.Login, Setting: "member of", To: m.all[0].Group}}}, m.membership(ctx, s, "GRANT %s TO %s")
}

func (m adopting) leave(ctx context.Context, s *op.Session) (op.Result, error) {
	if m.l.Member {
		return op.Result{Text: "it was a member before"}, nil
	}
	return op.Result{Changes: []op.Change{{Target: m.r.Login, Setting: "member of", From: m.all[0].Group, To: "none"}}}, m.membership(ctx, s, "REVOKE %s FROM %s")
}

// deliver puts the login's credential in the places that do not hold it, once it is seen to log in.
func (m adopting) deliver(ctx context.Context, s *op.Session) (op.Result, error) {
	c := &m.all[0]
	if m.r.Secret == "" {
		return op.Result{Text: c.Places[0].Place + " holds it"}, nil
	}
	l, err := m.proven(ctx, m.t, c, m.r)
	if err != nil {
		return op.Result{}, err
	}
	containers, err := m.pick(m.t, []string{c.Name})
	if err != nil {
		return op.Result{}, err
	}
	at, err := m.Address(ctx, m.t)
	if err != nil {
		return op.Result{}, err
	}
	text, err := newPayload(containers[0], at, l, SlotA).Value()
	if err != nil {
		return op.Result{}, err
	}
	var changes []op.Change
	err = m.moving.places(ctx, s, func(ctx context.Context, c *ContainerFacts, store secret.Store, ref secret.Ref, place string) error {
		if err := store.Create(ctx, ref); err != nil {
			return err
		}
		v, err := store.Stage(ctx, ref, s.Run+"/"+c.Name, text)
		if err != nil {
			return err
		}
		from := c.place(place).Current
		changes = append(changes, op.Change{Target: c.Name, Setting: place, From: orNone(from), To: v.ID})
		return store.Promote(ctx, ref, from, v.ID)
	})
	return op.Result{Changes: changes, Text: fmt.Sprintf("delivered to %d places", len(changes))}, err
}
