package app

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"dbops/internal/config"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/state"
	"dbops/internal/upgrade"
)

// A run that moves an instance to another one of the provider's records it in the state. From then on every dbops that shares the state takes
// the new one for the instance, whatever dbops.yaml says still. A dbops.yaml that names the new one is not concerned.

// Move records that an instance is another one now: to is the provider's name, or for a plain server the name of another instance of
// dbops.yaml, or that one's host:port. Again by the same run it changes nothing.
func (a *App) Move(ctx context.Context, t op.Target, to, run string) error {
	now, err := a.instance(t.Environment, t.Instance)
	if err != nil {
		return err
	}
	s, err := a.serverCalled(t, to)
	if err != nil {
		return err
	}
	return a.moveFrom(ctx, t, now, s, run)
}

// moveFrom is Move of what was at an instance, which dbops.yaml need not name any more.
func (a *App) moveFrom(ctx context.Context, t op.Target, from *config.Instance, to upgrade.Server, run string) error {
	target, name, err := a.called(t, to)
	if err != nil {
		return err
	}
	m := state.Move{Environment: t.Environment, Instance: t.Instance, From: from.Coordinates(), To: name, Declared: to.Declared, ToAt: target.Coordinates(), Run: run}
	if m.From == m.ToAt {
		return nil
	}
	return a.changeMoves(ctx, "record that "+t.String()+" is "+name, func(ctx context.Context, tx *state.Tx) error { return tx.PutMove(ctx, m) })
}

// Unmove takes back what a run recorded with [App.Move]. Again it changes nothing.
func (a *App) Unmove(ctx context.Context, t op.Target, run string) error {
	return a.changeMoves(ctx, "record that "+t.String()+" is where it was", func(ctx context.Context, tx *state.Tx) error {
		return tx.UndoMoves(ctx, t.Environment, t.Instance, run)
	})
}

// Moves asks the state for the moves of all instances, the undone ones too: the last one from each coordinates.
func (a *App) Moves(ctx context.Context) ([]state.Move, error) { return a.readMoves(ctx) }

// declared is an instance as dbops.yaml has it.
func (a *App) declared(env, name string) (*config.Instance, error) {
	e, err := a.cfg.Environment(env)
	if err != nil {
		return nil, err
	}
	return e.Instance(name)
}

// called is the instance that a server is, and its name: like the target, or with what dbops.yaml says of another instance in place of that.
func (a *App) called(t op.Target, s upgrade.Server) (*config.Instance, string, error) {
	inst, err := a.declared(t.Environment, t.Instance)
	if err != nil {
		return nil, "", err
	}
	if !s.Declared {
		return renamed(inst, s.Name), s.Name, nil
	}
	e, err := a.cfg.Environment(t.Environment)
	if err != nil {
		return nil, "", err
	}
	for _, other := range e.InstanceNames() {
		i := e.Instances[other]
		if other != s.Name && i.Coordinates() != s.Name {
			continue
		}
		moved := *inst
		moved.RDS, moved.CloudSQL, moved.Postgres, moved.Via = i.RDS, i.CloudSQL, i.Postgres, i.Via
		moved.Logins = maps.Clone(inst.Logins)
		for access, l := range i.Logins {
			if moved.Logins == nil {
				moved.Logins = map[config.Access]*config.Login{}
			}
			moved.Logins[access] = l
		}
		return &moved, other, nil
	}
	return nil, "", fault.Newf(fault.Config, "find "+t.String(), "it is %s now, and dbops.yaml declares no instance of that name in %s", s.Name, t.Environment).
		Hint("get the dbops.yaml that does, or declare it there under instances")
}

// moved is an instance that dbops.yaml declares, as it is now.
func (a *App) moved(env, name string, inst *config.Instance) (*config.Instance, error) {
	all := a.knownMoves()
	if len(all) == 0 {
		return inst, nil
	}
	t := op.Target{Environment: env, Instance: name}
	of := func(m state.Move) bool { return m.Environment == env && m.Instance == name }
	at, last := inst, state.Move{}
	for range all { // one may have led to another
		i := slices.IndexFunc(all, func(m state.Move) bool { return of(m) && m.Live() && m.From == at.Coordinates() })
		if i < 0 {
			break
		}
		var err error
		if at, _, err = a.called(t, upgrade.Server{Name: all[i].To, Declared: all[i].Declared}); err != nil {
			return nil, err
		}
		last = all[i]
	}
	if last.Run != "" {
		a.tell(t.String(), fmt.Sprintf("%s is %s since run %s: write that into dbops.yaml", t, last.To, last.Run))
		return at, nil
	}
	i := slices.IndexFunc(all, func(m state.Move) bool { return of(m) && !m.Live() && m.ToAt == inst.Coordinates() })
	back := i >= 0 && !slices.ContainsFunc(all, func(m state.Move) bool { return of(m) && m.Live() && m.ToAt == inst.Coordinates() })
	if back {
		a.tell(t.String(), fmt.Sprintf("%s went back to %s with run %s: dbops.yaml still says %s", t, all[i].From, all[i].UndoneBy, all[i].ToAt))
	}
	return at, nil
}

// namesOfMoved are the provider's names that a target has had, if runs moved it.
func (a *App) namesOfMoved(t op.Target) (names []string) {
	inst, err := a.declared(t.Environment, t.Instance)
	if err != nil {
		return nil
	}
	for _, m := range a.knownMoves() {
		if m.Environment == t.Environment && m.Instance == t.Instance && !m.Declared {
			names = append(names, m.To)
		}
	}
	if len(names) > 0 {
		names = append(names, providerName(inst))
	}
	return names
}

// tell says something to who runs the command, once.
func (a *App) tell(about, text string) {
	r := &a.moves
	r.mu.Lock()
	told := r.told[about] == text
	if r.told == nil {
		r.told = map[string]string{}
	}
	r.told[about] = text
	r.mu.Unlock()
	if told {
		return
	}
	if a.opts.Notice == nil {
		a.opts.Log.Warn("dbops.yaml, or what dbops knows, is behind", "notice", text)
		return
	}
	a.opts.Notice(text)
}
