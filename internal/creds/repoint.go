package creds

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"

	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/secret"
)

// Repointing makes containers log in at another address. Both servers have the same roles with the same passwords.
type Repointing struct {
	Target op.Target
	// From is the address that is replaced, To the one that takes its place. A host of From.Also is replaced by the one at the same place in
	// To.Also, if there is one; any other by To.Host.
	From, To Address
	// Containers are left alone if they are not among these; none: every one that names either address.
	Containers []string
	// Login logs in to a database at To, by its name on the server.
	Login func(ctx context.Context, database string, l Login) (*pgx.Conn, error)
}

// Redirector is a [Mirror] whose text has addresses of its own.
type Redirector interface {
	// Redirect makes the text name another host, host:port as it is written there, for the databases of which to says so, and where it has
	// certificates for that host have ca in their place, unless that is "". Again it changes nothing.
	Redirect(ctx context.Context, databases []string, to func(host string) (string, bool), ca string) error
}

// Repoint makes the containers of an instance log in at another address, with the credentials they have: each place whose credential names From
// gets a new version, in which only that differs; it is tried at To before any is made current; then containers are rolled out and waited for.
// It may be called again, and goes on where it was killed. The way back is the same with From and To exchanged.
func (d Deps) Repoint(ctx context.Context, s *op.Session, r Repointing) (op.Result, error) {
	d = d.complete()
	declared, err := d.pick(r.Target, r.Containers)
	if err != nil {
		return op.Result{}, err
	}
	w := &repointing{moving: moving{Deps: d, t: r.Target}, r: r, declared: map[string]Container{}, found: map[string][]pointed{}}
	for _, c := range declared {
		w.declared[c.Name] = c
		f := ContainerFacts{Name: c.Name, Rollout: c.Rollout}
		for _, database := range c.Databases {
			f.Databases = append(f.Databases, database.Server)
		}
		for _, place := range c.Places {
			f.Places = append(f.Places, PlaceFacts{Place: place})
		}
		w.all = append(w.all, f)
	}
	if err := w.each(ctx, w.all, func(ctx context.Context, c *ContainerFacts) error { return w.prepare(ctx, s, c) }); err != nil {
		return op.Result{}, err
	}
	w.all = slices.DeleteFunc(w.all, func(c ContainerFacts) bool { return len(w.found[c.Name]) == 0 })
	if err := w.each(ctx, w.all, func(ctx context.Context, c *ContainerFacts) error { return w.stage(ctx, s, c) }); err != nil {
		return op.Result{}, err
	}
	if err := w.each(ctx, w.all, func(ctx context.Context, c *ContainerFacts) error { return w.deliver(ctx, s, c) }); err != nil {
		return op.Result{}, err
	}
	err = w.roll(ctx, s, s.Run+"/repoint/"+r.To.String(), func(c *ContainerFacts) string { return w.found[c.Name][0].to })
	return w.result(), err
}

// String is host and port.
func (at Address) String() string { return net.JoinHostPort(at.Host, strconv.Itoa(at.Port)) }

// names tells whether an address that a container is told is this one. A port that is not said is no difference.
func (at Address) names(ctx context.Context, host string, port int) bool {
	return host != "" && (port == 0 || port == at.Port) && at.isHost(ctx, host)
}

// aim replaces what names one address by another.
func (r Repointing) aim(ctx context.Context) aim {
	return func(host string, port int) (string, int, bool) {
		if !r.From.names(ctx, host, port) {
			return "", 0, false
		}
		for i, also := range r.From.Also {
			if strings.EqualFold(also, host) && i < len(r.To.Also) {
				return r.To.Also[i], r.To.Port, true
			}
		}
		return r.To.Host, r.To.Port, true
	}
}

// repointing is a Repoint that goes on.
type repointing struct {
	moving
	r        Repointing
	declared map[string]Container

	mu    sync.Mutex
	found map[string][]pointed // by container: its places that name either address
}

// pointed is a place that names the old address, or the new one already.
type pointed struct {
	place, from, to string       // from and to are versions, the same where there is nothing to write
	wanted          secret.Value // the text of to, where there is something
}

