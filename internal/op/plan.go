// Package op is the engine that every change goes through: plan, approve, run, resume, undo.
//
// An operation is a [Kind]: it observes the world, derives a [Plan] from what it saw, and says which [Step]s bring the plan about. A plan
// is data with a hash; a run is a journal of steps, each safe to take twice, each recorded before and after. The engine takes the lease,
// compares the world with what the plan was made from, and lets no change happen whose intent is not written in the audit log.
package op

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/renameio/v2"

	"dbops/internal/fault"
)

// PlanSchema is the schema of a plan's JSON.
const PlanSchema = "dbops/plan/v1"

// Target is what an operation changes.
type Target struct {
	Environment string `json:"environment"`
	Instance    string `json:"instance"`
	Protected   bool   `json:"protected"`
}

// String is environment/instance: the name of its lease.
func (t Target) String() string { return t.Environment + "/" + t.Instance }

// Actor is a person or a robot, and how that is known.
type Actor struct {
	Name string `json:"name"` // an ARN, an e-mail address, a principal of the allowed signers; user@host if unverified
	Via  string `json:"via"`  // aws, google, ssh, ssh-session, unverified
}

// The ways in which an actor is known.
const (
	ViaAWS        = "aws"
	ViaGoogle     = "google"
	ViaSSH        = "ssh"
	ViaSession    = "ssh-session" // dbops serve saw the person log in with an SSH key; nothing is signed
	ViaUnverified = "unverified"  // this machine's word only
)

// Verified tells whether somebody else than this machine vouches for the name.
func (a Actor) Verified() bool { return a.Name != "" && a.Via != "" && a.Via != ViaUnverified }

func (a Actor) String() string {
	if a.Verified() {
		return a.Name
	}
	return a.Name + " (unverified)"
}

// Severity of a finding.
type Severity string

// The severities.
const (
	Block Severity = "block" // the plan cannot be run
	Warn  Severity = "warn"
	Info  Severity = "info"
)

// Finding is one thing a check saw.
type Finding struct {
	Severity Severity `json:"severity"`
	Check    string   `json:"check"` // a stable name: "pending-modifications"
	Text     string   `json:"text"`
	Evidence string   `json:"evidence,omitempty"`
	Remedy   string   `json:"remedy,omitempty"`
	// Passing says that it is so for the moment, such as another run: it does not follow from what the plan was made from.
	Passing bool `json:"passing,omitempty"`
}

// Change is one setting that changes.
type Change struct {
	Target  string `json:"target,omitempty"` // empty: the plan's
	Setting string `json:"setting"`
	From    string `json:"from,omitempty"`
	To      string `json:"to"`
}

// Downtime is what is known about how long the databases cannot be reached. Numbers are never invented.
type Downtime struct {
	Expected string `json:"expected"` // none, brief, some, unknown
	Text     string `json:"text"`     // what is known, and from where
}

// StepInfo is a step as a plan shows it, with all that decides how its run goes on: another version of dbops goes by it, too.
type StepInfo struct {
	Name   string `json:"name"`
	Title  string `json:"title"`
	Gate   bool   `json:"gate,omitempty"`
	Undo   string `json:"undo,omitempty"`   // what undoing it does; empty: it changes nothing, or cannot be undone
	Final  bool   `json:"final,omitempty"`  // its failure ends the run
	Onward bool   `json:"onward,omitempty"` // where it fails, nobody is offered to undo
}

// Draft is what an operation derives from a request and from what it saw: the part of a plan that depends on nothing else.
type Draft struct {
	Title    string    `json:"title"`
	Findings []Finding `json:"findings,omitempty"`
	Changes  []Change  `json:"changes,omitempty"` // none: nothing would be changed
	Downtime Downtime  `json:"downtime"`
	Cost     string    `json:"cost,omitempty"` // which way it goes, and why
	Notes    []string  `json:"notes,omitempty"`
	Back     string    `json:"back,omitempty"` // how to get back when it is done: a command or a sentence
	Also     []string  `json:"also,omitempty"` // other targets it needs for itself, such as an instance that it makes
	// Untouched says that nothing is changed that other runs on the target depend on: it is only read, or sessions of it are ended. Its lease is not
	// taken, so a restore, or the end of a session that is in the way, need not wait for whatever else goes on there.
	Untouched bool `json:"untouched,omitempty"`
}

