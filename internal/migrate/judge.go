package migrate

import (
	"slices"

	"dbops/internal/migrate/driver"
	"dbops/internal/migrate/source"
)

// Judged is a folder against what a database says.
type Judged struct {
	Pending []*source.Migration // after the database's version, in order
	Late    []*source.Migration // before it, and never applied: they came with a branch that was merged later
	Changed []*source.Migration // applied, and their up files are not what was applied
	// Unknown are versions that the database has, or had last, and the folder does not: it was migrated by newer files.
	Unknown []int64
	// Assumed tells that some versions are there without an entry of the history: golang-migrate or another tool applied them.
	Assumed bool
	// Foreign tells that the version is not the one that the history came to: another tool moved it since.
	Foreign bool
}

// judge compares. It relies on the history as far as there is one: what another tool applied since is taken as applied.
func judge(f *source.Folder, s driver.State) Judged {
	var j Judged
	last := map[int64]driver.Entry{} // the last entry of each version that ended well
	reached, kept := int64(-1), false
	for _, e := range s.Entries {
		if e.Outcome == driver.OK {
			last[e.Version] = e
			reached, kept = e.Target, true
		}
	}
	version := int64(-1)
	if s.Any {
		version = s.Version
	}
	rows := map[int64]bool{}
	for _, r := range s.Rows {
		rows[r.Version] = true
	}
	applied := func(v int64) bool {
		switch e, known := last[v]; {
		case s.Many:
			return rows[v]
		case v > version:
			return false
		case !kept, v == version, v > reached: // by another tool
			return true
		default:
			return known && e.Direction != string(source.Down)
		}
	}
	for _, m := range f.Migrations {
		e, known := last[m.Version]
		switch {
		case !applied(m.Version) && m.Version > version:
			j.Pending = append(j.Pending, m)
		case !applied(m.Version):
			j.Late = append(j.Late, m)
		case !known:
			j.Assumed = true
		case e.Sum != "" && (m.Up == nil || e.Sum != m.Up.Sum) && e.Direction != string(source.Down):
			j.Changed = append(j.Changed, m)
		}
	}
	j.Unknown = unknown(f, s, last, applied)
	j.Foreign = kept && !s.Dirty && !s.Many && reached != version
	return j
}

func unknown(f *source.Folder, s driver.State, last map[int64]driver.Entry, applied func(int64) bool) (out []int64) {
	note := func(v int64) {
		if _, _, ok := f.Find(v); !ok && v >= 0 && !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	for _, r := range s.Rows {
		note(r.Version)
	}
	for v, e := range last {
		if e.Direction != string(source.Down) && applied(v) {
			note(v)
		}
	}
	slices.Sort(out)
	return out
}

// present are the migrations of a folder that a database has, in order.
func present(f *source.Folder, s driver.State, j Judged) (has []*source.Migration) {
	for _, m := range f.Migrations {
		if s.Any && m.Version <= s.Version && !slices.Contains(j.Pending, m) && !slices.Contains(j.Late, m) {
			has = append(has, m)
		}
	}
	return has
}

// unrecorded are those that a database has and its history does not know: another tool applied them. Once dbops has migrated on, they could not
// be told from late ones.
func unrecorded(f *source.Folder, s driver.State) []*source.Migration {
	return slices.DeleteFunc(present(f, s, judge(f, s)), func(m *source.Migration) bool {
		known := false
		for _, e := range s.Entries {
			if e.Version == m.Version && e.Outcome == driver.OK {
				known = e.Direction != string(source.Down)
			}
		}
		return known
	})
}

// downward are the jobs that take back what a database has above a version, newest first. A version of -1 takes back all.
func downward(f *source.Folder, s driver.State, j Judged, to int64) (jobs []driver.Job) {
	has := present(f, s, j)
	for i := len(has) - 1; i >= 0 && has[i].Version > to; i-- {
		target := int64(-1)
		if i > 0 {
			target = has[i-1].Version
		}
		jobs = append(jobs, driver.Job{Migration: has[i], Direction: source.Down, Target: target})
	}
	return jobs
}

// upward are the jobs of late and pending migrations, up to a version (nil for all). A late one leaves the version as it is.
func upward(s driver.State, j Judged, late bool, to *int64) (jobs []driver.Job) {
	at := int64(-1)
	if s.Any {
		at = s.Version
	}
	if late {
		for _, m := range j.Late {
			jobs = append(jobs, driver.Job{Migration: m, Direction: source.Up, Target: at})
		}
	}
	for _, m := range j.Pending {
		if to != nil && m.Version > *to {
			break
		}
		jobs = append(jobs, driver.Job{Migration: m, Direction: source.Up, Target: m.Version})
	}
	return jobs
}
