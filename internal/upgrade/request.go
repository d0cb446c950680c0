package upgrade

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// The engines of a copy.
const (
	EngineStream = "stream" // COPY to COPY out of one snapshot, nothing on disk
	EngineDump   = "dump"   // pg_dump into a folder, pg_restore out of it
)

// How much is compared.
const (
	VerifyFull   = "full"   // every row of every table
	VerifySample = "sample" // all are counted, one row in a hundred of the large ones is summed
	VerifyCount  = "count"  // all are counted
)

const sampled = 100 // one row in so many

// Request asks for an upgrade to a new instance.
type Request struct {
	To   int    `json:"to"`             // the major
	Name string `json:"name,omitempty"` // of the new instance, the provider's. Defaults to that of the source with -pgMAJOR
	// Into is an instance of dbops.yaml that is there already and holds nothing, in place of making one. A plain server needs it.
	Into      string   `json:"into,omitempty"`
	Databases []string `json:"databases,omitempty"` // by their names on the server; none: all
	Engine    string   `json:"engine,omitempty"`    // defaults to EngineStream
	// CatchUp lets clients write during the copy: logical replication brings the target up to date, and the cut-over lasts seconds.
	CatchUp bool `json:"catch_up,omitempty"`
	// FullIdentity lets rows of tables without a key be found by all their columns, while the catch-up lasts.
	FullIdentity bool `json:"full_identity,omitempty"`
	// NoWayBack leaves out the replication in reverse that begins with the cut-over of a catch-up.
	NoWayBack bool          `json:"no_way_back,omitempty"`
	Verify    string        `json:"verify,omitempty"` // defaults to VerifyFull
	Jobs      int           `json:"jobs,omitempty"`   // tables and indexes at once. Defaults to 2
	Grace     time.Duration `json:"grace_ns,omitempty"`
	Observe   time.Duration `json:"observe_ns,omitempty"` // after the switch. Defaults to a minute
	// Unattended goes through the gate of the cut-over: whoever approves the plan approves that.
	Unattended bool `json:"unattended,omitempty"`
}

const (
	defaultJobs    = 2
	defaultGrace   = 5 * time.Second
	defaultObserve = time.Minute
)

func (q Request) normal(source string) Request {
	q.Engine = cmp.Or(q.Engine, EngineStream)
	q.Verify = cmp.Or(q.Verify, VerifyFull)
	q.Jobs = cmp.Or(q.Jobs, defaultJobs)
	q.Grace = cmp.Or(q.Grace, defaultGrace)
	q.Observe = cmp.Or(q.Observe, defaultObserve)
	if q.Into == "" {
		q.Name = cmp.Or(q.Name, fmt.Sprintf("%s-pg%d", source, q.To))
	}
	return q
}

// wrong says what cannot be meant, and how to write it.
func (q Request) wrong() (text, remedy string) {
	switch {
	case q.To < 10 || q.To > 99:
		return fmt.Sprintf("%d is no major version of PostgreSQL", q.To), "give the major, as in --to 18"
	case q.Name != "" && q.Into != "":
		return "both a name for a new instance and one that is there are given", "give one of --name and --into"
	case q.Engine != EngineStream && q.Engine != EngineDump:
		return "there is no engine " + q.Engine, "choose stream or dump"
	case !slices.Contains([]string{VerifyFull, VerifySample, VerifyCount}, q.Verify):
		return "nothing is compared in the way " + q.Verify, "choose full, sample or count"
	case q.Grace < 0 || q.Observe < 0:
		return "a time cannot be negative", "give --grace and --observe as in 10s"
	case q.Jobs < 1 || q.Jobs > 64:
		return fmt.Sprintf("%d at once cannot be", q.Jobs), "choose 1 to 64 jobs"
	case q.CatchUp && q.Engine != EngineStream:
		return "catching up needs the snapshot of a replication slot, which only the engine stream takes", "leave --engine out"
	case q.FullIdentity && !q.CatchUp, q.NoWayBack && !q.CatchUp:
		return "full identities and the way back are for a catch-up", "add --catch-up, or leave them out"
	}
	return "", ""
}
