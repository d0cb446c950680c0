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

// moving takes containers of one instance from the credential of one slot to that of the other.
type moving struct {
	Deps
	t     op.Target
	all   []ContainerFacts
	grace time.Duration
	polls int
}

// staged are the versions that a run made: by container, then by place.
type staged map[string]map[string]versions

type versions struct {
	From string `json:"from,omitempty"`
	To   string `json:"to"`
}

func (m moving) what(doing string, c *ContainerFacts) string {
	return fmt.Sprintf("%s of %s on %s", doing, c.Name, m.t)
}

// gather is a staged that several goroutines fill.
type gather struct {
	mu  sync.Mutex
	all staged
}

func (g *gather) add(container, place string, v versions) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.all == nil {
		g.all = staged{}
	}
	if g.all[container] == nil {
		g.all[container] = map[string]versions{}
	}
	g.all[container][place] = v
}

// staged reads what the run has staged.
func (m moving) staged(s *op.Session) (staged, error) {
	all := staged{}
	ok, err := s.Output(stepPending, &all)
	if err == nil && !ok {
		err = fault.Newf(fault.Internal, "read what was staged on "+m.t.String(), "the run has not staged anything")
	}
	return all, err
}

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

// unpend takes what the run staged out of use, also where it was killed or refused before it could write down what that is.
func (m moving) unpend(ctx context.Context, s *op.Session) (op.Result, error) {
	all := staged{}
	if _, err := s.Output(stepPending, &all); err != nil {
		return op.Result{}, err
	}
	return op.Result{Text: "the new credential is out of use"}, m.places(ctx, s, func(ctx context.Context, c *ContainerFacts, store secret.Store, ref secret.Ref, place string) error {
		held, err := store.Inspect(ctx, ref)
		if fault.KindOf(err) == fault.NotFound {
			return nil
		}
		if err != nil {
			return err
		}
		made := all[c.Name][place].To
		if made == "" && held.Pending.ID != "" && held.Pending.ID != c.place(place).Pending {
			p, err := m.read(ctx, m.what("take back the credential", c), place, held.Pending.ID)
			if err != nil || p.Login().User != c.idle().Role {
				return err // somebody else's
			}
			made = held.Pending.ID
		}
		if made == "" || held.Current.ID == made {
			return nil // the first version of a place is current at once in some stores; its slot logs in no more
		}
		return store.Retire(ctx, ref, made)
	})
}

// place is the facts of a place.
func (c *ContainerFacts) place(name string) PlaceFacts {
	for _, p := range c.Places {
		if p.Place == name {
			return p
		}
	}
	return PlaceFacts{Place: name}
}

