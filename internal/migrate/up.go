package migrate

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"dbops/internal/migrate/rehearse"
	"dbops/internal/migrate/source"
	"dbops/internal/op"
)

// UpRequest asks for pending migrations to be applied.
type UpRequest struct {
	Sets []string `json:"sets"` // shop, shop/reports; none for all of the instance
	To   *int64   `json:"to,omitempty"`
	// Late applies also what comes before the database's version and was never applied.
	Late bool `json:"late,omitempty"`
	Manner
	Concurrency int  `json:"concurrency,omitempty"` // databases at a time, after the first one. Defaults to 4
	KeepGoing   bool `json:"keep_going,omitempty"`  // begin with others when one has failed
	Rehearse    bool `json:"rehearse,omitempty"`
}

// Facts are what plans of migrations depend on.
type Facts struct {
	Sets []SetFacts `json:"sets"`
}

func up(d Deps) op.Kind {
	return op.Operation[UpRequest, Facts]{
		Kind: UpKind, Words: words(),
		Observe: func(ctx context.Context, t op.Target, r UpRequest) (Facts, error) {
			sets, err := d.pick(t, r.Sets)
			if err != nil {
				return Facts{}, err
			}
			return d.observeEach(ctx, sets, func(ctx context.Context, s Set) (SetFacts, error) {
				l, err := d.look(ctx, t, s)
				if err != nil {
					return SetFacts{}, err
				}
				jobs := upward(l.state, l.judged, r.Late, r.To)
				f := l.facts(jobs)
				if r.Rehearse {
					err = d.rehearse(ctx, t, l, jobs, &f)
				}
				return f, err
			})
		},
		Derive: planUp,
		Steps: func(t op.Target, r UpRequest, f Facts) []op.Step {
			return []op.Step{{Name: "apply", Title: "apply " + countFiles(f), Final: true, Do: runner{d, t, r.Manner, source.Up, f, r.Concurrency, r.KeepGoing}.do}}
		},
	}.AsKind()
}

func words() map[string]string {
	return map[string]string{"sets": "migrations", "rehearsal": "the rehearsal"}
}

func planUp(t op.Target, r UpRequest, f Facts) op.Draft {
	d := draft{op.Draft{
		Title:    "migrate " + setNames(f) + " on " + t.String() + " up",
		Downtime: upDowntime(r, f),
	}}
	if len(f.Sets) == 0 {
		d.Notes = []string{"dbops.yaml names no migrations for the databases of " + t.String()}
		d.Downtime = op.Downtime{Expected: "none", Text: "nothing changes"}
		return d.Draft
	}
	var back []string
	before := map[string]bool{} // databases of which an earlier folder has files to run
	for _, s := range f.Sets {
		d.Findings = append(d.Findings, s.findings(t)...)
		if len(s.Late) > 0 {
			d.Findings = append(d.Findings, op.Finding{
				Severity: op.Block, Check: "late", Text: fmt.Sprintf("%s: not applied, and before version %s: %s", s.Name, versionText(s.Version), few(s.Late)),
				Remedy: "--out-of-order applies them now; or give them a version after the last one",
			})
		}
		if r.To != nil && s.Version != nil && *r.To < *s.Version {
			d.Findings = append(d.Findings, op.Finding{
				Severity: op.Block, Check: "direction", Text: fmt.Sprintf("%s is at version %d already", s.Name, *s.Version),
				Remedy: fmt.Sprintf("dbops migrate goto -e %s %s %d goes back", t.Environment, s.Name, *r.To),
			})
		}
		d.Findings = append(d.Findings, s.modes()...)
		for _, one := range s.Files {
			if one.Missing {
				d.Findings = append(d.Findings, op.Finding{Severity: op.Warn, Check: "missing-file", Text: s.Name + ": " + one.Name + ": only the version changes", Remedy: "bring the file"})
			}
		}
		d.Findings = append(d.Findings, s.rehearsed(t, before[s.Database])...)
		before[s.Database] = before[s.Database] || len(s.Files) > 0
		if len(s.Files) == 0 {
			continue
		}
		d.Changes = append(d.Changes, op.Change{Target: s.Name, Setting: "version", From: versionText(s.Version), To: versionText(s.after())})
		d.Notes = append(d.Notes, s.notes()...)
		if s.Rehearsal != nil {
			d.Notes = append(d.Notes, fmt.Sprintf("%s: rehearsed on a copy of its schema, without its rows, on PostgreSQL %d", s.Name, s.Rehearsal.Major))
		} else {
			d.Notes = append(d.Notes, s.Name+": not rehearsed")
		}
		switch gone := s.oneWay(); {
		case gone != "":
			back = append(back, s.Name+": none by files, as "+gone+" has no down file")
		case s.Version != nil:
			back = append(back, fmt.Sprintf("dbops migrate goto -e %s %s %d", t.Environment, s.Name, *s.Version))
		default:
			back = append(back, fmt.Sprintf("dbops migrate down -e %s %s --all", t.Environment, s.Name))
		}
	}
	d.Back = strings.Join(back, "; ")
	d.addManner(r.Manner)
	return d.Draft
}

