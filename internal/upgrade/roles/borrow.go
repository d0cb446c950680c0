package roles

import (
	"context"

	"github.com/jackc/pgx/v5"

	"dbops/internal/fault"
)

// borrow begins a group of statements that only a member of the role may run: the login becomes one, and the function ends that, all in the
// transaction of the caller, so that a kill leaves nothing.
func (m *Model) borrow(b *batch, role, what string) (back func()) {
	take, end := m.membership(role)
	if take == "" {
		b.group++
		return func() {}
	}
	b.begin(take, what, nil)
	return func() { b.last(end) }
}

// membership makes the login a member of a role that may act as it, and takes that back; empty if it is one.
func (m *Model) membership(role string) (take, back string) {
	if m.Superuser || role == m.Login {
		return "", ""
	}
	it := quoted(role) + " to " + quoted(m.Login)
	take, back = "grant "+it, "revoke "+quoted(role)+" from "+quoted(m.Login)
	if m.Major >= 16 {
		take += " with inherit true, set true"
	}
	for _, g := range m.Memberships {
		if g.Role != role || g.Member != m.Login {
			continue
		}
		if m.Major < 16 || g.Inherit && g.Set {
			return "", ""
		}
		if g.Grantor != "" {
			back = "grant " + it + " with " + g.options()
		}
	}
	return take, back
}

// give changes the owner of a database.
func give(ctx context.Context, conn *pgx.Conn, t *Model, name, from, to string) error {
	if from == to {
		return nil
	}
	b := &batch{}
	what := "owner of database " + quoted(name)
	var back []func()
	for _, role := range []string{from, to} {
		back = append(back, t.borrow(b, role, what))
	}
	b.group++
	b.then("alter database "+quoted(name)+" owner to "+quoted(to), what, nil)
	for _, end := range back {
		b.group++
		end()
	}
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		refused, err := b.run(ctx, tx)
		if err == nil && len(refused) > 0 {
			err = fault.Newf(fault.Denied, "give database "+quoted(name)+" to "+quoted(to), "%s", refused[len(refused)-1].Why).
				Hint("log in to the target as a role that may: GRANT %s TO %s", quoted(to), quoted(t.Login))
		}
		return err
	})
}

// Join makes the target's login a member of the roles that own something on the source until [Finish], so that a copy without superuser can
// give it to them. Left out are roles whose members log in only with a token. It may be called again.
func (m *Model) Join(ctx context.Context, target Connect) (out []LeftOut, err error) {
	err = change(ctx, target, "become a member of the roles on the target", func(ctx context.Context, tx pgx.Tx) error {
		t, err := read(ctx, tx.Conn(), nil)
		if err != nil || t.Superuser {
			return err
		}
		n, err := readNote(ctx, tx)
		if err != nil {
			return err
		}
		b, there, byToken := &batch{}, t.index(), t.byToken()
		out = nil
		for _, r := range m.Roles {
			take, back := t.membership(r.Name)
			if !r.Owns || m.provided(r.Name) || t.provided(r.Name) || there[r.Name] == nil || take == "" {
				continue
			}
			what := "membership of " + quoted(t.Login) + " in " + quoted(r.Name)
			if byToken[r.Name] && !byToken[t.Login] {
				out = append(out, LeftOut{What: what, Why: "the login that does this could then log in only with a token"})
				continue
			}
			b.apart(take, what, func() { n.Joined = append(n.Joined, back) })
		}
		refused, err := b.run(ctx, tx)
		if err != nil {
			return err
		}
		out = append(out, refused...)
		return n.write(ctx, tx)
	})
	return out, err
}

// Finish ends what [Model.Join] began, and forgets what was made: after it [Model.Remove] knows only what its report says. It may be called
// again.
func Finish(ctx context.Context, target Connect) error {
	return change(ctx, target, "finish with the roles on the target", func(ctx context.Context, tx pgx.Tx) error {
		if err := leaveRoles(ctx, tx); err != nil {
			return err
		}
		return forget(ctx, tx)
	})
}

// leaveRoles takes the login's memberships back. One that is gone is no error.
func leaveRoles(ctx context.Context, tx pgx.Tx) error {
	n, err := readNote(ctx, tx)
	if err != nil {
		return err
	}
	b := &batch{}
	for _, sql := range n.Joined {
		b.apart(sql, sql, nil)
	}
	if _, err := b.run(ctx, tx); err != nil {
		return err
	}
	n.Joined = nil
	if !n.there {
		return nil
	}
	return n.write(ctx, tx)
}
