package quiesce

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/fault"
)

// closer is one run of Close.
type closer struct {
	*session
	b    *Before
	o    Options
	r    *Report
	keep []uint32 // roles that keep the right to connect, us first
	seen map[string]bool
	last Progress // that was told
}

func (c *closer) run(ctx context.Context) error {
	if err := c.kept(ctx); err != nil {
		return err
	}
	for _, p := range []struct {
		name string
		do   func(context.Context) error
	}{{PhaseReadOnly, c.settleAll}, {PhaseConnect, c.shutAll}, {PhaseSessions, c.endAll}} {
		if p.name == PhaseReadOnly && c.o.ConnectOnly {
			continue
		}
		began := time.Now()
		c.tell(Progress{Phase: p.name})
		err := p.do(ctx)
		c.r.Phases = append(c.r.Phases, Phase{Name: p.name, Took: time.Since(began)})
		if err != nil {
			return err
		}
	}
	still, err := c.still(ctx, c.b.names())
	if err == nil {
		c.r.Still = still
	}
	return err
}

// tell tells what is new.
func (c *closer) tell(p Progress) {
	if p != c.last {
		c.last = p
		c.o.Tell(p)
	}
}

// kept finds the roles that keep the right to connect, and refuses before anything changes if others have it through them.
func (c *closer) kept(ctx context.Context) error {
	c.keep = []uint32{c.oid}
	for _, name := range c.o.Roles {
		var oid uint32
		if err := c.conn.QueryRow(ctx, "select coalesce((select oid from pg_catalog.pg_roles where rolname = $1), 0)", name).Scan(&oid); err != nil {
			return err
		}
		if oid == 0 {
			c.r.Notes = append(c.r.Notes, fmt.Sprintf("there is no role %s that could be let in still", name))
			continue
		}
		c.keep = append(c.keep, oid)
	}
	members, err := texts(ctx, c.conn, `select distinct r.rolname::text from pg_catalog.pg_roles r, unnest($1::oid[]) k(oid) where r.rolcanlogin and not r.rolsuper and not r.oid = any($1::oid[])
 and pg_catalog.pg_has_role(r.oid, k.oid, 'USAGE') order by 1`, c.keep)
	if err != nil || len(members) == 0 {
		return err
	}
	return fault.Newf(fault.Blocked, "stop the writers", "%s inherit the right to connect, as members of %s", strings.Join(members, ", "), strings.Join(append([]string{c.login}, c.o.Roles...), ", ")).
		Hint("take them out of that role, or log in with a role of dbops's own")
}

func (c *closer) settleAll(ctx context.Context) error {
	for _, d := range c.b.Databases {
		denied, err := c.settle(ctx, d)
		if err != nil {
			return fmt.Errorf("make database %s read-only by default: %w", d.Name, err)
		}
		if len(denied) > 0 {
			c.r.Notes = append(c.r.Notes, deniedNote(d.Name, denied))
		}
	}
	return nil
}

func (c *closer) shutAll(ctx context.Context) error {
	for _, d := range c.b.Databases {
		since, err := c.shut(ctx, d, c.keep)
		if err != nil {
			return fmt.Errorf("take the right to connect to database %s: %w", d.Name, err)
		}
		if len(since) > 0 {
			c.r.Notes = append(c.r.Notes, fmt.Sprintf("%s got the right to connect to database %s after it was looked at: it will not be given back", strings.Join(since, ", "), d.Name))
		}
		may, err := c.may(ctx, d.Name, c.keep)
		if err != nil {
			return err
		}
		if len(may) > 0 {
			return fault.Newf(fault.Blocked, "take the right to connect to database "+d.Name, "%s still have it", strings.Join(may, ", ")).
				Hint("see who granted it with \\l+ in psql, and revoke it as that role")
		}
	}
	return nil
}

// The time between two looks.
const (
	shortest = 10 * time.Millisecond
	longest  = 250 * time.Millisecond
)

// endAll ends sessions until none is left. The transactions that were open at the first look may end by themselves, within the grace.
func (c *closer) endAll(ctx context.Context) error {
	began := time.Now()
	c.seen = map[string]bool{}
	var open map[int32]string
	pause := shortest
	for {
		// In this order; why is told at coming.
		coming, err := c.coming(ctx, c.b.names())
		if err != nil {
			return err
		}
		all, err := c.backends(ctx, c.b.names())
		if err != nil {
			return err
		}
		if open == nil {
			open = map[int32]string{}
			for _, b := range all {
				open[b.PID] = b.vxid
			}
		}
		all = slices.DeleteFunc(all, c.stays)
		waiting := 0
		for _, b := range all {
			switch {
			case b.Kind == parallelWorker: // ends with the session that it works for
			case b.vxid != "" && b.vxid == open[b.PID] && time.Since(began) < c.o.Grace:
				waiting++
			default:
				if err := c.end(ctx, b); err != nil {
					return err
				}
			}
		}
		c.tell(Progress{Phase: PhaseSessions, Sessions: len(all) + coming, Waiting: waiting, Ended: len(c.r.Ended)})
		if len(all)+coming == 0 {
			return nil
		}
		if time.Since(began) > c.o.Grace+c.o.Wait {
			return c.tooLong(all)
		}
		if err := rest(ctx, pause); err != nil {
			return err
		}
		pause = min(2*pause, longest)
	}
}

// stays tells whether a session is not to be ended.
func (c *closer) stays(b backend) bool {
	named := slices.Contains(c.o.Keep, b.Application)
	switch {
	case b.system:
		return true
	case named && (b.sender || b.Role == c.login):
		return true
	case b.super && !c.super:
		return true // told of, for nobody of our rights can end it
	case b.super:
		return b.Kind != clientBackend && !b.sender // the workers of extensions come again
	}
	return false
}

func (c *closer) end(ctx context.Context, b backend) error {
	if _, err := c.conn.Exec(ctx, "select pg_catalog.pg_terminate_backend($1)", b.PID); err != nil {
		if pe, ok := errors.AsType[*pgconn.PgError](err); ok && pe.Code == insufficientPrivilege {
			return fault.New(fault.Denied, "end "+b.String(), err).Hint("GRANT pg_signal_backend TO %s", ident(c.login))
		}
		return err
	}
	if key := fmt.Sprint(b.PID, " ", b.start, " ", b.Role); !c.seen[key] {
		c.seen[key] = true
		c.r.Ended = append(c.r.Ended, b.Session)
	}
	return nil
}

func (c *closer) tooLong(all []backend) error {
	if len(all) == 0 {
		return fault.Newf(fault.Busy, "stop the writers", "somebody is logging in, and gets no further").Hint("run it again")
	}
	first := all[0]
	f := fault.Newf(fault.Busy, "stop the writers", "%d sessions do not end or come again; the first: %s", len(all), first)
	if strings.HasPrefix(first.Kind, "logical replication") {
		return f.Hint("disable the subscription: ALTER SUBSCRIPTION ... DISABLE")
	}
	if first.Role == c.login {
		return f.Hint("an application has the login of dbops: stop it, or give it a login of its own")
	}
	return f.Hint("see what it is doing, and run it again")
}

func rest(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
