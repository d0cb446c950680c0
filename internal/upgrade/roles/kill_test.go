package roles_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/fault"
	"dbops/internal/upgrade/roles"
)

// killer cancels when the statement of a number is about to be sent: the one before has been answered.
type killer struct {
	cancel context.CancelFunc
	left   int // statements
	hit    bool
}

func (k *killer) start(ctx context.Context) context.Context {
	if k.left--; k.left == 0 {
		k.hit = true
		k.cancel()
	}
	return ctx
}

func (k *killer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return k.start(ctx)
}
func (k *killer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}
func (k *killer) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	return k.start(ctx)
}
func (k *killer) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}
func (k *killer) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData)     {}

// killed runs do, killed at one statement after the other, until it is not hit any more. Between the tries it calls check.
func killed(t *testing.T, to *side, do func(context.Context) error, check func(where string)) {
	t.Helper()
	for n := 1; ; n++ {
		ctx, cancel := context.WithCancel(t.Context())
		k := &killer{cancel: cancel, left: n}
		to.tracer = k
		err := do(ctx)
		cancel()
		to.tracer = nil
		where := fmt.Sprintf("killed before statement %d", n)
		if err != nil && (!k.hit || fault.KindOf(err) != fault.Interrupted) {
			t.Fatalf("%s: %s, %v", where, fault.KindOf(err), err)
		}
		check(where)
		if !k.hit {
			t.Logf("%d statements", n-1)
			return
		}
	}
}

func TestOneThatWasKilledGoesOn(t *testing.T) {
	from, to := newSide(t, 16, true), newSide(t, 18, false)
	from.exec("create role o login password 'of-o-1'; create role p; grant o to p; alter role o set work_mem = '5MB'; comment on role p is 'pee'; create role bob login connection limit 9",
		"create database r_one owner o", "alter database r_one set work_mem = '6MB'; revoke all on database r_one from public; comment on database r_one is 'x'")
	to.exec("create role bob") // was there before
	to.exec("grant bob to postgres with admin true, inherit false, set false")
	empty := text(t, to.read())
	m := from.read("r_one")
	said := func(r *roles.Report) string { return text(t, []any{r.Created, r.Changed, r.LeftOut, r.NoPassword}) }
	apply := func(ctx context.Context) (*roles.Report, error) { return m.Apply(ctx, to.connect, roles.Options{}) }
	do := func(what func(context.Context) (*roles.Report, error)) (state, report string) {
		t.Helper()
		r, err := what(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return text(t, to.read()), said(r)
	}
	// One transaction: what it leaves is what was there, or all.
	one := func(what func(context.Context) (*roles.Report, error), before, after, report string) {
		t.Helper()
		killed(t, to, func(ctx context.Context) error { _, err := what(ctx); return err }, func(where string) {
			if now := text(t, to.read()); now != before && now != after {
				t.Fatalf("%s: %s", where, differ(after, now))
			}
		})
		state, again := do(what)
		if state != after || report != "" && again != report {
			t.Fatalf("%s, %s", differ(after, state), differ(report, again))
		}
	}
	made, report := do(apply)
	if err := m.Remove(t.Context(), to.connect, nil); err != nil {
		t.Fatal(err)
	}
	one(apply, empty, made, report)
	create := func(ctx context.Context) (*roles.Report, error) {
		return &roles.Report{}, m.CreateDatabases(ctx, to.connect)
	}
	whole, _ := do(create)
	remove := func(ctx context.Context) (*roles.Report, error) {
		return &roles.Report{}, m.Remove(ctx, to.connect, nil)
	}
	do(remove)
	do(apply)
	killed(t, to, func(ctx context.Context) error { _, err := create(ctx); return err }, func(where string) {
		if state, _ := do(create); state != whole {
			t.Fatalf("%s: %s", where, differ(whole, state))
		}
		if state, _ := do(remove); state != empty {
			t.Fatalf("%s, and removed: %s", where, differ(empty, state))
		}
		do(apply)
	})
	do(create)
	join := func(ctx context.Context) (*roles.Report, error) {
		_, err := m.Join(ctx, to.connect)
		return &roles.Report{}, err
	}
	joined, _ := do(join)
	if err := roles.Finish(t.Context(), to.connect); err != nil {
		t.Fatal(err)
	}
	one(join, whole, joined, "")
	if err := roles.Finish(t.Context(), to.connect); err != nil {
		t.Fatal(err)
	}
	one(func(ctx context.Context) (*roles.Report, error) { return m.ApplySettings(ctx, to.connect) }, whole, settled(t, from, to, m), "")
}

// settled is the target as it is to be with its settings.
func settled(t *testing.T, from, to *side, m *roles.Model) string {
	t.Helper()
	if _, err := m.ApplySettings(t.Context(), to.connect); err != nil {
		t.Fatal(err)
	}
	if unexpected, _ := compare(t, from, to, "r_one"); len(unexpected) > 0 {
		t.Error(unexpected)
	}
	state := text(t, to.read())
	to.exec("alter role o reset all; alter database r_one reset all; grant connect, temp on database r_one to public; comment on database r_one is null; revoke connect on database r_one from postgres")
	return state
}

func TestThousandsOfRolesTakeFewRoundTrips(t *testing.T) {
	for _, c := range []struct {
		super bool
		roles int
	}{{true, 2000}, {false, 300}} {
		t.Run(fmt.Sprintf("%d, super %t", c.roles, c.super), func(t *testing.T) {
			from, to := newSide(t, 16, true), newSide(t, 18, c.super)
			from.exec(fmt.Sprintf(`do $$ begin create role g; for i in 1..%d loop execute format('create role r%%s login connection limit %%s', i, i); execute format('grant g to r%%s', i); end loop;
update pg_authid set rolpassword = (select rolpassword from pg_authid where rolname = 'postgres') where rolname ~ '^r1.?$'; end $$`, c.roles)) // each of these costs the server thousands of hashes
			m := from.read()
			k := &killer{cancel: func() {}}
			to.tracer = k
			began := time.Now()
			r := mustBring(t, m, to)
			to.tracer = nil
			t.Logf("%d statements, %s", -k.left, time.Since(began))
			unexpected, _ := compare(t, from, to)
			if len(r.apply.Created) != c.roles+1 || r.apply.Passwords < 11 || -k.left > 60 || len(unexpected) > 0 {
				t.Errorf("%d statements for %d: %s", -k.left, len(r.apply.Created), strings.Join(unexpected, "\n"))
			}
		})
	}
}