// Plan is what an operation will do, worked out before anything changes. Its JSON, whose SHA-256 is [Plan.Hash], is what is approved.
type Plan struct {
	Schema string `json:"schema"`
	ID     string `json:"id"`
	Kind   string `json:"kind"`
	Target
	Approvals int             `json:"approvals"` // how many others must say yes
	Request   json.RawMessage `json:"request"`
	Facts     json.RawMessage `json:"facts"` // what it was made from; the run compares
	Draft
	Steps     []StepInfo `json:"steps"`
	Requester Actor      `json:"requester"`
	Created   time.Time  `json:"created"`
	Expires   time.Time  `json:"expires"`
	Tool      string     `json:"tool"` // the version of dbops
}

// Encode is the plan's JSON in the one form that is hashed.
func (p *Plan) Encode() ([]byte, error) {
	b, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encode the plan: %w", err)
	}
	return b, nil
}

// Hash is the SHA-256 of the plan's JSON, in hexadecimal.
func (p *Plan) Hash() string {
	b, err := p.Encode()
	if err != nil {
		return "" // a plan was made from JSON, or could not be made
	}
	return hashOf(b)
}

func hashOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Blocked returns the findings that forbid the plan.
func (p *Plan) Blocked() []Finding {
	var out []Finding
	for _, f := range p.Findings {
		if f.Severity == Block {
			out = append(out, f)
		}
	}
	return out
}

// Nothing tells whether it changes nothing: it is so already or, where the plan is blocked, what blocks it says why nothing would be.
func (p *Plan) Nothing() bool { return len(p.Changes) == 0 }

// leases are the targets that the plan's run needs for itself, in order.
func (p *Plan) leases() []string {
	targets := slices.Clone(p.Also)
	if !p.Untouched {
		targets = append(targets, p.Target.String())
	}
	if len(targets) == 0 { // it needs none, and is worked on by one runner all the same
		targets = append(targets, "run/"+p.RunID())
	}
	slices.Sort(targets)
	return slices.Compact(targets)
}

// RunID is the name of the plan's run: a plan is run once, so that asking twice is asking again.
func (p *Plan) RunID() string { return "r" + p.Hash()[:10] }

// decodePlan reads a plan's JSON strictly.
func decodePlan(b []byte) (*Plan, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	p := &Plan{}
	if err := d.Decode(p); err != nil {
		return nil, err
	}
	if d.More() {
		return nil, errors.New("there is something after the plan")
	}
	if p.Schema != PlanSchema {
		return nil, fmt.Errorf("its schema is %q, not %q", p.Schema, PlanSchema)
	}
	return p, nil
}

// planFile is a plan in a file of its own, with the hash that it had when it was written.
type planFile struct {
	Schema string          `json:"schema"`
	Hash   string          `json:"hash"`
	Plan   json.RawMessage `json:"plan"`
}

const planFileSchema = "dbops/plan-file/v1"

// Save writes a plan to a file, for [Load].
func Save(path string, p *Plan) error {
	op := "save the plan to " + path
	body, err := p.Encode()
	if err != nil {
		return fault.New(fault.Internal, op, err)
	}
	b, err := json.MarshalIndent(planFile{planFileSchema, hashOf(body), body}, "", "  ")
	if err == nil {
		err = renameio.WriteFile(path, append(b, '\n'), 0o600, renameio.WithTempDir(filepath.Dir(path)))
	}
	if err != nil {
		return fault.New(fault.Usage, op, err)
	}
	return nil
}

const maxPlanFile = 16 << 20

// Load reads a plan from a file. One that was edited is a fault.Invalid.
func Load(path string) (*Plan, error) {
	op := "read the plan " + path
	info, err := os.Stat(path)
	if err != nil {
		return nil, fault.New(fault.Usage, op, err).Hint("a plan is saved with --plan --out FILE")
	}
	if info.Size() > maxPlanFile {
		return nil, fault.Newf(fault.Usage, op, "it is far too large for a plan")
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fault.New(fault.Usage, op, err)
	}
	var f planFile
	if err := json.Unmarshal(b, &f); err != nil || f.Schema != planFileSchema {
		return nil, fault.Newf(fault.Usage, op, "it is no plan of dbops").Hint("a plan is saved with --plan --out FILE")
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, f.Plan); err != nil {
		return nil, fault.New(fault.Usage, op, err)
	}
	p, err := decodePlan(compact.Bytes())
	if err != nil {
		return nil, fault.New(fault.Usage, op, err).Hint("make the plan again with this dbops")
	}
	if got := p.Hash(); got != f.Hash || hashOf(compact.Bytes()) != got {
		return nil, fault.Newf(fault.Invalid, op, "it was edited after it was made").Hint("make the plan again: an approval is for exactly one plan")
	}
	return p, nil
}
