// Package quiesce stops whoever writes into databases of a server, for a cut-over, and undoes that.
//
// [Look] reads what is about to change and the caller stores it; [Close] makes the databases read-only by default, takes the right to connect
// from everybody but us, and ends all sessions; [Open] puts everything back. No superuser is needed: it is enough to be a member of the
// databases' owner and of pg_signal_backend. Superusers are not held back by rights, and [Closed] tells of them.
package quiesce

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/fault"
)

// Connect opens a session on a database, always with the same login.
type Connect func(ctx context.Context, database string) (*pgx.Conn, error)

// Before is what Close changes, as it was. It holds no secrets, and is stored before Close is called.
type Before struct {
	At        time.Time  `json:"at"`
	Major     int        `json:"major"`
	Login     string     `json:"login"` // who looked
	Databases []Database `json:"databases"`
}

// Database is what was set for one.
type Database struct {
	Name  string `json:"name"`
	Owner string `json:"owner"`
	// OwnerOID is the owner as the grantor of the rights below.
	OwnerOID uint32 `json:"owner_oid"`
	// ACL is datacl as the server writes it; nil is the default. Grants are the same, one by one and in its order. A default that was changed
	// cannot be made nil again, only be written out in full, which means the same.
	ACL    *string `json:"acl"`
	Grants []Grant `json:"grants"`
	// Settings are those of default_transaction_read_only: the database's own, and those of roles that override it.
	Settings []Setting `json:"settings"`
	// MayConnect are the login roles that had the right to, superusers among them.
	MayConnect []string `json:"may_connect"`
}

// Grant is one right of one role. A role is known by its number, so that it may be renamed; 0 is everybody.
type Grant struct {
	Privilege  string `json:"privilege"`
	Role       string `json:"role"`
	RoleOID    uint32 `json:"role_oid"`
	Grantor    string `json:"grantor"`
	GrantorOID uint32 `json:"grantor_oid"`
	Option     bool   `json:"with_grant_option"`
}

// Setting is default_transaction_read_only for a role in the database; role number 0 is the database's own. No value: it is not set there.
type Setting struct {
	Role    string  `json:"role"`
	RoleOID uint32  `json:"role_oid"`
	Value   *string `json:"value"`
}

// Options say how Close goes about it.
type Options struct {
	// Grace is how long a transaction that was open already may go on before its session is ended.
	Grace time.Duration
	// Wait is how long sessions that were told to end may take for that, after the grace. Defaults to 30 s.
	Wait time.Duration
	// Keep names applications whose sessions stay: walsenders of any role, and other sessions of our own role.
	Keep []string
	// Roles keep the right to connect, such as the one a subscription logs in with. Their sessions are ended as
	// others are, and may come again. One that is not there is noted.
	Roles []string
	// ConnectOnly leaves the setting of transactions alone, which would be in the way of whoever works on the databases meanwhile, such as a
	// cloud that upgrades them.
	ConnectOnly bool
	// Tell is told how it goes.
	Tell func(Progress)
}

// Progress is how a Close goes.
type Progress struct {
	Phase    string `json:"phase"`
	Sessions int    `json:"sessions"` // that are still there
	Waiting  int    `json:"waiting"`  // of them, until their transaction ends or the grace is over
	Ended    int    `json:"ended"`
}

// The phases of a Close.
const (
	PhaseReadOnly = "read only"
	PhaseConnect  = "connect"
	PhaseSessions = "sessions"
)

// Phase is how long one took.
type Phase struct {
	Name string        `json:"name"`
	Took time.Duration `json:"took_ns"`
}

// Session is one that was ended, is still there, or could come.
type Session struct {
	PID         int32         `json:"pid,omitempty"`
	Role        string        `json:"role"`
	Application string        `json:"application,omitempty"`
	Database    string        `json:"database"`
	Kind        string        `json:"kind,omitempty"` // as pg_stat_activity.backend_type says
	State       string        `json:"state"`
	Age         time.Duration `json:"age_ns,omitempty"` // of its transaction, or without one of the session
	Why         string        `json:"why,omitempty"`    // it is still there, or could come
}

