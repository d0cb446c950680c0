package upgrade

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/state"
	"dbops/internal/upgrade/preflight"
	"dbops/internal/upgrade/quiesce"
	"dbops/internal/upgrade/stats"
)

// InPlaceRequest asks the cloud to upgrade the instance itself, or by a copy that takes its place.
type InPlaceRequest struct {
	To int `json:"to"` // the major
	// BlueGreen has RDS make a copy of the new major that follows, and swap the two.
	BlueGreen bool `json:"blue_green,omitempty"`
	// Parameters is the parameter group of the new major's family (rds), where the instance has one that somebody made.
	Parameters string `json:"parameters,omitempty"`
	// Unattended goes through the gate.
	Unattended bool `json:"unattended,omitempty"`
}

func (r *Room) inPlace() op.Operation[InPlaceRequest, facts] {
	return op.Operation[InPlaceRequest, facts]{
		Kind: InPlaceKind, Words: words(), Same: same, Observe: r.observeInPlace, Derive: deriveInPlace, Steps: r.inPlaceSteps,
	}
}

func (r *Room) observeInPlace(ctx context.Context, t op.Target, q InPlaceRequest) (f facts, err error) {
	if err := (Request{To: q.To}).Check(); err != nil {
		return f, err
	}
	c, src, err := r.source(ctx, t)
	if err != nil {
		return f, err
	}
	f.Source, f.Target = src, targetFacts{Server: src.Server}
	if c == nil || q.To <= src.Major || src.State != cloud.Available {
		return f, nil // the plan says so
	}
	if f.Offers, err = c.Majors(ctx, src.Server.Name); err != nil {
		return f, err
	}
	names, err := r.databases(ctx, t, src.Server, nil)
	if err != nil {
		return f, err
	}
	report, err := r.look(ctx, t, src.Server, names, preflight.Target{Major: q.To}, preflight.Dump)
	if err != nil {
		return f, err
	}
	f.Preflight = summary{report.Checks, report.Took}
	for _, d := range report.Facts.Databases {
		one := database{Name: d.Name, Tables: d.Objects.Tables, Rows: d.Rows}
		if d.Bytes != nil {
			one.Bytes = *d.Bytes
		}
		f.Databases = append(f.Databases, one)
	}
	for _, x := range foundBy(report) {
		if slices.Contains(ofCopies, x.Check) {
			continue
		}
		if x.refusedInPlace() {
			x.Severity, x.Remedy = op.Block, "remove it before the upgrade: the cloud refuses an instance that has it, and RDS only says so when writers are kept out already"
		}
		f.Found = append(f.Found, x)
	}
	if q.BlueGreen {
		more, err := r.greenFound(ctx, t, src)
		f.Found = append(f.Found, more...)
		return f, err
	}
	if !f.offersInPlace(q.To) {
		return f, nil // the plan says so
	}
	problems, err := c.CanUpgrade(ctx, src.Server.Name, q.To)
	if is(err, fault.Busy) {
		f.Found = append(f.Found, found{Severity: op.Info, Check: "provider-check", Text: "the provider's own check of the databases goes on: the run waits for what it says"})
		err = nil
	}
	for _, p := range q.open(problems) {
		x := found{Severity: op.Block, Check: "provider-check", Text: p, Remedy: "mend that, then plan again"}
		if asksForParameters(p) {
			x.Remedy = fmt.Sprintf("make one with what it needs, or take default.postgres%d: --parameter-group NAME", q.To)
		}
		f.Found = append(f.Found, x)
	}
	return f, err
}

// ofCopies are the checks that only matter to who copies rows and makes roles anew: in place both stay.
var ofCopies = []string{
	"disk-space", "role-passwords", "privileged-roles", "superuser-settings", "foreign-owners", "default-privileges", "cloud-grants", "tablespaces", "security-labels",
	"row-security", "large-objects-unreadable", "check-functions", "unvalidated-constraints", "disabled-triggers", "leakproof-functions", "superuser-objects", "untrusted-languages",
	"publications", "foreign-servers", "temporary-tables", "extension-tables", "pg-cron", "public-schema", "sql-ascii", "hash-partitions", "inheritance", "matviews",
	"generated-columns", "identity-columns", "sequences", "xml-columns", "money-columns", "big-rows", "dead-rows", "connections", "timeouts", "advisory-locks",
}

