package quiesce

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/fault"
)

func TestEverythingIsAsBefore(t *testing.T) {
	for name, c := range map[string]struct {
		major int
		sql   string
	}{
		"the default":                      {14, "select"},
		"the default on the newest":        {18, "select"},
		"everybody was shut out":           {16, "revoke all on database %[1]s from public, %[1]s_owner"},
		"in an order of its own":           {17, `grant connect on database %[1]s to "%[1]s_Über"; revoke connect on database %[1]s from public; grant all on database %[1]s to %[1]s_plain; revoke temp on database %[1]s from public; grant connect on database %[1]s to public`},
		"we had it ourselves":              {18, "grant connect on database %[1]s to %[1]s_dbops with grant option; revoke connect on database %[1]s from public"},
		"the owner gave an option":         {16, `grant connect, temp on database %[1]s to "%[1]s_Über" with grant option; revoke all on database %[1]s from public`},
		"it was read-only":                 {15, "alter database %[1]s set work_mem = '8MB'; alter database %[1]s set default_transaction_read_only = 'true'; alter database %[1]s set jit = off"},
		"roles have settings of their own": {16, `alter role "%[1]s_Über" in database %[1]s set jit = off; alter role "%[1]s_Über" in database %[1]s set default_transaction_read_only = 'false'; alter role "%[1]s_plain" in database %[1]s set default_transaction_read_only = 'on'`},
		"others gave rights": {15, `create role %[1]s_giver; grant %[1]s_giver to %[1]s_dbops; grant connect on database %[1]s to %[1]s_giver with grant option; set role %[1]s_giver;
grant connect on database %[1]s to %[1]s_plain; grant connect on database %[1]s to "%[1]s_Über" with grant option; reset role; set role "%[1]s_Über"; grant connect on database %[1]s to %[1]s_stubborn; reset role; grant "%[1]s_Über" to %[1]s_dbops`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t, c.major)
			p.exec(c.sql)
			before := p.state()
			connect := func(ctx context.Context, _ string) (*pgx.Conn, error) { // where even dbops may not connect, it does it from elsewhere
				return p.as("dbops", nil)(ctx, "postgres")
			}
			b, err := Look(t.Context(), connect, []string{p.db})
			if err != nil {
				t.Fatal(err)
			}
			stored, err := json.Marshal(b)
			if err != nil {
				t.Fatal(err)
			}
			b = &Before{}
			if err := json.Unmarshal(stored, b); err != nil {
				t.Fatal(err)
			}
			cuts := []string{PhaseSessions, ""} // where a Close is cut off
			if c.major == 16 {
				cuts = append([]string{PhaseConnect}, cuts...)
			}
			for i, phase := range cuts {
				ctx, cancel := context.WithCancel(t.Context())
				_, err := Close(ctx, connect, b, Options{Tell: func(g Progress) {
					if g.Phase == phase {
						cancel()
					}
				}})
				cancel()
				if (err == nil) != (phase == "") || err != nil && fault.KindOf(err) != fault.Interrupted {
					t.Fatalf("cut off before %q: %v", phase, err)
				}
				if phase == "" && p.state() == before {
					t.Error("nothing was changed")
				}
				for range i + 1 { // it may be called twice, and more
					if err := Open(t.Context(), connect, b); err != nil {
						t.Fatal(err)
					}
					if now := p.state(); now != before {
						t.Errorf("cut off before %q:\nafterwards %s\nbefore     %s", phase, now, before)
					}
				}
			}
		})
	}
}

func TestWhatForbidsAClose(t *testing.T) {
	for name, c := range map[string]struct {
		sql  string
		opts Options
		kind fault.Kind
		says string
		hint string
		look bool // it is seen at the look
	}{
		"dbops is no member of the owner":           {"revoke %[1]s_owner from %[1]s_dbops", Options{}, fault.Denied, "is no member of it", "GRANT ", true},
		"a role that we cannot become gave a right": {"create role %[1]s_giver; grant connect on database %[1]s to %[1]s_giver with grant option; set role %[1]s_giver; grant connect on database %[1]s to %[1]s_plain; reset role", Options{}, fault.Blocked, "could not grant that again", "GRANT ", true},
		"another role is a member of ours":          {"revoke %[1]s_plain from %[1]s_dbops; grant %[1]s_dbops to %[1]s_plain", Options{}, fault.Blocked, "inherit the right to connect", "log in with a role", false},
		"an application has the login of dbops":     {"select", Options{Wait: 300 * time.Millisecond}, fault.Busy, "do not end or come again", "login of its own", false},
		"dbops may not end sessions":                {"revoke pg_signal_backend from %[1]s_dbops", Options{}, fault.Denied, "end process", "GRANT pg_signal_backend", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t, 16)
			p.exec(c.sql)
			_ = p.login("stubborn", nil)
			b, err := Look(t.Context(), p.as("dbops", nil), []string{p.db})
			if !c.look {
				if err != nil {
					t.Fatal(err)
				}
				if c.kind == fault.Busy {
					app := p.as("dbops", named("shop"))
					c.opts.Tell = func(Progress) {
						if conn, err := app(t.Context(), p.db); err == nil {
							t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
						}
					}
				}
				before := p.state()
				_, err = Close(t.Context(), p.as("dbops", nil), b, c.opts)
				if c.kind == fault.Blocked && p.state() != before {
					t.Error("something was changed")
				}
			}
			if fault.KindOf(err) != c.kind || !strings.Contains(fmt.Sprint(err), c.says) || !strings.Contains(fault.HintOf(err), c.hint) {
				t.Errorf("error: %v, hint: %s", err, fault.HintOf(err))
			}
		})
	}
	p := newPlace(t, 16)
	if _, err := Look(t.Context(), p.as("dbops", nil), []string{p.db, "nowhere"}); fault.KindOf(err) != fault.NotFound {
		t.Error(err)
	}
	if _, err := Look(t.Context(), p.as("dbops", nil), nil); fault.KindOf(err) != fault.Usage {
		t.Error(err)
	}
}

func TestARightThatIsGivenAfterTheLookIsToldOf(t *testing.T) {
	p := newPlace(t, 18)
	p.exec("create role %[1]s_gone; grant connect on database %[1]s to %[1]s_gone")
	b := p.look()
	p.exec("revoke all on database %[1]s from %[1]s_gone; drop role %[1]s_gone; create role %[1]s_late login; grant connect on database %[1]s to %[1]s_late; revoke connect on database %[1]s from public")
	r, err := Close(t.Context(), p.as("dbops", nil), b, Options{Roles: []string{"nobody"}})
	if err != nil || len(r.Notes) != 2 || !strings.Contains(r.Notes[0], "no role nobody") || !strings.Contains(r.Notes[1], "_late got the right") {
		t.Fatalf("%+v, %v", r, err)
	}
	if err := Open(t.Context(), p.as("dbops", nil), b); err != nil {
		t.Fatal(err)
	}
	if now := p.state(); strings.Contains(now, "_gone") || strings.Contains(now, "_late") || strings.Contains(now, "_dbops") || !strings.Contains(now, "=Tc/") {
		t.Errorf("afterwards %s", now)
	}
}
