package migrate

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"dbops/internal/fault"
	"dbops/internal/migrate/driver"
	"dbops/internal/migrate/rehearse"
	"dbops/internal/migrate/source"
	"dbops/internal/op"
)

// RepairRequest asks for a set that is dirty, or whose files were changed, to be put in order.
type RepairRequest struct {
	Set string `json:"set"`
	// Resume goes on with the file that was cut short, from its first statement that is not done.
	Resume bool `json:"resume,omitempty"`
	// Version is what the database has, as somebody found out; -1 for none.
	Version *int64 `json:"version,omitempty"`
	// Accept takes files that were changed since they were applied as what was applied.
	Accept bool   `json:"accept,omitempty"`
	Reason string `json:"reason,omitempty"`
	Manner
}

// RepairFacts are what a repair depends on, and what speaks for each way out.
type RepairFacts struct {
	SetFacts
	// Cut is the file that was begun and has not ended, as far as the history knows.
	Cut *CutFile `json:"cut,omitempty"`
	// Versions are those that the database may have.
	Versions []Candidate `json:"versions,omitempty"`
	Invalid  []string    `json:"invalid_indexes,omitempty"`
	// Sums are the checksums of changed files, the first twelve digits, by migration.
	Sums map[string]Sums `json:"sums,omitempty"`
}

// Sums are the checksums of a file.
type Sums struct {
	Applied string `json:"applied"`
	File    string `json:"file"`
}

// CutFile is a file that ended half-way.
type CutFile struct {
	Name       string `json:"name"`
	Version    int64  `json:"version"`
	Direction  string `json:"direction"`
	Outcome    string `json:"outcome"`
	Statements int    `json:"statements"`
	Done       int    `json:"done"`
	Next       string `json:"next,omitempty"` // the statement that did not end, with its line
	Error      string `json:"error,omitempty"`
	Started    string `json:"started"`
	Who        string `json:"who,omitempty"`
	CanResume  bool   `json:"can_resume"`
	Run        string `json:"run,omitempty"` // the engine's
}

// Candidate is a version that a dirty database may have.
type Candidate struct {
	Version int64  `json:"version"` // -1 for none
	Means   string `json:"means"`
	// Compared tells whether the schema was compared with that of the folder at the version.
	Compared bool     `json:"compared"`
	Differs  []string `json:"differs,omitempty"`
	Why      string   `json:"why,omitempty"` // it was not compared
}

func repair(d Deps) op.Kind {
	return op.Operation[RepairRequest, RepairFacts]{
		Kind: RepairKind, Words: words(),
		Observe: func(ctx context.Context, t op.Target, r RepairRequest) (RepairFacts, error) {
			return d.Inspect(ctx, t, r.Set)
		},
		Derive: planRepair,
		Steps: func(t op.Target, r RepairRequest, f RepairFacts) []op.Step {
			title := "record what is so"
			if r.Resume {
				title = "go on with the file that was cut short"
			}
			return []op.Step{{Name: "repair", Title: title, Final: true, Do: mender{d, t, r, f}.do}}
		},
	}.AsKind()
}