// lostTypes are those whose values are numbers on disk that another major gives to something else.
var lostTypes = regexp.MustCompile(` reg(proc|procedure|oper|operator|config|dictionary|namespace|collation)(\[\])?(;|$)`)

// refusedInPlace tells whether pg_upgrade, which the clouds run, takes no server with that, though a copy can be made of it.
func (x found) refusedInPlace() bool {
	return x.Check == "closed-databases" || x.Check == "reg-columns" && lostTypes.MatchString(x.Evidence) ||
		x.Check == "replication-slots" && strings.Contains(x.Evidence, "logical")
}

// asksForParameters tells whether what is against an upgrade is that nobody named a parameter group for the new major.
func asksForParameters(problem string) bool {
	return strings.Contains(problem, "parameter group") && strings.HasSuffix(problem, "has to be named")
}

// open are the problems that the request does not answer already.
func (q InPlaceRequest) open(problems []string) []string {
	return slices.DeleteFunc(slices.Clone(problems), func(p string) bool { return q.Parameters != "" && asksForParameters(p) })
}

func deriveInPlace(t op.Target, q InPlaceRequest, f facts) op.Draft {
	name := f.Source.Server.Name
	d := op.Draft{
		Title:    fmt.Sprintf("upgrade %s in place from PostgreSQL %d to %d", t, f.Source.Major, q.To),
		Changes:  []op.Change{{Setting: "major", From: fmt.Sprint(f.Source.Major), To: fmt.Sprint(q.To)}},
		Downtime: op.Downtime{Expected: "some", Text: "minutes to an hour, as long as the cloud needs: it says nothing beforehand, and nobody gets in meanwhile; a restored copy that is upgraded measures it"},
		Cost:     "none: it stays one instance",
		Back:     f.restore(t),
		Notes:    []string{"point-in-time recovery does not reach back across the upgrade", "name, address, roles and passwords stay"},
	}
	if q.BlueGreen {
		d.Title = fmt.Sprintf("upgrade %s by a blue/green deployment from PostgreSQL %d to %d", t, f.Source.Major, q.To)
		d.Downtime = op.Downtime{Expected: "brief", Text: "the switchover, within five minutes or not at all; by what Amazon says usually under one"}
		d.Cost = "up: one more instance like " + name + ", and the old one until somebody removes it"
		d.Back = "the old instance stays under another name, without what was written since: nothing replicates back to it"
		d.Notes = []string{"the copy takes over name and address", "tables without a primary key are copied once and then only insert: Amazon says so"}
	}
	switch {
	case f.Source.Provider == cloud.Postgres:
		d.Findings = append(d.Findings, block("provider", "dbops upgrade run --into INSTANCE", "a plain server has nobody who upgrades it in place"))
	case q.BlueGreen && f.Source.Provider != cloud.RDS:
		d.Findings = append(d.Findings, block("provider", "leave --blue-green out, or upgrade with --catch-up", "blue/green deployments are of RDS"))
	}
	if q.To <= f.Source.Major {
		d.Findings = append(d.Findings, block("major", "choose a later major: an upgrade goes up", fmt.Sprintf("%s is PostgreSQL %d already, and %d is asked for", name, f.Source.Major, q.To)))
	} else if f.Source.Provider != cloud.Postgres && f.Source.State == cloud.Available && !f.offersInPlace(q.To) {
		d.Findings = append(d.Findings, block("offer", "choose one that it offers in place: "+f.inPlaceOffers(), fmt.Sprintf("the cloud does not upgrade this instance to PostgreSQL %d in one step", q.To)))
	}
	if f.Source.State != cloud.Available {
		d.Findings = append(d.Findings, block("state", "start or mend it in the provider's console, then plan again", name+" is "+string(f.Source.State)+", and has to be available"))
	}
	for _, x := range f.Found {
		text := x.Text
		if x.Database != "" {
			text = "database " + x.Database + ": " + text
		}
		d.Findings = append(d.Findings, op.Finding{Severity: x.Severity, Check: x.Check, Text: text, Evidence: x.Evidence, Remedy: x.Remedy})
	}
	if !q.BlueGreen {
		d.Findings = append(d.Findings, warn("no-way-back", "dbops upgrade run keeps the old instance as the way back", "an upgrade in place cannot be undone"))
	}
	return d
}

