package creds

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"dbops/internal/op"
	"dbops/internal/secret"
)

// RotateRequest asks for new credentials of containers.
type RotateRequest struct {
	Containers []string `json:"containers"`
	// Grace is how long nobody must have been logged in with the old credential before it is disabled, in at least Polls looks.
	Grace Span `json:"grace"`
	Polls int  `json:"polls"`
	// Soak is how long the old credential stays disabled, and can be enabled again, before it is destroyed.
	Soak Span `json:"soak"`
	// Compromised ends the old credential, and every session that has it, right after the new one is current.
	Compromised bool   `json:"compromised,omitempty"`
	Reason      string `json:"reason,omitempty"`
}

// Span is a length of time, written as in 1m30s.
type Span time.Duration

// MarshalText writes it.
func (s Span) MarshalText() ([]byte, error) { return []byte(time.Duration(s).String()), nil }

// UnmarshalText reads it.
func (s *Span) UnmarshalText(b []byte) error {
	d, err := time.ParseDuration(string(b))
	*s = Span(d)
	return err
}

func (s Span) String() string { return time.Duration(s).String() }

// The defaults of a rotation.
const (
	DefaultGrace = 30 * time.Second
	DefaultSoak  = 5 * time.Minute
	DefaultPolls = 3
)

// The steps of a rotation.
const (
	stepPending = "pending"
	stepSet     = "set"
	stepVerify  = "verify"
	stepPromote = "promote"
	stepCut     = "cut"
	stepRollout = "rollout"
	stepDrain   = "drain"
	stepDisable = "disable"
	stepSoak    = "soak"
	stepScrub   = "scrub"
)

func rotate(d Deps) op.Kind {
	return op.Operation[RotateRequest, Facts]{
		Kind: RotateKind, Words: words(),
		Observe: func(ctx context.Context, t op.Target, r RotateRequest) (Facts, error) {
			return d.observe(ctx, t, r.Containers, false)
		},
		Derive: planRotate,
		Steps: func(t op.Target, r RotateRequest, f Facts) []op.Step {
			m := moving{Deps: d, t: t, all: f.Containers, grace: time.Duration(r.Grace), polls: r.Polls, onward: r.Compromised}
			names := containerNames(f.Containers)
			steps := []op.Step{
				{Name: stepPending, Title: "put a new credential, pending, where " + names + " will read it", Do: m.pend, Undo: m.unpend, UndoTitle: "take the pending credential out of use"},
				{Name: stepSet, Title: "give the idle slot its verifier", Do: m.set, Undo: m.unset, UndoTitle: "wait until nobody is logged in as the new slot, then let it log in no more"},
				{Name: stepVerify, Title: "log in with the pending credential, and see that it acts as the container", Do: m.verify},
				{Name: stepPromote, Title: "make the pending credential current", Do: m.promote, Undo: m.unpromote, UndoTitle: "make the old credential current again, and roll out"},
			}
			if r.Compromised {
				return append(steps,
					op.Step{Name: stepCut, Title: "disable the old slot, destroy its password, and end its sessions", Do: m.cut, Onward: true},
					op.Step{Name: stepRollout, Title: "roll " + names + " out", Do: m.rollout, Onward: true},
					op.Step{Name: stepScrub, Title: "take the old credential out of use where it was delivered", Do: m.scrub, Onward: true},
				)
			}
			return append(steps,
				op.Step{Name: stepRollout, Title: "roll " + names + " out", Do: m.rollout},
				op.Step{Name: stepDrain, Title: fmt.Sprintf("wait until nobody has been logged in with the old credential for %s", r.Grace), Do: m.drain},
				op.Step{Name: stepDisable, Title: "let the old slot log in no more", Do: m.disable, Undo: m.enable, UndoTitle: "let the old slot log in again"},
				op.Step{Name: stepSoak, Title: fmt.Sprintf("wait %s: until then the old credential can be enabled again", r.Soak), Do: m.soak(time.Duration(r.Soak))},
				op.Step{Name: stepScrub, Title: "destroy the old password, and take the old credential out of use where it was delivered", Do: m.scrub, Onward: true},
			)
		},
	}.AsKind()
}

