package preflight_test

import (
	_ "embed"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"dbops/internal/upgrade/preflight"
)

//go:embed testdata/zoo.sql
var zoo string

//go:embed testdata/zoo_more.sql
var zooMore string

// fillZoo makes a database with one of everything. What is not within it goes when the test ends.
func (s *source) fillZoo(t *testing.T) (db string) {
	t.Helper()
	if err := s.World.Restart(t.Context(), map[string]string{"max_prepared_transactions": "5"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Exec(t, "postgres", "DROP DATABASE preflight_dead", "DROP DATABASE preflight_closed", "DROP TABLESPACE preflight_space",
			"DROP ROLE alice, app_rw, readonly, app_owner, orphan_owner, rds_superuser")
	})
	db = s.Database(t)
	t.Cleanup(func() {
		s.Exec(t, db, "ROLLBACK PREPARED 'ptx1'", "SELECT pg_drop_replication_slot('preflight_slot')",
			"ALTER SUBSCRIPTION sub1 SET (slot_name = NONE)", "DROP SUBSCRIPTION sub1")
	})
	s.Exec(t, "postgres", "CREATE DATABASE preflight_dead", "UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'preflight_dead'",
		"CREATE DATABASE preflight_closed ALLOW_CONNECTIONS false", "CREATE ROLE rds_superuser",
		"SET allow_in_place_tablespaces = on", "CREATE TABLESPACE preflight_space LOCATION ''")
	c := s.Superuser(t, db)
	for i, step := range strings.Split(strings.ReplaceAll(zoo, "$db", db), "-- step") {
		step, fails := strings.CutPrefix(step, ", fails")
		if _, err := c.Exec(t.Context(), step, pgx.QueryExecModeSimpleProtocol); (err != nil) != fails {
			t.Fatalf("step %d of the zoo: %v", i, err)
		}
	}
	if _, err := c.Exec(t.Context(), strings.ReplaceAll(zooMore, "$db", db), pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	s.changeSchema(t, db)
	return db
}

// changeSchema starts to build an index, which waits for the prepared transaction until the test ends.
func (s *source) changeSchema(t *testing.T, db string) {
	t.Helper()
	c := s.Superuser(t, db)
	done := make(chan error, 1)
	go func() {
		_, err := c.Exec(t.Context(), "CREATE INDEX waits ON app.t_nopk (a)") // t's context ends before the clean-up
		done <- err
	}()
	t.Cleanup(func() {
		if err := <-done; err == nil {
			t.Error("the index was built during the test")
		}
		s.Exec(t, "postgres", fmt.Sprintf("SELECT pg_terminate_backend(%d)", c.PgConn().PID()))
	})
	watch := s.Superuser(t, db)
	for waiting := false; !waiting; {
		err := watch.QueryRow(t.Context(), "SELECT coalesce(wait_event_type = 'Lock', false) FROM pg_sleep(0.02), pg_stat_activity WHERE pid = $1", c.PgConn().PID()).Scan(&waiting)
		if err != nil {
			t.Fatal(err)
		}
	}
}

// inZoo is what each check has to see in the zoo, by the major of the source (0: any). Nothing else may be seen.
var inZoo = map[int]map[string]string{
	0: {
		"aclitem-columns":          "warn: app.t_acl.a",
		"big-rows":                 "warn: app.t_big",
		"connections":              "warn: database $db",
		"ddl-now":                  "warn: pid",
		"md5-passwords":            "warn: password_encryption",
		"tablespaces":              "warn: preflight_space",
		"timeouts":                 "warn: idle_session_timeout",
		"advisory-locks":           "info: pid",
		"c-functions":              "block: app.c_fn()",
		"check-functions":          "warn: a_chk_k_check ON app.a_chk",
		"closed-databases":         "warn: preflight_closed",
		"cloud-grants":             "warn: rds_superuser",
		"collation-versions":       "warn: app.de_icu",
		"collations":               "info: app.de_icu app.nd",
		"default-privileges":       "warn: app_owner",
		"disabled-triggers":        "warn: t_off_r_fkey ON app.t_off tr ON app.t_trg",
		"event-triggers":           "warn: et1",
		"extension-missing":        "block: fuzzystrmatch",
		"extension-outdated":       "warn: intarray",
		"extension-version":        "warn: hstore",
		"foreign-key-collations":   "block: t_cifk_k_fkey ON app.t_cifk",
		"foreign-owners":           "block: app_owner orphan_owner sandbox_super",
		"foreign-servers":          "warn: fs",
		"function-names":           "warn: app.f_old()",
		"function-settings":        "warn: app.f_set()",
		"generated-columns":        "info: app.t_gen.b",
		"hash-partitions":          "warn: app.t_hash",
		"identity-columns":         "info: app.t_gen.id",
		"inheritance":              "info: app.t_inh",
		"invalid-databases":        "block: preflight_dead",
		"invalid-indexes":          "warn: app.t_invalid_i",
		"large-objects":            "block: app_owner",
		"large-objects-unreadable": "block: app_owner",
		"leakproof-functions":      "block: app.c_leak(text)",
		"logical-setup":            "block: role postgres",
		"matviews":                 "info: app.mv0 app.mv1 app.mv_empty",
		"money-columns":            "warn: app.t_xml.m",
		"preload-extensions":       "info: pg_stat_statements",
		"prepared-transactions":    "block: 'ptx1'",
		"privileged-roles":         "warn: alice",
		"publications":             "warn: pub_all pub_some",
		"reg-columns":              "warn: app.t_reg.rc app.t_reg.rp app.t_reg.rt",
		"replica-identity":         "block: app.t_acl app.t_excl app.t_inh app.t_inh_c app.t_invalid +4",
		"replication-slots":        "warn: preflight_slot",
		"role-settings":            "warn: ROLE alice IN DATABASE $db",
		"row-security":             "block: app.t_rls",
		"search-path-functions":    "block: app.f_chk(text) app.f_lookup(text) app.f_lookup(text)",
		"sequences":                "warn: app.s_full app.s_standalone",
		"subscriptions":            "warn: sub1",
		"superuser-objects":        "block: app.oc bigint AS timestamp with time zone",
		"superuser-settings":       "warn: ROLE alice",
		"system-views":             "info: app.v_act app.v_att app.v_lo app.v_proc app.v_wal",
		"temporary-tables":         "info: temporary tables",
		"text-partitions":          "info: app.t_list",
		"unlogged-partitioned":     "block: app.t_quickpart",
		"unlogged-tables":          "warn: app.t_unlogged",
		"unvalidated-constraints":  "warn: nv_fk ON app.t_notvalid",
		"view-catalog-columns":     "warn: app.v_att",
		"view-columns":             "block: app.v_wal",
		"xml-columns":              "info: app.t_xml.x",
	},
	14: {
		"public-schema":  "info: app_owner",
		"reserved-names": "warn: app.json_value(integer) app.t_xml.system_user",
	},
}

func TestEachCheckSeesItsOwnInTheZooAndNothingElse(t *testing.T) {
	for _, major := range []int{14, 17} {
		t.Run(strconv.Itoa(major), func(t *testing.T) {
			s := start(t, major)
			db := s.fillZoo(t)
			target := preflight.Target{Major: 18, Extensions: map[string][]string{
				"pg_trgm": {"1.3", "1.6"}, "hstore": {"1.9"}, "citext": {"1.6"}, "postgres_fdw": {}, "uuid-ossp": {"1.1"},
				"pg_stat_statements": nil, "btree_gist": {"1.6", "1.7"}, "intarray": {"1.2"},
			}, Settings: []string{
				"Timezone", "default_transaction_isolation", "statement_timeout", "search_path", "vacuum_cost_delay", "log_min_duration_statement",
				"idle_session_timeout", "password_encryption",
			}}
			r := run(t, s.of(t, db), target, preflight.Options{Engine: preflight.Logical})
			got := saw(r)
			delete(got, "server-settings") // the world's own, which the short list of the target lacks
			want := maps.Clone(inZoo[0])
			maps.Copy(want, inZoo[major])
			for _, name := range slices.Sorted(maps.Keys(got)) {
				if g, w := regexp.MustCompile(`pid \d+`).ReplaceAllString(got[name], "pid"), strings.ReplaceAll(want[name], "$db", db); g != w {
					t.Errorf("%s\n got %s\nwant %s", name, g, w)
				}
				delete(want, name)
			}
			for name, w := range want {
				t.Errorf("%s: nothing, want %s", name, w)
			}
		})
	}
}
