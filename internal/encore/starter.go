package encore

import (
	"cmp"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// StarterOptions are what a new dbops.yaml is made of.
type StarterOptions struct {
	App         *App
	Infra       *Infra // nil: the app's config is not known
	InfraPath   string // absolute path of Infra's file
	Environment string // empty: as the infra config says, else default
	Dir         string // absolute folder of the new file: paths are relative to it
}

// Starter is the text of a dbops.yaml for an Encore app. It holds no password; what cannot be known from the app and its config stands in
// comments.
func Starter(o StarterOptions) []byte {
	w := &writer{o: o}
	w.head()
	if o.Infra == nil || len(o.Infra.entries) == 0 {
		w.bare()
		return []byte(w.String())
	}
	w.environment()
	return []byte(w.String())
}

type writer struct {
	strings.Builder
	o         StarterOptions
	instances map[int]string // by server
	databases []Database     // that dbops.yaml takes
}

func (w *writer) line(depth int, format string, args ...any) {
	w.WriteString(strings.Repeat("  ", depth))
	fmt.Fprintf(w, format, args...)
	w.WriteString("\n")
}

func (w *writer) note(depth int, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	w.line(depth, "# %s", strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || r == utf8.RuneError {
			return ' '
		}
		return r
	}, text))
}

func (w *writer) head() {
	w.line(0, "# yaml-language-server: $schema=dbops.schema.json")
	w.line(0, "#")
	id := cmp.Or(w.o.App.ID, filepath.Base(w.o.App.Dir))
	w.note(0, "dbops.yaml of the Encore app %s (%s), made by dbops encore import.", id, w.o.App.Language)
	w.note(0, "Passwords are not in it, and were not looked at: name their places under logins.")
	unknown := slices.Clone(w.o.App.Unknown)
	if w.o.Infra != nil {
		unknown = append(unknown, w.o.Infra.warnings...)
	}
	if len(unknown) > 0 {
		w.line(0, "#")
		w.note(0, "To be looked at:")
		for _, u := range unknown {
			w.note(0, "- %s", u)
		}
	}
	w.line(0, "")
	w.line(0, "version: 1")
	w.line(0, "")
}

// bare is for an app whose servers are not known: only its migrations are.
func (w *writer) bare() {
	w.note(0, "Where the databases are cannot be known from the source: there is no infra config, or none in it. Encore Cloud keeps that to itself.")
	w.note(0, "dbops config init --region REGION, or --project PROJECT, lists the instances of your account. Then put these below an environment:")
	w.line(0, "environments: {}")
	if len(w.o.App.Databases) == 0 {
		return
	}
	w.line(0, "#")
	w.line(0, "#     databases:")
	for _, d := range w.o.App.Databases {
		w.note(0, "      %s: # %s", scalar(d.Name), d.Place)
		w.note(0, "        instance: INSTANCE")
		if d.Migrations != "" && d.Problem == "" {
			w.note(0, "        migrations: %s", scalar(w.relative(d.Migrations)))
		} else if d.Problem != "" {
			w.note(0, "        # migrations: %s # %s", scalar(w.relative(d.Migrations)), d.Problem)
		}
	}
}

func (w *writer) environment() {
	infra := w.o.Infra
	w.line(0, "environments:")
	w.line(1, "%s:", scalar(fit(cmp.Or(w.o.Environment, infra.EnvName, infra.EnvType, "default"))))
	if infra.EnvType == "production" {
		w.line(2, "protected: true # asks for the instance's name before anything changes")
	}
	w.instanceList()
	w.databaseList()
	w.containerList()
}

func (w *writer) instanceList() {
	w.instances = map[int]string{}
	byHost := map[string]string{}
	var taken []string
	body := &writer{o: w.o}
	for _, e := range w.o.Infra.entries {
		if w.instances[e.Server] != "" {
			continue
		}
		if !knownHost(e.Host) {
			body.note(3, "%s: its host is no name, address or socket that dbops can reach.", e.serverAt)
			continue
		}
		f := instanceOf(e.Host, e.CAs > 0)
		key := fmt.Sprint(f.provider, f.fields)
		if same, ok := byHost[key]; ok { // two entries of one server
			w.instances[e.Server] = same
			continue
		}
		name := unique(fit(f.name), taken)
		taken = append(taken, name)
		w.instances[e.Server], byHost[key] = name, name
		body.line(3, "%s:", scalar(name))
		body.line(4, "%s:", f.provider)
		for _, kv := range f.fields {
			body.line(5, "%s: %s", kv[0], scalar(kv[1]))
		}
		for _, n := range f.notes {
			body.note(5, "%s", n)
		}
		body.note(4, "logins: # how dbops itself logs in, by access; the app's own users are not for that")
		body.note(4, "  admin: {user: dbops_admin, secret: aws-sm:NAME} # or gcp-sm:projects/P/secrets/S, file:PATH; without any: PGUSER, ~/.pgpass")
	}
	if len(taken) == 0 {
		w.line(2, "instances: {}")
	} else {
		w.line(2, "instances:")
	}
	w.WriteString(body.String())
}

