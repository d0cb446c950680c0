package app

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"dbops/internal/config"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/op/sshsig"
	"dbops/internal/proxy"
	"dbops/internal/state"
	"dbops/internal/state/audit"
)

// How long a protected environment may be open for changes.
const (
	GuardedFor = 30 * time.Minute
	GuardedMax = 8 * time.Hour

	guardedWarning = 5 * time.Minute // before the end
)

// guarded tells whether an access asks for a reason and an end.
func guarded(env *config.Environment, access config.Access) bool {
	return env.Protected && access != config.Read
}

// CheckReason refuses what [App.OpenProxy] would for want of a reason, or for too long a time, before anything is opened.
func (a *App) CheckReason(env string, access config.Access, reason string, limit time.Duration) error {
	e, err := a.cfg.Environment(env)
	if err != nil {
		return err
	}
	_, err = window(e, access, reason, limit)
	return err
}

// window is how long a proxy may be open; 0 for as long as it likes.
func window(env *config.Environment, access config.Access, reason string, limit time.Duration) (time.Duration, error) {
	what := fmt.Sprintf("open %s for %s", env.Name, access)
	if limit < 0 {
		return 0, fault.Newf(fault.Usage, what, "--for %s is negative", limit)
	}
	if !guarded(env, access) {
		return limit, nil
	}
	if strings.TrimSpace(reason) == "" {
		return 0, fault.Newf(fault.Unapproved, what, "it is protected: changing it needs a reason, which the audit log keeps").
			Hint(`say why with --reason "TEXT"; it is open for %s, or --for 1h; without --access it is open to read`, short(GuardedFor))
	}
	if limit > GuardedMax {
		return 0, fault.Newf(fault.Usage, what, "--for %s is longer than a protected environment may be open: %s", short(limit), short(GuardedMax)).
			Hint("open it again when the time is over")
	}
	if limit == 0 {
		limit = GuardedFor
	}
	return limit, nil
}

// short is a duration without what is zero in it: 30m, not 30m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// grant writes down that a protected environment is opened for changes: before it is, or it is not.
func (p *Proxy) grant(ctx context.Context) error {
	p.actor = p.app.proxyActor(ctx, p.env)
	return p.auditAccess(ctx, "open", fmt.Sprintf("%s access to the databases of %s for %s, until %s: %s",
		p.access, p.env, short(p.limit), p.until.UTC().Format(time.RFC3339), p.reason))
}

// revoke writes down that it is closed again. That it is closed does not depend on it.
func (p *Proxy) revoke(ctx context.Context) {
	t := p.server.Totals()
	text := fmt.Sprintf("%s access to the databases of %s ended: %s; %d connections, %d bytes from clients, %d to them",
		p.access, p.env, p.ending(), t.Accepted, t.FromClient, t.ToClient)
	ctx, cancel := context.WithTimeout(ctx, trailLast)
	defer cancel()
	if err := p.auditAccess(ctx, "close", text); err != nil {
		p.log.WarnContext(ctx, "the end of this access is not in the audit log", "error", err)
		p.mu.Lock()
		p.unrevoked = err
		p.mu.Unlock()
	}
}

func (p *Proxy) auditAccess(ctx context.Context, step, text string) error {
	store, err := p.app.Store(ctx)
	if err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	return store.Tx(ctx, "write to the audit log who opens "+p.env, func(ctx context.Context, tx *state.Tx) error {
		return tx.Append(ctx, audit.Entry{
			Actor: p.actor.Name, Via: p.actor.Via, Host: host, Run: p.id, Kind: "proxy.access", Step: step, Phase: audit.Note, Target: p.env, Text: text,
		})
	})
}

// proxyActor is who opens a proxy: as a cloud of the environment sees them if it says so soon, else by this machine's word.
func (a *App) proxyActor(ctx context.Context, env string) op.Actor {
	const patience = 5 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if e, err := a.cfg.Environment(env); err == nil {
		for _, name := range e.InstanceNames() {
			who, err := a.Identity(ctx, env, name, sshsig.Key{})
			if err != nil {
				a.opts.Log.WarnContext(ctx, "the cloud does not say who opens the proxy", "instance", env+"/"+name, "error", err)
				break
			}
			if who.Via != op.ViaUnverified {
				return who
			}
		}
	}
	return Unverified()
}

// endInTime ends the proxy when its time is over, and says so before.
func (p *Proxy) endInTime(ctx context.Context) {
	for _, w := range []struct {
		at   time.Time
		then func()
	}{
		{p.until.Add(-guardedWarning), func() {
			p.server.Note(ctx, false, fmt.Sprintf("%s access to %s ends in %s", p.access, p.env, short(guardedWarning)))
		}},
		{p.until, func() {
			p.stop(&proxy.Goodbye{
				Reason: fmt.Sprintf("the %s of %s access to %s are over", short(p.limit), p.access, p.env),
				Hint:   "if the work is not done, open it again: " + p.command(),
			})
		}},
	} {
		left := time.Until(w.at)
		if left <= 0 && w.at != p.until {
			continue
		}
		timer := time.NewTimer(left)
		select {
		case <-timer.C:
			w.then()
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// command opens such a proxy.
func (p *Proxy) command() string {
	cmd := "dbops proxy -e " + p.env
	if p.access != config.Read {
		cmd += " --access " + string(p.access)
	}
	if p.isProtected() && p.access != config.Read {
		cmd += ` --reason "..."`
	}
	return cmd
}
