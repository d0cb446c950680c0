package stream

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"dbops/internal/fault"
)

var errKilled = errors.New("killed by the test")

// phases are all that a copy goes through.
var phases = []string{"snapshot", "schema", "before the data", "data", "large objects", "sequences", "source", "after the data"}

// kill ends a copy in a phase: as it begins, or after some of it is done.
func kill(t *testing.T, j Job, phase string, after int) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	j.Progress = func(p Progress) {
		if p.Phase == phase && p.Done >= after {
			cancel(errKilled)
		}
	}
	if _, err := Copy(ctx, j); fault.KindOf(err) != fault.Interrupted || !errors.Is(err, errKilled) || fault.HintOf(err) == "" {
		t.Fatalf("killed in phase %s: %v", phase, err)
	}
}

func TestACopyKilledInEveryPhaseGoesOn(t *testing.T) {
	from, whole, to := newSide(t, 14, zooSQL), newSide(t, 17), newSide(t, 17)
	j := inRanges(from, to)
	for _, p := range phases {
		kill(t, j, p, 0)
		switch p {
		case "data", "before the data", "after the data", "large objects":
			kill(t, j, p, 1)
		}
	}
	if _, err := Copy(t.Context(), j); err != nil {
		t.Fatal(err)
	}
	plain := job(from, whole)
	if _, err := Copy(t.Context(), plain); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*side{whole, to} {
		if err := Finish(t.Context(), s.connect); err != nil {
			t.Fatal(err)
		}
	}
	same(t, "killed and not killed", to.dumped(), whole.dumped())
}

func TestAChangedSourceIsCopiedAnewFromOneSnapshot(t *testing.T) {
	from := newSide(t, 16, zooSQL)
	for _, p := range []string{"data", "undo"} {
		t.Run(p, func(t *testing.T) {
			to := newSide(t, 18)
			j := inRanges(from, to)
			write := func() {
				from.exec("insert into app.t_nopk values (1, 'later'); delete from app.t_binary where id % 10 = 1; update app.t_gen set a = a + 1; select lo_unlink(min(oid)) from pg_largeobject_metadata")
			}
			if p == "undo" {
				kill(t, j, "after the data", 30)
				write()
				kill(t, j, p, 0)
			} else {
				kill(t, j, p, 1)
			}
			write()
			res, err := Copy(t.Context(), j)
			if err != nil {
				t.Fatal(err)
			}
			if res.Again == "" || !res.Resumed {
				t.Errorf("result: %+v", res)
			}
			if err := Finish(t.Context(), to.connect); err != nil {
				t.Fatal(err)
			}
			whole := newSide(t, 18)
			if _, err := Copy(t.Context(), job(from, whole)); err != nil {
				t.Fatal(err)
			}
			if err := Finish(t.Context(), whole.connect); err != nil {
				t.Fatal(err)
			}
			same(t, "begun again and copied at once", to.dumped(), whole.dumped())
		})
	}
}

func TestLostConnections(t *testing.T) {
	from := newSide(t, 16, "create table big as select i, md5(i::text) v from generate_series(1, 20000) i; create index on big (v); alter table big add primary key (i)",
		"create table small (i int primary key references big (i)); insert into small values (7)")
	to := newSide(t, 18)
	j := job(from, to)
	j.SplitBytes = 128 << 10
	ended := map[string]bool{}
	j.Progress = func(p Progress) {
		if (p.Phase == "data" || p.Phase == "after the data") && p.Done > 0 && !ended[p.Phase] {
			ended[p.Phase] = true
			to.end("")
		}
	}
	if _, err := Copy(t.Context(), j); err != nil || len(ended) != 2 {
		t.Fatalf("sessions of the target that end: %v, %v", ended, err)
	}
	if got := to.text("select count(*) || ' ' || sum(i) || ' ' || min(v) from big"); got != from.text("select count(*) || ' ' || sum(i) || ' ' || min(v) from big") {
		t.Errorf("rows: %s", got)
	}

	other := newSide(t, 18)
	j = job(from, other)
	done := false
	j.Progress = func(p Progress) {
		if p.Phase == "data" && !done {
			done = true
			from.end("")
		}
	}
	_, err := Copy(t.Context(), j)
	if fault.KindOf(err) != fault.Unavailable || !strings.Contains(fault.HintOf(err), "run it again") {
		t.Fatalf("the session that keeps the snapshot ends: %v", err)
	}
	if _, err := Copy(t.Context(), j); err != nil {
		t.Fatal(err)
	}
	if got := other.text("select count(*)::text from big"); got != "20000" {
		t.Errorf("%s rows", got)
	}
}

func TestTheFolderKeepsItsDumpAndNoHalfRestore(t *testing.T) {
	from, to, fresh := newSide(t, 16, "create table a (i int primary key); insert into a select generate_series(1, 10); create table b (i int references a); insert into b values (3)"), newSide(t, 18), newSide(t, 18)
	dir := filepath.Join(t.TempDir(), "dump")
	engine := Folder(dir)
	run := func(s *side, phase string) (Result, error) {
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		j := job(from, s)
		j.Progress = func(p Progress) {
			if p.Phase == phase {
				cancel(errKilled)
			}
		}
		return engine(ctx, j)
	}
	for _, phase := range []string{"dump", "restore"} {
		if _, err := run(to, phase); fault.KindOf(err) != fault.Interrupted {
			t.Fatalf("killed in phase %s: %v", phase, err)
		}
	}
	if _, err := run(to, ""); fault.KindOf(err) != fault.Blocked || !strings.Contains(fault.HintOf(err), dir+" is kept") {
		t.Errorf("half a restore: %v, hint: %s", err, fault.HintOf(err))
	}
	if res, err := run(fresh, ""); err != nil || !res.Resumed {
		t.Fatalf("%+v, %v", res, err)
	}
	if got := fresh.text("select count(*) || ' ' || (select sum(i) from b) from a"); got != "10 3" {
		t.Errorf("rows: %s", got)
	}
	from.exec("delete from b")
	last := newSide(t, 18)
	if res, err := run(last, ""); err != nil || res.Again == "" || last.text("select count(*)::text from b") != "0" {
		t.Errorf("an old dump: %+v, %v", res, err)
	}
	if _, err := Copy(t.Context(), job(from, fresh)); fault.KindOf(err) != fault.Blocked {
		t.Errorf("the other engine goes on: %v", err)
	}
}

func TestOneCopyAtATimeAndNoSessionIsLeft(t *testing.T) {
	from, to := newSide(t, 16, "create table t (i int); insert into t values (1)"), newSide(t, 18)
	left, err := open(t.Context(), to.connect, targetSettings) // as of a process that was killed
	if err != nil {
		t.Fatal(err)
	}
	defer left.Close(context.WithoutCancel(t.Context()))
	j := job(from, to)
	var second error
	j.Progress = func(p Progress) {
		if p.Phase == "data" && second == nil {
			_, second = Copy(t.Context(), job(from, to))
		}
	}
	if _, err := Copy(t.Context(), j); err != nil {
		t.Fatal(err)
	}
	if fault.KindOf(second) != fault.Busy || fault.HintOf(second) == "" {
		t.Errorf("a second one meanwhile: %v", second)
	}
	if err := left.Ping(t.Context()); err == nil {
		t.Error("the session that was left lives on")
	}
}