// Unusable are the containers of a rotation's plan that forbid it.
func Unusable(p *op.Plan) (names []string) {
	var r RotateRequest
	var f Facts
	if p.Kind != RotateKind || json.Unmarshal(p.Request, &r) != nil || json.Unmarshal(p.Facts, &f) != nil {
		return nil
	}
	for i := range f.Containers {
		found := rotatable(p.Target, f, &f.Containers[i])
		if r.Compromised {
			found = compromised(found)
		}
		if blocks(found) {
			names = append(names, f.Containers[i].Name)
		}
	}
	return names
}

func containerNames(all []ContainerFacts) string {
	names := make([]string, len(all))
	for i, c := range all {
		names[i] = c.Name
	}
	if len(names) > 4 {
		return fmt.Sprintf("%s and %d others", strings.Join(names[:3], ", "), len(names)-3)
	}
	return strings.Join(names, ", ")
}

// planRotate works out what a rotation means.
func planRotate(t op.Target, r RotateRequest, f Facts) op.Draft {
	d := op.Draft{
		Title:    fmt.Sprintf("rotate the credential of %s on %s", containerNames(f.Containers), t),
		Downtime: op.Downtime{Expected: "none", Text: "each container keeps its old credential until it has the new one, and the old one goes when nobody uses it"},
		Back:     "rotate again, once it is done; until the old password is destroyed: dbops runs cancel RUN, then dbops runs undo RUN",
	}
	if r.Compromised {
		d.Title += ", the old one being compromised"
		d.Downtime = op.Downtime{Expected: "brief", Text: "the sessions of the old credential are ended before the containers are rolled out: their queries fail until then"}
		d.Back = "none: the old credential is destroyed; rotate again"
		d.Notes = append(d.Notes, "reason: "+r.Reason)
	}
	if len(f.Containers) == 0 {
		d.Downtime = op.Downtime{Expected: "none", Text: "nothing changes"}
		d.Notes = []string{"dbops.yaml declares no container on " + t.String()}
		return d
	}
	d.Findings = capable(t, f)
	for i := range f.Containers {
		c := &f.Containers[i]
		found := rotatable(t, f, c)
		if r.Compromised {
			found = compromised(found)
		}
		d.Findings = append(d.Findings, found...)
		if f := lagging(c, time.Duration(r.Soak)); f != nil {
			d.Findings = append(d.Findings, *f)
		}
		d.Changes = append(d.Changes, rotateChanges(c)...)
	}
	return d
}

// lagging warns where a place may go on naming the old version for longer than its password lives.
func lagging(c *ContainerFacts, soak time.Duration) *op.Finding {
	const enough = time.Hour
	for _, p := range c.Places {
		if strings.HasPrefix(p.Place, secret.SchemeGCP+":") && soak < enough {
			return &op.Finding{
				Severity: op.Warn, Check: "alias-lag", Text: c.Name + ": Google moves the alias current within minutes, sometimes hours; what starts by itself meanwhile reads the old password",
				Evidence: fmt.Sprintf("the old password is destroyed %s after it is disabled", soak),
				Remedy:   "a longer --soak leaves more time to bring it back; a rollout that names the version's number is not concerned",
			}
		}
	}
	return nil
}

func rotateChanges(c *ContainerFacts) []op.Change {
	all := []op.Change{
		{Target: c.Name, Setting: "active_slot", From: orNone(c.User), To: c.idle().Role},
	}
	for _, p := range c.Places {
		all = append(all, op.Change{Target: c.Name, Setting: p.Place, From: orNone(p.Current), To: "a new version, of " + c.idle().Role})
	}
	return all
}
