package drift

import (
	"fmt"
	"strings"

	"dbops/internal/cloud"
	"dbops/internal/config"
	"dbops/internal/fault"
)

// Schema is the schema of a [Report]'s JSON.
const Schema = "dbops/drift/v1"

// Report is how the managed settings of instances stand.
type Report struct {
	Schema    string   `json:"schema"`
	Instances []Looked `json:"instances"` // all that were looked at, in order
	Rows      []Row    `json:"rows"`
}

// Looked is one instance that was looked at.
type Looked struct {
	Environment string     `json:"environment"`
	Instance    string     `json:"instance"`
	Provider    cloud.Kind `json:"provider"`
	Profile     string     `json:"profile"`
	Problem     string     `json:"problem,omitempty"` // why it could not be looked at, or not wholly
	Hint        string     `json:"hint,omitempty"`

	// Err is the error of Problem. If the provider answered all the same, rows have statuses.
	Err error `json:"-"`
}

// Row is one setting of one instance. Values are text: "7", "true", "regional".
type Row struct {
	Environment string `json:"environment"`
	Instance    string `json:"instance"`
	Setting     string `json:"setting"`
	Status      Status `json:"status"`
	Declared    string `json:"declared,omitempty"`
	Live        string `json:"live,omitempty"`
	LastApplied string `json:"last_applied,omitempty"`
	Cause       Cause  `json:"cause,omitempty"`
	Detail      string `json:"detail,omitempty"` // one sentence for a person
	Stays       string `json:"stays,omitempty"`  // why dbops does not set it back, whatever is overwritten; empty: it can
	Remedy      string `json:"remedy,omitempty"`
}

// Count is how many rows have a status.
func (r *Report) Count(s Status) (n int) {
	for _, row := range r.Rows {
		if row.Status == s {
			n++
		}
	}
	return n
}

// Err is nil if everything is as declared, or is about to be. Drift is a fault.Findings; without any, what could not be looked at is
// an error, too, so that nothing passes that nobody has seen.
func (r *Report) Err() error {
	const op = "compare what is declared with what is live"
	if n := r.Count(Drifted); n > 0 {
		return fault.Newf(fault.Findings, op, "%s drifted", plural(n, "setting")).Hint("dbops drift -e ENV INSTANCE --fix --plan shows what would be changed")
	}
	for _, i := range r.Instances {
		if i.Err != nil {
			return fault.New(fault.KindOf(i.Err), op, i.Err).Hint("%s", i.Hint)
		}
	}
	for _, row := range r.Rows {
		if row.Status == Unknown {
			return fault.Newf(fault.Unavailable, op, "%s/%s: %s: %s", row.Environment, row.Instance, row.Setting, row.Detail).Hint("%s", row.Remedy)
		}
	}
	return nil
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// row is a verdict for those who read reports.
func (v view) row(environment, instance string, j verdict) Row {
	r := Row{
		Environment: environment, Instance: instance, Setting: j.name, Status: j.Status, Declared: j.Declared, Live: j.Live,
		LastApplied: j.Last, Cause: j.Cause, Detail: v.detail(j), Stays: v.stays(j), Remedy: v.remedy(environment, instance, j),
	}
	if r.Stays != "" {
		r.Detail = strings.TrimPrefix(r.Detail+"; it is not set back: "+r.Stays, "; ")
	}
	return r
}

// stays says why a setting that drifted is not set back even where that is asked for by name; empty: it is.
func (v view) stays(j verdict) string {
	if j.Status != Drifted {
		return ""
	}
	switch v.why(FixRequest{Overwrite: []string{j.name}}, j) {
	case notInPlace:
		return cannotInPlace
	case noPrivateAddress:
		return cannotReach
	}
	return ""
}

// detail says what is known, in a sentence.
func (v view) detail(j verdict) string {
	var out []string
	switch j.Cause {
	case Console:
		out = append(out, "somebody changed it elsewhere, from "+j.Last+" to "+j.Live)
	case Declaration:
		out = append(out, "dbops last applied "+j.Last+", and "+j.Declared+" is declared")
	case Both:
		out = append(out, "somebody changed it elsewhere, from "+j.Last+" to "+j.Live+", and "+j.Declared+" is declared")
	case NeverApplied:
		out = append(out, "dbops has not applied it yet")
	case NoBaseline:
		out = append(out, "who changed it is not known: what was last applied cannot be read")
	case NotTold:
		out = append(out, v.untold(j.name))
	case PendingChange, Unreachable:
	}
	if j.Leaves || j.Status == Pending {
		out = append(out, "the provider has accepted "+j.Soon+" and will apply it"+v.when())
	}
	return strings.Join(out, "; ")
}

func (v view) when() string {
	if v.Window == "" {
		return ""
	}
	return " in the maintenance window " + v.Window
}

func (v view) untold(name string) string {
	switch {
	case v.Provider == cloud.RDS && name == config.TLSRequired:
		return "RDS does not tell rds.force_ssl of the parameter group" + v.group()
	case v.Provider == cloud.RDS && name == config.Availability:
		return "a member of a cluster has what the cluster has"
	}
	return "the provider does not tell it"
}

func (v view) group() string {
	if v.Group == "" {
		return ""
	}
	return " " + v.Group
}

// remedy says what to do about a verdict.
func (v view) remedy(environment, instance string, j verdict) string {
	fix := fmt.Sprintf("dbops drift -e %s %s --fix", environment, instance)
	adopt := fmt.Sprintf("declare %s: %s for %s/%s in dbops.yaml", j.name, j.Live, environment, instance)
	switch {
	case j.Status == Unmanaged:
		return adopt + " to manage it"
	case j.Status == Unknown && v.Provider == cloud.RDS && j.name == config.TLSRequired:
		return "allow rds:DescribeDBParameters"
	case j.Status == Unknown:
		return "look at it in the provider's console"
	case j.Status == Pending:
		return "wait, or apply it now: " + fix + " --overwrite " + j.name
	case j.Status == InSync:
		return ""
	case j.comes != "":
		return "it comes with " + j.comes + ": declare and fix that"
	case j.want == nil:
		return v.byHand(j)
	case v.lonely(j):
		return "give it a private network or Private Service Connect first; or " + adopt
	case j.Cause == PendingChange:
		return fix + " --overwrite " + j.name + " takes that back; or declare " + j.name + ": " + j.Soon + " in dbops.yaml"
	case j.Cause == Declaration && !destroys(j.name, j.Live, j.Declared):
		return fix + "; or " + adopt
	case j.elsewhere() || destroys(j.name, j.Live, j.Declared):
		return fix + " --overwrite " + j.name + "; or " + adopt
	}
	return fix
}

// byHand is how to change what cannot be changed in place.
func (v view) byHand(j verdict) string {
	if v.Provider == cloud.RDS && j.name == config.TLSRequired {
		value := map[string]string{"true": "1", "false": "0"}[j.Declared]
		if strings.HasPrefix(v.Group, "default.") {
			return fmt.Sprintf("set rds.force_ssl to %s in a parameter group of your own, and attach it: %s cannot be changed", value, v.Group)
		}
		return fmt.Sprintf("set rds.force_ssl to %s in the parameter group%s", value, v.group())
	}
	return "change it in the provider's console"
}