// oneWay is the first file that cannot be taken back; "" if all can.
func (f SetFacts) oneWay() string {
	for _, one := range f.Files {
		if one.OneWay {
			return one.Name
		}
	}
	return ""
}

// upDowntime is what is known about who has to wait.
func upDowntime(r UpRequest, f Facts) op.Downtime {
	locks := fmt.Sprintf("traffic queues behind a lock that is waited for no longer than %s", r.LockTimeout)
	var held []string
	rehearsed, files := true, 0
	for _, s := range f.Sets {
		files += len(s.Files)
		rehearsed = rehearsed && (len(s.Files) == 0 || s.Rehearsal != nil)
		if s.Rehearsal != nil {
			held = append(held, longLocks(s.Rehearsal)...)
		}
	}
	switch {
	case files == 0:
		return op.Downtime{Expected: "none", Text: "nothing changes"}
	case len(held) > 0:
		return op.Downtime{Expected: "some", Text: "as long as it takes to write them anew or build their indexes, nobody writes " + few(held) + "; " + locks}
	case rehearsed:
		return op.Downtime{Expected: "none", Text: locks + ", and none is held while a table is rewritten"}
	default:
		return op.Downtime{Expected: "unknown", Text: "a file holds the locks that it has until it ends; " + locks}
	}
}

// longLocks are the tables that are locked while they are rewritten, or while an index is built on them.
func longLocks(r *rehearse.Facts) (out []string) {
	for _, file := range r.Files {
		for _, s := range file.Statements {
			if s.Alone {
				continue
			}
			for _, table := range append(slices.Clone(s.Rewrites), s.BuildsOn...) {
				if !slices.Contains(out, table) {
					out = append(out, table)
				}
			}
		}
	}
	return out
}

// notes list the files of a set, in order.
func (f SetFacts) notes() []string {
	const most = 20
	var out []string
	for i, one := range f.Files {
		if i == most {
			out = append(out, fmt.Sprintf("%s: and %d more, to %s", f.Name, len(f.Files)-most, f.Files[len(f.Files)-1].Name))
			break
		}
		statements := "1 statement"
		if one.Statements != 1 {
			statements = fmt.Sprintf("%d statements", one.Statements)
		}
		out = append(out, fmt.Sprintf("%s: %s (%s)", f.Name, one.Name, statements))
	}
	return out
}

func setNames(f Facts) string {
	var names []string
	for _, s := range f.Sets {
		names = append(names, s.Name)
	}
	if len(names) == 0 {
		return "nothing"
	}
	return few(names)
}

func countFiles(f Facts) string {
	files, sets := 0, 0
	for _, s := range f.Sets {
		if files += len(s.Files); len(s.Files) > 0 {
			sets++
		}
	}
	text := fmt.Sprintf("%d files", files)
	if files == 1 {
		text = "1 file"
	}
	if sets > 1 {
		text += fmt.Sprintf(" in %d databases", sets)
	}
	return text
}

// concurrencyOr is how many databases are worked on at a time.
func concurrencyOr(n int) int {
	if n <= 0 {
		return 4
	}
	return n
}

// A look at a database lasts no longer; with a rehearsal it may take minutes.
const (
	lookTimeout     = 30 * time.Second
	rehearseTimeout = 15 * time.Minute
)
