package backup

import (
	"context"
	"strings"
	"time"

	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/op"
)

// restoreSteps make an instance, and make it like its source.
func (r *Room) restoreSteps(t op.Target, from string, ask cloud.Restore) []op.Step {
	return []op.Step{
		{
			Name: "restore", Title: "restore " + t.String() + " to the new instance " + ask.Target,
			Do: func(ctx context.Context, s *op.Session) (op.Result, error) { return r.start(ctx, s, mine(s, ask)) },
			Undo: func(ctx context.Context, s *op.Session) (op.Result, error) {
				return r.undoRestore(ctx, s, mine(s, ask))
			},
			UndoTitle: "remove " + ask.Target + " with all that was written to it, if this run made it",
		},
		{
			Name: "wait", Title: "wait until " + ask.Target + " is there",
			Do: func(ctx context.Context, s *op.Session) (op.Result, error) { return r.follow(ctx, s, "restore") },
		},
		{
			Name: "conform", Title: "give " + ask.Target + " the settings of " + ask.Source + " that it still lacks",
			Do: func(ctx context.Context, s *op.Session) (op.Result, error) {
				return r.conform(ctx, s, mine(s, ask), nil)
			},
		},
		{
			Name: "verify", Title: "see that " + ask.Target + " answers and is like " + ask.Source,
			Do: func(ctx context.Context, s *op.Session) (op.Result, error) {
				return r.verify(ctx, s, mine(s, ask), from)
			},
		},
	}
}

func (r *Room) start(ctx context.Context, s *op.Session, m made) (op.Result, error) {
	c, err := r.cloudOf(ctx, s)
	if err != nil {
		return op.Result{}, err
	}
	receipt, err := r.begin(ctx, s, c, m)
	if err != nil {
		return op.Result{}, err
	}
	return op.Result{
		Output: receipt, RequestID: receipt.RequestID, Text: "the provider makes " + m.Target,
		Changes: []op.Change{{Target: s.Plan.Environment + "/" + m.Target, Setting: "instance", To: "made of " + m.Source}},
	}, nil
}

func (r *Room) undoRestore(ctx context.Context, s *op.Session, m made) (op.Result, error) {
	c, err := r.cloudOf(ctx, s)
	if err != nil {
		return op.Result{}, err
	}
	if m.claimed, err = claimed(s); err != nil {
		return op.Result{}, err
	}
	if m.claimed {
		if err := r.unused(ctx, s, m); err != nil {
			return op.Result{}, err
		}
	}
	return r.remove(ctx, s, c, m)
}

// unused refuses to remove what somebody works with by now.
func (r *Room) unused(ctx context.Context, s *op.Session, m made) error {
	sessions := 0
	for range 5 { // some are over in a moment
		ask, cancel := context.WithTimeout(ctx, 20*time.Second)
		err := r.sessions(ask, s.Plan.Target, m.Target, &sessions)
		cancel()
		if err != nil || sessions == 0 {
			return nil //nolint:nilerr // what cannot be reached is used by nobody that could be seen
		}
		if err := op.Sleep(ctx, r.d.Pace.First); err != nil {
			return err
		}
	}
	return fault.Newf(fault.Blocked, "remove "+m.Target, "%d sessions use it", sessions).
		Hint("end them and retry the undo, or abandon the run to keep it")
}

func (r *Room) sessions(ctx context.Context, t op.Target, instance string, n *int) error {
	c, err := r.d.Connect(ctx, t, instance, firstDatabase)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	return c.QueryRow(ctx, `select count(*) from pg_stat_activity where datname is not null and pid <> pg_backend_pid()
		and backend_type = 'client backend' and usename not in ('rdsadmin', 'cloudsqladmin', 'cloudsqlagent')`).Scan(n)
}

// follow waits for the change that an earlier step asked for.
func (r *Room) follow(ctx context.Context, s *op.Session, step string) (op.Result, error) {
	c, err := r.cloudOf(ctx, s)
	if err != nil {
		return op.Result{}, err
	}
	var receipt cloud.Receipt
	if _, err := s.Output(step, &receipt); err != nil {
		return op.Result{}, err
	}
	return op.Result{Text: receipt.Instance + " is there"}, r.wait(ctx, s, c, receipt)
}

// conformed is the output of step "conform".
type conformed struct {
	Claimed bool     `json:"claimed"` // the label is there
	Lost    []string `json:"lost,omitempty"`
}

// claimed tells whether the run's label was on what it made.
func claimed(s *op.Session) (bool, error) {
	var done conformed
	_, err := s.Output("conform", &done)
	return done.Claimed, err
}

// conform changes what an instance lacks compared to its source, of the settings that pick wants; nil wants all.
func (r *Room) conform(ctx context.Context, s *op.Session, m made, pick func(string) bool) (op.Result, error) {
	c, err := r.cloudOf(ctx, s)
	if err != nil {
		return op.Result{}, err
	}
	target, err := c.Get(ctx, m.Target)
	if err != nil {
		return op.Result{}, err
	}
	source, err := c.Get(ctx, m.Source)
	gone := is(err, fault.NotFound)
	if gone { // the label is set all the same
		source, err = &cloud.Instance{Provider: target.Provider}, nil
		pick = claims
	}
	if err != nil {
		return op.Result{}, err
	}
	left, ok, lost := c.Conform(ctx, source, target, m.Restore)
	if gone {
		lost = []string{"all settings: " + m.Source + " is gone, so that nothing can be compared"}
	}
	if pick != nil {
		left = left.Part(pick)
		ok = left.Empty()
	}
	if _, marked := target.Labels[cloud.LeaseLabel]; marked { // of the source, and cloned with it
		left.Labels = append(left.Labels, cloud.Label{Key: cloud.LeaseLabel, Remove: true})
		ok = false
	}
	var out op.Result
	if !ok {
		if out, err = r.modify(ctx, s, c, m.Target, left); err != nil {
			return out, err
		}
	}
	out.Output = conformed{Claimed: true, Lost: lost}
	if out.Text = m.Target + " has the settings that can be carried over"; len(lost) > 0 {
		out.Text = "not carried over: " + strings.Join(lost, "; ")
	}
	return out, nil
}

// claims picks the settings that say whose an instance is.
func claims(setting string) bool { return setting == "labels."+RunLabel }

func (r *Room) verify(ctx context.Context, s *op.Session, m made, from string) (op.Result, error) {
	c, err := r.cloudOf(ctx, s)
	if err != nil {
		return op.Result{}, err
	}
	live, err := c.Get(ctx, m.Target)
	if err != nil {
		return op.Result{}, err
	}
	var done conformed
	if _, err := s.Output("conform", &done); err != nil {
		return op.Result{}, err
	}
	out := RestoreReport{Instance: m.Target, From: from, Endpoints: live.Endpoints, Lost: done.Lost}
	text := m.Target + " answers"
	if _, err := r.reachable(ctx, s, m.Target, firstDatabase); err != nil {
		if ctx.Err() != nil {
			return op.Result{}, err
		}
		// What was restored is wanted, whether this machine may log in to it or not: undoing would remove it.
		out.Problem = oneLine(err)
		text = m.Target + " is there, and cannot be logged in to from here: " + out.Problem
	}
	return op.Result{Output: out, Text: text}, nil
}
