// Package meter plays what a cloud measures of the servers of a world: one point a minute, which is shown some time later.
//
// The figures are real: of the server's processes, sessions and files. They are taken when somebody asks for the minute that has just become
// visible, so that nothing is measured while nobody looks; minutes in which nobody asked are missing. A stopped server has no new points.
package meter

import (
	"context"
	"runtime"
	"sync"
	"time"

	"dbops/internal/sandbox/world"
)

// memory is how long points are kept.
const memory = 3 * time.Hour

// Point is what was measured in one minute.
type Point struct {
	At          time.Time      // the minute's begin
	CPU         *float64       // share of the processors, 0 to 1; nil where the system does not tell
	Connections map[string]int // by database
	Bytes       int64          // of the data folder
}

// Value is a point of one metric.
type Value struct {
	At    time.Time
	Value float64
}

// Server is what is measured, a [world.Server].
type Server interface {
	Usage(ctx context.Context) (world.Usage, error)
}

// Meter measures servers. Its methods may be called from any goroutine.
type Meter struct {
	delay time.Duration
	now   func() time.Time

	mu      sync.Mutex
	servers map[string]*series
}

// series is what is known of one server.
type series struct {
	mu     sync.Mutex // held while the server is measured
	points []Point    // oldest first
	last   world.Usage
}

// New returns a meter whose points are shown delay after their minute began. A nil now is time.Now.
func New(delay time.Duration, now func() time.Time) *Meter {
	if now == nil {
		now = time.Now
	}
	return &Meter{delay: delay, now: now, servers: map[string]*series{}}
}

// Points are those of a server from a moment on, before another, oldest first. The id is the server's, whatever becomes of it.
func (m *Meter) Points(ctx context.Context, id string, s Server, from, to time.Time) []Point {
	m.mu.Lock()
	of := m.servers[id]
	if of == nil {
		of = &series{}
		m.servers[id] = of
	}
	m.mu.Unlock()
	of.mu.Lock()
	defer of.mu.Unlock()
	shown := m.now().UTC().Add(-m.delay).Truncate(time.Minute)
	if len(of.points) == 0 || of.points[len(of.points)-1].At.Before(shown) {
		if u, err := s.Usage(ctx); err == nil { // else it has no figures of this minute
			of.add(shown, u)
		}
	}
	var out []Point
	for _, p := range of.points {
		if !p.At.Before(from) && p.At.Before(to) {
			out = append(out, p)
		}
	}
	return out
}

func (of *series) add(at time.Time, u world.Usage) {
	of.points = append(of.points, Point{At: at, CPU: share(of.last, u), Connections: u.Connections, Bytes: u.Bytes})
	of.last = u
	for at.Sub(of.points[0].At) > memory {
		of.points = of.points[1:]
	}
}

// share is how much of the processors was used since before; since the server was started, where it was not measured before, or was started anew.
func share(before, now world.Usage) *float64 {
	if now.Started.IsZero() {
		return nil
	}
	used, since := now.CPU, now.Started
	if before.Started.Equal(now.Started) && before.CPU <= now.CPU {
		used, since = now.CPU-before.CPU, before.At
	}
	took := now.At.Sub(since)
	if took <= 0 {
		return nil
	}
	return new(min(1, used.Seconds()/took.Seconds()/float64(runtime.NumCPU())))
}
