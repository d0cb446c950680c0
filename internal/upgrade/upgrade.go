// Package upgrade moves an instance of PostgreSQL to a newer major: rehearsed on a copy, run step by step, verified, and with a way back until
// somebody says that it is not needed any more.
//
// Every change is an operation of package op. [RunKind] makes a new instance and fills it, [RehearseKind] does that to a copy of the source,
// [InPlaceKind] lets the cloud change the instance itself; [RollbackKind] returns service to the source, [CleanupKind] gives the way back up.
// How the parts work is told by the packages beneath: preflight, roles, stream, follow, quiesce, stats, verify.
package upgrade

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/secret"
	"dbops/internal/state"
	"dbops/internal/upgrade/follow"
)

// The operations.
const (
	RunKind      = "upgrade.run"
	RehearseKind = "upgrade.rehearse"
	InPlaceKind  = "upgrade.in-place"
	RollbackKind = "upgrade.rollback"
	CleanupKind  = "upgrade.cleanup"
)

// RunLabel is the label of an instance that a run made; its value is the run.
const RunLabel = "dbops-run"

// Cloud is the provider of an instance.
type Cloud interface {
	cloud.Provisioner
	cloud.Upgrader
}

// Server is one server of PostgreSQL.
type Server struct {
	Name string `json:"name"` // the provider's, or with Declared that of an instance of dbops.yaml in the target's environment
	// Declared: dbops.yaml has an instance of that name, which need not be of a cloud.
	Declared bool `json:"declared,omitempty"`
	// Login is who logs in, with the password of the admin login: the provider's own, while a new instance is filled. Empty: the admin login.
	Login string `json:"login,omitempty"`
}

// Deps are what the operations need.
type Deps struct {
	// Cloud is the provider of a target, and the provider's name of it as dbops.yaml has it; an error that wraps cloud.ErrUnsupported is a
	// plain server. It may be called at any time.
	Cloud func(ctx context.Context, t op.Target) (Cloud, string, error)
	// Plain is the name by which Connect knows a plain server that is a target.
	Plain func(t op.Target) (Server, error)
	// Connect logs in for admin to a database of a server that is the target or like it. The caller closes it.
	Connect func(ctx context.Context, t op.Target, s Server, database string, tune func(*pgx.ConnConfig)) (*pgx.Conn, error)
	// Address is where one server reaches another one, for replication.
	Address func(ctx context.Context, t op.Target, s Server, database string) (follow.Address, error)
	// Admin is the login that a new instance gets as its own, which is that of the target for admin.
	Admin func(ctx context.Context, t op.Target) (user string, password secret.Value, err error)
	// Clients are what logs in to the target; nil: nothing is known of any.
	Clients Clients
	// Journal is a run with its plan and its steps, and what came after it.
	Journal func(ctx context.Context, run string) (p *op.Plan, r state.Run, steps []state.Step, after After, err error)
	// Rehearsed is the report of the last rehearsal of a target to a major that came to its end; nil if there is none.
	Rehearsed func(ctx context.Context, t op.Target, major int) (*Report, error)
	// Tool finds a client program for a major. Defaults to pg.ToolFor.
	Tool func(ctx context.Context, name string, major int) (string, error)

	Dir  string  // for private sockets and for the folder of a dump. Defaults to that of temporary files
	Pace op.Pace // of asking a cloud how far it is. Defaults to op.CloudPace
	// Reach is how long a new instance may need until it can be logged in to. Defaults to 15 min
	Reach time.Duration
}

// Clients are what logs in to an instance by what dbops delivers, and what dbops itself takes for the instance.
type Clients interface {
	// Look tells who will be switched, in words, and what stands in the way. It changes nothing.
	Look(ctx context.Context, t op.Target) (Switched, error)
	// Passwords are those of logins that are known because dbops delivers them or logs in with them: by the names of the roles.
	Passwords(ctx context.Context, t op.Target) (map[string]secret.Value, error)
	// Switch makes them use a server in place of another one, and waits until they do. It may be called twice.
	Switch(ctx context.Context, s *op.Session, from, to Server) (op.Result, error)
}

// Switched is what a switch concerns.
type Switched struct {
	Clients []string `json:"clients,omitempty"` // "container shop-api: aws-sm:prod/shop/api"
	ByHand  []string `json:"by_hand,omitempty"` // what names the instance and is not dbops's to change
	Cannot  []string `json:"cannot,omitempty"`  // what would be switched and cannot be, and why
}

// Room is this capability over what it needs.
type Room struct {
	d       Deps
	process string // tells this process from another one that goes on with a run
	held    *held  // snapshots that outlive a step
}

// New returns the capability.
func New(d Deps) *Room {
	if d.Pace == (op.Pace{}) {
		d.Pace = op.CloudPace()
	}
	if d.Reach <= 0 {
		d.Reach = 15 * time.Minute
	}
	return &Room{d: d, process: uuid.NewString(), held: newHeld()}
}

// Kinds are the operations.
func (r *Room) Kinds() []op.Kind {
	return []op.Kind{r.run().AsKind(), r.rehearse().AsKind(), r.inPlace().AsKind(), r.rollback().AsKind(), r.cleanup().AsKind()}
}

// is tells whether err is of one of those kinds.
func is(err error, kinds ...fault.Kind) bool {
	for _, k := range kinds {
		if err != nil && fault.KindOf(err) == k {
			return true
		}
	}
	return false
}

// After is what became of the way back from an upgrade.
type After struct {
	Ended string // the operation that ended it: a rollback or a cleanup
	Begun string // the newest rollback that is not done and may have moved somebody, whoever may have given it up
	// Back: it was a rollback, and clients are on the source again. Cleared is the clean-up that came after it.
	Back    bool
	Cleared string
}

// Came adds an operation on the way back of an upgrade, with its journal.
func (a *After) Came(r state.Run, journal []state.Step) {
	done := r.Kind + ", run " + r.ID
	switch {
	case r.State == state.Done && r.Kind == RollbackKind:
		if !a.Back { // after a clean-up there is no rollback, so one that is known already came later
			a.Cleared = a.Ended
		}
		a.Ended, a.Back = done, true
	case r.State == state.Done && a.Back:
		a.Cleared = done
	case r.State == state.Done:
		a.Ended = done
	case r.Kind == RollbackKind && r.State != state.Undone && leaves(journal): // also one that somebody gave up
		a.Begun = "run " + r.ID
	}
}

// leaves tells whether a rollback with that journal may have made anybody leave the new instance.
func leaves(journal []state.Step) bool {
	return slices.ContainsFunc(journal, func(s state.Step) bool {
		var out stayed
		stays := s.Name == backStep && s.State == state.StepFailed && json.Unmarshal(s.Output, &out) == nil && out.Server != ""
		return s.Name != op.CheckStep && !stays
	})
}