// Inspect looks at what a migration that ended half-way did and did not leave behind. It changes nothing.
func (d Deps) Inspect(ctx context.Context, t op.Target, name string) (f RepairFacts, err error) {
	s, err := d.find(t, name)
	if err != nil {
		return f, err
	}
	l, err := d.look(ctx, t, s)
	if err != nil {
		return f, err
	}
	f.SetFacts = l.facts(nil)
	f.Late = nil
	conn, err := d.Read(ctx, t, s)
	if err != nil {
		return f, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if f.Invalid, err = invalid(ctx, conn); err != nil {
		return f, fault.New(fault.Unavailable, "look for invalid indexes of "+t.String()+"/"+name, err)
	}
	f.cut(l)
	f.sums(l)
	if l.state.Dirty {
		f.candidates(l)
		d.compare(ctx, t, l, f.Versions)
	}
	return f, nil
}

// invalid are the indexes that are not valid and that nobody builds.
func invalid(ctx context.Context, conn *pgx.Conn) ([]string, error) {
	rows, err := conn.Query(ctx, `select quote_ident(n.nspname) || '.' || quote_ident(c.relname)
 from pg_index i join pg_class c on c.oid = i.indexrelid join pg_namespace n on n.oid = c.relnamespace
 where not i.indisvalid and c.relkind = 'i' and not exists (select from pg_stat_progress_create_index p where p.index_relid = c.oid) order by 1`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

func (f *RepairFacts) sums(l looked) {
	short := func(s string) string { return s[:min(12, len(s))] }
	for _, m := range l.judged.Changed {
		one := Sums{File: "no file"}
		if m.Up != nil {
			one.File = short(m.Up.Sum)
		}
		for _, e := range l.state.Entries {
			if e.Version == m.Version && e.Outcome == driver.OK {
				one.Applied = short(e.Sum)
			}
		}
		if f.Sums == nil {
			f.Sums = map[string]Sums{}
		}
		f.Sums[m.String()] = one
	}
}

// cut finds the file that ended half-way.
func (f *RepairFacts) cut(l looked) {
	e, ok := l.state.Unfinished()
	if !ok {
		return
	}
	c := &CutFile{
		Name: e.Name, Version: e.Version, Direction: e.Direction, Outcome: e.Outcome, Statements: e.Statements, Done: e.Done, Error: e.ErrorText,
		Run: e.Run, Started: e.Started.UTC().Format("2006-01-02 15:04:05 MST"), Who: who(e),
	}
	if m, _, found := l.folder.Find(e.Version); found {
		if file := m.File(source.Direction(e.Direction)); file != nil {
			c.Name, c.CanResume = file.Base(), driver.CanResume(file, e)
			if st := file.Split().Statements; e.Done < len(st) {
				c.Next = fmt.Sprintf("line %d: %s", st[e.Done].Line, st[e.Done].Name())
			}
		}
	}
	f.Cut = c
}

func who(e driver.Entry) string {
	name := e.Actor
	if name == "" {
		name = e.DBUser
	}
	if e.Host != "" {
		name += " on " + e.Host
	}
	return name
}

// candidates are the versions that a dirty database may have. golang-migrate says dirty 12 both when 12 failed to go up and when the one after
// it failed to go down.
func (f *RepairFacts) candidates(l looked) {
	all, at := l.folder.Migrations, l.state.Version
	before := func(v int64) int64 {
		_, i, _ := l.folder.Find(v)
		if i == 0 {
			return -1
		}
		return all[i-1].Version
	}
	name := func(v int64) string {
		if m, _, ok := l.folder.Find(v); ok {
			return m.String()
		}
		return fmt.Sprint(v)
	}
	if !l.state.Any {
		at = -1
	}
	if c := f.Cut; c != nil && c.Direction == string(source.Down) {
		f.Versions = []Candidate{
			{Version: before(c.Version), Means: name(c.Version) + " is taken back"},
			{Version: c.Version, Means: name(c.Version) + " is still applied"},
		}
		return
	}
	if at >= 0 {
		f.Versions = append(f.Versions, Candidate{Version: at, Means: name(at) + " is applied"}, Candidate{Version: before(at), Means: name(at) + " is not applied"})
	} else {
		f.Versions = append(f.Versions, Candidate{Version: -1, Means: "nothing is applied"})
	}
	if f.Cut != nil {
		return
	}
	if i := slices.IndexFunc(all, func(m *source.Migration) bool { return m.Version > at }); i >= 0 {
		f.Versions = append(f.Versions, Candidate{Version: all[i].Version, Means: all[i].String() + " is still applied: it failed to go down"})
	}
}

// compare fills in how the schema differs from that of each candidate.
func (d Deps) compare(ctx context.Context, t op.Target, l looked, all []Candidate) {
	if d.Compare == nil {
		for i := range all {
			all[i].Why = "there is no scratch server to compare with"
		}
		return
	}
	ctx, cancel := context.WithTimeout(ctx, rehearseTimeout)
	defer cancel()
	versions := make([]int64, len(all))
	for i, c := range all {
		versions[i] = c.Version
	}
	slices.Sort(versions) // they are made one after the other
	var found []rehearse.At
	p, err := d.prepared(ctx, t, l, nil)
	if err == nil {
		found, err = d.Compare(ctx, t, p, versions)
	}
	const most = 20
	for i := range all {
		c := &all[i]
		at := slices.IndexFunc(found, func(a rehearse.At) bool { return a.Version == c.Version })
		switch {
		case err != nil:
			c.Why = err.Error()
		case at < 0:
			c.Why = "the folder could not be brought to it"
		case found[at].Unknown != "":
			c.Why = "on the scratch copy: " + found[at].Unknown
		default:
			c.Compared, c.Differs = true, rehearse.DriftWords(found[at].Diff)
			if len(c.Differs) > most {
				c.Differs = append(c.Differs[:most:most], fmt.Sprintf("and %d more", len(c.Differs)-most))
			}
		}
	}
}

func planRepair(t op.Target, r RepairRequest, f RepairFacts) op.Draft {
	d := op.Draft{Title: fmt.Sprintf("repair the migrations of %s on %s", f.Name, t), Downtime: op.Downtime{Expected: "none", Text: "only the record of the version changes"}}
	for _, one := range f.findings(t) {
		if one.Check != "dirty" && one.Check != "running" && (one.Check != "changed-file" || !r.Accept) {
			d.Findings = append(d.Findings, one)
		}
	}
	block := func(check, text, remedy string) {
		d.Findings = append(d.Findings, op.Finding{Severity: op.Block, Check: check, Text: f.Name + ": " + text, Remedy: remedy})
	}
	if f.Held != "" {
		block("running", "it is migrated now: "+f.Held, "wait for its end")
	}
	for _, i := range f.Invalid {
		d.Findings = append(d.Findings, op.Finding{
			Severity: op.Warn, Check: "invalid-index", Text: f.Name + ": index " + i + " is not valid: it slows writes and serves no query",
			Remedy: "drop index concurrently " + i + ", unless the file that is resumed builds it",
		})
	}
	switch {
	case r.Resume:
		f.planResume(&d, block)
	case r.Version != nil:
		f.planVersion(&d, r, block)
	case r.Accept && len(f.Changed) > 0:
		for _, name := range f.Changed {
			d.Changes = append(d.Changes, op.Change{Target: f.Name, Setting: "checksum of " + name, From: f.Sums[name].Applied, To: f.Sums[name].File})
		}
		d.Findings = append(d.Findings, op.Finding{
			Severity: op.Warn, Check: "accept", Text: f.Name + ": what the files say now is taken for what was applied: nothing is run, and nothing is compared",
			Remedy: "see what changed: git log -p " + f.Folder,
		})
		d.Notes = append(d.Notes, "reason: "+r.Reason)
	}
	return d
}

func (f RepairFacts) planResume(d *op.Draft, block func(check, text, remedy string)) {
	switch {
	case f.Cut == nil:
		block("resume", "no file was cut short", "")
		return
	case !f.Cut.CanResume:
		block("resume", fmt.Sprintf("%s does not begin with the %d statements that are done", f.Cut.Name, f.Cut.Done), "bring back that part of the file as it was")
	}
	d.Downtime = op.Downtime{Expected: "unknown", Text: "the rest of " + f.Cut.Name + " is run"}
	d.Notes = append(d.Notes, fmt.Sprintf("%d of %d statements of %s are done; next %s", f.Cut.Done, f.Cut.Statements, f.Cut.Name, f.Cut.Next))
	d.Changes = []op.Change{{Target: f.Name, Setting: "version", From: versionText(f.Version) + " (dirty)", To: versionText(f.Version)}}
}

func (f RepairFacts) planVersion(d *op.Draft, r RepairRequest, block func(check, text, remedy string)) {
	if !f.Dirty {
		block("not-dirty", "no migration ended half-way", "dbops migrate goto changes the version by running the files")
		return
	}
	i := slices.IndexFunc(f.Versions, func(c Candidate) bool { return c.Version == *r.Version })
	if i < 0 {
		var all []string
		for _, c := range f.Versions {
			all = append(all, versionText(&c.Version))
		}
		block("version", fmt.Sprintf("it cannot have version %s", versionText(r.Version)), "it has one of "+strings.Join(all, ", "))
		return
	}
	c := f.Versions[i]
	switch {
	case !c.Compared:
		d.Findings = append(d.Findings, op.Finding{Severity: op.Warn, Check: "not-compared", Text: f.Name + ": the schema was not compared with that of version " + versionText(&c.Version) + ": " + c.Why})
	case len(c.Differs) > 0:
		d.Findings = append(d.Findings, op.Finding{
			Severity: op.Warn, Check: "schema", Text: fmt.Sprintf("%s: the schema is not that of version %s", f.Name, versionText(&c.Version)),
			Evidence: strings.Join(c.Differs, "; "), Remedy: "make it so by hand first, or choose the version that it has",
		})
	default:
		d.Findings = append(d.Findings, op.Finding{Severity: op.Info, Check: "schema", Text: f.Name + ": the schema is that of version " + versionText(&c.Version)})
	}
	d.Notes = append(d.Notes, c.Means, "reason: "+r.Reason)
	d.Changes = []op.Change{{Target: f.Name, Setting: "version", From: versionText(f.Version) + " (dirty)", To: versionText(&c.Version)}}
}

func encode(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
