// Package creds gives each container a database credential of its own, and changes it without a failed query.
//
// A container has a group role, which holds its rights, and two login roles, its slots a and b, which hold nothing: one is active, the
// other idle. A rotation gives the idle slot a new password, proves it by a login, promotes it where the container reads it, and takes the
// old slot out of use once nobody is logged in with it. Until then the way back is open at every step.
package creds

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/config"
	"dbops/internal/op"
	"dbops/internal/secret"
)

// The kinds of operation.
const (
	RotateKind   = "creds.rotate"
	RollbackKind = "creds.rollback"
	IssueKind    = "creds.issue"
	RevokeKind   = "creds.revoke"
	AdoptKind    = "creds.adopt"
	RepairKind   = "creds.repair"
)

// Container is a deployed process as dbops.yaml declares it, with its databases on one instance.
type Container struct {
	Name      string
	Access    config.Access
	Databases []Database
	// Places are where its credential is delivered. The first one decides which credential is current; the others follow it.
	Places []string
	// Rollout says what makes the container read its credential anew; "" if nothing does.
	Rollout string
}

// Database is one of a container's.
type Database struct {
	Name   string // as dbops.yaml calls it
	Server string // its name on the server
	Owner  string // the role that owns its objects; "" if it is not declared
}

// Address is where containers reach an instance.
type Address struct {
	Host    string
	Port    int
	SSLMode string   // that a client of its own should use: verify-full, verify-ca
	Also    []string // other hosts that are the same server
	CA      string   // certificates (PEM) by which clients know it, where it has its own; "" if that is not known, or is no concern
}

// Login is a login role and its password.
type Login struct {
	User     string
	Password secret.Value
}

// Rollout makes a container read its credential anew.
type Rollout interface {
	// Start begins it. The same token again begins no second one where that can be told; the credential's version is for the container's
	// information, and no secret. The revision names what was begun.
	Start(ctx context.Context, container, version, token string) (revision string, err error)
	// Done tells how far it is. One that failed is an error, with the reason of who rolls out.
	Done(ctx context.Context, container, revision string) (done bool, status string, err error)
}

// Deps are what the operations stand on.
type Deps struct {
	// Containers are those that dbops.yaml declares on an instance, by name.
	Containers func(t op.Target) ([]Container, error)
	// Connect logs in to a database of an instance, by its name on the server, as the admin login of dbops.yaml.
	Connect func(ctx context.Context, t op.Target, database string) (*pgx.Conn, error)
	// Login logs in as somebody else, the same way, over a connection that proves who the server is.
	Login func(ctx context.Context, t op.Target, database string, l Login) (*pgx.Conn, error)
	// Address is where containers reach an instance.
	Address func(ctx context.Context, t op.Target) (Address, error)
	// Place opens a place of delivery.
	Place func(ctx context.Context, place string) (secret.Store, secret.Ref, error)
	// Secret reads a password from where dbops.yaml may say that one is. A text that names no place is a fault.Config, which does not repeat it.
	Secret func(ctx context.Context, place string) (secret.Value, error)
	// Rollout is who rolls a container out; nil if nobody does.
	Rollout func(ctx context.Context, t op.Target, container string) (Rollout, error)

	// Told tells whether the journal of a run holds a text: whoever decides on the run has been told it.
	Told func(ctx context.Context, run, text string) (bool, error)

	Pace        op.Pace // of looking whether a rollout is done and sessions have ended. Defaults to 500 ms, 10 s, 1 h
	Concurrency int     // containers that are worked on at a time. Defaults to 4
}

// New returns the operations.
func New(d Deps) []op.Kind {
	d = d.complete()
	return []op.Kind{rotate(d), rollback(d), issue(d), revoke(d), adopt(d), repair(d)}
}

// complete fills in the defaults.
func (d Deps) complete() Deps {
	if d.Pace == (op.Pace{}) {
		d.Pace = op.Pace{First: 500 * time.Millisecond, Most: 10 * time.Second, Patience: time.Hour}
	}
	if d.Concurrency <= 0 {
		d.Concurrency = 4
	}
	return d
}
