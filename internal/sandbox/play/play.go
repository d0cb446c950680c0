// Package play is what the two played clouds share: the pace of their delays, faults on request, and state kept on disk.
package play

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/google/renameio/v2"
)

// Pace scales how long a cloud takes: 1 is as slow as the real one, 0.02 a demo. Its zero value waits for nothing.
type Pace float64

// Of returns how long something lasts that takes real in the cloud.
func (p Pace) Of(real time.Duration) time.Duration { return time.Duration(float64(real) * float64(p)) }

// Sleep waits p.Of(real), or returns ctx's error when it ends first.
func (p Pace) Sleep(ctx context.Context, real time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err // both may be over already, and then chance would decide
	}
	t := time.NewTimer(p.Of(real))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Effect is what a [Fault] does.
type Effect string

// The effects.
const (
	Throttle    Effect = "throttle"    // the API answers that there were too many requests
	Deny        Effect = "deny"        // the API answers that a permission is missing
	Stale       Effect = "stale"       // the API answers that the resource changed (Cloud SQL: 412)
	Unavailable Effect = "unavailable" // the API answers 503
	Drop        Effect = "drop"        // the API closes the connection without an answer
	Fail        Effect = "fail"        // the operation starts and ends with an error
	Hang        Effect = "hang"        // the operation starts and never ends
)

// Effects lists every effect.
var Effects = []Effect{Throttle, Deny, Stale, Unavailable, Drop, Fail, Hang}

// Fault asks for one failure. Empty fields match everything.
type Fault struct {
	Service string `json:"service,omitempty"` // rds, cloudwatch, cloudsql, monitoring, sts, secretsmanager, secretmanager
	Action  string `json:"action,omitempty"`  // DescribeDBInstances, instances.get, connectSettings ...
	Target  string `json:"target,omitempty"`  // the provider's name of the instance or secret
	Effect  Effect `json:"effect"`
	Count   int    `json:"count,omitempty"` // how many times; 0: until cleared
}

// Faults are the failures that were asked for. The zero value has none.
type Faults struct {
	mu  sync.Mutex
	all []*Fault
}

// Add asks for f.
func (fs *Faults) Add(f Fault) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.all = append(fs.all, &f)
}

// Clear takes every fault back.
func (fs *Faults) Clear() {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.all = nil
}

// List returns a copy of the faults that are still in force.
func (fs *Faults) List() []Fault {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	out := make([]Fault, 0, len(fs.all))
	for _, f := range fs.all {
		out = append(out, *f)
	}
	return out
}

// Take returns the effect of the first fault among want that matches, and counts it as used. The empty effect means none.
func (fs *Faults) Take(service, action, target string, want ...Effect) Effect {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for i, f := range fs.all {
		if !matches(f.Service, service) || !matches(f.Action, action) || !matches(f.Target, target) || !has(want, f.Effect) {
			continue
		}
		if f.Count > 0 {
			if f.Count--; f.Count == 0 {
				fs.all = append(fs.all[:i], fs.all[i+1:]...)
			}
		}
		return f.Effect
	}
	return ""
}

func matches(pattern, s string) bool { return pattern == "" || strings.EqualFold(pattern, s) }

func has(want []Effect, e Effect) bool {
	for _, w := range want {
		if w == e {
			return true
		}
	}
	return false
}

// Save writes v as JSON to name under dir, atomically, readable by the owner only. An empty dir keeps nothing, for what lives only as
// long as a test.
func Save(dir, name string, v any) error {
	if dir == "" {
		return nil
	}
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return fmt.Errorf("save %s: %w", name, err)
	}
	return renameio.WriteFile(filepath.Join(dir, name), b, 0o600, renameio.WithTempDir(dir))
}

// Load reads what [Save] wrote into v. It tells whether there was anything.
func Load(dir, name string, v any) (bool, error) {
	if dir == "" {
		return false, nil
	}
	b, err := os.ReadFile(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return false, fmt.Errorf("read %s: %w", filepath.Join(dir, name), err)
	}
	return true, nil
}
