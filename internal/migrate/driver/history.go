package driver

import (
	"fmt"
	"strconv"
	"strings"

	"dbops/internal/migrate/source"
)

// The outcomes of an entry of the history.
const (
	Running   = "running"
	OK        = "ok"
	Failed    = "failed"
	Cancelled = "cancelled"
)

// The directions of an entry besides up and down.
const (
	Baseline = "baseline" // the version was there before: its file is assumed to be what was run
	Repair   = "repair"   // somebody said what is so
)

// historySchemaSQL makes the history, for a session that may. Its rows are only ever added, but for how a run that began ended.
func historySchemaSQL(t Table) string {
	schema := ""
	if t.Schema == HistorySchema {
		schema = "create schema if not exists " + ident(HistorySchema) + ";"
	}
	return schema + "create table if not exists " + t.sql() + ` (
 id bigint generated always as identity primary key,
 versions text not null,
 version bigint not null,
 name text not null,
 direction text not null,
 checksum text,
 mode text,
 outcome text not null,
 statements int,
 statements_done int,
 error_state text,
 error_text text,
 error_line int,
 started_at timestamptz not null default clock_timestamp(),
 duration_ms bigint,
 attempts int,
 db_user text not null default session_user,
 actor text,
 os_user text,
 host text,
 tool text,
 git_commit text,
 run text,
 reason text);`
}

// entry is what is written to the history of a file.
type entry struct {
	version    int64
	name       string
	direction  string
	sum, mode  string
	outcome    string
	statements int
	done       int
	started    string // SQL of when it began; "" for now
	attempts   int
	failure    *FileError
	reason     string
}

func jobEntry(j Job, mode, outcome string) entry {
	e := entry{version: j.Migration.Version, name: j.Migration.Name, direction: string(j.Direction), mode: mode, outcome: outcome}
	if f := j.file(); f != nil {
		e.sum = f.Sum
	}
	return e
}

// insertSQL adds an entry. The time that it took is counted from started.
func (d *Driver) insertSQL(e entry) string {
	started, duration := "clock_timestamp()", "null"
	if e.started != "" {
		started = e.started
		duration = "extract(epoch from clock_timestamp() - " + started + ") * 1000"
	}
	state, text, line := "", "", "null"
	if e.failure != nil {
		state, text = e.failure.State, e.failure.Message
		if e.failure.Line > 0 {
			line = strconv.Itoa(e.failure.Line)
		}
	}
	w := d.o.Who
	values := []string{
		literal(d.home.versions.String()), strconv.FormatInt(e.version, 10), literal(e.name), literal(e.direction), orNull(e.sum), orNull(e.mode),
		literal(e.outcome), strconv.Itoa(e.statements), strconv.Itoa(e.done), orNull(state), orNull(text), line, started, duration,
		strconv.Itoa(max(1, e.attempts)), orNull(w.Actor), orNull(w.OSUser), orNull(w.Host), orNull(w.Tool), orNull(w.Commit), orNull(w.Run), orNull(e.reason),
	}
	return "insert into " + d.home.history.sql() + " (versions, version, name, direction, checksum, mode, outcome, statements, statements_done, " +
		"error_state, error_text, error_line, started_at, duration_ms, attempts, actor, os_user, host, tool, git_commit, run, reason) values (" +
		strings.Join(values, ", ") + ")"
}

// versionSQL records what version the database has. many tells that there is a row for each version, as Encore has it.
func (d *Driver) versionSQL(j Job, dirty, many bool) string {
	t := d.home.versions.sql()
	if many {
		del := fmt.Sprintf("delete from %s where version = %d;", t, j.Migration.Version)
		if j.Direction == source.Down && !dirty {
			return del
		}
		return del + fmt.Sprintf("insert into %s (version, dirty) values (%d, %t);", t, j.Migration.Version, dirty)
	}
	s := "delete from " + t + ";"
	if j.Target >= 0 || dirty {
		s += fmt.Sprintf("insert into %s (version, dirty) values (%d, %t);", t, j.Target, dirty)
	}
	return s
}
