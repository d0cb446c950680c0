package proxy

import (
	"crypto/tls"
	"net"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are the figures of a [Server] for Prometheus. [Metrics.Observe] belongs into Config.Observe; what can be counted when it is asked
// for is counted then.
type Metrics struct {
	server func() *Server // known once the server has been made

	refused *prometheus.CounterVec
	ended   *prometheus.CounterVec
	login   *prometheus.HistogramVec

	connections, accepted, bytes, missed, expiry *prometheus.Desc
}

// NewMetrics returns the figures of the server that the function tells.
func NewMetrics(server func() *Server) *Metrics {
	describe := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("dbops_proxy_"+name, help, labels, nil)
	}
	return &Metrics{
		server: server,
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "dbops_proxy_refused_total", Help: "Connections answered with an error before a session began, by its SQLSTATE.",
		}, []string{"sqlstate"}),
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "dbops_proxy_sessions_ended_total", Help: "Sessions that have ended, by how.",
		}, []string{"class"}),
		login: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "dbops_proxy_login_seconds", Help: "From the client's password to the session upstream.",
			Buckets: []float64{.002, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"database"}),
		connections: describe("connections", "Connections that are open, by database and state.", "database", "instance", "state"),
		accepted:    describe("accepted_total", "Connections that came, whatever became of them; not cancel requests, nor those that left without a word."),
		bytes:       describe("bytes_total", "Bytes relayed.", "direction"),
		missed:      describe("events_missed_total", "Events that a slow reader of them did not get."),
		expiry:      describe("upstream_certificate_expiry_timestamp_seconds", "Until when the certificate is good that an instance showed last.", "instance"),
	}
}

// Observe counts an event.
func (m *Metrics) Observe(e Event) {
	switch e.Kind {
	case "open":
		m.login.WithLabelValues(e.Connection.Database).Observe(e.Took.Seconds())
	case "close":
		m.ended.WithLabelValues(class(e.Reason)).Inc()
	case "refused":
		if e.SQLState != "" {
			m.refused.WithLabelValues(e.SQLState).Inc()
		}
	}
}

// class is the kind of a session's end; reasons may name addresses.
func class(reason string) string {
	for _, c := range []struct{ prefix, class string }{
		{"the client said goodbye", "goodbye"},
		{"the client closed", "client_closed"},
		{"the client", "client_lost"},
		{"the upstream", "upstream_lost"},
		{"the server", "server_ended"},
		{"the proxy", "shutdown"},
		{"killed", "killed"},
	} {
		if strings.HasPrefix(reason, c.prefix) {
			return c.class
		}
	}
	return "other"
}

// Describe implements [prometheus.Collector].
func (m *Metrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.connections, m.accepted, m.bytes, m.missed, m.expiry} {
		to <- d
	}
	m.refused.Describe(to)
	m.ended.Describe(to)
	m.login.Describe(to)
}

// Collect implements [prometheus.Collector].
func (m *Metrics) Collect(to chan<- prometheus.Metric) {
	m.refused.Collect(to)
	m.ended.Collect(to)
	m.login.Collect(to)
	s := m.server()
	if s == nil {
		return
	}
	type key struct{ database, instance, state string }
	open := map[key]int{}
	for _, c := range s.Connections() {
		open[key{c.Database, c.Instance, strings.ReplaceAll(c.State, " ", "_")}]++
	}
	for k, n := range open {
		to <- prometheus.MustNewConstMetric(m.connections, prometheus.GaugeValue, float64(n), k.database, k.instance, k.state)
	}
	t := s.Totals()
	count := func(d *prometheus.Desc, n int64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	count(m.accepted, t.Accepted)
	count(m.bytes, t.FromClient, "from_client")
	count(m.bytes, t.ToClient, "to_client")
	count(m.missed, t.Missed)
	s.expiries.Range(func(k, v any) bool {
		instance, _ := k.(string)
		at, _ := v.(time.Time)
		to <- prometheus.MustNewConstMetric(m.expiry, prometheus.GaugeValue, float64(at.Unix()), instance)
		return true
	})
}

// noteCertificate remembers until when the server's certificate is good, where the connection tells.
func (s *Server) noteCertificate(instance string, conn net.Conn) {
	for range 4 {
		if t, ok := conn.(interface{ ConnectionState() tls.ConnectionState }); ok {
			if all := t.ConnectionState().PeerCertificates; len(all) > 0 {
				s.expiries.Store(instance, all[0].NotAfter)
			}
			return
		}
		below, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return
		}
		conn = below.NetConn()
	}
}

// Ages tell of moments, by the instance they are of.
type Ages struct {
	desc  *prometheus.Desc
	read  func() map[string]time.Time
	value func(time.Time) float64
}

// NewAges returns a gauge of seconds since what read tells, by instance.
func NewAges(name, help string, read func() map[string]time.Time) *Ages {
	return newAges(name, help, read, func(at time.Time) float64 { return time.Since(at).Seconds() })
}

// NewTimes returns a gauge of the moments that read tells, by instance.
func NewTimes(name, help string, read func() map[string]time.Time) *Ages {
	return newAges(name, help, read, func(at time.Time) float64 { return float64(at.Unix()) })
}

func newAges(name, help string, read func() map[string]time.Time, value func(time.Time) float64) *Ages {
	return &Ages{desc: prometheus.NewDesc("dbops_proxy_"+name, help, []string{"instance"}, nil), read: read, value: value}
}

// Describe implements [prometheus.Collector].
func (a *Ages) Describe(to chan<- *prometheus.Desc) { to <- a.desc }

// Collect implements [prometheus.Collector].
func (a *Ages) Collect(to chan<- prometheus.Metric) {
	for instance, at := range a.read() {
		to <- prometheus.MustNewConstMetric(a.desc, prometheus.GaugeValue, a.value(at), instance)
	}
}
