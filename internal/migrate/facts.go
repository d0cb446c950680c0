package migrate

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"dbops/internal/fault"
	"dbops/internal/migrate/driver"
	"dbops/internal/migrate/rehearse"
	"dbops/internal/migrate/source"
	"dbops/internal/migrate/split"
	"dbops/internal/op"
)

// SetFacts are what a plan depends on, of one set.
type SetFacts struct {
	Name string `json:"name"`
	// Database is what the set is for.
	Database string     `json:"database"`
	Folder   string     `json:"folder"`
	Table    string     `json:"table"`
	Version  *int64     `json:"version"` // nil: none
	Dirty    bool       `json:"dirty,omitempty"`
	Many     bool       `json:"many,omitempty"` // a row for each version, as Encore has it
	New      bool       `json:"new,omitempty"`  // the table of versions is not there yet
	Replica  bool       `json:"replica,omitempty"`
	Held     string     `json:"held,omitempty"`  // who migrates it at the moment, if it is dirty
	Files    []FileFact `json:"files,omitempty"` // to be run, in order
	Late     []string   `json:"late,omitempty"`  // that are not to be run
	Changed  []string   `json:"changed,omitempty"`
	Unknown  []int64    `json:"unknown,omitempty"`
	// Problems are those of the folder that concern what is to be run.
	Problems  []source.Problem `json:"problems,omitempty"`
	Rehearsal *rehearse.Facts  `json:"rehearsal,omitempty"`
	// NotRehearsed says why there is no rehearsal although one was asked for.
	NotRehearsed string `json:"not_rehearsed,omitempty"`
}

// FileFact is a file that is to be run.
type FileFact struct {
	Name       string `json:"name"` // "000012_add_users.up.sql"
	Version    int64  `json:"version"`
	Target     int64  `json:"target"` // the database's version afterwards, -1 for none
	Sum        string `json:"sum"`    // SHA-256
	Mode       string `json:"mode"`
	Why        string `json:"why,omitempty"` // it is not one transaction
	Statements int    `json:"statements"`
	Missing    bool   `json:"missing,omitempty"` // there is no file of that direction
	OneWay     bool   `json:"one_way,omitempty"` // it goes up, and there is no file that goes down
}

// looked is a set as it was found.
type looked struct {
	set    Set
	folder *source.Folder
	state  driver.State
	judged Judged
	held   string // who migrates it at the moment; looked at only if it is dirty
}

