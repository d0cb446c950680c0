package driver

import (
	"context"
	"errors"
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
func historySchemaSQL(versions, t Table) string {
	schema := ""
	if t.Schema == HistorySchema {
		schema = "create schema if not exists " + ident(HistorySchema) + ";"
	}
	return schema + "create table if not exists " + t.sql() + ` (
 id bigint generated always as identity primary key,
 versions text not null,
 version bigint not null,
 target bigint,
 name text not null,
 direction text not null,
 checksum text,
 mode text,
 outcome text not null,
 statements int,
 statements_done int,
 done_checksum text,
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
 reason text);` + grantSQL(versions, t)
}

// grantSQL lets those who may read the versions read the history.
func grantSQL(versions, history Table) string {
	return fmt.Sprintf(`do $dbops$ declare r name; begin
 for r in select distinct pg_get_userbyid(a.grantee) from pg_class c, aclexplode(c.relacl) a
  where c.oid = to_regclass(%s) and a.privilege_type = 'SELECT' and a.grantee <> 0 and a.grantee <> c.relowner loop
  execute format('grant usage on schema %%I to %%I', %s, r);
  execute format('grant select on %%I.%%I to %%I', %s, %s, r);
 end loop; end $dbops$;`, literal(versions.sql()), literal(history.Schema), literal(history.Schema), literal(history.Name))
}

// entry is what is written to the history of a file.
type entry struct {
	version    int64
	target     int64 // the database's version afterwards
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
	e := entry{version: j.Migration.Version, target: j.Target, name: j.Migration.Name, direction: string(j.Direction), mode: mode, outcome: outcome}
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
	target := "null"
	if e.target >= 0 {
		target = strconv.FormatInt(e.target, 10)
	}
	w := d.o.Who
	values := []string{
		literal(d.home.versions.String()), strconv.FormatInt(e.version, 10), target, literal(e.name), literal(e.direction), orNull(e.sum), orNull(e.mode),
		literal(e.outcome), strconv.Itoa(e.statements), strconv.Itoa(e.done), orNull(state), orNull(text), line, started, duration,
		strconv.Itoa(max(1, e.attempts)), orNull(w.Actor), orNull(w.OSUser), orNull(w.Host), orNull(w.Tool), orNull(w.Commit), orNull(w.Run), orNull(e.reason),
	}
	return "insert into " + d.home.history.sql() + " (versions, version, target, name, direction, checksum, mode, outcome, statements, statements_done, " +
		"error_state, error_text, error_line, started_at, duration_ms, attempts, actor, os_user, host, tool, git_commit, run, reason) values (" +
		strings.Join(values, ", ") + ")"
}

// Record is what is written to the history of migrations that are not run.
type Record struct {
	Migrations []*source.Migration
	Direction  string // Baseline or Repair
	Version    int64  // the database's
	Reason     string
}

// Adopt adds what a database has to the history, and leaves its version as it is. It takes the lock.
func (d *Driver) Adopt(ctx context.Context, r Record) error {
	return d.record(ctx, r, func(State) string { return "" })
}

// Settle says which version a database has, and adds it to the history. It takes the lock.
func (d *Driver) Settle(ctx context.Context, r Record) error {
	return d.record(ctx, r, func(st State) string { return d.settleSQL(st, r) })
}

func (d *Driver) settleSQL(st State, r Record) string {
	t := d.home.versions.sql()
	var sql string
	switch {
	case st.Many: // a row for each version: those that are in doubt are what is settled
		sql = fmt.Sprintf("delete from %[1]s where version > %[2]d;update %[1]s set dirty = false;", t, r.Version)
	default:
		sql = "delete from " + t + ";"
		if r.Version >= 0 {
			sql += fmt.Sprintf("insert into %s (version, dirty) values (%d, false);", t, r.Version)
		}
	}
	return sql + fmt.Sprintf("update %s set outcome = 'failed' where versions = %s and outcome = 'running';", d.home.history.sql(), literal(d.home.versions.String()))
}

func (d *Driver) record(ctx context.Context, r Record, version func(State) string) error {
	d.ctx = ctx
	if err := d.Lock(); err != nil {
		return err
	}
	st, err := d.Read(ctx)
	if err != nil {
		return errors.Join(err, d.Unlock())
	}
	var b strings.Builder
	b.WriteString("begin;" + version(st))
	for _, m := range r.Migrations {
		e := entry{version: m.Version, target: r.Version, name: m.Name, direction: r.Direction, outcome: OK, reason: r.Reason}
		if m.Up != nil && m.Version <= r.Version {
			e.sum = m.Up.Sum
		}
		b.WriteString(d.insertSQL(e) + ";")
	}
	b.WriteString("commit")
	if _, err = d.conn.Exec(ctx, b.String()); err != nil {
		d.rollback()
		err = d.fail("record the version of "+d.o.What, err)
	}
	d.o.hook("recorded")
	return errors.Join(err, d.Unlock())
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
