package creds

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/secret"
)

// pend stages a new credential in every place. The first place makes the password; the others get the same one.
func (m moving) pend(ctx context.Context, s *op.Session) (op.Result, error) {
	var g gather
	err := m.each(ctx, m.all, func(ctx context.Context, c *ContainerFacts) error {
		what := m.what("stage the credential", c)
		l := Login{c.idle().Role, newPassword()}
		var first *payload
		for i, p := range c.Places {
			made, err := m.stage(ctx, s, what, c, p, l, first)
			if err != nil {
				return err
			}
			g.add(c.Name, p.Place, versions{p.Current, made})
			if i > 0 {
				continue
			}
			if first, err = m.read(ctx, what, p.Place, made); err != nil { // of a time before, if this is a repetition
				return err
			}
			l = first.Login()
			if l.User != c.idle().Role || len(l.Password.Reveal()) < passwordLength {
				return fault.Newf(fault.Stale, what, "version %s of %s is not what this run staged", made, p.Place).Hint("look who else writes there")
			}
		}
		return nil
	})
	if err != nil {
		return op.Result{}, err
	}
	var changes []op.Change
	for i := range m.all {
		for _, p := range m.all[i].Places {
			changes = append(changes, op.Change{Target: m.all[i].Name, Setting: p.Place + " pending", From: orNone(p.Pending), To: g.all[m.all[i].Name][p.Place].To})
		}
	}
	return op.Result{Output: g.all, Changes: changes, Text: fmt.Sprintf("%d staged", len(m.all))}, nil
}

// stage stages a credential in one place, in the form that the place has; one that has none yet gets that of the first place.
func (m moving) stage(ctx context.Context, s *op.Session, what string, c *ContainerFacts, p PlaceFacts, l Login, first *payload) (string, error) {
	store, ref, err := m.Place(ctx, p.Place)
	if err != nil {
		return "", err
	}
	text := first
	if p.Current != "" {
		held, err := store.Inspect(ctx, ref)
		if err != nil {
			return "", err
		}
		if held.Current.ID != p.Current {
			return "", fault.Newf(fault.Stale, what, "%s holds version %s, not %s: somebody changed it since the plan was made", p.Place, orNone(held.Current.ID), p.Current).
				Hint("dbops runs decide %s undo takes back what was done; then plan again", s.Run)
		}
		if text, err = m.read(ctx, what, p.Place, p.Current); err != nil {
			return "", err
		}
	}
	text.Put(l, c.idle().Slot)
	v, err := text.Value()
	if err != nil {
		return "", fault.New(fault.Invalid, what, err)
	}
	if err := s.Fence(); err != nil {
		return "", err
	}
	if !p.There {
		if err := store.Create(ctx, ref); err != nil {
			return "", err
		}
	}
	made, err := store.Stage(ctx, ref, s.Run+"/"+c.Name, v)
	return made.ID, err
}

// pending is the credential that the run staged, from its first place.
func (m moving) pending(ctx context.Context, what string, all staged, c *ContainerFacts) (Login, error) {
	first := c.Places[0].Place
	p, err := m.read(ctx, what, first, all[c.Name][first].To)
	if err != nil {
		return Login{}, err
	}
	l := p.Login()
	if l.User != c.idle().Role {
		return Login{}, fault.Newf(fault.Stale, what, "the staged credential in %s is of %s, not of %s: somebody changed it by hand", first, l.User, c.idle().Role).
			Hint("undo the run, and plan again")
	}
	return l, nil
}

// set lets the idle slot log in with the pending credential.
func (m moving) set(ctx context.Context, s *op.Session) (op.Result, error) {
	all, err := m.staged(s)
	if err != nil {
		return op.Result{}, err
	}
	err = m.onEach(ctx, "set the idle slot", func(ctx context.Context, c *ContainerFacts, a *admin) error {
		l, err := m.pending(ctx, a.what, all, c)
		if err != nil {
			return err
		}
		busy, err := a.sessions(ctx, l.User)
		if err != nil {
			return err
		}
		if busy.Count > 0 && !c.idle().InUse {
			return fault.Newf(fault.Busy, a.what, "somebody is logged in as %s now: %s", l.User, busy.Who).
				Hint("restart what has that old credential; then dbops runs retry %s", s.Run)
		}
		if err := s.Fence(); err != nil {
			return err
		}
		return a.change(ctx, c.Name, func(tx pgx.Tx) error { return arm(ctx, tx, l.User, c.Group, l.Password) })
	})
	return op.Result{Changes: m.roleChanges("login", "no", "yes", (*ContainerFacts).idle), Text: "the verifiers are set"}, err
}