// Report is what a Close did.
type Report struct {
	Phases []Phase   `json:"phases"`
	Ended  []Session `json:"ended"`
	// Still is what [Closed] tells.
	Still []Session `json:"still"`
	// Notes are things that a person should know.
	Notes []string `json:"notes,omitempty"`
}

// Look reads what Close will change. It fails if that could not be undone afterwards, and changes nothing.
func Look(ctx context.Context, connect Connect, databases []string) (*Before, error) {
	const op = "look at who may write"
	s, err := open(ctx, connect, databases, op)
	if err != nil {
		return nil, err
	}
	defer s.close(ctx)
	b := &Before{At: time.Now().UTC(), Major: s.major, Login: s.login}
	for _, name := range databases {
		d, err := s.database(ctx, name)
		if err != nil {
			return nil, s.failed(ctx, op+" into database "+name, err)
		}
		b.Databases = append(b.Databases, d)
	}
	return b, nil
}

// Close stops everybody else. When it returns without error, nobody but us, superusers and Options.Roles can be in the databases or come in,
// and every transaction of those who were has ended. It may be called again after it failed, and changes nothing back then: [Open] does.
func Close(ctx context.Context, connect Connect, b *Before, o Options) (*Report, error) {
	const op = "stop the writers"
	if o.Wait <= 0 {
		o.Wait = 30 * time.Second
	}
	if o.Tell == nil {
		o.Tell = func(Progress) {}
	}
	r := &Report{Ended: []Session{}, Still: []Session{}}
	s, err := open(ctx, connect, b.names(), op)
	if err != nil {
		return r, err
	}
	defer s.close(ctx)
	c := &closer{session: s, b: b, o: o, r: r}
	if err := c.run(ctx); err != nil {
		return r, s.failed(ctx, op, err)
	}
	return r, nil
}

// Closed tells who is in the databases beside the asking session, and who could come: evidence for a report.
func Closed(ctx context.Context, connect Connect, b *Before) ([]Session, error) {
	const op = "look who is still there"
	s, err := open(ctx, connect, b.names(), op)
	if err != nil {
		return nil, err
	}
	defer s.close(ctx)
	still, err := s.still(ctx, b.names())
	if err != nil {
		return nil, s.failed(ctx, op, err)
	}
	return still, nil
}

// Open makes settings and rights what they were. It may be called twice, and after a Close that failed anywhere. What was granted since the
// look is lost, and a role that was dropped since is left out.
func Open(ctx context.Context, connect Connect, b *Before) error {
	const op = "let the writers in again"
	s, err := open(ctx, connect, b.names(), op)
	if err != nil {
		return err
	}
	defer s.close(ctx)
	for _, d := range b.Databases {
		if err := s.restore(ctx, d); err != nil {
			return s.failed(ctx, op+" of database "+d.Name, err)
		}
	}
	return nil
}

func (b *Before) names() (out []string) {
	for _, d := range b.Databases {
		out = append(out, d.Name)
	}
	return out
}

// failed says why something went wrong, and what to do.
func (s *session) failed(ctx context.Context, op string, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return fault.New(fault.Interrupted, op, cause).Hint("run it again: it may be run twice")
	}
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	pe, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case !ok || s.conn.IsClosed():
		return fault.New(fault.Unavailable, op, err).Hint("run it again: it may be run twice")
	case pe.Code == insufficientPrivilege:
		return fault.New(fault.Denied, op, err).Hint("make %s a member of the databases' owner and of pg_signal_backend", s.login)
	}
	return fault.New(fault.Failed, op, err).Hint("mend that, and run it again: it may be run twice")
}

const insufficientPrivilege = "42501"
