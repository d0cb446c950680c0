package source_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dbops/internal/fault"
	"dbops/internal/migrate/source"
)

func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func read(t *testing.T, dir string) *source.Folder {
	t.Helper()
	f, err := source.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestAFolderIsReadInTheOrderOfItsVersions(t *testing.T) {
	f := read(t, folder(t, map[string]string{
		"10_c.up.sql": "select 3", "2_b.up.sql": "select 2", "2_b.down.sql": "select -2", "001_a.up.sql": "select 1",
		"20260102150405.up.sql": "select 4", "README.md": "no migration",
	}))
	var got []string
	for _, m := range f.Migrations {
		got = append(got, m.String())
	}
	if want := []string{"001_a", "2_b", "10_c", "20260102150405"}; !slices.Equal(got, want) || len(f.Problems) > 0 {
		t.Errorf("%v, problems %v; want %v", got, f.Problems, want)
	}
	if m, i, ok := f.Find(2); !ok || i != 1 || m.Down.SQL != "select -2" || m.File(source.Up).SQL != "select 2" {
		t.Errorf("version 2: %+v at %d, %v", m, i, ok)
	}
	if _, i, ok := f.Find(5); ok || i != 2 {
		t.Errorf("version 5 is at %d, %v", i, ok)
	}
}

func TestASumKnowsNoLineEndsAndNoByteOrderMark(t *testing.T) {
	f := read(t, folder(t, map[string]string{"1_a.up.sql": "a\nb\n", "2_a.up.sql": "\xef\xbb\xbfa\r\nb\r\n", "3_a.up.sql": "a\nb"}))
	a, b, c := f.Migrations[0].Up, f.Migrations[1].Up, f.Migrations[2].Up
	if a.Sum != b.Sum || a.Sum == c.Sum || strings.HasPrefix(b.SQL, "\xef") {
		t.Errorf("sums %s, %s, %s; text %q", a.Sum, b.Sum, c.Sum, b.SQL)
	}
}

func TestWhatCannotBeRunIsSaid(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  string
		fatal bool
	}{
		"two of a version":    {map[string]string{"1_a.up.sql": "x", "01_b.up.sql": "x"}, "1_a.up.sql: it has version 1, as 01_b.up.sql has", true},
		"no underscore":       {map[string]string{"05-e.up.sql": "x"}, "05-e.up.sql: it is no migration: no _ follows the version", false},
		"no direction":        {map[string]string{"6_f.sql": "x"}, "6_f.sql: it is no migration: its name does not end in .up.sql or .down.sql", false},
		"no version":          {map[string]string{"f.up.sql": "x"}, "f.up.sql: it is no migration: its name does not begin with a version", false},
		"another ending":      {map[string]string{"4_d.up.sqll": "x"}, "4_d.up.sqll: its name does not end in .sql: golang-migrate would run it, dbops does not", true},
		"in a folder":         {map[string]string{"v2/7_g.up.sql": "x"}, "v2/7_g.up.sql: it is in a folder of its own, which is not read", false},
		"too large a version": {map[string]string{"18446744073709551615_a.up.sql": "x"}, "18446744073709551615_a.up.sql: its version is too large", true},
		"latin 1":             {map[string]string{"1_a.up.sql": "a\nb \xfc"}, "1_a.up.sql:2:3: it is not UTF-8", true},
		"utf-16":              {map[string]string{"1_a.up.sql": "\xff\xfea\x00"}, "1_a.up.sql: it is UTF-16", true},
		"zero byte":           {map[string]string{"1_a.up.sql": "a\x00"}, "1_a.up.sql: it holds a byte of zero, which PostgreSQL takes nowhere", true},
		"empty":               {map[string]string{"1_a.up.sql": ""}, "1_a.up.sql: it is empty: running it changes the version and nothing else", false},
		"only down":           {map[string]string{"1_a.down.sql": "x"}, "1_a.down.sql: there is no file that goes up with it: going up changes the version and nothing else", false},
		"psql's command":      {map[string]string{"1_a.up.sql": "select 1;\n\\c x"}, `1_a.up.sql:2:1: psql's command \c is not SQL`, true},
		"copy":                {map[string]string{"1_a.up.sql": "copy t from stdin;\n1\n\\."}, "1_a.up.sql:1:1: COPY ... FROM STDIN needs data from a client", true},
		"no commit":           {map[string]string{"1_a.up.sql": "select 1;\nbegin; create table a()"}, "1_a.up.sql:2:1: a transaction is begun and not ended: what is in it would be lost", true},
		"rolls itself back":   {map[string]string{"1_a.up.sql": "begin; create table a(); rollback"}, "1_a.up.sql:1:26: it takes back what it did in the transaction before", false},
		"unclosed":            {map[string]string{"1_a.down.sql": "x", "1_a.up.sql": "select 'a"}, "1_a.up.sql:1:8: a quote ' is not closed", true},
	} {
		t.Run(name, func(t *testing.T) {
			f := read(t, folder(t, c.files))
			if len(f.Problems) != 1 || f.Problems[0].String() != c.want || f.Problems[0].Fatal != c.fatal || f.Problems[0].Remedy == "" {
				t.Errorf("problems %+v, want %s", f.Problems, c.want)
			}
			if _, fatal := f.Fatal(); fatal != c.fatal {
				t.Errorf("fatal is %v", fatal)
			}
		})
	}
}

func TestAFolderThatIsNotThereIsAFaultOfTheConfiguration(t *testing.T) {
	_, err := source.Read(filepath.Join(t.TempDir(), "nope"))
	if fault.KindOf(err) != fault.Config || fault.HintOf(err) == "" {
		t.Errorf("%v", err)
	}
}

func TestANewMigrationFollowsTheFolder(t *testing.T) {
	now := time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)
	for name, c := range map[string]struct {
		last string
		n    source.Numbering
		want string
	}{
		"an empty folder":           {"", "", "20260102150405_add_a_thing.up.sql"},
		"asked for a sequence":      {"", source.Sequence, "000001_add_a_thing.up.sql"},
		"a sequence":                {"0041_x.up.sql", "", "0042_add_a_thing.up.sql"},
		"a sequence that gets wide": {"99_x.up.sql", "", "100_add_a_thing.up.sql"},
		"timestamps":                {"20251231000000_x.up.sql", "", "20260102150405_add_a_thing.up.sql"},
		"two in a second":           {"20260102150405_x.up.sql", "", "20260102150406_add_a_thing.up.sql"},
		"seconds of Unix":           {"1700000000_x.up.sql", "", "1767366245_add_a_thing.up.sql"},
		"a year beyond":             {"20270101000000_x.up.sql", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{}
			if c.last != "" {
				files[c.last] = "x"
			}
			dir := folder(t, files)
			up, down, err := read(t, dir).Create("Add a thing!", c.n, now)
			if c.want == "" {
				if fault.KindOf(err) != fault.Usage {
					t.Errorf("made %s, %v", up, err)
				}
				return
			}
			if err != nil || filepath.Base(up) != c.want || filepath.Base(down) != strings.Replace(c.want, ".up.", ".down.", 1) {
				t.Fatalf("%s, %s, %v; want %s", up, down, err, c.want)
			}
			if last, _ := read(t, dir).Last(); last.Up == nil || last.Up.Path != up || last.Down == nil {
				t.Errorf("the last is %v", last)
			}
		})
	}
}

func TestANewMigrationNeedsAName(t *testing.T) {
	if _, _, err := read(t, t.TempDir()).Create("-!-", "", time.Now()); fault.KindOf(err) != fault.Usage {
		t.Errorf("%v", err)
	}
}
