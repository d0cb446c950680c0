package upgrade

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"dbops/internal/cloud"
	"dbops/internal/op"
)

func (r *Room) run() op.Operation[Request, facts] {
	return op.Operation[Request, facts]{
		Kind: RunKind, Words: words(), Observe: r.observe, Same: same, Derive: deriveRun,
		Steps: func(t op.Target, q Request, f facts) []op.Step { return r.runSteps(t, q, f) },
		Over:  r.held.forget,
	}
}

// words are what plans call otherwise than facts do.
func words() map[string]string {
	return map[string]string{
		"source": "", "source.state": "the state of the source", "target": "where it goes", "databases": "the databases", "found": "what the preflight found",
		"clients": "what logs in to it", "rehearsed": "", "preflight": "", "offers": "",
	}
}

func deriveRun(t op.Target, q Request, f facts) op.Draft {
	q = q.normal(f.Source.Server.Name)
	to := t.Environment + "/" + f.Target.Server.Name
	if len(f.Left) > 0 {
		f.Found = append(f.Found, found{
			Severity: op.Block, Check: "left-behind", Text: "these databases would stay behind, while clients are switched to the new instance: " + strings.Join(f.Left, ", "),
			Remedy: "leave --database out, which is for rehearsals; drop what nobody needs beforehand",
		})
	}
	d := op.Draft{
		Title:    fmt.Sprintf("upgrade %s from PostgreSQL %d to %d, on %s", t, f.Source.Major, q.To, f.Target.Server.Name),
		Findings: f.findings(q),
		Downtime: f.downtime(q),
		Also:     []string{to},
		Back:     fmt.Sprintf("dbops upgrade rollback -e %s %s, until dbops upgrade cleanup", t.Environment, t.Instance),
		Changes: []op.Change{
			{Setting: "major", From: fmt.Sprint(f.Source.Major), To: fmt.Sprint(q.To)},
			{Target: to, Setting: "instance", To: "made like " + f.Source.Server.Name},
			{Setting: "writers of " + f.Source.Server.Name, From: "let in", To: "kept out, from the cut-over on"},
			{Setting: "clients", From: f.Source.Server.Name, To: f.Target.Server.Name},
		},
		Cost: "up: two instances until somebody removes " + f.Source.Server.Name,
	}
	if q.Into != "" {
		d.Changes[1].To = "filled from " + f.Source.Server.Name
		d.Cost = "none: both servers are there"
	}
	d.Notes = append(d.Notes, f.route(q)...)
	d.Notes = append(d.Notes, q.cutover(f.Target.Server.Name))
	if q.NoWayBack {
		d.Back += "; it loses what is written after the switch, which nothing replicates back"
	}
	d.Notes = append(d.Notes, f.Source.Server.Name+" stays as it is, closed to clients, until dbops upgrade cleanup")
	return d
}

// route says how the data goes.
func (f facts) route(q Request) (out []string) {
	var bytes, tables int64
	var names []string
	for _, d := range f.Databases {
		bytes, tables = bytes+d.Bytes, tables+d.Tables
		names = append(names, d.Name)
	}
	out = append(out, fmt.Sprintf("%d databases (%s): %d tables, %s", len(names), strings.Join(names, ", "), tables, humanize.IBytes(uint64(max(0, bytes)))))
	way := "COPY to COPY out of one snapshot, nothing on disk"
	if q.Engine == EngineDump {
		way = "pg_dump into a folder of this machine, pg_restore out of it"
	}
	if q.CatchUp {
		out = append(out, way+"; what is written meanwhile follows by logical replication, and the cut-over waits only for the last of it")
		if q.FullIdentity {
			out = append(out, "tables without a primary key follow by all their columns, which is slow on large ones")
		}
		return out
	}
	return append(out, way+", after the writers are stopped: what they wrote is copied, and nothing else is")
}

// cutover says how long clients and those who watch have.
func (q Request) cutover(to string) string {
	out := fmt.Sprintf("at the cut-over open transactions have %s to end, then their sessions are ended", Span(q.Grace))
	if q.Grace <= time.Nanosecond {
		out = "at the cut-over sessions with open transactions are ended at once"
	}
	if q.Observe <= time.Nanosecond {
		return out + "; nobody watches who logs in where after it"
	}
	return out + fmt.Sprintf("; after it, who logs in to %s and who still to the old instance is watched for %s", to, Span(q.Observe))
}

