package proxy

import (
	"sync"
	"time"
)

// Phase is a part of a login: asking for the address and credentials, dialling, or logging in. Of a login that failed the last one did. One
// that is tried again has them again.
type Phase struct {
	Name     string // "credentials", "dial", "login"
	From, To time.Time
}

// phases are those of one connection. Nil notes nothing.
type phases struct {
	mu    sync.Mutex // pgconn dials once more in the background after a broken login
	all   []Phase
	ended bool
}

// phasesMax bounds what is kept of an instance that is waited for.
const phasesMax = 60

func (p *phases) begin(name string) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended || len(p.all) == phasesMax {
		return
	}
	now := time.Now()
	p.close(now)
	p.all = append(p.all, Phase{Name: name, From: now})
}

// close ends the phase that is under way. p.mu is held.
func (p *phases) close(now time.Time) {
	if n := len(p.all); n > 0 && p.all[n-1].To.IsZero() {
		p.all[n-1].To = now
	}
}

// end ends the login.
func (p *phases) end() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.close(time.Now())
	p.ended = true
}

// take returns the phases, and keeps none.
func (p *phases) take() []Phase {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	all := p.all
	p.all = nil
	return all
}
