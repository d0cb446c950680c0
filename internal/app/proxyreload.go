package app

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"dbops/internal/cloud"
	"dbops/internal/config"
	"dbops/internal/dial"
	"dbops/internal/proxy"
)

const reloadEvery = 2 * time.Second // between two looks at dbops.yaml while nobody connects

// stamp tells one content of a file from another, as far as its folder entry does.
type stamp struct {
	info os.FileInfo
}

func stampOf(path string) stamp {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() { // a pipe has been read once and for all
		return stamp{}
	}
	return stamp{info}
}

func (s stamp) same(o stamp) bool {
	if s.info == nil || o.info == nil {
		return s.info == nil && o.info == nil
	}
	return os.SameFile(s.info, o.info) && s.info.ModTime().Equal(o.info.ModTime()) && s.info.Size() == o.info.Size()
}

// reloading is what a proxy knows of its dbops.yaml.
type reloading struct {
	mu    sync.Mutex // held while reading it
	last  stamp
	apps  []*App // that were made for newer configurations, the last one in effect; open sessions may need any
	known sync.RWMutex
}

// current is the App of the configuration in effect.
func (r *reloading) current(first *App) *App {
	r.known.RLock()
	defer r.known.RUnlock()
	if len(r.apps) == 0 {
		return first
	}
	return r.apps[len(r.apps)-1]
}

func (r *reloading) close() {
	r.known.Lock()
	defer r.known.Unlock()
	for _, a := range r.apps {
		_ = a.Close()
	}
	r.apps = nil
}

// refresh looks whether dbops.yaml was edited: a client that comes after the edit gets what it says.
func (p *Proxy) refresh() {
	r := &p.reload
	r.mu.Lock()
	defer r.mu.Unlock()
	now := stampOf(p.app.cfg.Path)
	if now.info == nil || now.same(r.last) { // one that is missing is about to be replaced
		return
	}
	r.last = now
	_ = p.load() // has told
}

// reloadNow reads dbops.yaml again, changed or not.
func (p *Proxy) reloadNow() error {
	p.reload.mu.Lock()
	defer p.reload.mu.Unlock()
	p.reload.last = stampOf(p.app.cfg.Path)
	return p.load()
}

// watchConfig looks now and then, for what takes effect without a client: that an environment has become protected.
func (p *Proxy) watchConfig(ctx context.Context) {
	tick := time.NewTicker(reloadEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			p.refresh()
		}
	}
}

// load takes dbops.yaml as it is now, or keeps what it was. p.reload.mu is held.
func (p *Proxy) load() error {
	ctx := p.run
	cfg, err := config.Load(p.app.cfg.Path)
	if err != nil {
		p.figures.failed.Inc()
		p.server.Note(ctx, true, fmt.Sprintf("dbops.yaml was edited and cannot be used, so it is served as it was before: %s", err))
		return err
	}
	env := cfg.Environments[p.env]
	if env == nil { // all its databases are gone with it
		env = &config.Environment{Name: p.env, Protected: p.isProtected()}
	}
	next := p.reload.current(p.app).successor(cfg)
	if err := p.server.SetUpstreams(p.upstreams(next, env)); err != nil {
		_ = next.Close()
		p.server.Note(ctx, true, fmt.Sprintf("dbops.yaml was edited and cannot be used, so it is served as it was before: %s", err))
		return err
	}
	p.reload.known.Lock()
	p.reload.apps = append(p.reload.apps, next)
	p.reload.known.Unlock()

	uris := p.urisOf(env)
	p.mu.Lock()
	text := difference(p.uris, uris)
	became := env.Protected && !p.protected
	p.uris, p.protected = uris, env.Protected
	if p.entry != nil && p.listed {
		if err := p.entry.publish(p.running()); err != nil {
			p.log.WarnContext(ctx, "other commands see the databases of before", "error", err)
		}
	}
	p.mu.Unlock()
	p.server.Note(ctx, false, "dbops.yaml was edited and is in effect: "+text)
	if became {
		p.becameProtected(ctx)
	}
	return nil
}

// becameProtected begins the log of connections, and ends a proxy that could not be opened like this any more.
func (p *Proxy) becameProtected(ctx context.Context) {
	p.startTrail(ctx)
	if p.access == config.Read {
		return
	}
	p.stop(&proxy.Goodbye{
		Reason: fmt.Sprintf("%s has become protected: %s access needs a reason now", p.env, p.access),
		Hint:   "open it again: " + p.command(),
	})
}

func difference(before, after []DatabaseURI) string {
	names := func(all []DatabaseURI) map[string]bool {
		out := map[string]bool{}
		for _, u := range all {
			out[u.Database] = true
		}
		return out
	}
	was, is := names(before), names(after)
	var parts []string
	for _, c := range []struct {
		what     string
		in, none map[string]bool
	}{{"new", is, was}, {"gone", was, is}} {
		var list []string
		for _, name := range slices.Sorted(maps.Keys(c.in)) {
			if !c.none[name] {
				list = append(list, name)
			}
		}
		if len(list) > 0 {
			parts = append(parts, c.what+": "+strings.Join(list, ", "))
		}
	}
	if len(parts) == 0 {
		return "the same databases"
	}
	return strings.Join(parts, "; ")
}

// successor is an App for a newer text of the same dbops.yaml. What this one knows of clouds it knows, too, so it can go on while they do not
// answer; what is shared with it stays open when it is closed.
func (a *App) successor(cfg *config.Config) *App {
	next := New(cfg, a.opts)
	a.mu.Lock()
	defer a.mu.Unlock()
	maps.Copy(next.providers, a.providers)
	maps.Copy(next.endpoints, a.endpoints)
	maps.Copy(next.proxied, a.proxied)
	maps.Copy(next.connectors, a.connectors)
	next.borrowed = maps.Clone(a.connectors)
	maps.Copy(next.ways, a.ways)
	next.lent = maps.Clone(a.ways)
	return next
}

// clientCertificates is until when those of the connector are good, by the instance of an environment.
func (a *App) clientCertificates(env string) map[string]time.Time {
	out := map[string]time.Time{}
	e := a.cfg.Environments[env]
	if e == nil {
		return out
	}
	for name, inst := range e.Instances {
		if inst.Kind() != cloud.CloudSQL {
			continue
		}
		g := inst.CloudSQL
		if until := a.connector(inst).CertificateUntil(dial.Route{Project: g.Project, Region: g.Region, Instance: g.Instance}); !until.IsZero() {
			out[name] = until
		}
	}
	return out
}

// answered is when the control plane last told where each instance of an environment listens.
func (a *App) answered(env string) map[string]time.Time {
	a.mu.Lock()
	caches := maps.Clone(a.endpoints)
	a.mu.Unlock()
	out := map[string]time.Time{}
	for k, c := range caches {
		if k.env != env || !c.mu.TryLock() { // somebody asks just now
			continue
		}
		if c.known {
			out[k.instance] = c.at
		}
		c.mu.Unlock()
	}
	return out
}
