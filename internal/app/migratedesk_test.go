package app

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dbops/internal/config"
	"dbops/internal/fault"
	"dbops/internal/migrate"
	"dbops/internal/migrate/lint"
	"dbops/internal/sandbox/pgtest"
)

// shopApp is a dbops whose database shop is on a plain server and has files of migrations.
func shopApp(t testing.TB, files map[string]string) (a *App, s *pgtest.Server, database, folder string) {
	t.Helper()
	s = pgtest.Start(t, 17)
	database, folder = s.Database(t), filepath.Join(t.TempDir(), "migrations")
	must(t, os.Mkdir(folder, 0o700))
	for name, text := range files {
		must(t, os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600))
	}
	password := filepath.Join(t.TempDir(), "password")
	must(t, os.WriteFile(password, []byte(s.Password.Reveal()), 0o600))
	cfg := plain(map[string]string{"main": fmt.Sprintf("postgres://%s:%d/?sslmode=verify-full", s.Host, s.Port)})
	e := cfg.Environments["prod"]
	inst := e.Instances["main"]
	inst.Postgres.CAFile, inst.Logins = s.CAFile, map[config.Access]*config.Login{}
	for _, access := range []config.Access{config.Read, config.Admin} {
		inst.Logins[access] = &config.Login{User: pgtest.User, Secret: "file:" + password}
	}
	e.Databases["shop"] = &config.Database{Instance: "main", Name: database, Migrations: folder}
	return newMachine(t, "").app(t, cfg), s, database, folder
}

var shopFiles = map[string]string{
	"1_orders.up.sql": "create table orders (id int primary key)", "1_orders.down.sql": "drop table orders",
	"2_index.up.sql": "create index orders_id on orders (id)", "2_index.down.sql": "drop index orders_id",
}

func rules(l MigrationLint) (out []string) {
	for _, f := range l.Findings {
		out = append(out, f.Rule)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// findsIn is about a file.
func findsIn(name string) func(lint.Finding) bool {
	return func(f lint.Finding) bool { return strings.Contains(f.File, name) }
}

func TestMigrationsOfAnInstanceAreReadAndJudged(t *testing.T) {
	t.Parallel()
	a, s, database, folder := shopApp(t, shopFiles)
	d := sits(t, a, DeskOptions{})
	sets := func(states string) MigrationSet {
		t.Helper()
		all, err := a.MigrationSets(t.Context(), "prod", "main")
		if err != nil || len(all) != 1 {
			t.Fatalf("%+v, %v", all, err)
		}
		var got []string
		for _, f := range all[0].Files {
			got = append(got, f.State)
		}
		if strings.Join(got, " ") != states {
			t.Errorf("files are %q, want %q: %v", got, states, all[0].Err())
		}
		return all[0]
	}
	first := sets("pending pending")
	one := int64(1)
	if _, r := d.run(t, migrate.UpKind, migrate.UpRequest{Sets: []string{"shop"}, To: &one}); r.Problem != "" {
		t.Fatalf("%+v", r)
	}
	now := sets("applied pending")
	if now.Files[0].Applied == nil || now.Files[1].Applied != nil || now.Print != first.Print || now.Print == "" {
		t.Errorf("%+v", now)
	}

	judged, err := a.LintSets(t.Context(), "prod", "main")
	if err != nil || judged["shop"].Print != now.Print || judged["shop"].Live || len(judged["shop"].Findings) == 0 {
		t.Fatalf("%+v, %v", judged, err)
	}
	kept, err := a.LintSets(t.Context(), "prod", "main")
	if err != nil || &kept["shop"].Findings[0] != &judged["shop"].Findings[0] {
		t.Errorf("a folder that has not changed is judged again: %v", err)
	}
	must(t, os.WriteFile(filepath.Join(folder, "3_note.up.sql"), []byte("alter table orders add note text not null"), 0o600))
	anew, err := a.LintSets(t.Context(), "prod", "main")
	if err != nil || anew["shop"].Print == judged["shop"].Print || len(anew["shop"].Findings) <= len(judged["shop"].Findings) {
		t.Errorf("a folder that has changed: %q, %v", rules(anew["shop"]), err)
	}

	s.Exec(t, database, "insert into orders values (1)")
	pending, err := a.LintPending(t.Context(), now.Ask)
	if err != nil || !pending.Live || pending.Print != anew["shop"].Print || slices.ContainsFunc(pending.Findings, findsIn("1_orders")) || !slices.ContainsFunc(pending.Findings, findsIn("3_note")) {
		t.Errorf("by the real tables: %+v, %v", pending, err)
	}

	var last RehearsalNews
	for n := range a.FollowRehearsal(t.Context(), []migrate.Ask{now.Ask}, false, nil, RehearseOptions{}) {
		if last.Ended {
			t.Errorf("after its end: %+v", n)
		}
		last = n
	}
	if !last.Ended || last.Err != nil || len(last.All) != 1 || last.All[0].Files != 2 || last.All[0].Err != nil || last.All[0].Report == nil {
		t.Fatalf("the rehearsal: %+v", last)
	}
	sets("applied pending pending") // it ran on a copy
}

func TestWhatCannotBeReadOfMigrationsSaysWhy(t *testing.T) {
	t.Parallel()
	a, _, _, folder := shopApp(t, shopFiles)
	for what, read := range map[string]func(instance string) error{
		"sets": func(i string) error { _, err := a.MigrationSets(t.Context(), "prod", i); return err },
		"lint": func(i string) error { _, err := a.LintSets(t.Context(), "prod", i); return err },
	} {
		fails(t, what, read("mian"), fault.Usage)
	}
	ask := func() migrate.Ask {
		t.Helper()
		one, err := a.OneSet(MigrationPick{Environment: "prod", Instance: "main"})
		must(t, err)
		return one
	}()
	a.cfg.Environments["prod"].Instances["main"].Postgres.URL = "postgres://127.0.0.1:1/?sslmode=verify-full" // nobody listens there
	all, err := a.MigrationSets(t.Context(), "prod", "main")
	if err != nil || len(all) != 1 || all[0].Err() == nil || len(all[0].Files) != 2 || all[0].Files[0].State != FileUnknown {
		t.Errorf("a server that is not there: %+v, %v", all, err)
	}
	_, err = a.LintPending(t.Context(), ask)
	fails(t, "judge by the tables of a server that is not there", err, fault.Unavailable)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for n := range a.FollowRehearsal(ctx, []migrate.Ask{ask}, false, nil, RehearseOptions{}) {
		if n.Ended && n.Err == nil {
			t.Errorf("a rehearsal that was given up has ended well: %+v", n)
		}
	}
	must(t, os.RemoveAll(folder))
	if judged, err := a.LintSets(t.Context(), "prod", "main"); err != nil || len(judged["shop"].Findings) > 0 {
		t.Errorf("a folder that is not there: %+v, %v", judged, err)
	}
	if all, err := a.MigrationSets(t.Context(), "prod", "main"); err != nil || all[0].Err() == nil || len(all[0].Files) > 0 {
		t.Errorf("a folder that is not there: %+v, %v", all, err)
	}
	_, err = a.LintPending(t.Context(), ask)
	fails(t, "judge a folder that is not there", err, fault.Config)
}
