// Package sessions keeps the proxies that this process has open, whichever page is on the screen.
//
// A proxy outlives the page that started it: clients stay connected while a person looks at something else. [Set] is the part
// of the root model that knows them; it reads each proxy's events, samples its traffic once a second, and closes it on demand.
package sessions

import (
	"cmp"
	"slices"
	"time"

	"dbops/internal/app"
	"dbops/internal/config"
	"dbops/internal/proxy"
	"dbops/internal/secret"
	"dbops/internal/tui/core"
	"dbops/internal/tui/text"
	"dbops/internal/tui/work"
)

// Phase is where a proxy is in its life.
type Phase uint8

// The phases.
const (
	Stopped  Phase = iota // never started, or stopped by a person
	Starting              // OpenProxy has not answered yet
	Running
	Stopping // draining
	Ended    // ended by itself, or could not start: Err says why
)

const (
	keepEvents  = 5000
	keepSamples = 240
)

// State is one environment's proxy as it was last seen. Its slices and maps are never changed once they are in a State.
type State struct {
	Environment string
	Phase       Phase
	Access      config.Access // of the proxy, or of the one to start
	Addr        string
	URIs        []URI
	Since       time.Time // when the phase began
	Err         error     // why it ended

	Connections []proxy.Connection // ordered by id, which is the order of arrival
	Rates       map[uint64]Rate    // by connection
	Totals      proxy.Totals
	Sent, Recv  []int64 // bytes in each past second, oldest first; sent by clients, received by clients
	Events      []proxy.Event
	Sampled     time.Time // when connections and totals were read

	handle   core.Proxy
	events   <-chan proxy.Event
	scope    work.Scope
	sampling bool
}

// URI is one database's connection string. The whole of it holds the proxy's password.
type URI struct {
	Database, Instance string
	Masked             string // for the screen
	Full               secret.Value
}

// Rate is bytes a second, as a client sees it.
type Rate struct{ Sent, Recv int64 }

// Open tells whether clients can be connected.
func (s State) Open() bool { return s.Phase == Running || s.Phase == Stopping }

// Live is the number of clients that closing the proxy would cut.
func (s State) Live() int {
	if !s.Open() {
		return 0
	}
	return max(s.Totals.Open, len(s.Connections))
}

// Rate is the traffic of the last second.
func (s State) Rate() Rate {
	var r Rate
	if n := len(s.Sent); n > 0 {
		r.Sent = s.Sent[n-1]
	}
	if n := len(s.Recv); n > 0 {
		r.Recv = s.Recv[n-1]
	}
	return r
}

// withURIs hides the password of each URI.
func (s State) withURIs(in []app.DatabaseURI) State {
	s.URIs = make([]URI, len(in))
	for i, u := range in {
		s.URIs[i] = URI{Database: u.Database, Instance: u.Instance, Masked: text.MaskURI(u.URI), Full: secret.New(u.URI)}
	}
	return s
}

// withEvents appends to a ring, in a copy.
func (s State) withEvents(in []proxy.Event) State {
	all := append(slices.Clip(s.Events), in...)
	if over := len(all) - keepEvents; over > 0 {
		all = slices.Clone(all[over:])
	}
	s.Events = all
	return s
}

// withSample takes over what a proxy said of itself and works out the rates since the sample before.
func (s State) withSample(m sampledMsg) State {
	s.sampling = false
	seconds := m.at.Sub(s.Sampled).Seconds()
	perSecond := func(now, before int64) int64 {
		if seconds <= 0 {
			return 0
		}
		return int64(float64(max(0, now-before)) / seconds)
	}
	rates := make(map[uint64]Rate, len(m.connections))
	before := make(map[uint64]proxy.Connection, len(s.Connections))
	for _, c := range s.Connections {
		before[c.ID] = c
	}
	for _, c := range m.connections {
		if b, ok := before[c.ID]; ok {
			rates[c.ID] = Rate{Sent: perSecond(c.FromClient, b.FromClient), Recv: perSecond(c.ToClient, b.ToClient)}
		}
	}
	if !s.Sampled.IsZero() {
		s.Sent = pushSample(s.Sent, perSecond(m.totals.FromClient, s.Totals.FromClient))
		s.Recv = pushSample(s.Recv, perSecond(m.totals.ToClient, s.Totals.ToClient))
	}
	s.Rates, s.Totals, s.Sampled = rates, m.totals, m.at
	s.Connections = slices.SortedFunc(slices.Values(m.connections), func(a, b proxy.Connection) int {
		return cmp.Compare(a.ID, b.ID)
	})
	return s
}

func pushSample(ring []int64, v int64) []int64 {
	if len(ring) >= keepSamples {
		ring = ring[len(ring)-keepSamples+1:]
	}
	return append(slices.Clone(ring), v)
}