// look reads a set's folder and database. It takes no lock, and changes nothing.
func (d Deps) look(ctx context.Context, t op.Target, s Set) (looked, error) {
	l := looked{set: s}
	var err error
	if l.folder, err = source.Read(s.Folder); err != nil {
		return l, err
	}
	conn, err := d.Read(ctx, t, s)
	if err != nil {
		return l, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if l.state, err = driver.ReadState(ctx, conn, s.Table); err != nil {
		if fault.KindOf(err) != fault.Internal {
			return l, err
		}
		return l, fault.New(fault.Unavailable, "read the versions of "+t.String()+"/"+s.String(), err)
	}
	l.judged = judge(l.folder, l.state)
	if l.state.Dirty {
		if l.held, err = driver.Holder(ctx, conn, s.Table); err != nil {
			return l, fault.New(fault.Unavailable, "see who migrates "+t.String()+"/"+s.String(), err)
		}
	}
	return l, nil
}

// facts are those of a set of which jobs are to be run.
func (l looked) facts(jobs []driver.Job) SetFacts {
	f := SetFacts{
		Name: l.set.String(), Database: l.set.Database, Folder: l.set.Folder, Table: l.state.Table.String(), Dirty: l.state.Dirty, Many: l.state.Many, New: !l.state.Exists,
		Replica: l.state.Replica, Held: l.held, Unknown: l.judged.Unknown, Changed: names(l.judged.Changed),
	}
	if l.state.Any {
		f.Version = &l.state.Version
	}
	run := map[string]bool{}
	for _, j := range jobs {
		one := FileFact{Name: j.String(), Version: j.Migration.Version, Target: j.Target, OneWay: j.Direction == source.Up && j.Migration.Down == nil}
		if file := j.Migration.File(j.Direction); file != nil {
			read := file.Split()
			one.Sum, one.Mode, one.Why, one.Statements = file.Sum, string(read.Mode), read.Why, len(read.Statements)
			run[file.Base()] = true
		} else {
			one.Missing = true
		}
		f.Files = append(f.Files, one)
	}
	for _, m := range l.judged.Late {
		if !slices.ContainsFunc(jobs, func(j driver.Job) bool { return j.Migration == m }) {
			f.Late = append(f.Late, m.String())
		}
	}
	for _, p := range l.folder.Problems {
		if p.Fatal || run[p.File] {
			f.Problems = append(f.Problems, p)
		}
	}
	return f
}

func names(all []*source.Migration) (out []string) {
	for _, m := range all {
		out = append(out, m.String())
	}
	return out
}

// versionText is a version as a person reads it.
func versionText(v *int64) string {
	if v == nil || *v < 0 {
		return "none"
	}
	return fmt.Sprint(*v)
}

// after is the version when the files are run.
func (f SetFacts) after() *int64 {
	if len(f.Files) == 0 {
		return f.Version
	}
	return &f.Files[len(f.Files)-1].Target
}

// findings are those of a set, whatever is to be done with it.
func (f SetFacts) findings(t op.Target) (out []op.Finding) {
	block := func(check, text, remedy string) {
		out = append(out, op.Finding{Severity: op.Block, Check: check, Text: f.Name + ": " + text, Remedy: remedy})
	}
	if f.Replica {
		block("replica", "the instance is a read replica", "migrate the instance that it follows")
	}
	if f.Dirty && f.Held != "" {
		block("running", fmt.Sprintf("version %s is being migrated by %s", versionText(f.Version), f.Held), "wait for its end: dbops migrate status")
	} else if f.Dirty {
		block("dirty", fmt.Sprintf("version %s was begun and has not ended", versionText(f.Version)), fmt.Sprintf("dbops migrate repair -e %s %s shows what it left, and the ways out", t.Environment, f.Name))
	}
	for _, p := range f.Problems {
		if p.Fatal {
			block("folder", p.String(), p.Remedy)
		}
	}
	if len(f.Unknown) > 0 {
		block("unknown-version", fmt.Sprintf("the database has version %d, which %s does not have: it was migrated with newer files, or another branch's", f.Unknown[len(f.Unknown)-1], f.Folder),
			"check out the branch that has it")
	}
	if len(f.Changed) > 0 {
		out = append(out, op.Finding{
			Severity: op.Warn, Check: "changed-file", Text: f.Name + ": changed since they were applied: " + few(f.Changed),
			Remedy: "bring back the files as they were, and put what is new into a migration of its own",
		})
	}
	for _, p := range f.Problems {
		if !p.Fatal {
			out = append(out, op.Finding{Severity: op.Warn, Check: "folder", Text: f.Name + ": " + p.String(), Remedy: p.Remedy})
		}
	}
	return out
}

// few lists the first ones.
func few(all []string) string {
	const most = 5
	if len(all) <= most {
		return strings.Join(all, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(all[:most], ", "), len(all)-most)
}

// modes tells of the files that are not one transaction.
func (f SetFacts) modes() (out []op.Finding) {
	for _, one := range f.Files {
		if one.Mode == string(split.Stepwise) {
			out = append(out, op.Finding{
				Severity: op.Info, Check: "stepwise", Text: fmt.Sprintf("%s: %s is run statement by statement: %s", f.Name, one.Name, one.Why),
				Remedy: "if it fails, what ran before stays; the run goes on from there, or dbops migrate repair does",
			})
		}
	}
	return out
}

// jobs are the files of a plan as they are in the folder now: what the plan knew them as, or a fault.Stale.
func (f SetFacts) jobs(folder *source.Folder, direction source.Direction) ([]driver.Job, error) {
	what := "read the files of " + f.Name + " in " + folder.Path
	jobs := make([]driver.Job, 0, len(f.Files))
	for _, one := range f.Files {
		m, _, ok := folder.Find(one.Version)
		if !ok {
			return nil, fault.Newf(fault.Stale, what, "%s is gone", one.Name).Hint("bring it back, or make a new plan")
		}
		file := m.File(direction)
		if (file == nil) != one.Missing || (file != nil && file.Sum != one.Sum) {
			return nil, fault.Newf(fault.Stale, what, "%s is not what was planned", one.Name).Hint("bring it back as it was, or make a new plan")
		}
		jobs = append(jobs, driver.Job{Migration: m, Direction: direction, Target: one.Target})
	}
	return jobs, nil
}
