package roles_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"dbops/internal/fault"
	"dbops/internal/upgrade/roles"
)

const strange = `Größe "x" it's`

// fixture has one of everything that every major has.
var fixture = []string{
	`create role rds_iam; create role rds_superuser; create role cloudsqladmin`,
	`create role app_owner nologin createdb; create role app_rw noinherit; create role readonly;
create role alice login password 'of-alice-1' connection limit 7 valid until '2031-01-02 03:04:05+01'; create role bob login password 'of-bob-1';
create role "` + strings.ReplaceAll(strange, `"`, `""`) + `" login; create role iam_user login; create role maker login createrole createdb password 'of-maker-1';
create role boss superuser; create role repl login replication password 'of-repl-1'; create role bypass bypassrls`,
	`set password_encryption = md5; create role ancient login password 'of-ancient-1'`,
	`comment on role alice is 'she said: "don''t \ do"'`,
	`grant app_owner to app_rw; grant app_rw to alice with admin option; grant app_rw to bob; grant pg_read_all_data to alice; grant pg_monitor to "` +
		strings.ReplaceAll(strange, `"`, `""`) + `"; grant rds_iam to iam_user; grant readonly to rds_superuser; grant rds_superuser to maker`,
	`create database r_app owner app_owner template template0 connection limit 50`,
	`create database "R ä ""2""" owner "` + strings.ReplaceAll(strange, `"`, `""`) + `" template template0 encoding 'LATIN1' lc_collate 'C' lc_ctype 'C' is_template true`,
	`comment on database r_app is 'the app'; revoke all on database r_app from public; grant connect on database r_app to alice with grant option; grant temp on database r_app to readonly;
grant connect on database r_app to postgres`,
	`alter role alice set search_path = "$user", 'a b', public; alter role alice set statement_timeout = '5s'; alter role bob set default_transaction_read_only = on;
alter role alice in database r_app set work_mem = '7MB'; alter role alice set role = 'app_rw'; alter role app_rw set app.tenant = 'it''s \ 7'`,
	`alter database r_app set default_transaction_read_only = on; alter database r_app set search_path = ''; alter database r_app set "TimeZone" = 'Europe/Berlin';
alter database "R ä ""2""" set session_preload_libraries = ''; alter role all set work_mem = '5MB'`,
	`alter role bob set log_statement = 'none'`,
	`update pg_db_role_setting set setconfig = setconfig || 'operator_precedence_warning=on'::text where setrole = 'bob'::regrole`,
}

var fixtureDatabases = []string{"r_app", `R ä "2"`}

func fill(from *side) {
	from.t.Helper()
	from.exec(fixture...)
	if from.server.Major < 16 {
		from.exec("alter role bob set force_parallel_mode = off")
	}
	if from.server.Major >= 16 {
		from.exec(`grant app_owner to alice with admin true, inherit false, set false; grant app_owner to bob with inherit false, set true granted by alice;
grant readonly to bob with inherit true, set false`)
	}
	if from.server.Major >= 15 {
		from.exec(`create database r_icu owner app_owner template template0 locale_provider icu icu_locale 'de-AT' lc_collate 'C' lc_ctype 'C'`)
	}
	if from.server.Major >= 17 {
		from.exec(`create database r_builtin template template0 locale_provider builtin builtin_locale 'C.UTF-8'`)
	}
}

func databasesOf(major int) []string {
	out := slices.Clone(fixtureDatabases)
	if major >= 15 {
		out = append(out, "r_icu")
	}
	if major >= 17 {
		out = append(out, "r_builtin")
	}
	return out
}

