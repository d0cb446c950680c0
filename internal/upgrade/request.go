package upgrade

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"dbops/internal/cloud"
	"dbops/internal/fault"
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

// What a request means that does not say it. A time of none is a nanosecond.
const (
	DefaultJobs    = 2
	DefaultGrace   = 5 * time.Second
	DefaultObserve = time.Minute
)

func (q Request) normal(source string) Request {
	q.Engine = cmp.Or(q.Engine, EngineStream)
	q.Verify = cmp.Or(q.Verify, VerifyFull)
	q.Jobs = cmp.Or(q.Jobs, DefaultJobs)
	q.Grace = cmp.Or(q.Grace, DefaultGrace)
	q.Observe = cmp.Or(q.Observe, DefaultObserve)
	if q.Into == "" && source != "" {
		q.Name = cmp.Or(q.Name, fmt.Sprintf("%s-pg%d", source, q.To))
	}
	return q
}

// Check refuses what cannot be meant, whatever the instance is: a fault.Usage with what can be.
func (q Request) Check() error {
	no := func(hint, format string, args ...any) error {
		return fault.Newf(fault.Usage, "plan an upgrade", format, args...).Hint("%s", hint)
	}
	q = q.normal("")
	switch {
	case q.To < 10 || q.To > 99:
		return no("give the major, as in --to 18", "%d is no major version of PostgreSQL", q.To)
	case q.Name != "" && q.Into != "":
		return no("give one of --name and --into", "both a name for a new instance and one that is there are given")
	case q.Engine != EngineStream && q.Engine != EngineDump:
		return no("choose stream or dump", "there is no engine %q", q.Engine)
	case !slices.Contains([]string{VerifyFull, VerifySample, VerifyCount}, q.Verify):
		return no("choose full, sample or count", "nothing is compared in the way %q", q.Verify)
	case q.Grace < 0 || q.Observe < 0:
		return no("give --grace and --observe as in 10s", "a time cannot be negative")
	case q.Jobs < 1 || q.Jobs > maxJobs:
		return no(fmt.Sprintf("choose 1 to %d jobs", maxJobs), "%d at once cannot be", q.Jobs)
	case q.CatchUp && q.Engine != EngineStream:
		return no("leave --engine out", "catching up needs the snapshot of a replication slot, which only the engine stream takes")
	case q.FullIdentity && !q.CatchUp, q.NoWayBack && !q.CatchUp:
		return no("add --catch-up, or leave them out", "full identities and the way back are for a catch-up")
	}
	return nil
}

// maxJobs is how many tables may be copied at once.
const maxJobs = 64

// named refuses a name that a provider gives to no instance.
func named(provider cloud.Kind, name string) error {
	var rule string
	var most int
	switch provider {
	case cloud.RDS:
		rule, most = "1 to 63 lower-case letters, digits and single hyphens, first a letter, last no hyphen", 63
	case cloud.CloudSQL:
		rule, most = "lower-case letters, digits and hyphens, first a letter, last no hyphen; at most 97, with the project's name 98", 97
	default:
		return nil
	}
	if len(name) <= most && instanceName.MatchString(name) && (provider != cloud.RDS || !strings.Contains(name, "--")) {
		return nil
	}
	return fault.Newf(fault.Usage, "plan an upgrade", "no instance can be called %q", name).Hint("give --name: %s", rule)
}

var instanceName = regexp.MustCompile(`^[a-z]([a-z0-9-]*[a-z0-9])?$`)
