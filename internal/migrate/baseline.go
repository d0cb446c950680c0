package migrate

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"dbops/internal/fault"
	"dbops/internal/migrate/driver"
	"dbops/internal/migrate/source"
	"dbops/internal/op"
)

// BaselineRequest says which version a database has that was not migrated by the folder's files until now.
type BaselineRequest struct {
	Set     string `json:"set"`
	Version int64  `json:"version"`
	Reason  string `json:"reason,omitempty"`
}

// BaselineFacts are what a baseline depends on.
type BaselineFacts struct {
	SetFacts
	Known     bool      `json:"known"`           // the folder has the version
	Moved     bool      `json:"moved,omitempty"` // files were run since, or a repair was made
	Candidate Candidate `json:"candidate"`
	Recorded  []string  `json:"recorded,omitempty"`
}

func baseline(d Deps) op.Kind {
	return op.Operation[BaselineRequest, BaselineFacts]{
		Kind: BaselineKind, Words: words(),
		Observe: func(ctx context.Context, t op.Target, r BaselineRequest) (f BaselineFacts, err error) {
			s, err := d.find(t, r.Set)
			if err != nil {
				return f, err
			}
			l, err := d.look(ctx, t, s)
			if err != nil {
				return f, err
			}
			f.SetFacts = l.facts(nil)
			f.Moved = slices.ContainsFunc(l.state.Entries, func(e driver.Entry) bool { return e.Direction != driver.Baseline })
			m, i, ok := l.folder.Find(r.Version)
			if f.Known = ok; !ok {
				return f, nil
			}
			f.Recorded = names(l.folder.Migrations[:i+1])
			one := []Candidate{{Version: r.Version, Means: m.String() + " is applied, and all before it"}}
			d.compare(ctx, t, l, one)
			f.Candidate = one[0]
			return f, nil
		},
		Derive: planBaseline,
		Steps: func(t op.Target, r BaselineRequest, f BaselineFacts) []op.Step {
			return []op.Step{{Name: "record", Title: fmt.Sprintf("record that it has version %d", r.Version), Final: true, Do: func(ctx context.Context, s *op.Session) (op.Result, error) {
				return d.baseline(ctx, t, r, s)
			}}}
		},
	}.AsKind()
}

func planBaseline(t op.Target, r BaselineRequest, f BaselineFacts) op.Draft {
	d := op.Draft{
		Title:    fmt.Sprintf("take %s on %s over at version %d", f.Name, t, r.Version),
		Downtime: op.Downtime{Expected: "none", Text: "only the record of the version is written"},
		Findings: f.findings(t),
		Notes:    []string{"recorded as applied, and not run: " + few(f.Recorded)},
		Back:     fmt.Sprintf("until files are run: dbops migrate baseline -e %s %s with another version", t.Environment, f.Name),
	}
	block := func(check, text, remedy string) {
		d.Findings = append(d.Findings, op.Finding{Severity: op.Block, Check: check, Text: f.Name + ": " + text, Remedy: remedy})
	}
	if !f.Known {
		block("version", fmt.Sprintf("%s has no version %d", f.Folder, r.Version), "dbops migrate status lists them")
	}
	switch {
	case f.Version == nil:
	case f.Moved:
		block("has-version", fmt.Sprintf("it has version %d already, and files were run", *f.Version), "a baseline is for a database without a version")
	case *f.Version != r.Version:
		d.Findings = append(d.Findings, op.Finding{Severity: op.Warn, Check: "has-version", Text: fmt.Sprintf("%s: it has version %d, which this replaces", f.Name, *f.Version)})
	}
	switch c := f.Candidate; {
	case !f.Known:
	case !c.Compared:
		d.Findings = append(d.Findings, op.Finding{Severity: op.Warn, Check: "not-compared", Text: f.Name + ": the schema was not compared with that of the folder: " + c.Why})
	case len(c.Differs) > 0:
		d.Findings = append(d.Findings, op.Finding{
			Severity: op.Warn, Check: "schema", Text: fmt.Sprintf("%s: the schema is not what the folder makes up to version %d", f.Name, r.Version),
			Evidence: strings.Join(c.Differs, "; "), Remedy: "choose the version that it has, or bring both together with a migration",
		})
	default:
		d.Findings = append(d.Findings, op.Finding{Severity: op.Info, Check: "schema", Text: f.Name + ": the schema is that of the version"})
	}
	if f.Known && (f.Version == nil || *f.Version != r.Version || len(f.Recorded) > 0) {
		d.Changes = []op.Change{{Target: f.Name, Setting: "version", From: versionText(f.Version), To: fmt.Sprint(r.Version)}}
	}
	return d
}

func (d Deps) baseline(ctx context.Context, t op.Target, r BaselineRequest, s *op.Session) (op.Result, error) {
	set, err := d.find(t, r.Set)
	if err != nil {
		return op.Result{}, err
	}
	folder, err := source.Read(set.Folder)
	if err != nil {
		return op.Result{}, err
	}
	_, i, ok := folder.Find(r.Version)
	if !ok {
		return op.Result{}, fault.Newf(fault.Stale, "record the version of "+t.String()+"/"+r.Set, "%s has no version %d any more", folder.Path, r.Version)
	}
	who := d.Who(ctx, s.Plan.Requester.Name, set.Folder)
	who.Run = s.Run
	if err := s.Fence(); err != nil {
		return op.Result{}, err
	}
	drv, err := d.open(ctx, t, set, Usual(), who, func(text string) { s.Progress(ctx, "%s", text) }, nil)
	if err != nil {
		return op.Result{}, err
	}
	defer drv.Close()
	st, err := drv.Read(ctx)
	if err != nil {
		return op.Result{}, err
	}
	res := op.Result{Text: fmt.Sprintf("version %d", r.Version), Changes: s.Plan.Changes}
	if st.Any && st.Version == r.Version && len(st.Entries) > 0 {
		return res, nil // an earlier attempt did it
	}
	return res, drv.Settle(ctx, driver.Record{Migrations: folder.Migrations[:i+1], Direction: driver.Baseline, Version: r.Version, Reason: r.Reason})
}