func TestATargetGetsEverythingThatItsLoginMayGive(t *testing.T) {
	for _, c := range []struct {
		from, to           int
		fromSuper, toSuper bool
		blind              bool // the source does not show verifiers
	}{
		{14, 17, true, true, false},
		{14, 17, false, false, true},
		{15, 18, true, false, false},
		{16, 18, true, true, false},
		{16, 18, false, false, false},
		{16, 18, false, true, true},
		{17, 18, false, false, true},
		{14, 15, true, false, false},
	} {
		t.Run(fmt.Sprintf("%d super %t to %d super %t", c.from, c.fromSuper, c.to, c.toSuper), func(t *testing.T) {
			from, to := newSide(t, c.from, c.fromSuper), newSide(t, c.to, c.toSuper)
			fill(from)
			to.exec("create role rds_iam; create role rds_superuser")
			if c.blind {
				from.exec("revoke pg_read_all_data from test_superuser")
			}
			if c.to >= 16 && !c.toSuper {
				to.exec("grant rds_iam, rds_superuser to postgres with admin true, inherit false, set false")
			}
			names := databasesOf(c.from)
			m := from.read(names...)
			if m.Passwords == c.blind || strings.Contains(text(t, m), "SCRAM") || strings.Contains(fmt.Sprintf("%+v %#v", m, m), "SCRAM") {
				t.Errorf("passwords: %t: %+v", m.Passwords, m)
			}
			r := mustBring(t, m, to)
			unexpected, expected := compare(t, from, to, names...)
			t.Logf("left out:\n%s\nno password: %q, passwords: %d\nexpected:\n%s", r.left(), r.apply.NoPassword, r.apply.Passwords, strings.Join(expected, "\n"))
			if len(unexpected) > 0 {
				t.Errorf("differs:\n%s", strings.Join(unexpected, "\n"))
			}
			before := text(t, to.read(names...))
			again := mustBring(t, m, to)
			if after := text(t, to.read(names...)); after != before {
				t.Errorf("the second time changed something:\n%s\n---\n%s", before, after)
			}
			if r.left() != again.left() || !slices.Equal(r.apply.Created, again.apply.Created) {
				t.Errorf("the second time left out:\n%s\ncreated %q, %q", again.left(), r.apply.Created, again.apply.Created)
			}
			if !c.blind {
				if err := to.login("bob", "of-bob-1", "postgres"); err != nil {
					t.Error(err)
				}
				if err := to.login("alice", "of-alice-1", "r_app"); err != nil {
					t.Error(err)
				}
				if err := to.login("bob", "of-alice-1", "postgres"); err == nil {
					t.Error("bob logged in with another's password")
				}
			}
			if err := roles.Finish(t.Context(), to.connect); err != nil {
				t.Fatal(err)
			}
			if left := to.names("select rolname::text from pg_roles where rolname like 'dbops%'"); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

func TestADatabaseThatIsAnotherIsRefused(t *testing.T) {
	from, to := newSide(t, 16, true), newSide(t, 18, false)
	from.exec("create role o", "create database r_one owner o template template0 lc_collate 'C' lc_ctype 'C'")
	m := from.read("r_one")
	to.exec("create role o")
	to.exec("grant o to postgres with admin true")
	for _, c := range []struct{ name, make, inside, says string }{
		{"its locale differs", "create database r_one owner o template template0 encoding 'LATIN1' lc_collate 'C' lc_ctype 'C'", "", "it has LATIN1"},
		{"its owner differs", "create database r_one owner test_superuser template template0 lc_collate 'C' lc_ctype 'C'", "", "belongs to"},
		{"it holds a table", "create database r_one owner o template template0 lc_collate 'C' lc_ctype 'C'", "create table public.t (i int)", "relation public.t"},
		{"it holds a schema", "create database r_one owner o template template0 lc_collate 'C' lc_ctype 'C'", "create schema s", "schema s"},
		{"it holds a large object", "create database r_one owner o template template0 lc_collate 'C' lc_ctype 'C'", "select lo_create(0)", "large object"},
	} {
		to.exec(c.make)
		if c.inside != "" {
			to.server.Exec(t, "r_one", c.inside)
		}
		err := m.CreateDatabases(t.Context(), to.connect)
		if fault.KindOf(err) != fault.Blocked || !strings.Contains(err.Error(), c.says) || fault.HintOf(err) == "" {
			t.Errorf("%s: %v", c.name, err)
		}
		to.exec("drop database r_one")
	}
	to.exec("create database r_one owner postgres template template0 lc_collate 'C' lc_ctype 'C'") // empty, and the login's own
	if err := m.CreateDatabases(t.Context(), to.connect); err != nil {
		t.Fatal(err)
	}
	to.server.Exec(t, "r_one", "create table public.t (i int)") // by now it is being filled
	if err := m.CreateDatabases(t.Context(), to.connect); err != nil {
		t.Fatal(err)
	}
	if got := to.names("select pg_get_userbyid(datdba) from pg_database where datname = 'r_one'"); got[0] != "o" {
		t.Errorf("owner %s", got)
	}
	if got := to.names("select member::regrole::text || inherit_option || set_option from pg_auth_members where roleid = 'o'::regrole"); !slices.Equal(got, []string{"postgrestruetrue"}) {
		t.Errorf("memberships %s", got)
	}
}

func TestWhatWasMadeIsRemoved(t *testing.T) {
	for _, super := range []bool{true, false} {
		t.Run(fmt.Sprint("super ", super), func(t *testing.T) {
			from, to := newSide(t, 16, true), newSide(t, 18, super)
			fill(from)
			// What was there before, and is changed.
			to.exec("create role bob login password 'older' connection limit 3; create role app_owner nologin; create role keeper; create role rds_iam; create role rds_superuser",
				"alter role bob set default_transaction_read_only = off; alter role bob set search_path = 'x, y', z")
			to.exec("grant bob, app_owner, keeper, rds_iam, rds_superuser to postgres with admin true, inherit false, set false; grant app_owner to bob with inherit true, set false")
			before := text(t, to.read())
			m := from.read(databasesOf(16)...)
			r := mustBring(t, m, to)
			if slices.Contains(r.apply.Created, "bob") || !slices.Contains(r.apply.Created, strange) {
				t.Errorf("created %q", r.apply.Created)
			}
			if _, err := m.Join(t.Context(), to.connect); err != nil {
				t.Fatal(err)
			}
			to.server.Exec(t, "r_app", "set default_transaction_read_only = off", "create schema s authorization alice", "create table s.t ()")
			for range 2 {
				if err := m.Remove(t.Context(), to.connect, r.apply); err != nil {
					t.Fatal(err, fault.HintOf(err))
				}
			}
			if after := text(t, to.read()); after != before {
				t.Error(differ(before, after))
			}
		})
	}
}

func TestARoleThatIsNeededIsNotRemoved(t *testing.T) {
	from, to := newSide(t, 15, true), newSide(t, 17, false)
	from.exec("create role one; create role two")
	m := from.read()
	r, err := m.Apply(t.Context(), to.connect, roles.Options{})
	if err != nil {
		t.Fatal(err)
	}
	to.exec("grant connect on database postgres to two")
	err = m.Remove(t.Context(), to.connect, r)
	if fault.KindOf(err) != fault.Blocked || !strings.Contains(err.Error(), "two") {
		t.Errorf("%v", err)
	}
	if got := to.names("select rolname from pg_roles where rolname in ('one', 'two')"); len(got) != 2 {
		t.Errorf("left %q", got)
	}
}

func TestACopyMayGiveThingsToTheirOwnersUntilItIsFinished(t *testing.T) {
	for _, majors := range [][2]int{{14, 15}, {16, 18}} {
		t.Run(fmt.Sprint(majors), func(t *testing.T) {
			from, to := newSide(t, majors[0], false), newSide(t, majors[1], false)
			from.exec("create role o; create role p; create role q; create role rds_iam; create role i login; grant rds_iam to i", "create database r_one owner o")
			from.server.Exec(t, "r_one", "create schema authorization p", "create schema authorization i")
			to.exec("create role rds_iam; create role i login; grant rds_iam to i")
			if majors[1] >= 16 {
				to.exec("grant i to postgres with admin true, inherit false, set false")
			}
			m := from.read("r_one")
			mustBring(t, m, to)
			const members = "select roleid::regrole || ' ' || member::regrole || ' ' || row_to_json(m) from pg_auth_members m order by 1"
			strip := func(all []string) string { return strings.Join(all, "\n") }
			before := strip(to.names("select roleid::regrole || ' ' || member::regrole || ' ' || grantor::regrole || ' ' || admin_option from pg_auth_members where roleid::regrole::text <> 'dbops_upgrade' order by 1"))
			for range 2 {
				left, err := m.Join(t.Context(), to.connect)
				if err != nil || majors[1] < 16 && (len(left) != 1 || !strings.Contains(left[0].What, `in "i"`)) {
					t.Fatal(left, err)
				}
			}
			conn, err := to.connect(t.Context(), "r_one")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close(t.Context()) }()
			for _, sql := range []string{"create schema s", "create table s.t ()", "alter schema s owner to p"} {
				if _, err := conn.Exec(t.Context(), sql); err != nil {
					t.Errorf("%s: %v\n%s", sql, err, strip(to.names(members)))
				}
			}
			for range 2 {
				if err := roles.Finish(t.Context(), to.connect); err != nil {
					t.Fatal(err)
				}
			}
			if after := strip(to.names("select roleid::regrole || ' ' || member::regrole || ' ' || grantor::regrole || ' ' || admin_option from pg_auth_members where roleid::regrole::text <> 'dbops_upgrade' order by 1")); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
		})
	}
}
