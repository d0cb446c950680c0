package creds

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"dbops/internal/config"
	"dbops/internal/fault"
	"dbops/internal/op"
)

// Facts are what a plan depends on: the server, and each container that it is about.
type Facts struct {
	Major      int              `json:"major"`
	Admin      Admin            `json:"admin"`
	Containers []ContainerFacts `json:"containers"`
}

// Admin is what dbops's admin login may do on the server.
type Admin struct {
	Role       string `json:"role"`
	Superuser  bool   `json:"superuser,omitempty"`
	CreateRole bool   `json:"create_role"`
	// Passwords tells whether it may set passwords: rds.restrict_password_commands wants a member of rds_password.
	Passwords bool `json:"passwords"`
}

// ContainerFacts are one container, as it is declared and as it is.
type ContainerFacts struct {
	Name      string        `json:"name"`
	Access    config.Access `json:"access"`
	Databases []string      `json:"databases"` // names on the server
	Owners    []string      `json:"owners"`    // of the databases, in the same order; "" where none is declared
	Rollout   string        `json:"rollout,omitempty"`

	Group      string       `json:"group"`
	GroupThere bool         `json:"group_there"`
	GroupAdmin bool         `json:"group_admin"` // the admin login may grant it
	Slots      []SlotFacts  `json:"slots"`       // a, b
	Places     []PlaceFacts `json:"places"`

	Active string `json:"active,omitempty"` // the slot of the current credential; "" if there is none, or it is of another role
	User   string `json:"user,omitempty"`   // the role of the current credential
	Works  bool   `json:"works"`            // the current credential logs in
	Why    string `json:"why,omitempty"`    // it does not
}

// SlotFacts are one slot.
type SlotFacts struct {
	Slot   string `json:"slot"`
	Role   string `json:"role"`
	There  bool   `json:"there"`
	Login  bool   `json:"login"`            // may log in
	Member bool   `json:"member"`           // of the group
	Acts   bool   `json:"acts"`             // as the group, by its role setting
	Admin  bool   `json:"admin"`            // the admin login may change it
	InUse  bool   `json:"in_use,omitempty"` // it has sessions although it is not the active one
}

// PlaceFacts are what a place of delivery holds.
type PlaceFacts struct {
	Place    string `json:"place"`
	There    bool   `json:"there"`
	Current  string `json:"current,omitempty"`
	Pending  string `json:"pending,omitempty"`
	Previous string `json:"previous,omitempty"`
	// PreviousUser is whom the previous credential logs in as; "" if it cannot be read.
	PreviousUser string `json:"previous_user,omitempty"`
	Form         string `json:"form,omitempty"`
	Trouble      string `json:"trouble,omitempty"`   // it cannot be read, or is not understood
	Shut         string `json:"shut,omitempty"`      // it takes no new version
	Garbled      bool   `json:"garbled,omitempty"`   // the trouble is that it is no credential
	Next         string `json:"next,omitempty"`      // what to do about either
	Amiss        string `json:"amiss,omitempty"`     // why a container that starts now does not find the current version
	Seen         string `json:"seen,omitempty"`      // whom it logs in as by what is made of the version; "" where that is the version itself
	Elsewhere    string `json:"elsewhere,omitempty"` // the address that it is told is not one of the instance

	// Differs is how it differs from the first place of the container; "" if it does not.
	Differs string `json:"differs,omitempty"`
	// Mend is a version that dbops delivered there and that is the right one, where the current one is not; MendUser is whom it logs in as.
	Mend     string `json:"mend,omitempty"`
	MendUser string `json:"mend_user,omitempty"`

	created   time.Time
	login     Login // the current credential
	addresses []address
}

// words are how a change of the facts is told: by the container's name.
func words() map[string]string {
	return map[string]string{"containers": "", "admin": "the admin login", "legacy": "the login"}
}

// slot is the facts of a slot.
func (c *ContainerFacts) slot(letter string) *SlotFacts {
	for i := range c.Slots {
		if c.Slots[i].Slot == letter {
			return &c.Slots[i]
		}
	}
	return &SlotFacts{Slot: letter}
}

func other(slot string) string {
	if slot == SlotA {
		return SlotB
	}
	return SlotA
}

// old is the slot whose credential is current, as far as it is one of the container's.
func (c *ContainerFacts) old() *SlotFacts { return c.slot(c.Active) }