// findings are what the plan says of the facts.
func (f facts) findings(q Request) (out []op.Finding) {
	if f.Source.State != cloud.Available {
		out = append(out, block("state", "start or mend it in the provider's console, then plan again",
			f.Source.Server.Name+" is "+string(f.Source.State)+", and has to be available"))
	}
	if q.To <= f.Source.Major {
		out = append(out, block("major", "choose a later major: an upgrade goes up", fmt.Sprintf("%s is PostgreSQL %d already, and %d is asked for", f.Source.Server.Name, f.Source.Major, q.To)))
	}
	out = append(out, f.targetFindings(q)...)
	if len(f.Databases) == 0 && len(out) == 0 {
		out = append(out, block("databases", "see dbops psql", "there is no database to move"))
	}
	for _, x := range f.Found {
		if x.Check == "major" { // said above
			continue
		}
		text := x.Text
		if x.Database != "" {
			text = "database " + x.Database + ": " + text
		}
		if x.Check == "role-passwords" {
			x.Remedy = "those of containers and of dbops itself are given by the run; give others new ones on the new instance before the cut-over"
		}
		out = append(out, op.Finding{Severity: x.Severity, Check: x.Check, Text: text, Evidence: x.Evidence, Remedy: x.Remedy})
	}
	for _, c := range f.Clients.Cannot {
		out = append(out, block("clients", "mend that, or take it out of dbops.yaml and switch it by hand", c))
	}
	if len(f.Clients.ByHand) > 0 {
		out = append(out, op.Finding{
			Severity: op.Warn, Check: "by-hand", Text: fmt.Sprintf("%d places name the instance and are not dbops's to change", len(f.Clients.ByHand)),
			Evidence: strings.Join(f.Clients.ByHand, "; "), Remedy: "change them at the cut-over: the old instance lets nobody in from then on",
		})
	}
	if q.CatchUp && (f.Source.Statement == "all" || f.Source.Statement == "ddl") {
		out = append(out, warn("logged-statements", "set log_statement to none for the time of the upgrade",
			"the target logs statements if it is set up like the source (log_statement = "+f.Source.Statement+"): the password of the login for replication, which is dropped after the upgrade, would be in its log"))
	}
	if f.Rehearsed != nil && f.Rehearsed.Failed != "" {
		out = append(out, warn("rehearsal", "mend that, and rehearse again: dbops upgrade report "+f.Rehearsed.Run, "the last rehearsal, "+f.Rehearsed.Run+", failed: "+f.Rehearsed.Failed))
	}
	if f.Rehearsed == nil {
		out = append(out, warn("rehearsal", "dbops upgrade rehearse does everything to a copy, and measures it", "this upgrade was never rehearsed: how long it takes is not known"))
	}
	return out
}

func (f facts) targetFindings(q Request) (out []op.Finding) {
	t := f.Target
	switch {
	case q.Into != "" && t.Same:
		return []op.Finding{block("target", "name another instance", "an instance cannot be upgraded into itself")}
	case q.Into != "" && t.Holds != "":
		out = append(out, block("target-holds", "empty it, or choose another one: nothing of somebody else's is ever overwritten",
			t.Server.Name+" holds something already: "+t.Holds))
	case q.Into == "" && f.Source.Provider == cloud.Postgres:
		return []op.Finding{block("target", "make a server of the new major, name it in dbops.yaml, and give it with --into",
			"nobody makes a new instance of a plain server")}
	case t.NoAdmin != "":
		out = append(out, block("admin", "name a login with a password under logins.admin of the instance in dbops.yaml", t.NoAdmin))
	case t.Taken:
		out = append(out, block("name-taken", "choose another --name; one that an upgrade left which was rolled back is removed by dbops upgrade cleanup", "there is an instance "+t.Server.Name+" already"))
	}
	for _, text := range t.Lost {
		out = append(out, op.Finding{Severity: op.Info, Check: "settings", Text: text})
	}
	if q.Into == "" && f.Source.Provider == cloud.CloudSQL {
		out = append(out, warn("server-ca", "give them the CA of the new instance before the cut-over: dbops certs fetch",
			"clients that check the server's certificate by a CA of the old instance will refuse the new one: by default each has its own"))
	}
	if q.Into != "" && t.Major != 0 && t.Major != q.To {
		out = append(out, block("target-major", fmt.Sprintf("give --to %d, or another instance", t.Major), fmt.Sprintf("%s is PostgreSQL %d, and %d is asked for", t.Server.Name, t.Major, q.To)))
	}
	if q.Into == "" && q.To > f.Source.Major && !slices.ContainsFunc(f.Offers, func(m cloud.Offer) bool { return m.Major == q.To }) {
		var all []string
		for _, m := range f.Offers {
			all = append(all, fmt.Sprint(m.Major))
		}
		out = append(out, block("offer", "choose one that it offers: "+strings.Join(all, ", "), fmt.Sprintf("the cloud does not offer PostgreSQL %d here", q.To)))
	}
	return out
}

// downtime is what a rehearsal measured, or nothing.
func (f facts) downtime(q Request) op.Downtime {
	r := f.Rehearsed
	switch {
	case r == nil:
		text := "not measured: from the cut-over until clients are on the new instance, all data is copied and compared"
		if q.CatchUp {
			text = "not measured: from the cut-over until clients are on the new instance, only the last writes follow"
		}
		return op.Downtime{Expected: "unknown", Text: text}
	case r.Failed != "":
		return op.Downtime{Expected: "unknown", Text: "the last rehearsal, " + r.Run + ", failed"}
	case q.CatchUp != r.CatchUp:
		return op.Downtime{Expected: "unknown", Text: "the last rehearsal, " + r.Run + ", went another way (with a catch-up, or without)"}
	}
	word := "some"
	if q.CatchUp {
		word = "brief"
	}
	return op.Downtime{Expected: word, Text: fmt.Sprintf("%s to %s, by the rehearsal %s of %s, from the cut-over until clients are on the new instance, and how long these take to begin anew",
		r.Low, r.High, r.Run, r.At.UTC().Format("2006-01-02"))}
}

func block(check, remedy, text string) op.Finding {
	return op.Finding{Severity: op.Block, Check: check, Text: text, Remedy: remedy}
}

func warn(check, remedy, text string) op.Finding {
	return op.Finding{Severity: op.Warn, Check: check, Text: text, Remedy: remedy}
}
