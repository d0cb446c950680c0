package world

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dbops/internal/fault"
)

func TestAServerBecomesOneOfANewerMajor(t *testing.T) {
	t.Parallel()
	dir := newFolder(t)
	w := openWorld(t, dir)
	old := create(t, w, spec("orders", 14))
	super(t, old, "postgres",
		`CREATE ROLE api LOGIN PASSWORD 'secret-of-the-api' CONNECTION LIMIT 7`, `ALTER ROLE api SET work_mem = '5MB'`,
		`GRANT rds_iam TO api`, `CREATE DATABASE shop OWNER boss`, `ALTER DATABASE shop SET lock_timeout = '7s'`,
		`CREATE TABLE mine AS SELECT 42 AS x`, `ALTER SYSTEM SET work_mem = '6MB'`)
	super(t, old, "shop",
		`CREATE TABLE item (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text UNIQUE, made timestamptz DEFAULT now())`,
		`ALTER TABLE item OWNER TO api`,
		`INSERT INTO item (name) SELECT 'item ' || i FROM generate_series(1, 5000) i`, `ANALYZE item`,
		`SELECT lo_from_bytea(4711, 'large')`, `CREATE EXTENSION pg_stat_statements`)
	before := map[string]string{}
	for _, q := range []string{
		`SELECT md5(string_agg(i::text, ',' ORDER BY id)) FROM item i`, `SELECT nextval('item_id_seq')::text`, `SELECT convert_from(lo_get(4711), 'UTF8')`,
		`SELECT extversion FROM pg_extension WHERE extname = 'pg_stat_statements'`, `SELECT rolpassword FROM pg_authid WHERE rolname = 'boss'`,
		`SELECT rolconnlimit::text || rolconfig::text FROM pg_roles WHERE rolname = 'api'`, `SHOW lock_timeout`,
		`SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = 'item'`,
	} {
		before[q] = super(t, old, "shop", q)
	}
	made, err := w.Backup(t.Context(), "orders", "before")
	if err != nil {
		t.Fatal(err)
	}
	super(t, old, "shop", `DELETE FROM item WHERE id > 10`)
	super(t, old, "shop", `INSERT INTO item (name) SELECT 'item ' || i FROM generate_series(11, 5000) i`)
	super(t, old, "shop", `TRUNCATE item RESTART IDENTITY`)
	super(t, old, "shop", `INSERT INTO item (name) SELECT 'item ' || i FROM generate_series(1, 5000) i`, `ANALYZE item`)
	before[`SELECT md5(string_agg(i::text, ',' ORDER BY id)) FROM item i`] = super(t, old, "shop", `SELECT md5(string_agg(i::text, ',' ORDER BY id)) FROM item i`)
	before[`SELECT nextval('item_id_seq')::text`], before[`SHOW work_mem`] = "5001", "6MB"
	before[`SELECT current_setting('transaction_timeout')`] = "1h"
	session, err := old.DB(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = session.Close(context.WithoutCancel(t.Context())) }()

	for _, major := range []int{14, 13} {
		if _, err := w.Upgrade(t.Context(), "orders", major, nil); fault.KindOf(err) != fault.Invalid {
			t.Errorf("to %d: %v", major, err)
		}
	}
	if err := session.Ping(t.Context()); err != nil {
		t.Errorf("a refused upgrade cut a session: %v", err)
	}
	s, err := w.Upgrade(t.Context(), "orders", 17, map[string]string{"transaction_timeout": "1h"})
	if err != nil {
		t.Fatal(err)
	}
	if err := session.Ping(t.Context()); err == nil {
		t.Error("a session outlives the upgrade")
	}
	if !strings.HasPrefix(s.Version(), "17.") || s.Spec().Major != 17 || s.Addr() != old.Addr() || w.Server("orders") != s {
		t.Errorf("got %s, %+v at %s", s.Version(), s.Spec(), s.Addr())
	}
	for q, want := range before {
		if got := super(t, s, "shop", q); got != want {
			t.Errorf("%s: got %q, want %q", q, got, want)
		}
	}
	if got := super(t, s, "postgres", `SELECT x::text FROM mine`); got != "42" {
		t.Errorf("the first database: %q", got)
	}
	for _, q := range []string{
		`SELECT count(*)::text FROM pg_stats WHERE tablename = 'item'`, `SELECT count(*)::text FROM pg_stat_user_tables WHERE n_ins_since_vacuum > 0`,
	} {
		if got := super(t, s, "shop", q); got != "0" {
			t.Errorf("%s: %s", q, got)
		}
	}
	for _, q := range []string{`SELECT pg_has_role('boss', 'pg_create_subscription', 'USAGE')::text`, `SELECT (NOT pg_has_role('boss', 'rds_iam', 'USAGE'))::text`} {
		if got := super(t, s, "shop", q); got != "true" {
			t.Errorf("%s: %s", q, got)
		}
	}

	// The backup of before makes a server of before, and one of after a server of after.
	back, err := w.Restore(t.Context(), made, time.Time{}, spec("back", 17), certificate())
	if err != nil {
		t.Fatal(err)
	}
	if got := super(t, back, "shop", `SELECT count(*)::text FROM item`); got != "5000" || back.Spec().Major != 14 {
		t.Errorf("restored from before: %s rows, major %d", got, back.Spec().Major)
	}
	after, err := w.Backup(t.Context(), "orders", "after")
	if err != nil || after.Major != 17 {
		t.Fatalf("back up after it: %+v, %v", after, err)
	}
	super(t, s, "shop", `CREATE TABLE later ()`)
	copied, err := w.Restore(t.Context(), after, time.Now(), spec("copy", 17), certificate())
	if err != nil {
		t.Fatal(err)
	}
	if got := super(t, copied, "shop", `SELECT (to_regclass('later') IS NOT NULL)::text`); got != "true" {
		t.Errorf("restored to a moment after it: %s", got)
	}

	// Another process finds it so, and nothing of before, nor of an upgrade that was killed.
	if err := os.MkdirAll(filepath.Join(w.serverDir("orders"), "18", "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	w = openWorld(t, dir)
	s = create(t, w, spec("orders", 14))
	if got := super(t, s, "shop", `SELECT count(*)::text FROM item`); got != "5000" || s.Spec().Major != 17 {
		t.Errorf("brought back: %s rows, major %d", got, s.Spec().Major)
	}
	for _, gone := range []string{"data", "18"} {
		if _, err := os.Stat(filepath.Join(w.serverDir("orders"), gone)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is there: %v", gone, err)
		}
	}
}

func TestAnUpgradeThatFailsLeavesTheServerAsItWas(t *testing.T) {
	t.Parallel()
	w := openWorld(t, newFolder(t))
	s := create(t, w, spec("orders", 15))
	super(t, s, "postgres", `CREATE TABLE item AS SELECT 1 AS id`, `CREATE VIEW gone AS SELECT ctid, archived_count FROM item, pg_stat_archiver`)
	found, err := s.Obstacles(t.Context(), 18)
	if err != nil || len(found) > 0 {
		t.Fatalf("obstacles: %q, %v", found, err)
	}
	super(t, s, "postgres", `DROP VIEW gone`, `CREATE VIEW gone AS SELECT checkpoints_timed FROM pg_stat_bgwriter`) // that 17 has no more
	if _, err := w.Upgrade(t.Context(), "orders", 18, nil); err == nil || !strings.Contains(err.Error(), "checkpoints_timed") {
		t.Fatalf("got %v", err)
	}
	if got := super(t, s, "postgres", `SELECT current_setting('server_version_num')::int / 10000 || '/' || count(*) FROM item`); got != "15/1" || w.Server("orders") != s {
		t.Errorf("afterwards: %s", got)
	}
	login(t, s, "postgres")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.Upgrade(ctx, "orders", 17, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	login(t, s, "postgres")
	super(t, s, "postgres", `DROP VIEW gone`, `CREATE TABLE odd (what regproc)`, `SELECT pg_create_logical_replication_slot('cdc', 'pgoutput')`, `CREATE DATABASE closed ALLOW_CONNECTIONS false`)
	found, err = s.Obstacles(t.Context(), 18)
	want := "logical replication slots are there: cdc; databases do not allow connections: closed; columns in database postgres are of reg* data types: public.odd.what"
	if got := strings.Join(found, "; "); got != want || err != nil {
		t.Errorf("obstacles: %q, %v", got, err)
	}
	homes, err := w.homes("orders")
	if err != nil || len(homes) != 1 {
		t.Errorf("left: %q, %v", homes, err)
	}
}