// inPlaceLabel is the label of the backup that a run makes; RUN stands for the run in a plan, which does not know its name.
func inPlaceLabel(run string) string { return "before-" + run }

// restore says how the backup is restored that a run makes.
func (f facts) restore(t op.Target) string {
	id, is := inPlaceLabel("RUN"), "RUN is the name of the run"
	if f.Source.Provider == cloud.CloudSQL { // which numbers backups
		id, is = "ID", "the ID is that of the backup "+inPlaceLabel("RUN")+" in dbops backup list, and "+is
	}
	return fmt.Sprintf("there is no way back to PostgreSQL %d but a new instance of the backup that the run makes, without what was written since: dbops backup restore -e %s %s --backup %s --to NAME (%s)",
		f.Source.Major, t.Environment, t.Instance, id, is)
}

// BackOf is what the plan of an upgrade says of the way back, with the name of its run, and of its backup once the journal has it.
func BackOf(p *op.Plan, run string, journal []state.Step) string {
	if p.Kind != InPlaceKind {
		return p.Back
	}
	var made cloud.Backup
	if ok, err := output(journal, backupStep, &made); ok && err == nil {
		return backupNamed.ReplaceAllString(p.Back, "--backup "+made.ID+" --to NAME")
	}
	text := strings.ReplaceAll(p.Back, inPlaceLabel("RUN"), inPlaceLabel(run))
	for _, is := range []string{" (RUN is the name of the run)", ", and RUN is the name of the run"} {
		text = strings.Replace(text, is, "", 1)
	}
	return text
}

// backupNamed is how restore tells of a backup that is not made yet.
var backupNamed = regexp.MustCompile(`--backup \S+ --to NAME \([^)]*\)`)

func (f facts) offersInPlace(major int) bool {
	for _, o := range f.Offers {
		if o.Major == major && o.InPlace != "" {
			return true
		}
	}
	return false
}

func (f facts) inPlaceOffers() string {
	var all []string
	for _, o := range f.Offers {
		if o.InPlace != "" {
			all = append(all, fmt.Sprint(o.Major))
		}
	}
	if len(all) == 0 {
		return "it offers none"
	}
	return strings.Join(all, ", ")
}

func (r *Room) inPlaceSteps(t op.Target, q InPlaceRequest, f facts) []op.Step {
	m := r.moving(t, Request{To: q.To, Unattended: q.Unattended}, f)
	m.from, m.to, m.inPlace = f.Source.Server, f.Source.Server, true
	if q.BlueGreen {
		return m.greenSteps(q)
	}
	steps := []op.Step{
		m.step("precheck", "wait for what the provider's own check says", func(m *moving, ctx context.Context, s *op.Session) (op.Result, error) {
			return m.precheck(ctx, s, q)
		}),
		m.step(backupStep, "make a backup", func(m *moving, ctx context.Context, s *op.Session) (op.Result, error) {
			c, err := m.cloud(ctx)
			if err != nil {
				return op.Result{}, err
			}
			return m.backUp(ctx, s, c, m.from.Name, inPlaceLabel(s.Run))
		}),
	}
	if !q.Unattended {
		steps = append(steps, op.Step{Name: gateStep, Title: "wait for the word to upgrade", Gate: "from now on nobody writes to " + m.from.Name +
			", and soon nobody gets in, until the cloud has upgraded it. There is no way back from that but a new instance of the backup. dbops upgrade cutover goes on"})
	}
	shut := m.closeSteps()
	shut[1].Title = "keep writers out of " + m.from.Name + ": their sessions ended, CONNECT revoked"
	steps = append(steps, shut...)
	return append(steps,
		m.step("count", "count what is there", (*moving).count),
		m.undone(m.step(upgradeStep, fmt.Sprintf("let the cloud upgrade %s to PostgreSQL %d", m.from.Name, m.q.To), func(m *moving, ctx context.Context, s *op.Session) (op.Result, error) {
			return m.upgrade(ctx, s, cloud.UpgradeOptions{Parameters: q.Parameters})
		}), "wait until the cloud is done with "+m.from.Name+", which then stays what it is", (*moving).settle),
		m.step("extensions", "bring extensions to the versions of the new major", (*moving).extensions),
		m.step("statistics", "give the planner its statistics", (*moving).reanalyze),
		m.step(verifyStep, "compare with what was counted", (*moving).recount),
		m.step(switchStep, "let writers in again", (*moving).letIn))
}

