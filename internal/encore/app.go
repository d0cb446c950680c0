package encore

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"dbops/internal/fault"
)

// App is what the source of an Encore app says about its databases.
type App struct {
	Dir       string
	ID        string // of encore.app; may be empty
	Language  Language
	Databases []AppDatabase
	Unknown   []string // what could not be made out, each in one sentence that begins with its place
}

// AppDatabase is one database that the source declares.
type AppDatabase struct {
	Name       string
	Place      string // FILE:LINE, relative to the app
	Migrations string // absolute path of the folder, empty if there is none
	Files      int    // migrations in it, by the names that Encore and dbops use
	Problem    string // why the folder cannot be used, if so
}

// Bounds on the source that is read.
const (
	maxFiles  = 50_000
	maxSource = 1 << 20
)

// sqldbPackage is what a file imports that declares databases, in both languages.
const sqldbPackage = "encore.dev/storage/sqldb"

// ReadApp reads the source of the app in dir. Go is parsed, TypeScript is looked through for "new SQLDatabase(...)" with literal arguments;
// what either leaves open is in Unknown. An empty lang is found out, or a fault.Usage.
func ReadApp(dir string, lang Language) (*App, error) {
	op := "read the Encore app in " + dir
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fault.New(fault.Usage, op, err)
	}
	if info, err := os.Stat(abs); err != nil {
		return nil, fault.New(fault.Usage, op, plain(err))
	} else if !info.IsDir() {
		return nil, fault.Newf(fault.Usage, op, "it is not a folder").Hint("give the folder of encore.app")
	}
	a := &App{Dir: abs, Language: lang}
	found, id, err := appFile(filepath.Join(abs, "encore.app"))
	switch {
	case err == nil:
		a.ID, a.Language = id, cmp.Or(lang, found)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	case lang == "":
		if a.Language, err = FolderLanguage(abs); err != nil {
			return nil, err
		}
	}
	if a.Language == "" {
		return nil, fault.Newf(fault.Usage, op, "there is no encore.app, and nothing else says which language it is written in").
			Hint("give the folder of encore.app; or --lang go, or --lang ts")
	}
	if err := a.walk(); err != nil {
		return nil, fault.New(fault.Config, op, err)
	}
	return a, nil
}

