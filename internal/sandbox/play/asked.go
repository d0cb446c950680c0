package play

import (
	"slices"
	"sync"
)

// Asked remembers which permissions principals were asked for, granted or not. Its zero value is ready; its methods may be called from
// any goroutine.
type Asked struct {
	mu  sync.Mutex
	all map[string]map[string]bool // by principal
}

// Note remembers that a principal was asked for a permission.
func (a *Asked) Note(principal, permission string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.all == nil {
		a.all = map[string]map[string]bool{}
	}
	if a.all[principal] == nil {
		a.all[principal] = map[string]bool{}
	}
	a.all[principal][permission] = true
}

// Of lists what principals were asked for since the last [Asked.Forget], sorted.
func (a *Asked) Of(principals ...string) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []string
	for _, p := range principals {
		for permission := range a.all[p] {
			out = append(out, permission)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Forget begins anew.
func (a *Asked) Forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all = nil
}