// places does something in every place of every container.
func (m moving) places(ctx context.Context, s *op.Session, do func(context.Context, *ContainerFacts, secret.Store, secret.Ref, string) error) error {
	return m.each(ctx, m.all, func(ctx context.Context, c *ContainerFacts) error {
		for _, p := range c.Places {
			store, ref, err := m.Place(ctx, p.Place)
			if err != nil {
				return err
			}
			if err := s.Fence(); err != nil {
				return err
			}
			if err := do(ctx, c, store, ref, p.Place); err != nil {
				return err
			}
		}
		return nil
	})
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

// onEach logs in as the admin for each container.
func (m moving) onEach(ctx context.Context, doing string, do func(context.Context, *ContainerFacts, *admin) error) error {
	return m.each(ctx, m.all, func(ctx context.Context, c *ContainerFacts) error {
		a, err := m.admin(ctx, m.t, c.Databases[0], m.what(doing, c))
		if err != nil {
			return err
		}
		defer a.close(ctx)
		return do(ctx, c, a)
	})
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

func (m moving) roleChanges(setting, from, to string, slot func(*ContainerFacts) *SlotFacts) []op.Change {
	out := make([]op.Change, 0, len(m.all))
	for i := range m.all {
		if s := slot(&m.all[i]); s.Role != "" {
			out = append(out, op.Change{Target: s.Role, Setting: setting, From: from, To: to})
		}
	}
	return out
}

func (m moving) unset(ctx context.Context, s *op.Session) (op.Result, error) {
	err := m.onEach(ctx, "disable the new slot", func(ctx context.Context, c *ContainerFacts, a *admin) error {
		if c.idle().Login {
			return nil // it could log in before: whose sessions those are is not known
		}
		if c.User != "" { // there is another credential to go back to
			if err := m.emptied(ctx, s, a, c, c.idle().Role); err != nil {
				return err
			}
		}
		return m.noLogin(ctx, s, a, c, c.idle().Role, true)
	})
	return op.Result{Changes: m.roleChanges("login", "yes", "no", (*ContainerFacts).idle), Text: "the new slot logs in no more"}, err
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

func (m moving) versionChanges(all staged, back bool) (out []op.Change) {
	for i := range m.all {
		c := &m.all[i]
		for _, p := range c.Places {
			v := all[c.Name][p.Place]
			if back {
				v.From, v.To = v.To, v.From
			}
			out = append(out, op.Change{Target: c.Name, Setting: p.Place, From: orNone(v.From), To: orNone(v.To)})
		}
	}
	return out
}

// unpromote sees that the old credential works, makes it current again, and rolls out.
func (m moving) unpromote(ctx context.Context, s *op.Session) (op.Result, error) {
	all, err := m.staged(s)
	if err != nil {
		return op.Result{}, err
	}
	if err := m.each(ctx, m.all, func(ctx context.Context, c *ContainerFacts) error { return m.oldWorks(ctx, s, all, c) }); err != nil {
		return op.Result{}, err
	}
	err = m.places(ctx, s, func(ctx context.Context, c *ContainerFacts, store secret.Store, ref secret.Ref, place string) error {
		v := all[c.Name][place]
		held, err := store.Inspect(ctx, ref)
		if err != nil || held.Current.ID != v.To {
			return err // it was never promoted, or somebody else has: then it is not ours to change
		}
		return store.Promote(ctx, ref, v.To, v.From)
	})
	if err == nil {
		err = m.roll(ctx, s, s.Run+"/undo", func(c *ContainerFacts) string { return all[c.Name][c.Places[0].Place].From })
	}
	return op.Result{Changes: m.versionChanges(all, true), Text: "the old credentials are current"}, err
}

// oldWorks refuses to go back to a credential that does not log in any more: who runs would be locked out at its next start.
func (m moving) oldWorks(ctx context.Context, s *op.Session, all staged, c *ContainerFacts) error {
	what, first := m.what("go back to the old credential", c), c.Places[0].Place
	p, err := m.read(ctx, what, first, all[c.Name][first].From)
	if err == nil {
		err = m.try(ctx, m.t, c.Databases[0], p.Login())
	}
	if err == nil || passing(err) {
		return err
	}
	return fault.Newf(fault.Failed, what, "it does not log in any more, so it is not made current: %w", err).
		Hint("the new credential stays current, and works: dbops runs abandon %s ends the run; to change it once more: %s", s.Run, command("rotate "+c.Name, m.t))
}

// rollout makes the containers read their credentials anew.
func (m moving) rollout(ctx context.Context, s *op.Session) (op.Result, error) {
	all, err := m.staged(s)
	if err != nil {
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
			return err
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

// drain waits until nobody is logged in with the old credential.
func (m moving) drain(ctx context.Context, s *op.Session) (op.Result, error) {
	err := m.onEach(ctx, "wait for the sessions of the old credential", func(ctx context.Context, c *ContainerFacts, a *admin) error {
		if c.old().Role == "" {
			return nil
		}
		return m.emptied(ctx, s, a, c, c.old().Role)
	})
	return op.Result{Text: "nobody is logged in with an old credential"}, err
}

// emptied waits until nobody has been logged in as a role for the grace.
func (m moving) emptied(ctx context.Context, s *op.Session, a *admin, c *ContainerFacts, role string) error {
	var since time.Time
	looks, begun := 0, time.Now()
	pace := m.Pace
	pace.Patience = 0 // ours, below: waiting for people is not worth a retry
	if m.grace > 0 {  // the looks must fit into the grace
		pace.Most = min(pace.Most, max(m.grace/time.Duration(max(m.polls, 1)), 50*time.Millisecond))
		pace.First = min(pace.First, pace.Most)
	}
	return s.Poll(ctx, pace, a.what, func(ctx context.Context) (bool, string, error) {
		busy, err := a.sessions(ctx, role)
		if err != nil {
			return false, "", err
		}
		if busy.Count > 0 {
			since, looks = time.Time{}, 0
			if m.Pace.Patience > 0 && time.Since(begun) > m.Pace.Patience {
				return false, "", fault.Newf(fault.Failed, a.what, "after %s somebody is still logged in as %s: %s", m.Pace.Patience, role, busy.Who).
					Hint("restart it so that it reads the credential that is current now; both work until then")
			}
			return false, fmt.Sprintf("%s: %d sessions still as %s: %s; restart it if nothing else does", c.Name, busy.Count, role, busy.Who), nil
		}
		if looks++; looks == 1 {
			since = time.Now()
		}
		return looks >= m.polls && time.Since(since) >= m.grace, "", nil
	})
}

// disabled is when the old slots were disabled.
type disabled struct {
	At time.Time `json:"at"`
}

// disable lets the old slot log in no more. Who logged in with it in the last moment gets it back, and the run waits for a decision.
func (m moving) disable(ctx context.Context, s *op.Session) (op.Result, error) {
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

func (m moving) enable(ctx context.Context, s *op.Session) (op.Result, error) {
	err := m.onEach(ctx, "enable the old slot", func(ctx context.Context, c *ContainerFacts, a *admin) error {
		if c.old().Role == "" {
			return nil
		}
		return m.login(ctx, s, a, c, c.old().Role)
	})
	return op.Result{Changes: m.roleChanges("login", "no", "yes", (*ContainerFacts).old), Text: "the old slots log in again"}, err
}

// soak waits, and goes on waiting where a killed process had begun.
func (m moving) soak(long time.Duration) func(context.Context, *op.Session) (op.Result, error) {
	return func(ctx context.Context, s *op.Session) (op.Result, error) {
		var d disabled
		if _, err := s.Output(stepDisable, &d); err != nil {
			return op.Result{}, err
		}
		if left := long - time.Since(d.At); left > 0 {
			s.Progress(ctx, "until %s; dbops runs cancel %s, then dbops runs undo %s brings the old credential back", d.At.Add(long).Local().Format("15:04:05"), s.Run, s.Run)
			if err := op.Sleep(ctx, min(left, long)); err != nil {
				return op.Result{}, err
			}
		}
		return op.Result{Text: "nobody asked for the old credential"}, nil
	}
}

// cut ends a compromised credential at once.
func (m moving) cut(ctx context.Context, s *op.Session) (op.Result, error) {
	var mu sync.Mutex
	ended := 0
	err := m.onEach(ctx, "end the old credential", func(ctx context.Context, c *ContainerFacts, a *admin) error {
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
