package backup

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"time"

	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/op"
)

// RestoreRequest asks for a new instance from a backup, or from the state of the target at a moment: exactly one of Backup, Time and Latest.
type RestoreRequest struct {
	Backup string    `json:"backup,omitempty"` // of the target
	Time   time.Time `json:"time,omitzero"`
	Latest bool      `json:"latest,omitempty"`
	To     string    `json:"to"` // the provider's name of the new instance
}

// RestoreReport is the output of step "verify".
type RestoreReport struct {
	Instance  string           `json:"instance"`
	From      string           `json:"from"`
	Endpoints []cloud.Endpoint `json:"endpoints"`
	Lost      []string         `json:"lost,omitempty"`    // what of the source could not be carried over
	Problem   string           `json:"problem,omitempty"` // why it could not be logged in to from here; it is there all the same
}

// Reach says whether a moment can be restored to.
type reach string

const (
	reachable reach = ""
	future    reach = "future"
	notYet    reach = "not-yet"
	tooEarly  reach = "too-early"
	noPITR    reach = "no-pitr"
)

type restoreFacts struct {
	Source cloud.Instance `json:"source"`
	Taken  bool           `json:"taken"`
	Backup string         `json:"backup,omitempty"` // how the backup is: "ready", "missing", the provider's word
	Reach  reach          `json:"reach,omitempty"`
}

func (q RestoreRequest) from() string {
	switch {
	case q.Backup != "":
		return "backup " + q.Backup
	case !q.Time.IsZero():
		return "its state at " + q.Time.UTC().Format(time.RFC3339)
	}
	return "its latest state"
}

func (q RestoreRequest) ask(source string) cloud.Restore {
	return cloud.Restore{Source: source, Target: q.To, Backup: q.Backup, Time: q.Time}
}

func (r *Room) restore() op.Operation[RestoreRequest, restoreFacts] {
	return op.Operation[RestoreRequest, restoreFacts]{
		Kind:    RestoreKind,
		Words:   words(),
		Observe: r.observeRestore,
		Derive:  deriveRestore,
		Steps: func(t op.Target, q RestoreRequest, f restoreFacts) []op.Step {
			return r.restoreSteps(t, q.from(), q.ask(f.Source.Name))
		},
	}
}

func (r *Room) observeRestore(ctx context.Context, t op.Target, q RestoreRequest) (f restoreFacts, err error) {
	c, live, err := r.look(ctx, t)
	if err != nil {
		return f, err
	}
	f.Source = seen(live)
	if f.Taken, err = taken(ctx, c, q.To, live.Provider); err != nil {
		return f, err
	}
	if q.Backup == "" {
		f.Reach, err = reachOf(ctx, c, live, q.Time)
		return f, err
	}
	all, err := c.Backups(ctx, live.Name)
	if err != nil {
		return f, err
	}
	f.Backup = "missing"
	if i := slices.IndexFunc(all, func(b cloud.Backup) bool { return b.ID == q.Backup }); i >= 0 {
		if f.Backup = all[i].State; all[i].Ready {
			f.Backup = "ready"
		}
	}
	return f, nil
}

// taken tells whether there is an instance of a name.
func taken(ctx context.Context, c Cloud, name string, p cloud.Kind) (bool, error) {
	if nameless(name, p) != "" {
		return false, nil // the plan says so
	}
	_, err := c.Get(ctx, name)
	if is(err, fault.NotFound) {
		return false, nil
	}
	return err == nil, err
}

// reachOf tells whether an instance can be restored to a moment; zero means the latest.
func reachOf(ctx context.Context, c Cloud, live *cloud.Instance, at time.Time) (reach, error) {
	switch {
	case at.IsZero() && live.Provider == cloud.CloudSQL:
		return reachable, nil // a clone of the present
	case !live.Backups.PITR:
		return noPITR, nil
	case at.IsZero():
		return reachable, nil
	case at.After(time.Now()):
		return future, nil
	case at.After(live.Backups.LatestRestorable):
		return notYet, nil
	}
	all, err := c.Backups(ctx, live.Name)
	if err != nil {
		return "", err
	}
	if from := live.RestorableFromAny(all, time.Now()); from.IsZero() || at.Before(from) {
		return tooEarly, nil
	}
	return reachable, nil
}