// prepare finds what a container is to read, and sees that it will be let in with it. Nothing is changed but what the other direction left.
func (w *repointing) prepare(ctx context.Context, s *op.Session, c *ContainerFacts) error {
	what := w.what("repoint the credential", c)
	var tried []Login
	for _, p := range c.Places {
		one, login, err := w.look(ctx, s, what, c, p.Place)
		if err != nil {
			return err
		}
		if one == nil {
			continue
		}
		w.mu.Lock()
		w.found[c.Name] = append(w.found[c.Name], *one)
		w.mu.Unlock()
		if slices.ContainsFunc(tried, login.same) {
			continue
		}
		if err := w.answers(ctx, what, c, login); err != nil {
			return err
		}
		tried = append(tried, login)
	}
	return nil
}

// look finds the text of a place with the new address; nil if it names neither address.
func (w *repointing) look(ctx context.Context, s *op.Session, what string, c *ContainerFacts, place string) (*pointed, Login, error) {
	now, err := w.readPlace(ctx, place, w.declared[c.Name])
	switch {
	case err != nil:
		return nil, Login{}, err
	case now.Trouble != "":
		return nil, Login{}, fault.Newf(fault.Invalid, what, "the credential in %s cannot be used: %s", place, now.Trouble).
			Hint("%s; then dbops runs retry %s", cmp.Or(now.Next, "make a version current there that its container can read"), s.Run)
	case now.Current == "":
		return nil, Login{}, nil
	}
	store, ref, err := w.Place(ctx, place)
	if err != nil {
		return nil, Login{}, err
	}
	text, err := store.Read(ctx, ref, now.Current)
	if err != nil {
		return nil, Login{}, err
	}
	p, err := readPayload(what, place, text)
	if err != nil {
		return nil, Login{}, err
	}
	wanted, err := p.readdress(text.Reveal(), w.r.aim(ctx))
	if err != nil {
		return nil, Login{}, fault.New(fault.Invalid, what, err)
	}
	one := &pointed{place: place, from: now.Current, to: now.Current}
	if wanted.hits == 0 {
		if !w.concerns(ctx, append(now.addresses, p.addresses()...)) {
			return nil, Login{}, nil
		}
		return one, p.Login(), w.unstage(ctx, s, store, ref, p, text, now)
	}
	one.wanted = secret.New(wanted.text)
	return one, p.Login(), w.unfinished(ctx, s, what, store, ref, now, wanted.text)
}

// stage stages what a container will read. Again after a kill it is the same version.
func (w *repointing) stage(ctx context.Context, s *op.Session, c *ContainerFacts) error {
	for i := range w.found[c.Name] {
		one := &w.found[c.Name][i]
		if one.wanted.IsZero() {
			continue
		}
		store, ref, err := w.Place(ctx, one.place)
		if err != nil {
			return err
		}
		if err := s.Fence(); err != nil {
			return err
		}
		made, err := store.Stage(ctx, ref, s.Run+"/repoint/"+c.Name+"/"+one.from, one.wanted)
		if err != nil {
			return err
		}
		one.to = made.ID
	}
	return nil
}

// concerns tells whether any of the addresses is the old one or the new one.
func (w *repointing) concerns(ctx context.Context, all []address) bool {
	return slices.ContainsFunc(all, func(a address) bool {
		return w.r.From.names(ctx, a.Host, a.Port) || w.r.To.names(ctx, a.Host, a.Port)
	})
}

// unstage takes out of use what a run in the other direction has staged, and was not made current.
func (w *repointing) unstage(ctx context.Context, s *op.Session, store secret.Store, ref secret.Ref, p *payload, text secret.Value, now PlaceFacts) error {
	if now.Pending == "" {
		return nil
	}
	back := Repointing{From: w.r.To, To: w.r.From}
	other, err := p.readdress(text.Reveal(), back.aim(ctx))
	if err != nil {
		return err
	}
	held, err := store.Read(ctx, ref, now.Pending)
	if err != nil || other.hits == 0 || !held.Equal(other.text) {
		return err
	}
	if err := s.Fence(); err != nil {
		return err
	}
	return store.Retire(ctx, ref, now.Pending)
}