func (m *moving) precheck(ctx context.Context, s *op.Session, q InPlaceRequest) (op.Result, error) {
	c, err := m.cloud(ctx)
	if err != nil {
		return op.Result{}, err
	}
	var problems []string
	err = s.Poll(ctx, m.r.d.Pace, "check "+m.from.Name, func(ctx context.Context) (bool, string, error) {
		var err error
		problems, err = c.CanUpgrade(ctx, m.from.Name, m.q.To)
		return err == nil, "the provider checks the databases", err
	})
	if problems = q.open(problems); err == nil && len(problems) > 0 {
		err = fault.Newf(fault.Blocked, "upgrade "+m.from.Name, "the provider refuses: %s", strings.Join(problems, "; ")).Hint("mend that, then dbops runs decide %s retry, or undo", s.Run)
	}
	return op.Result{Text: "the provider sees nothing in the way"}, err
}

func (m *moving) upgrade(ctx context.Context, s *op.Session, o cloud.UpgradeOptions) (out op.Result, err error) {
	c, err := m.cloud(ctx)
	if err != nil {
		return out, err
	}
	what := fmt.Sprintf("upgrade %s to PostgreSQL %d", m.from.Name, m.q.To)
	var receipt *cloud.Receipt
	err = s.Poll(ctx, m.r.d.Pace, what, func(ctx context.Context) (bool, string, error) {
		if receipt == nil {
			if err := s.Fence(); err != nil {
				return false, "", err
			}
			got, err := c.Upgrade(ctx, m.from.Name, m.q.To, o)
			if err != nil {
				return false, "", err
			}
			receipt, out.RequestID = &got, got.RequestID
		}
		p, err := c.Progress(ctx, *receipt)
		return p.Done, p.Says(m.from.Name), err
	})
	if err != nil {
		if f, ok := errors.AsType[*fault.Error](err); ok && f.Kind == fault.Internal {
			err = fault.New(fault.Failed, what, err).Hint("the instance is as before, closed to writers: mend that and dbops runs decide %s retry, or dbops upgrade rollback -e %s %s lets them in", s.Run, m.t.Environment, m.t.Instance)
		}
		return out, err
	}
	out.Changes = []op.Change{{Setting: "major", From: fmt.Sprint(m.f.Source.Major), To: fmt.Sprint(m.q.To)}}
	out.Text = "it is upgraded"
	return out, m.reach(ctx, s, m.from)
}

// settle waits for what the cloud has begun: nobody stops it, and nobody is let in before it has ended.
func (m *moving) settle(ctx context.Context, s *op.Session) (op.Result, error) {
	c, err := m.cloud(ctx)
	if err != nil {
		return op.Result{}, err
	}
	var live *cloud.Instance
	err = s.Poll(ctx, m.r.d.Pace, "wait for "+m.from.Name, func(ctx context.Context) (bool, string, error) {
		var err error
		if live, err = c.Get(ctx, m.from.Name); err != nil {
			return false, "", err
		}
		return live.State == cloud.Available, m.from.Name + ": " + live.RawState, nil
	})
	if err != nil {
		return op.Result{}, err
	}
	text := fmt.Sprintf("%s is PostgreSQL %d", m.from.Name, live.Major)
	if live.Major == m.q.To {
		text += ": it was upgraded, and that stays; run ANALYZE, and ALTER EXTENSION ... UPDATE where it is wanted"
	}
	return op.Result{Output: settled{live.Major}, Text: text}, m.reach(ctx, s, m.from)
}

