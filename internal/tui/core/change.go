package core

import (
	"context"

	"dbops/internal/app"
	"dbops/internal/op"
	"dbops/internal/state"
)

// Changes is how whatever changes something is planned, run, followed and decided. [app.Desk] is one.
type Changes interface {
	// ReadOnly is why nothing may be changed from here; empty if it may. Methods that would change something refuse with it.
	ReadOnly() string
	// NoVotes is why nobody may vote from here, though they may change; empty if they may.
	NoVotes() string

	// PlanChange works out what a change does, and changes nothing.
	PlanChange(ctx context.Context, c app.Change) (*op.Plan, error)
	// Begin runs a plan; confirm is the instance's name as it was typed. Where others have to approve first, they are asked, and nothing is run.
	// The run goes on without the terminal UI. With an error there is a Run only if it is stored, and nobody works on it.
	Begin(ctx context.Context, p *op.Plan, confirm string) (app.Begun, error)
	// SavePlan writes a plan to a file, for dbops apply.
	SavePlan(p *op.Plan, file string) error

	// Runs are those that fit a filter, newest first.
	Runs(ctx context.Context, f state.RunFilter) ([]state.Run, error)
	// View is a run as it stands.
	View(ctx context.Context, run string) (app.RunView, error)
	// Follow sends a run's events after a number, and then how it stands; then what is new with a view behind it, until it has ended or ctx ends.
	Follow(ctx context.Context, run string, after int64) (<-chan app.Followed, error)
	// Decide tells a run how it goes on, Resume has an interrupted one worked on.
	Decide(ctx context.Context, run string, d app.Decision) error
	Resume(ctx context.Context, run string) error

	// Approvals are those that wait and those that have an answer, newest first.
	Approvals(ctx context.Context) ([]app.Waiting, error)
	Vote(ctx context.Context, approval string, approve bool, reason string) (state.Approval, error)
}
