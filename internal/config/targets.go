package config

import (
	"cmp"
	"regexp"
	"time"
)

// Span is a length of time in hours, minutes and seconds: 1h30m, 45s.
type Span string

var spanSyntax = regexp.MustCompile(`^([0-9]{1,4}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?$`)

// Duration is its length; zero if it is empty.
func (s Span) Duration() time.Duration {
	d, _ := time.ParseDuration(string(s)) // Load saw to it
	return d
}

// TargetsOf are the targets of an instance, its own before the environment's.
func (e *Environment) TargetsOf(instance string) Targets {
	if e == nil {
		return Targets{}
	}
	t := e.Targets
	if i := e.Instances[instance]; i != nil {
		t.RPO, t.RTO = cmp.Or(i.Targets.RPO, t.RPO), cmp.Or(i.Targets.RTO, t.RTO)
	}
	return t
}

func (c *checker) targets(t Targets, s spot) {
	if !c.has(s, "targets", isMapping, false) {
		return
	}
	at := s.down("targets")
	for key, span := range map[string]Span{"rpo": t.RPO, "rto": t.RTO} {
		if c.has(at, key, isText, false) && (!spanSyntax.MatchString(string(span)) || span.Duration() <= 0) {
			c.report.atValue(at.down(key), "write it as in 5m or 1h30m", "this is no length of time")
		}
	}
}