// plain drops the operation and the path, which the caller tells.
func plain(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

func (a *App) walk() error {
	var folders []string // called migrations
	files := 0
	err := filepath.WalkDir(a.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			if path == a.Dir {
				return plain(err)
			}
			a.unknown(path, 0, "cannot be read: %v", plain(err))
			return nil
		}
		if files++; files > maxFiles {
			return fmt.Errorf("it has more than %d files; give the folder of encore.app", maxFiles)
		}
		if d.IsDir() {
			if path != a.Dir && skipped(d.Name()) {
				return fs.SkipDir
			}
			if d.Name() == "migrations" {
				folders = append(folders, path)
			}
			return nil
		}
		if d.Type().IsRegular() && a.isSource(d.Name()) {
			a.source(path)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i := range a.Databases {
		a.Databases[i].look()
	}
	a.leftover(folders)
	slices.SortFunc(a.Databases, func(x, y AppDatabase) int { return cmp.Or(cmp.Compare(x.Name, y.Name), cmp.Compare(x.Place, y.Place)) })
	a.once()
	return nil
}

// skipped folders hold no source of the app.
func skipped(name string) bool {
	return strings.HasPrefix(name, ".") || slices.Contains([]string{"node_modules", "vendor", "encore.gen", "dist", "build", "testdata"}, name)
}

func (a *App) isSource(name string) bool {
	if a.Language == Go {
		return strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go")
	}
	return slices.Contains([]string{".ts", ".tsx", ".mts", ".cts", ".js", ".mjs"}, filepath.Ext(name)) &&
		!strings.HasSuffix(name, ".d.ts") && !strings.Contains(name, ".test.") && !strings.Contains(name, ".spec.")
}

func (a *App) source(path string) {
	text, _, err := readFile(path)
	switch {
	case err != nil:
		a.unknown(path, 0, "cannot be read: %v", plain(err))
		return
	case !bytes.Contains(text, []byte(sqldbPackage)):
		return
	case len(text) > maxSource:
		a.unknown(path, 0, "is larger than %d MiB, and was not read", maxSource>>20)
		return
	}
	if a.Language == Go {
		a.goSource(path, text)
	} else {
		a.tsSource(path, text)
	}
}

// unknown notes what could not be made out. The source's own text stays out of it.
func (a *App) unknown(path string, line int, format string, args ...any) {
	a.Unknown = append(a.Unknown, a.place(path, line)+": "+fmt.Sprintf(format, args...))
}

func (a *App) place(path string, line int) string {
	rel, err := filepath.Rel(a.Dir, path)
	if err != nil {
		rel = path
	}
	if line > 0 {
		rel += ":" + strconv.Itoa(line)
	}
	return rel
}

// declare adds a database that the source in path declares; migrations is as written there, "" for none.
func (a *App) declare(path string, line int, name, migrations, source string) {
	db := AppDatabase{Name: name, Place: a.place(path, line)}
	if migrations != "" {
		db.Migrations = filepath.Join(filepath.Dir(path), filepath.FromSlash(migrations))
		if rel, err := filepath.Rel(a.Dir, db.Migrations); err != nil || !filepath.IsLocal(rel) {
			db.Problem = "it lies outside of the app"
		}
	}
	if source != "" {
		db.Problem = "its migrations are those of " + source + ", which dbops does not read"
	}
	a.Databases = append(a.Databases, db)
}

// migrationName is how Encore names migrations.
var migrationName = regexp.MustCompile(`^([0-9]+)(_[^.]+)?\.(up|down)\.sql$`)

// look counts the migrations in the folder.
func (d *AppDatabase) look() {
	if d.Migrations == "" || d.Problem != "" {
		return
	}
	files, err := os.ReadDir(d.Migrations)
	if err != nil {
		d.Problem = "it cannot be read: " + plain(err).Error()
		return
	}
	seen := map[uint64]bool{}
	for _, f := range files {
		m := migrationName.FindStringSubmatch(f.Name())
		switch {
		case f.IsDir():
		case m == nil && strings.EqualFold(filepath.Ext(f.Name()), ".sql"):
			d.Problem = fmt.Sprintf("%q in it is not named NUMBER_NAME.up.sql", f.Name())
			return
		case m == nil || m[3] != "up":
		default:
			n, err := strconv.ParseUint(m[1], 10, 63)
			if err != nil || n == 0 || seen[n] {
				d.Problem = fmt.Sprintf("the number of %q is 0, too large, or there twice", f.Name())
				return
			}
			seen[n] = true
			d.Files++
		}
	}
	if d.Files == 0 {
		d.Problem = "there are no migrations NUMBER_NAME.up.sql in it"
	}
}

// leftover takes folders called migrations that no declaration names: in old Go apps such a folder makes a database named after the package.
func (a *App) leftover(folders []string) {
	for _, dir := range folders {
		if slices.ContainsFunc(a.Databases, func(d AppDatabase) bool { return d.Migrations == dir }) {
			continue
		}
		db := AppDatabase{Migrations: dir, Place: a.place(dir, 0)}
		if a.Language == Go {
			db.Name = packageName(filepath.Dir(dir))
		}
		if db.look(); db.Name == "" || db.Problem != "" {
			a.unknown(dir, 0, "no declaration of a database was found that names this folder")
			continue
		}
		a.unknown(dir, 0, "no declaration names this folder; in old Encore apps it makes the database %q, after its package", db.Name)
		a.Databases = append(a.Databases, db)
	}
}

// once drops declarations of a name that is there already, and notes it.
func (a *App) once() {
	var out []AppDatabase
	for _, d := range a.Databases {
		if n := len(out); n > 0 && out[n-1].Name == d.Name {
			a.Unknown = append(a.Unknown, d.Place+": the database "+strconv.Quote(d.Name)+" is declared at "+out[n-1].Place+" too; the first is taken")
			continue
		}
		out = append(out, d)
	}
	a.Databases = out
}