var (
	nameRDS      = regexp.MustCompile(`^[a-z](-?[a-z0-9])*$`)
	nameCloudSQL = regexp.MustCompile(`^[a-z]([a-z0-9-]*[a-z0-9])?$`)
)

// nameless says what is wrong with the name of a new instance.
func nameless(name string, p cloud.Kind) string {
	switch {
	case p == cloud.RDS && (len(name) > 63 || !nameRDS.MatchString(name)):
		return "an identifier of RDS is 1 to 63 lower-case letters, digits and single hyphens, and begins with a letter"
	case p == cloud.CloudSQL && (len(name) > 80 || !nameCloudSQL.MatchString(name)):
		return "an instance of Cloud SQL is named by up to 80 lower-case letters, digits and hyphens, and begins with a letter"
	}
	return ""
}

func deriveRestore(t op.Target, q RestoreRequest, f restoreFacts) op.Draft {
	d := op.Draft{
		Untouched: true, // a restore is what is wanted when something else went wrong there

		Title:    fmt.Sprintf("restore %s from %s to the new instance %s", t, q.from(), q.To),
		Findings: usable(f.Source),
		Changes:  []op.Change{{Target: t.Environment + "/" + q.To, Setting: "instance", To: "made of " + f.Source.Name + ", " + q.from()}},
		Downtime: op.Downtime{Expected: "none", Text: t.String() + " is only read; a new instance is made beside it"},
		Cost:     "up: one more instance like " + f.Source.Name + ", until somebody removes it",
		Back:     "remove " + q.To + " in the provider's console, after its deletion protection",
		Also:     []string{t.Environment + "/" + q.To},
	}
	ways := 0
	for _, way := range []bool{q.Backup != "", !q.Time.IsZero(), q.Latest} {
		if way {
			ways++
		}
	}
	if ways != 1 {
		d.Findings = append(d.Findings, block("source", "give one of a backup, a time, and latest", "what to restore is not said, or said twice"))
	}
	if q.Backup != "" && f.Backup != "ready" {
		d.Findings = append(d.Findings, block("backup", "see dbops backup list", "backup "+q.Backup+" cannot be restored: it is "+f.Backup))
	}
	d.Findings = append(d.Findings, unreachable(f.Reach, q.Time)...)
	d.Findings = append(d.Findings, newName(q.To, f.Taken, f.Source.Provider)...)
	d.Findings = append(d.Findings, carried(f.Source.Provider)...)
	if f.Source.Provider == cloud.CloudSQL && q.Backup == "" && q.Time.IsZero() {
		d.Notes = append(d.Notes, "the latest state on Cloud SQL is a clone of the present: it does not show that the backups are good, a drill does")
	}
	d.Notes = append(d.Notes, "dbops.yaml does not know "+q.To+" until somebody writes it there")
	return d
}

func newName(name string, taken bool, p cloud.Kind) (out []op.Finding) {
	if why := nameless(name, p); why != "" {
		out = append(out, block("name", "choose another name", why+": "+name))
	}
	if taken {
		out = append(out, block("name-taken", "choose another name: a restore never overwrites", "there is an instance "+name+" already"))
	}
	return out
}

func unreachable(r reach, at time.Time) []op.Finding {
	const moment = "dbops status shows the latest moment that can be restored"
	when := at.UTC().Format(time.RFC3339)
	switch r {
	case future:
		return []op.Finding{block("time", moment, when+" is in the future")}
	case notYet:
		return []op.Finding{block("time", "choose an earlier time, or wait: the logs get there within minutes", when+" cannot be restored yet")}
	case tooEarly:
		return []op.Finding{block("time", "choose a later time, or a backup: dbops backup list", when+" is before the oldest automatic backup, or the logs that are kept")}
	case noPITR:
		return []op.Finding{block("pitr", "turn it on (dbops backup configure), or restore a backup", "it has no point-in-time recovery")}
	case reachable:
	}
	return nil
}

// carried says what a new instance is known to lack.
func carried(p cloud.Kind) []op.Finding {
	if p == cloud.CloudSQL {
		return []op.Finding{info("server-ca", "the new instance has a server CA and addresses of its own: clients that check the certificate need the new CA, and new client certificates")}
	}
	return []op.Finding{info("address", "the new instance has an address of its own; enhanced monitoring, Performance Insights and the maintenance window are compared when it is there, and named if they differ")}
}