// unfinished refuses to push a pending credential aside that this did not stage: its run could not go on. Who decided since has read it.
func (w *repointing) unfinished(ctx context.Context, s *op.Session, what string, store secret.Store, ref secret.Ref, now PlaceFacts, ours string) error {
	if now.Pending == "" {
		return nil
	}
	held, err := store.Read(ctx, ref, now.Pending)
	if err != nil && passing(err) || err == nil && held.Equal(ours) {
		return err
	}
	text := fmt.Sprintf("%s holds version %s, pending, of a rotation that is not finished", now.Place, now.Pending)
	if w.Told != nil {
		told, err := w.Told(ctx, s.Run, text)
		if err != nil || told {
			return err
		}
	}
	return fault.Newf(fault.Busy, what, "%s", text).
		Hint("dbops runs retry %s pushes it aside: the rotation is then undone, and begun anew", s.Run)
}

// answers sees that a container will be let in at the new address, and can work there.
func (w *repointing) answers(ctx context.Context, what string, c *ContainerFacts, l Login) error {
	if w.r.Login == nil {
		return nil
	}
	for _, database := range c.Databases {
		conn, err := w.r.Login(ctx, database, l)
		if err == nil {
			var replica bool
			err = conn.QueryRow(ctx, "SELECT pg_catalog.pg_is_in_recovery()").Scan(&replica)
			_ = conn.Close(context.WithoutCancel(ctx))
			if err == nil && replica {
				return fault.Newf(fault.Busy, what, "%s is a replica", w.r.To)
			}
		}
		if err != nil && (passing(err) || ctx.Err() != nil) {
			return err
		}
		if err != nil {
			return fault.Newf(fault.Failed, what, "%s does not log in to %s at %s, so nobody is sent there: %w", l.User, database, w.r.To, err).
				Hint("every container is where it was; the role must have the same password there, and may CONNECT")
		}
	}
	return nil
}

// deliver makes the new versions of a container current, the first place before the others.
func (w *repointing) deliver(ctx context.Context, s *op.Session, c *ContainerFacts) error {
	to := w.r.aim(ctx)
	for _, one := range w.found[c.Name] {
		store, ref, err := w.Place(ctx, one.place)
		if err != nil {
			return err
		}
		if err := s.Fence(); err != nil {
			return err
		}
		if one.to != one.from {
			if err := store.Promote(ctx, ref, one.from, one.to); err != nil {
				return err
			}
		}
		mirror, ok := store.(Redirector)
		if !ok {
			continue
		}
		var names []string
		for _, database := range w.declared[c.Name].Databases {
			names = append(names, database.Name)
		}
		err = mirror.Redirect(ctx, names, func(written string) (string, bool) {
			host, port := splitAddress(written)
			toHost, toPort, hit := to(host, port)
			return withPort(toHost, toPort, port != 0), hit
		}, w.r.To.CA)
		if err != nil {
			return err
		}
	}
	return nil
}

// result is what was done, also what an earlier try did.
func (w *repointing) result() op.Result {
	out := staged{}
	var changes []op.Change
	var left []string
	for i := range w.all {
		c := &w.all[i]
		out[c.Name] = map[string]versions{}
		for _, one := range w.found[c.Name] {
			out[c.Name][one.place] = versions{one.from, one.to}
			changes = append(changes, op.Change{Target: c.Name, Setting: one.place + " address", From: w.r.From.String(), To: w.r.To.String()})
		}
		if c.Rollout == "" {
			left = append(left, c.Name)
		}
	}
	text := fmt.Sprintf("%d containers log in at %s", len(w.all), w.r.To)
	if len(left) > 0 {
		text += "; without a rollout, so restart them now: " + strings.Join(left, ", ")
	}
	return op.Result{Output: out, Changes: changes, Text: text}
}
