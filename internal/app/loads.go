package app

import (
	"context"
	"sync"
	"time"

	"dbops/internal/cloud"
	"dbops/internal/config"
	"dbops/internal/fault"
)

// loadFresh is how long figures are given without asking again: the clouds have new ones once a minute, and charge for each.
const loadFresh = 45 * time.Second

// InstanceLoad is one instance with what its provider measures: exactly one of Load and Err is set.
type InstanceLoad struct {
	Instance
	Load *cloud.Load
	// Err wraps [cloud.ErrUnsupported] where nobody measures the instance: a plain server. It is a fault.NotFound where there are no figures.
	Err error
}

// loadsRoom is what was measured a moment ago.
type loadsRoom struct {
	mu   sync.Mutex
	last map[loadKey]keptLoad
}

type loadKey struct {
	at   providerKey
	name string
}

type keptLoad struct {
	load cloud.Load
	got  time.Time
}

// Loads asks the providers what they measure of the instances of env (all environments if empty), or of one of them, and sends one answer for
// each. All instances of one account and region, or project, are one question. The channel closes when all have answered or ctx ends. An
// unknown environment or instance is a fault.Usage.
func (a *App) Loads(ctx context.Context, env, instance string) (<-chan InstanceLoad, error) {
	all, err := a.chosen(env, instance)
	if err != nil {
		return nil, err
	}
	out := make(chan InstanceLoad, len(all)) // so that a reader who went away holds up nobody
	groups := map[providerKey][]measured{}
	for _, i := range all {
		inst, err := a.instance(i.Environment, i.Name)
		switch {
		case err != nil:
			out <- InstanceLoad{Instance: i, Err: err}
		case inst.Kind() == cloud.Postgres:
			out <- InstanceLoad{Instance: i, Err: unmeasured(i)}
		default:
			key := keyOf(i.Environment, i.Name, inst)
			groups[key] = append(groups[key], measured{i, inst})
		}
	}
	var wg sync.WaitGroup
	for key, group := range groups {
		wg.Go(func() {
			loads, err := a.measure(ctx, key, group)
			for _, m := range group {
				out <- m.answer(loads, err)
			}
		})
	}
	go func() {
		wg.Wait()
		close(out)
	}()
	return out, nil
}

// measured is an instance whose provider measures it.
type measured struct {
	Instance
	at *config.Instance
}

// measure returns the figures of instances of one provider, by the provider's names: those of a moment ago, and new ones.
func (a *App) measure(ctx context.Context, key providerKey, group []measured) (map[string]cloud.Load, error) {
	loads, missing := a.loads.recent(key, group, a.questions.now())
	if len(missing) == 0 {
		return loads, nil
	}
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	one := group[0]
	p, err := a.provider(ctx, one.Environment, one.Name, one.at)
	if err != nil {
		return loads, err
	}
	m, ok := p.(cloud.Measurer)
	if !ok {
		return loads, unmeasured(one.Instance)
	}
	fresh, err := m.Measure(ctx, missing...)
	a.loads.keep(key, fresh, a.questions.now())
	for name, load := range fresh {
		loads[name] = load
	}
	return loads, err
}

// recent are the figures that are fresh, and the names of which there are none.
func (r *loadsRoom) recent(key providerKey, group []measured, now time.Time) (loads map[string]cloud.Load, missing []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	loads = map[string]cloud.Load{}
	asked := map[string]bool{} // two environments may name one instance
	for _, m := range group {
		name := providerName(m.at)
		if asked[name] {
			continue
		}
		asked[name] = true
		if kept, ok := r.last[loadKey{key, name}]; ok && now.Before(kept.got.Add(loadFresh)) {
			loads[name] = kept.load
		} else {
			missing = append(missing, name)
		}
	}
	return loads, missing
}

func (r *loadsRoom) keep(key providerKey, loads map[string]cloud.Load, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last == nil {
		r.last = map[loadKey]keptLoad{}
	}
	for name, load := range loads {
		r.last[loadKey{key, name}] = keptLoad{load, now}
	}
}

// answer is what is known of an instance, where err is why not all is.
func (m measured) answer(loads map[string]cloud.Load, err error) InstanceLoad {
	out := InstanceLoad{Instance: m.Instance, Err: err}
	if load, ok := loads[providerName(m.at)]; ok {
		out.Load, out.Err = &load, nil
	} else if err == nil {
		out.Err = fault.Newf(fault.NotFound, "measure "+m.Environment+"/"+m.Name, "the provider has no figures of the last minutes").
			Hint("an instance has none while it is stopped, and in its first minutes")
	}
	return out
}

// unmeasured says that nobody measures an instance.
func unmeasured(i Instance) error {
	return fault.New(fault.Invalid, "measure "+i.Environment+"/"+i.Name,
		cloud.Because("no provider measures a plain server", cloud.ErrUnsupported)).
		Hint("what its server does now is on its page in the terminal UI")
}
