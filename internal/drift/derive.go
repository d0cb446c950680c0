package drift

import (
	"fmt"
	"slices"
	"strings"

	"dbops/internal/cloud"
	"dbops/internal/config"
	"dbops/internal/op"
)

// derive works out the plan. What the request names and cannot be changed blocks it; what it does not name is told, and left as it is.
// A setting that somebody changed elsewhere blocks either way: nobody may think that it was looked at.
func derive(t op.Target, r FixRequest, f facts) op.Draft {
	p := planner{target: t, request: r, facts: f, changes: f.changes(r)}
	d := op.Draft{Title: "set " + t.String() + " to what is declared", Downtime: op.Downtime{Expected: expected(none), Text: "nothing changes"}}
	p.names()
	for _, j := range f.compare() {
		if r.chooses(j.name) {
			p.judge(j)
		}
	}
	d.Findings = p.findings
	if len(p.changes) == 0 {
		return d
	}
	d.Title = "set " + join(p.changes, func(j verdict) string { return j.name }) + " of " + t.String() + " to what is declared"
	p.waits()
	p.impact(&d)
	d.Findings = p.findings
	d.Changes = planChanges(p.changes)
	d.Back = "declare the former values in dbops.yaml (" + join(p.changes, func(j verdict) string { return j.name + ": " + j.Live }) + "), then fix again"
	return d
}

// planner collects what is to be said of one plan.
type planner struct {
	target   op.Target
	request  FixRequest
	facts    facts
	changes  []verdict
	findings []op.Finding
}

func (p *planner) add(s op.Severity, check, text, evidence, remedy string) {
	p.findings = append(p.findings, op.Finding{Severity: s, Check: check, Text: text, Evidence: evidence, Remedy: remedy})
}

// names finds names that are wrong, and instances that are in no state to be changed.
func (p *planner) names() {
	known := config.SettingKeys(p.facts.Provider)
	for _, n := range p.request.names() {
		_, declared := p.facts.Declared[n]
		switch {
		case !slices.Contains(known, n):
			remedy := "there are: " + strings.Join(known, ", ")
			if near := config.Nearest(n, known); near != "" {
				remedy = "did you mean " + near + "?"
			}
			p.add(op.Block, "unknown-setting", fmt.Sprintf("there is no setting %q of an instance on %s", n, p.facts.Provider), "", remedy)
		case !declared:
			p.add(op.Block, "not-declared", "nobody declares "+n+" for "+p.target.String(), "profile "+p.facts.Profile, "declare it in dbops.yaml")
		}
	}
	if p.facts.Down != "" && len(p.changes) > 0 {
		p.add(op.Block, "not-available", "it is "+string(p.facts.Down)+": nothing can be changed", "", "bring it back, then make the plan again")
	}
}

// judge tells what becomes of one setting.
func (p *planner) judge(j verdict) {
	named := slices.Contains(p.request.names(), j.name)
	evidence := "declared " + j.Declared + ", live " + orNothing(j.Live) + ", last applied " + orNothing(j.Last)
	remedy := p.facts.remedy(p.target.Environment, p.target.Instance, j)
	detail := p.facts.detail(j)
	left := op.Warn // what cannot be done and was not asked for by name
	if named || len(p.changes) == 0 {
		left = op.Block
	}
	switch why := p.facts.why(p.request, j); why {
	case "":
		p.consented(j, evidence)
	case asDeclared:
		if named {
			p.add(op.Info, why, j.name+" is as declared", evidence, "")
		}
	case notTold:
		p.add(left, why, j.name+" cannot be compared: "+detail, evidence, remedy)
	case notInPlace:
		p.add(left, why, j.name+" is not set back: "+cannotInPlace, evidence, remedy)
	case noPrivateAddress:
		p.add(left, why, j.name+" is not set back: "+cannotReach, evidence, remedy)
	case accepted:
		p.add(op.Info, why, j.name+": "+detail, evidence, remedy)
	case comesAlong:
		i := slices.IndexFunc(p.changes, func(c verdict) bool { return c.name == j.comes })
		if i < 0 {
			p.add(left, why, j.name+" cannot be changed alone", evidence, remedy)
			break
		}
		p.add(op.Info, why, j.name+" comes with "+j.comes, evidence, "")
	case changedElsewhere:
		p.add(op.Block, why, j.name+": "+detail, evidence, remedy)
	case destroysBackups:
		p.add(op.Block, why, j.name+" from "+j.Live+" to "+j.Declared+" would remove backups or logs that are there", evidence, remedy)
	}
}