// updated is the output of step "extensions".
type updated struct {
	Updated []string `json:"updated,omitempty"`
	LeftOut []string `json:"left_out,omitempty"`
}

func (m *moving) extensions(ctx context.Context, s *op.Session) (op.Result, error) {
	var out updated
	err := m.inTurn(func(name string) error {
		conn, err := m.r.d.Connect(ctx, m.t, m.to, name, nil)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
		type old struct{ Name, From, To, Owner string }
		rows, err := conn.Query(ctx, `select e.extname::text, e.extversion, a.default_version, pg_catalog.pg_get_userbyid(e.extowner)::text from pg_catalog.pg_extension e
 join pg_catalog.pg_available_extensions a on a.name = e.extname where a.default_version <> e.extversion order by 1`)
		if err != nil {
			return err
		}
		all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[old])
		if err != nil {
			return err
		}
		for _, o := range all {
			if err := s.Fence(); err != nil {
				return err
			}
			what := fmt.Sprintf("%s in %s from %s to %s", o.Name, name, o.From, o.To)
			err := update(ctx, conn, o.Name, o.Owner)
			if pe, ok := errors.AsType[*pgconn.PgError](err); ok { // it goes on working as it is
				out.LeftOut = append(out.LeftOut, what+": "+pe.Message)
				continue
			}
			if err != nil {
				return err
			}
			out.Updated = append(out.Updated, what)
		}
		return nil
	})
	text := "all are as the new major has them"
	if all := append(slices.Clone(out.Updated), out.LeftOut...); len(all) > 0 {
		text = strings.Join(all, "; ")
	}
	return op.Result{Output: out, Text: text}, err
}

// update brings an extension to the version of its server, as its owner. After pg_upgrade that is a superuser of the cloud, whom nobody can be:
// the cloud may let its administrator do it all the same.
func update(ctx context.Context, conn *pgx.Conn, name, owner string) (err error) {
	for _, as := range []string{"set local role " + ident(owner) + "; ", ""} {
		_, err = conn.Exec(ctx, "begin; "+as+"alter extension "+ident(name)+" update; commit", pgx.QueryExecModeSimpleProtocol)
		if _, refused := errors.AsType[*pgconn.PgError](err); !refused {
			return err
		}
		if _, err := conn.Exec(ctx, "rollback"); err != nil {
			return err
		}
	}
	return err
}

func (m *moving) reanalyze(ctx context.Context, s *op.Session) (op.Result, error) {
	var out counted
	err := m.inTurn(func(name string) error {
		res, err := stats.Analyze(ctx, stats.Job{
			Source: m.in(m.to, name), Target: m.in(m.to, name), Jobs: m.q.Jobs, Tool: m.r.d.Tool, Dir: m.r.d.Dir,
			Progress: func(done, of int, table string) {
				s.Progress(ctx, "%s: statistics of %d of %d, %s", name, done, of, table)
			},
		})
		out.Databases = append(out.Databases, countedIn{name, res})
		return err
	})
	return op.Result{Output: out, Text: "the planner knows its tables"}, err
}

func (m *moving) letIn(ctx context.Context, s *op.Session) (op.Result, error) {
	b, err := before(s)
	if err != nil {
		return op.Result{}, err
	}
	if err := s.Fence(); err != nil {
		return op.Result{}, err
	}
	if err := quiesce.Open(ctx, m.at(m.from), b); err != nil {
		return op.Result{}, err
	}
	return op.Result{
		Output: opened{At: time.Now().UTC()}, Text: "writers are let in",
		Changes: []op.Change{{Setting: "writers", From: "kept out", To: "let in"}},
	}, nil
}
