package app

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"dbops/internal/config"
	"dbops/internal/fault"
)

// statusTimeout bounds the questions about one instance that is asked about alone.
const statusTimeout = 20 * time.Second

// Instances lists what is configured, protected environments first; env "" means all. An unknown environment is a fault.Usage.
func (a *App) Instances(env string) ([]Instance, error) {
	names := a.cfg.EnvironmentNames()
	if env != "" {
		if _, err := a.cfg.Environment(env); err != nil {
			return nil, err
		}
		names = []string{env}
	}
	var protected, others []Instance
	for _, name := range names {
		e, err := a.cfg.Environment(name)
		if err != nil {
			return nil, err
		}
		for _, inst := range e.InstanceNames() {
			i := a.describe(name, e, inst)
			if e.Protected {
				protected = append(protected, i)
			} else {
				others = append(others, i)
			}
		}
	}
	return append(protected, others...), nil
}

func (a *App) describe(env string, e *config.Environment, name string) Instance {
	inst, err := a.instance(env, name)
	if err != nil { // it was moved to one that dbops.yaml does not declare: who asks for it is told
		inst = e.Instances[name]
	}
	return Instance{
		Environment: env, Protected: e.Protected, Name: name,
		Provider: inst.Kind(), Coordinates: inst.Coordinates(), Databases: e.DatabasesOf(name),
	}
}

// Status asks the providers for the instances of env (all environments if empty), or for one of them, and sends one Status for
// each as it answers. The channel closes when all have answered or ctx ends; an instance, region or project that cannot be reached never holds
// up another. Of many instances the lists of their provider are asked: see [cloud.Batch]. An unknown environment or instance is a fault.Usage.
func (a *App) Status(ctx context.Context, env, instance string) (<-chan Status, error) {
	all, err := a.chosen(env, instance)
	if err != nil {
		return nil, err
	}
	out := make(chan Status, len(all)) // so that a reader who went away holds up nobody
	m := a.many(ctx, all)
	var wg sync.WaitGroup
	for _, i := range all {
		wg.Go(func() {
			start := time.Now()
			st := Status{Instance: i}
			st.Live, st.Err = m.get(ctx, i.target())
			if ctx.Err() != nil && st.Err != nil {
				return // it was not asked to the end
			}
			st.At, st.Took = time.Now(), time.Since(start)
			m.said()
			out <- st
		})
	}
	go func() {
		wg.Wait()
		close(out)
	}()
	return out, nil
}

// chosen are the configured instances of env, or the one of them that is named; empty means all.
func (a *App) chosen(env, instance string) ([]Instance, error) {
	all, err := a.Instances(env)
	if err != nil || instance == "" {
		return all, err
	}
	return a.pick(all, env, instance)
}

// pick keeps the instances named name. Without an environment several may bear it.
func (a *App) pick(all []Instance, env, name string) ([]Instance, error) {
	var out []Instance
	for _, i := range all {
		if i.Name == name {
			out = append(out, i)
		}
	}
	if len(out) > 0 {
		return out, nil
	}
	if env != "" {
		e, err := a.cfg.Environment(env)
		if err != nil {
			return nil, err
		}
		_, err = e.Instance(name)
		return nil, err
	}
	var names []string
	for _, i := range all {
		if !slices.Contains(names, i.Name) {
			names = append(names, i.Name)
		}
	}
	f := fault.Newf(fault.Usage, "", "no environment has an instance %q", name)
	if near := config.Nearest(name, names); near != "" {
		return nil, f.Hint("did you mean %q?", near)
	}
	return nil, f.Hint("there are: %s", strings.Join(names, ", "))
}
