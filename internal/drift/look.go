package drift

import (
	"context"
	"errors"
	"sync"
	"time"

	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/state"
)

const (
	lookTimeout = 20 * time.Second // of one instance that is asked about alone, and of what the state has of one
	// lookConcurrency is how many instances the state is asked about at once.
	lookConcurrency = 16
)

// Look compares what is declared with what is live, for the instances of an environment (all environments if it is empty), or one of
// them. With all, settings that nobody declares are listed, too. What cannot be reached is in the report, and hides nothing else. An
// unknown environment or instance is a fault.Usage. If ctx ends before, the report of what is known comes together with a fault.Interrupted.
//
// A setting that is seen in sync is remembered as such: from then on a change elsewhere is known as one.
func (x *Drift) Look(ctx context.Context, environment, instance string, all bool) (*Report, error) {
	looks, err := x.pick(environment, instance)
	if err != nil {
		return nil, err
	}
	targets := make([]op.Target, len(looks))
	for n, l := range looks {
		targets[n] = l.target()
	}
	v := visit{get: x.get, looked: func() {}, all: all, slots: make(chan struct{}, lookConcurrency)}
	if x.d.Live != nil {
		v.get, v.looked = x.d.Live(ctx, targets)
	}
	var wg sync.WaitGroup
	for _, l := range looks {
		wg.Go(func() {
			x.look(ctx, l, v)
			v.looked()
		})
	}
	wg.Wait()
	r := &Report{Schema: Schema, Instances: []Looked{}, Rows: []Row{}}
	for _, l := range looks {
		r.Instances = append(r.Instances, l.Looked)
		r.Rows = append(r.Rows, l.rows...)
	}
	if ctx.Err() != nil {
		return r, fault.New(fault.Interrupted, "look for drift", context.Cause(ctx))
	}
	return r, nil
}

// visit is a look at many instances.
type visit struct {
	get    func(ctx context.Context, t op.Target) (*cloud.Instance, error)
	looked func()
	all    bool
	slots  chan struct{} // to the state
}

// look is the look at one instance.
type look struct {
	Looked
	declared map[string]string
	rows     []Row
}

// pick finds the instances in dbops.yaml.
func (x *Drift) pick(environment, instance string) ([]*look, error) {
	names := x.d.Config.EnvironmentNames()
	if environment != "" {
		names = []string{environment}
	}
	var out []*look
	for _, env := range names {
		e, err := x.d.Config.Environment(env)
		if err != nil {
			return nil, err
		}
		for _, name := range e.InstanceNames() {
			if instance != "" && name != instance {
				continue
			}
			d, err := x.d.Config.Declared(env, name)
			if err != nil {
				return nil, err
			}
			out = append(out, &look{
				Looked:   Looked{Environment: env, Instance: name, Provider: e.Instances[name].Kind(), Profile: d.Profile},
				declared: d.Values,
			})
		}
		if len(out) == 0 && instance != "" && environment != "" {
			_, err := e.Instance(instance)
			return nil, err
		}
	}
	if len(out) == 0 && instance != "" {
		return nil, fault.Newf(fault.Usage, "", "no environment has an instance %q", instance).Hint("dbops status lists them")
	}
	return out, nil
}

func (l *look) target() op.Target { return op.Target{Environment: l.Environment, Instance: l.Instance} }

func (x *Drift) look(ctx context.Context, l *look, v visit) {
	if l.Provider == cloud.Postgres || len(l.declared) == 0 && !v.all {
		return
	}
	live, err := v.get(ctx, l.target())
	if err != nil {
		l.failed(err)
		if ctx.Err() == nil {
			l.unreachable()
		}
		return
	}
	v.slots <- struct{}{}
	defer func() { <-v.slots }()
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	x.compare(ctx, l, live, v.all)
}

// compare compares an instance with what was declared, and what was last applied.
func (x *Drift) compare(ctx context.Context, l *look, live *cloud.Instance, all bool) {
	last, err := x.d.Baselines(ctx, l.Environment, l.Instance)
	l.failed(err)
	v := viewOf(l.declared, live, last, all)
	v.NoLast = err != nil
	var seen []state.Baseline
	for _, j := range v.compare() {
		l.rows = append(l.rows, v.row(l.Environment, l.Instance, j))
		if j.Status == InSync && (!j.HasLast || j.Last != j.Declared) && !v.NoLast {
			seen = append(seen, state.Baseline{Environment: l.Environment, Instance: l.Instance, Setting: j.name, Value: j.Declared})
		}
	}
	if len(seen) > 0 {
		l.failed(x.d.Record(ctx, seen))
	}
}

// get asks the provider about an instance.
func (x *Drift) get(ctx context.Context, t op.Target) (*cloud.Instance, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	c, name, err := x.d.Open(ctx, t.Environment, t.Instance)
	if err != nil {
		return nil, err
	}
	return c.Get(ctx, name)
}

func (l *look) failed(err error) {
	if err == nil {
		return
	}
	l.Err = errors.Join(l.Err, err)
	l.Problem, l.Hint = l.Err.Error(), fault.HintOf(err)
}

// unreachable says of every declared setting that it is not known.
func (l *look) unreachable() {
	for _, s := range settingsOf(l.Provider) {
		if declared, ok := l.declared[s.name]; ok {
			l.rows = append(l.rows, Row{
				Environment: l.Environment, Instance: l.Instance, Setting: s.name, Status: Unknown, Declared: declared,
				Cause: Unreachable, Detail: l.Problem, Remedy: l.Hint,
			})
		}
	}
}
