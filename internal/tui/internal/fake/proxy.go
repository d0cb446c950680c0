package fake

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"dbops/internal/app"
	"dbops/internal/config"
	"dbops/internal/proxy"
)

// Password is what the proxies' URIs hold. It must never be seen on a screen.
const Password = "hunter2-not-on-the-screen"

// Proxy is a [dbops/internal/tui/core.Proxy] without a listener.
type Proxy struct {
	now    func() time.Time
	opts   app.ProxyOptions
	events chan proxy.Event

	mu      sync.Mutex
	conns   []proxy.Connection
	totals  proxy.Totals
	drain   time.Duration
	closing bool
	ended   bool
	closes  int
}

func newProxy(now func() time.Time, o app.ProxyOptions) *Proxy {
	return &Proxy{now: now, opts: o, events: make(chan proxy.Event, 256)}
}

// Addr implements the interface.
func (p *Proxy) Addr() string {
	return map[string]string{"prod": "127.0.0.1:6432", "staging": "127.0.0.1:6433"}[p.opts.Environment]
}

// Access implements the interface.
func (p *Proxy) Access() config.Access { return p.opts.Access }

// Environment implements the interface.
func (p *Proxy) Environment() string { return p.opts.Environment }

// Events implements the interface.
func (p *Proxy) Events() <-chan proxy.Event { return p.events }

// URIs implements the interface.
func (p *Proxy) URIs() []app.DatabaseURI {
	var out []app.DatabaseURI
	for _, i := range Instances() {
		if i.Environment != p.opts.Environment {
			continue
		}
		for _, db := range i.Databases {
			out = append(out, app.DatabaseURI{
				Database: db, Instance: i.Name, URI: fmt.Sprintf("postgresql://dbops:%s@%s/%s", Password, p.Addr(), db),
			})
		}
	}
	return out
}

// Connect adds a client, as if it had just connected, and returns its id.
func (p *Proxy) Connect(c proxy.Connection) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.totals.Accepted++
	c.ID = uint64(p.totals.Accepted)
	if c.Since.IsZero() {
		c.Since = p.now()
	}
	c.LastActive = p.now()
	p.conns = append(p.conns, c)
	p.totals.Open = len(p.conns)
	p.emit(proxy.Event{At: p.now(), Kind: "open", Text: fmt.Sprintf("connection %d: %s from %s on %s", c.ID, c.Application, c.Client, c.Database)})
	return c.ID
}

// Traffic moves bytes on a connection and sets its state.
func (p *Proxy) Traffic(id uint64, sent, received int64, state string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns = slices.Clone(p.conns)
	for i := range p.conns {
		if p.conns[i].ID == id {
			p.conns[i].FromClient += sent
			p.conns[i].ToClient += received
			p.conns[i].State = state
			p.conns[i].LastActive = p.now()
			p.totals.FromClient += sent
			p.totals.ToClient += received
		}
	}
}

// Emit sends an event, as long as the proxy has not ended.
func (p *Proxy) Emit(e proxy.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.Kind == "refused" {
		p.totals.Refused++
	}
	p.emit(e)
}

func (p *Proxy) emit(e proxy.Event) {
	if p.ended {
		return
	}
	select {
	case p.events <- e:
	default: // nobody reads
	}
}

// DrainFor makes Close take that long while clients are connected.
func (p *Proxy) DrainFor(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drain = d
}

// Closes counts the calls of Close.
func (p *Proxy) Closes() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closes
}

// End ends the proxy by itself, as a failure would.
func (p *Proxy) End(why string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.emit(proxy.Event{At: p.now(), Kind: "close", Text: why, Failure: true})
	p.end()
}

func (p *Proxy) end() {
	if !p.ended {
		p.ended = true
		p.conns = nil
		p.totals.Open = 0
		close(p.events)
	}
}

// Connections implements the interface.
func (p *Proxy) Connections() []proxy.Connection {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.conns)
}

// Totals implements the interface.
func (p *Proxy) Totals() proxy.Totals {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.totals
}

// Kill implements the interface.
func (p *Proxy) Kill(id uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := slices.IndexFunc(p.conns, func(c proxy.Connection) bool { return c.ID == id })
	if at < 0 {
		return false
	}
	p.conns = slices.Delete(slices.Clone(p.conns), at, at+1)
	p.totals.Open = len(p.conns)
	p.emit(proxy.Event{At: p.now(), Kind: "close", Text: fmt.Sprintf("connection %d: cut by a person", id)})
	return true
}

// Close implements the interface.
func (p *Proxy) Close(ctx context.Context) error {
	p.mu.Lock()
	p.closes++
	d := p.drain
	if len(p.conns) == 0 {
		d = 0
	}
	if !p.closing && !p.ended {
		p.closing = true
		p.emit(proxy.Event{At: p.now(), Kind: "drain", Text: fmt.Sprintf("no new clients; %d sessions may finish", len(p.conns))})
	}
	p.mu.Unlock()
	var err error
	if d > 0 {
		err = wait(ctx, d)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end()
	return err
}