func (w *writer) databaseList() {
	body := &writer{o: w.o}
	for _, e := range w.o.Infra.entries {
		instance := w.instances[e.Server]
		if instance == "" || !identifier(e.Encore) || !identifier(e.Name) {
			body.note(3, "%s cannot be a database here: its server cannot be reached, or a name of it is not one of PostgreSQL.", e.at)
			continue
		}
		w.databases = append(w.databases, e.Database)
		body.line(3, "%s:", scalar(e.Encore))
		body.line(4, "instance: %s", scalar(instance))
		if e.Name != e.Encore {
			body.line(4, "name: %s # on the server", scalar(e.Name))
		}
		body.migrations(e.Encore)
		body.note(4, "owner: encore-migrator # so on Encore's local clusters; who owns the tables of yours, the server knows:")
		body.note(4, "  select distinct tableowner from pg_tables where schemaname = 'public'")
	}
	for _, d := range w.o.App.Databases {
		if !slices.ContainsFunc(w.o.Infra.entries, func(e *entry) bool { return e.Encore == d.Name }) {
			body.note(3, "%s is declared at %s, and the infra config does not say where it is.", scalar(d.Name), d.Place)
		}
	}
	switch {
	case len(w.databases) > 0:
		w.line(2, "databases: # by the names that the app's code has for them")
	case body.Len() > 0:
		w.line(2, "databases: {}")
	}
	w.WriteString(body.String())
}

func (w *writer) migrations(name string) {
	i := slices.IndexFunc(w.o.App.Databases, func(d AppDatabase) bool { return d.Name == name })
	if i < 0 {
		w.note(4, "migrations: the source of the app declares no database of this name that could be found.")
		return
	}
	switch d := w.o.App.Databases[i]; {
	case d.Migrations == "":
		w.note(4, "migrations: %s names no folder.", d.Place)
	case d.Problem != "":
		w.note(4, "migrations: %s # %s", scalar(w.relative(d.Migrations)), d.Problem)
	default:
		w.line(4, "migrations: %s", scalar(w.relative(d.Migrations)))
	}
}

func (w *writer) containerList() {
	if len(w.databases) == 0 {
		return
	}
	w.line(2, "containers:")
	name := fit(cmp.Or(w.o.Infra.AppID, w.o.App.ID, filepath.Base(w.o.App.Dir)))
	if s := w.o.Infra.Services; len(s) == 1 {
		name = fit(s[0])
	}
	w.line(3, "%s:", scalar(name))
	w.note(4, "What the app's container is called where it runs, and whether several images have their own, cannot be known from here.")
	if s := w.o.Infra.Services; len(s) > 1 {
		w.note(4, "The infra config is for the services %s.", strings.Join(s, ", "))
	}
	names := make([]string, 0, len(w.databases))
	for _, d := range w.databases {
		names = append(names, scalar(d.Encore))
		switch {
		case d.Username.Variable != "":
			w.note(4, "It logs in to %s as $%s of its environment says.", d.Encore, d.Username.Variable)
		case d.Username.Text != "":
			w.note(4, "It logs in to %s as %s today.", d.Encore, strconv.Quote(d.Username.Text))
		}
	}
	w.line(4, "databases: [%s]", strings.Join(names, ", "))
	w.line(4, "access: write # what those roles may do in truth, only the server knows")
	place := "encore:" + w.relative(w.o.InfraPath) + map[Language]string{Go: "#go", TypeScript: "#typescript"}[w.o.App.Language]
	w.note(4, "delivery: [%s] # where its credential is put: dbops creds keeps the file current", scalar(place))
	w.note(4, "  Or aws-sm:NAME, gcp-sm:projects/P/secrets/S, file:PATH. A delivery is for databases of one instance: make a container for each.")
}

// relative is a path as dbops.yaml has it.
func (w *writer) relative(path string) string {
	if rel, err := filepath.Rel(w.o.Dir, path); err == nil {
		return filepath.ToSlash(rel)
	}
	return path
}

// identifier tells whether PostgreSQL and dbops.yaml take a name.
func identifier(name string) bool {
	return name != "" && len(name) <= 63 && utf8.ValidString(name) && !strings.ContainsFunc(name, unicode.IsControl)
}

// fit makes s a name that dbops.yaml takes.
func fit(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < 0x80 && (unicode.IsLetter(r) || unicode.IsDigit(r) || r == '.' || r == '_') {
			return r
		}
		return '-'
	}, s)
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '-' }), "-")
	if s = strings.Trim(s[:min(len(s), 60)], "-."); s == "" {
		return "unnamed"
	}
	return s
}

func unique(s string, taken []string) string {
	for n := 2; ; n++ {
		if !slices.Contains(taken, s) {
			return s
		}
		if c := s + "-" + strconv.Itoa(n); !slices.Contains(taken, c) {
			return c
		}
	}
}

// plainScalar needs no quotes in YAML, unless it is one of its words.
var plainScalar = regexp.MustCompile(`^[A-Za-z_/][A-Za-z0-9._/?=&:-]*$`)

// scalar is s as YAML reads it back as text.
func scalar(s string) string {
	words := []string{"true", "false", "null", "yes", "no", "on", "off", "y", "n"}
	if plainScalar.MatchString(s) && !strings.HasSuffix(s, ":") && !slices.Contains(words, strings.ToLower(s)) {
		return s
	}
	return strconv.Quote(s)
}