// consented tells what is overwritten or lost because it was asked for.
func (p *planner) consented(j verdict, evidence string) {
	change := j.name + " from " + j.Live + " to " + j.Declared
	switch {
	case j.elsewhere():
		p.add(op.Warn, "overwrites", change+": "+p.facts.detail(j)+"; that is overwritten", evidence, "")
	case j.Status == Pending:
		p.add(op.Info, "applied-now", change+": "+p.facts.detail(j)+"; it is applied now", evidence, "")
	}
	if destroys(j.name, j.Live, j.Declared) {
		p.add(op.Warn, destroysBackups, change+" removes backups or logs that are there: undoing does not bring them back", evidence, "")
	} else if weakens(j.name, j.Live, j.Declared) {
		p.add(op.Warn, "weakens", change+" makes the instance less safe", evidence, "")
	}
	switch {
	case j.name == config.PublicAccess && j.Declared == "false":
		p.add(op.Warn, "clients", "clients that use the public address lose their connections, dbops's own among them", "", "see that all can use the private address")
	case j.name == config.TLSRequired && j.Declared == "true":
		p.add(op.Warn, "clients", "clients that do not use TLS cannot connect any more", "", "look for them first: select usename, client_addr from pg_stat_activity join pg_stat_ssl using (pid) where not ssl")
	case j.name == config.TLSRequired && p.facts.TLSMode == "TRUSTED_CLIENT_CERTIFICATE_REQUIRED":
		p.add(op.Warn, "client-certificates", "client certificates are demanded now; undoing demands TLS only", "mode "+p.facts.TLSMode, "")
	}
}

// waits tells of modifications that wait for the maintenance window: RDS applies all of them with ours.
func (p *planner) waits() {
	for _, w := range p.facts.Waits {
		i := slices.IndexFunc(p.changes, func(j verdict) bool { return j.path == w.Setting })
		if i >= 0 {
			continue
		}
		change := w.Setting + " to " + w.To
		if w.From != "" {
			change = w.Setting + " from " + w.From + " to " + w.To
		}
		k := slices.IndexFunc(p.facts.compare(), func(j verdict) bool { return j.path == w.Setting && j.Leaves && j.want != nil })
		if k >= 0 {
			name := p.facts.compare()[k].name
			p.add(op.Block, "pending-modifications", change+" waits for the maintenance window, and would be applied along: it is not what is declared", "", "choose "+name+", too: --overwrite "+name)
			continue
		}
		p.add(op.Warn, "pending-modifications", change+" waits for the maintenance window, and is applied along", "", "take it back first if it must wait")
	}
}

// impact says what the changes cost.
func (p *planner) impact(d *op.Draft) {
	worst := none
	var texts, costs []string
	for _, j := range p.changes {
		n, text := outage(p.facts.Provider, j.name, j.Live, j.Declared)
		worst = max(worst, n)
		if text != "" {
			texts = append(texts, text)
		}
		if text := price(j.name, j.Live, j.Declared); text != "" {
			costs = append(costs, text)
		}
	}
	for _, f := range p.findings {
		if f.Check == "pending-modifications" {
			worst = max(worst, unknown)
			texts = append(texts, "what is applied along may restart the instance")
			break
		}
	}
	if len(texts) == 0 {
		texts = []string{providerName(p.facts.Provider) + " changes these settings without an interruption"}
	}
	d.Downtime = op.Downtime{Expected: expected(worst), Text: strings.Join(texts, "; ")}
	d.Cost = strings.Join(costs, "; ")
}

func providerName(kind cloud.Kind) string {
	if kind == cloud.RDS {
		return "RDS"
	}
	return "Cloud SQL"
}

func orNothing(s string) string {
	if s == "" {
		return "nothing"
	}
	return s
}
