package app

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"dbops/internal/config"
	"dbops/internal/proxy"
)

// figures are what a proxy tells Prometheus.
type figures struct {
	*prometheus.Registry
	metrics *proxy.Metrics
	failed  prometheus.Counter // reloads
	lastLog sync.Map           // instance: time of the last credential
}

func newFigures(p *Proxy) *figures {
	f := &figures{Registry: prometheus.NewRegistry()}
	f.metrics = proxy.NewMetrics(func() *proxy.Server { return p.server })
	f.failed = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "dbops_proxy_config_failures_total", Help: "Edits of dbops.yaml that could not be used.",
	})
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "dbops_proxy_info", Help: "Which proxy it is.",
		ConstLabels: prometheus.Labels{"environment": p.env, "access": string(p.access), "version": p.app.opts.Version},
	})
	info.Set(1)
	f.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), f.metrics, f.failed, info,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "dbops_proxy_until_timestamp_seconds", Help: "When its time is over; 0 if it has no end.",
		}, func() float64 {
			if p.until.IsZero() {
				return 0
			}
			return float64(p.until.Unix())
		}),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "dbops_proxy_audit_lost_total", Help: "Entries on connections that the audit log did not take.",
		}, func() float64 {
			p.mu.Lock()
			defer p.mu.Unlock()
			if p.trail == nil {
				return 0
			}
			return float64(p.trail.total.Load())
		}),
		proxy.NewAges("credential_age_seconds", "Since the last credential for a login was made or read.", f.credentials),
		proxy.NewAges("control_plane_age_seconds", "Since the control plane last said where an instance listens.", func() map[string]time.Time {
			return p.reload.current(p.app).answered(p.env)
		}),
		proxy.NewTimes("connector_certificate_expiry_timestamp_seconds", "Until when the connector's client certificate is good; a new one is made when it is needed.",
			func() map[string]time.Time { return p.reload.current(p.app).clientCertificates(p.env) }),
	)
	return f
}

func (f *figures) observe(e proxy.Event) { f.metrics.Observe(e) }

// renewed notes that a credential is new.
func (f *figures) renewed(instance string) { f.lastLog.Store(instance, time.Now()) }

func (f *figures) credentials() map[string]time.Time {
	out := map[string]time.Time{}
	f.lastLog.Range(func(k, v any) bool {
		name, _ := k.(string)
		at, _ := v.(time.Time)
		out[name] = at
		return true
	})
	return out
}

// ProxyStatus is dbops/proxy-status/v1: what a proxy says of itself over its own socket. There is no secret in it.
type ProxyStatus struct {
	Schema      string             `json:"schema"`
	Environment string             `json:"environment"`
	Protected   bool               `json:"protected"`
	Access      config.Access      `json:"access"`
	Ready       bool               `json:"ready"`
	Since       time.Time          `json:"since"`
	Until       time.Time          `json:"until,omitzero"`
	Totals      proxy.Totals       `json:"totals"`
	Connections []proxy.Connection `json:"connections"`
}

func (p *Proxy) status() ProxyStatus {
	return ProxyStatus{
		Schema: "dbops/proxy-status/v1", Environment: p.env, Protected: p.isProtected(), Access: p.access, Ready: p.server.Ready(),
		Since: p.since, Until: p.until, Totals: p.server.Totals(), Connections: p.server.Connections(),
	}
}

// checkAll logs in to every database at once.
func (p *Proxy) checkAll(ctx context.Context) map[string]error {
	var mu sync.Mutex
	var wg sync.WaitGroup
	out := map[string]error{}
	for _, u := range p.URIs() {
		wg.Go(func() {
			err := p.Check(ctx, u.Database)
			mu.Lock()
			defer mu.Unlock()
			out[u.Database] = err
		})
	}
	wg.Wait()
	return out
}

// openControl makes the proxy known to other commands, and answers them and who asks for figures until own ends.
func (p *Proxy) openControl(ctx, own context.Context, beside *sync.WaitGroup, o ProxyOptions) error {
	control := &proxy.Control{
		Server: p.server, Gatherer: p.figures, Status: func() any { return p.status() }, Check: p.checkAll, Reload: p.reloadNow,
		Stop: func() {
			p.stop(&proxy.Goodbye{Reason: "the proxy was stopped by its user", Hint: "open it again: " + p.command()})
		},
	}
	if o.Metrics != "" {
		ln, err := proxy.ListenFigures(ctx, o.Metrics)
		if err != nil {
			return err
		}
		p.metrics = ln.Addr().String()
		beside.Go(func() { p.complain(proxy.ServeHTTP(own, ln, control.Public())) })
	}
	if err := p.publish(ctx, own, beside, control, !o.Unlisted); err != nil { // the proxy is worth more than its entry in a list
		p.log.Warn("this proxy is not listed for other commands", "error", err)
	}
	return nil
}

func (p *Proxy) publish(ctx, own context.Context, beside *sync.WaitGroup, control *proxy.Control, listed bool) error {
	e, err := newEntry(p.app.opts.RuntimeDir)
	if err != nil {
		return err
	}
	p.entry, p.listed = e, listed
	if err := p.keepFiles(); err != nil {
		return err
	}
	if !listed {
		return nil
	}
	ln, err := e.listenControl(ctx)
	if err != nil {
		p.log.Warn("other commands cannot ask this proxy", "error", err)
	} else {
		beside.Go(func() { p.complain(proxy.ServeHTTP(own, ln, control.Private())) })
	}
	return e.publish(p.running())
}

func (p *Proxy) complain(err error) {
	if err != nil {
		p.log.Warn("the proxy does not answer for its state any more", "error", err)
	}
}