// noLogin lets a role log in no more, and destroys its password if it is done with.
func (m moving) noLogin(ctx context.Context, s *op.Session, a *admin, c *ContainerFacts, role string, forget bool) error {
	if err := s.Fence(); err != nil {
		return err
	}
	text := "ALTER ROLE " + quoted(role) + " NOLOGIN"
	if forget {
		text += " PASSWORD NULL"
	}
	return a.change(ctx, c.Name, func(tx pgx.Tx) error { return statements(ctx, tx, text) })
}

// verify logs in with the pending credential to every database.
func (m moving) verify(ctx context.Context, s *op.Session) (op.Result, error) {
	all, err := m.staged(s)
	if err != nil {
		return op.Result{}, err
	}
	err = m.each(ctx, m.all, func(ctx context.Context, c *ContainerFacts) error {
		what := m.what("verify the credential", c)
		l, err := m.pending(ctx, what, all, c)
		if err != nil {
			return err
		}
		return m.proves(ctx, what, c, l)
	})
	return op.Result{Text: "each new credential logs in and acts as its container"}, err
}

// proves sees that a credential logs in to every database of a container, and acts as its group.
func (m moving) proves(ctx context.Context, what string, c *ContainerFacts, l Login) error {
	for _, database := range c.Databases {
		conn, err := m.Login(ctx, m.t, database, l)
		if err != nil {
			return err
		}
		var session, current string
		var connects, replica bool
		err = conn.QueryRow(ctx, `SELECT session_user, current_user, has_database_privilege(current_database(), 'CONNECT'), pg_is_in_recovery()`).
			Scan(&session, &current, &connects, &replica)
		_ = conn.Close(context.WithoutCancel(ctx))
		switch {
		case err != nil:
			return sqlFault(what, err)
		case session != l.User || current != c.Group:
			return fault.Newf(fault.Failed, what, "in %s it acts as %s and not as %s, the container's group", database, current, c.Group).
				Hint("what it made would not belong to the container's group; look at ALTER ROLE %s SET role", l.User)
		case !connects:
			return fault.Newf(fault.Failed, what, "%s may not connect to %s once it has its role", c.Group, database).
				Hint("GRANT CONNECT ON DATABASE %s TO %s", quoted(database), quoted(c.Group))
		case replica:
			return fault.Newf(fault.Busy, what, "%s answers from a replica", database)
		}
	}
	return nil
}

// promote makes the staged credential current, the first place before the others: it is the one that decides.
func (m moving) promote(ctx context.Context, s *op.Session) (op.Result, error) {
	all, err := m.staged(s)
	if err != nil {
		return op.Result{}, err
	}
	err = m.places(ctx, s, func(ctx context.Context, c *ContainerFacts, store secret.Store, ref secret.Ref, place string) error {
		v := all[c.Name][place]
		return store.Promote(ctx, ref, v.From, v.To)
	})
	return op.Result{Changes: m.versionChanges(all, false), Text: fmt.Sprintf("%d are current", len(m.all))}, err
}

// rollout makes the containers read their credentials anew.
func (m moving) rollout(ctx context.Context, s *op.Session) (op.Result, error) {
	all, err := m.staged(s)
	if err != nil {
		return op.Result{}, err
	}
	if err := m.own(ctx, s, "roll out", true, all.made); err != nil {
		return op.Result{}, err
	}
	err = m.roll(ctx, s, s.Run, func(c *ContainerFacts) string { return all[c.Name][c.Places[0].Place].To })
	rolled := slices.DeleteFunc(slices.Clone(m.all), func(c ContainerFacts) bool { return c.Rollout == "" })
	text := fmt.Sprintf("%d rolled out", len(rolled))
	if n := len(m.all) - len(rolled); n > 0 {
		text += fmt.Sprintf("; %d have no rollout: restart them now", n)
	}
	return op.Result{Text: text}, err
}

// known are the passwords that a container's places hold: its own program may print them.
func (m moving) known(ctx context.Context, c *ContainerFacts) (secrets []string) {
	for _, p := range c.Places {
		store, ref, err := m.Place(ctx, p.Place)
		if err != nil {
			continue
		}
		held, err := store.Inspect(ctx, ref)
		if err != nil {
			continue
		}
		for _, v := range []secret.Version{held.Current, held.Pending, held.Previous} {
			if text, err := m.read(ctx, "", p.Place, v.ID); err == nil && v.ID != "" {
				secrets = append(secrets, text.Login().Password.Reveal())
			}
		}
	}
	return secrets
}