// idle is the slot that may be changed. Where nothing is delivered, it is not one that somebody may have a credential of.
func (c *ContainerFacts) idle() *SlotFacts {
	switch {
	case c.Active != "":
		return c.slot(other(c.Active))
	case c.slot(SlotA).Login && !c.slot(SlotB).Login:
		return c.slot(SlotB)
	default:
		return c.slot(SlotA)
	}
}

// pick returns the declared containers of those names; all of them for none. A name that is not declared is a fault.Usage.
func (d Deps) pick(t op.Target, names []string) ([]Container, error) {
	all, err := d.Containers(t)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return all, nil
	}
	var out []Container
	for _, name := range names {
		i := slices.IndexFunc(all, func(c Container) bool { return c.Name == name })
		if i < 0 {
			known := make([]string, len(all))
			for j, c := range all {
				known[j] = c.Name
			}
			return nil, fault.Newf(fault.Usage, "find the container "+name, "%s has none of that name", t).
				Hint("dbops.yaml declares: %s", orNone(strings.Join(known, ", ")))
		}
		out = append(out, all[i])
	}
	return out, nil
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// observe reads the facts of containers. It changes nothing; it logs in as each container's current credential, unless quiet.
func (d Deps) observe(ctx context.Context, t op.Target, names []string, quiet bool) (Facts, error) {
	containers, err := d.pick(t, names)
	if err != nil {
		return Facts{}, err
	}
	conn, err := d.Connect(ctx, t, adminDatabase(containers))
	if err != nil {
		return Facts{}, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	f, err := readAdmin(ctx, conn)
	if err != nil {
		return Facts{}, fault.New(fault.Unavailable, "read the roles of "+t.String(), err)
	}
	f.Containers = make([]ContainerFacts, len(containers))
	for i, c := range containers {
		if f.Containers[i], err = readRoles(ctx, conn, c); err != nil {
			return Facts{}, fault.New(fault.Unavailable, "read the roles of "+c.Name+" on "+t.String(), err)
		}
	}
	g, ask := errgroup.WithContext(ctx)
	g.SetLimit(max(d.Concurrency, 1))
	for i := range containers {
		g.Go(func() error { return d.readCredential(ask, t, containers[i], &f.Containers[i], quiet) })
	}
	if err := g.Wait(); err != nil {
		return Facts{}, err
	}
	for i := range f.Containers {
		c := &f.Containers[i]
		for j := range c.Slots {
			if c.Slots[j].Slot == c.Active {
				c.Slots[j].InUse = false // as it should be
			}
		}
	}
	return f, nil
}

func adminDatabase(containers []Container) string {
	for _, c := range containers {
		if len(c.Databases) > 0 {
			return c.Databases[0].Server
		}
	}
	return "postgres"
}

func readAdmin(ctx context.Context, conn *pgx.Conn) (f Facts, err error) {
	err = conn.QueryRow(ctx, `
		SELECT current_setting('server_version_num')::int / 10000, session_user, r.rolsuper, r.rolcreaterole,
		       r.rolsuper OR coalesce(current_setting('rds.restrict_password_commands', true), 'off') IN ('off', '0', '')
		                  OR EXISTS (SELECT FROM pg_roles p WHERE p.rolname = 'rds_password' AND pg_has_role(session_user, p.oid, 'MEMBER'))
		  FROM pg_roles r WHERE r.rolname = session_user`).
		Scan(&f.Major, &f.Admin.Role, &f.Admin.Superuser, &f.Admin.CreateRole, &f.Admin.Passwords)
	return f, err
}

// readRoles reads the group and the slots of a container. An adopted slot a has a name of its own: it is the one other member of the group.
func readRoles(ctx context.Context, conn *pgx.Conn, c Container) (ContainerFacts, error) {
	f := ContainerFacts{Name: c.Name, Access: c.Access, Rollout: c.Rollout, Group: GroupRole(c.Name)}
	for _, d := range c.Databases {
		f.Databases = append(f.Databases, d.Server)
		f.Owners = append(f.Owners, d.Owner)
	}
	rows, err := conn.Query(ctx, `
		WITH grp AS (SELECT oid, rolname FROM pg_roles WHERE rolname = $1)
		SELECT r.rolname, r.rolcanlogin,
		       EXISTS (SELECT FROM pg_auth_members m, grp WHERE m.member = r.oid AND m.roleid = grp.oid),
		       coalesce(r.rolconfig @> ARRAY['role=' || $1], false),
		       pg_has_role(session_user, r.oid, 'MEMBER WITH ADMIN OPTION'),
		       EXISTS (SELECT FROM pg_stat_activity a WHERE a.usesysid = r.oid)
		  FROM pg_roles r
		 WHERE r.rolname = ANY ($2) OR r.oid = (SELECT oid FROM grp)
		    OR (r.rolname <> session_user AND NOT r.rolsuper
		        AND EXISTS (SELECT FROM pg_auth_members m, grp WHERE m.member = r.oid AND m.roleid = grp.oid AND m.grantor <> r.oid)
		        AND NOT r.rolcreaterole)
		 ORDER BY r.rolname`, f.Group, []string{SlotRole(c.Name, SlotA), SlotRole(c.Name, SlotB)})
	if err != nil {
		return f, err
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (s SlotFacts, err error) {
		s.There = true
		return s, row.Scan(&s.Role, &s.Login, &s.Member, &s.Acts, &s.Admin, &s.InUse)
	})
	if err != nil {
		return f, err
	}
	var adopted []SlotFacts
	found := map[string]SlotFacts{}
	for _, s := range all {
		switch s.Role {
		case f.Group:
			f.GroupThere, f.GroupAdmin = true, s.Admin
		case SlotRole(c.Name, SlotA):
			s.Slot = SlotA
			found[SlotA] = s
		case SlotRole(c.Name, SlotB):
			s.Slot = SlotB
			found[SlotB] = s
		default:
			s.Slot = SlotA
			adopted = append(adopted, s)
		}
	}
	if _, ok := found[SlotA]; !ok && len(adopted) == 1 {
		found[SlotA] = adopted[0]
	}
	for _, letter := range []string{SlotA, SlotB} {
		one, ok := found[letter]
		if !ok {
			one = SlotFacts{Slot: letter, Role: SlotRole(c.Name, letter)}
		}
		f.Slots = append(f.Slots, one)
	}
	return f, nil
}

// readCredential reads what the places of a container hold, and whether its current credential logs in.
func (d Deps) readCredential(ctx context.Context, t op.Target, c Container, f *ContainerFacts, quiet bool) error {
	var at *Address
	for i, place := range c.Places {
		one, err := d.readPlace(ctx, place, c)
		if err != nil {
			return err
		}
		if len(one.addresses) > 0 && at == nil {
			known, err := d.Address(ctx, t)
			if err != nil {
				return err
			}
			at = &known
		}
		if at != nil {
			one.Elsewhere = at.other(ctx, t, c, one.addresses)
		}
		login := one.login
		f.Places = append(f.Places, one)
		if i > 0 || one.Current == "" || one.Trouble != "" {
			continue
		}
		f.User = login.User
		for _, s := range f.Slots {
			if s.There && s.Role == login.User {
				f.Active = s.Slot
			}
		}
		if quiet || len(c.Databases) == 0 {
			continue
		}
		if err := d.try(ctx, t, c.Databases[0].Server, login); err != nil {
			if passing(err) {
				return err
			}
			f.Why = err.Error()
			continue
		}
		f.Works = true
	}
	return d.mend(ctx, t, f, quiet)
}

// passing tells whether an error says nothing about a credential, and may be gone in a while.
func passing(err error) bool {
	switch fault.KindOf(err) {
	case fault.Throttled, fault.Unavailable, fault.Interrupted:
		return true
	default:
		return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
	}
}

func (d Deps) try(ctx context.Context, t op.Target, database string, l Login) error {
	conn, err := d.Login(ctx, t, database, l)
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

// each works on several containers at a time, goes on with the others when one fails, and returns all that went wrong. What it changes
// for one container must not depend on another.
func (d Deps) each(ctx context.Context, all []ContainerFacts, do func(context.Context, *ContainerFacts) error) error {
	errs := make([]error, len(all))
	var g errgroup.Group
	g.SetLimit(max(d.Concurrency, 1))
	for i := range all {
		g.Go(func() error {
			if err := do(ctx, &all[i]); err != nil {
				errs[i] = fmt.Errorf("%s: %w", all[i].Name, err)
			}
			return nil
		})
	}
	_ = g.Wait()
	failed := slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	switch len(failed) {
	case 0:
		return nil
	case 1:
		return failed[0]
	default:
		var first *fault.Error
		if errors.As(failed[0], &first) {
			return fault.New(first.Kind, first.Op, errors.Join(failed...)).Hint("%s", fault.HintOf(failed[0]))
		}
		return errors.Join(failed...)
	}
}