func (m moving) roll(ctx context.Context, s *op.Session, token string, version func(*ContainerFacts) string) error {
	var mu sync.Mutex
	return m.each(ctx, m.all, func(ctx context.Context, c *ContainerFacts) error {
		r, err := m.Rollout(ctx, m.t, c.Name)
		if err != nil || r == nil {
			return err
		}
		if err := s.Fence(); err != nil {
			return err
		}
		revision, err := r.Start(ctx, c.Name, version(c), token+"/"+c.Name)
		if err != nil {
			return redact(err, m.known(ctx, c)...)
		}
		return s.Poll(ctx, m.Pace, m.what("roll out", c), func(ctx context.Context) (bool, string, error) {
			done, status, err := r.Done(ctx, c.Name, revision)
			mu.Lock()
			defer mu.Unlock()
			if status != "" {
				status = c.Name + ": " + status
			}
			return done, status, err
		})
	})
}

// disable lets the old slot log in no more, if what replaces it is where it is read. Who logged in with it in the last moment gets it back, and the run waits for a decision.
func (m moving) disable(ctx context.Context, s *op.Session) (op.Result, error) {
	all, err := m.staged(s)
	if err == nil {
		err = m.own(ctx, s, "disable the old slot", true, all.made)
	}
	if err != nil {
		return op.Result{}, err
	}
	return m.disableOld(ctx, s)
}

func (m moving) disableOld(ctx context.Context, s *op.Session) (op.Result, error) {
	err := m.onEach(ctx, "disable the old slot", func(ctx context.Context, c *ContainerFacts, a *admin) error {
		old := c.old().Role
		if old == "" {
			return nil
		}
		if err := m.noLogin(ctx, s, a, c, old, false); err != nil {
			return err
		}
		busy, err := a.sessions(ctx, old)
		if err != nil || busy.Count == 0 {
			return err
		}
		if err := m.login(ctx, s, a, c, old); err != nil {
			return err
		}
		return fault.Newf(fault.Busy, a.what, "somebody has logged in as %s again: %s", old, busy.Who).
			Hint("restart it so that it reads its new credential; then dbops runs retry %s", s.Run)
	})
	return op.Result{Output: disabled{time.Now()}, Changes: m.roleChanges("login", "yes", "no", (*ContainerFacts).old), Text: "the old slots are disabled"}, err
}

func (m moving) login(ctx context.Context, s *op.Session, a *admin, c *ContainerFacts, role string) error {
	if err := s.Fence(); err != nil {
		return err
	}
	return a.change(ctx, c.Name, func(tx pgx.Tx) error { return statements(ctx, tx, "ALTER ROLE "+quoted(role)+" LOGIN") })
}

// cut ends a compromised credential at once.
func (m moving) cut(ctx context.Context, s *op.Session) (op.Result, error) {
	all, err := m.staged(s)
	if err == nil {
		err = m.own(ctx, s, "end the old credential", false, all.made)
	}
	if err != nil {
		return op.Result{}, err
	}
	var mu sync.Mutex
	ended := 0
	err = m.onEach(ctx, "end the old credential", func(ctx context.Context, c *ContainerFacts, a *admin) error {
		old := c.old().Role
		if old == "" {
			return nil
		}
		if err := m.noLogin(ctx, s, a, c, old, true); err != nil {
			return err
		}
		n, err := a.end(ctx, old)
		mu.Lock()
		defer mu.Unlock()
		ended += n
		return err
	})
	return op.Result{
		Changes: m.roleChanges("login and password", "yes", "none", (*ContainerFacts).old), Text: fmt.Sprintf("the old credentials are destroyed; %d sessions were ended", ended),
	}, err
}

// scrub destroys what is left of the old credential.
func (m moving) scrub(ctx context.Context, s *op.Session) (op.Result, error) {
	all, err := m.staged(s)
	if err != nil {
		return op.Result{}, err
	}
	if err := m.own(ctx, s, "destroy the old password", false, all.made); err != nil {
		return op.Result{}, err
	}
	err = m.onEach(ctx, "destroy the old password", func(ctx context.Context, c *ContainerFacts, a *admin) error {
		if c.old().Role == "" {
			return nil
		}
		return m.noLogin(ctx, s, a, c, c.old().Role, true)
	})
	if err == nil {
		err = m.places(ctx, s, func(ctx context.Context, c *ContainerFacts, store secret.Store, ref secret.Ref, place string) error {
			if from := all[c.Name][place].From; from != "" {
				return store.Retire(ctx, ref, from)
			}
			return nil
		})
	}
	return op.Result{Changes: m.roleChanges("password", "disabled", "destroyed", (*ContainerFacts).old), Text: "the old credentials are destroyed"}, err
}
