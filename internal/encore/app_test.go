package encore

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/charmbracelet/x/exp/golden"
	"pgregory.net/rapid"

	"dbops/internal/cloud"
	"dbops/internal/config"
	"dbops/internal/fault"
)

// goApp has what Go apps of Encore look like, and what cannot be made out.
func goApp(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "shop")
	writeFiles(t, dir, map[string]string{
		"encore.app": `{"id": "shop-x7k2"}`, "go.mod": "module encore.app",
		"orders/db.go": "package orders\n\nimport \"encore.dev/storage/sqldb\"\n\n" +
			"var db = sqldb.NewDatabase(\"orders\", sqldb.DatabaseConfig{\n\tMigrations: \"./migrations\",\n})\n",
		"orders/migrations/1_init.up.sql": "", "orders/migrations/1_init.down.sql": "", "orders/migrations/2_more.up.sql": "", "orders/migrations/README.md": "",
		"billing/billing.go": "package billing\n\nimport data \"encore.dev/storage/sqldb\"\n\n// sqldb.NewDatabase(\"comment\", nil)\n" +
			"var DB = data.NewDatabase(\"billing\", data.DatabaseConfig{Migrations: `db/migrations`})\n",
		"billing/db/migrations/001.up.sql": "",
		"events/e.go":                      "package events\n\nimport \"encore.dev/storage/sqldb\"\n\nvar db = sqldb.Named(\"orders\")\nvar other = sqldb.NewDatabase(name, cfg)\nvar third = sqldb.NewDatabase(\"events\", cfg)\n",
		"broken/b.go":                      "package broken\nimport \"encore.dev/storage/sqldb\"\nvar p = \"hunter2\" hunter2\n",
		"old/old.go":                       "package oldsvc\n\nimport \"encore.dev/storage/sqldb\"\n\nvar _ = sqldb.Exec\n",
		"old/migrations/1_a.up.sql":        "",
		"bad/b.go":                         "package bad\nimport . \"encore.dev/storage/sqldb\"\nvar db = NewDatabase(\"bad\", DatabaseConfig{Migrations: \"migrations\"})\n",
		"bad/migrations/first.sql":         "",
		"twice/t.go":                       "package twice\nimport \"encore.dev/storage/sqldb\"\nvar db = sqldb.NewDatabase(\"orders\", sqldb.DatabaseConfig{Migrations: \"../../../elsewhere\"})\n",
		"node_modules/x/x.go":              "package x\nimport \"encore.dev/storage/sqldb\"\nvar db = sqldb.NewDatabase(\"skipped\", sqldb.DatabaseConfig{})\n",
		"orders/db_test.go":                "package orders\nimport \"encore.dev/storage/sqldb\"\nvar t = sqldb.NewDatabase(\"tests\", sqldb.DatabaseConfig{})\n",
	})
	return dir
}

func tsApp(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "shop")
	writeFiles(t, dir, map[string]string{
		"encore.app": "{\n  // linked\n  \"id\": \"shop-ts\", \"lang\": \"typescript\",\n}\n", "package.json": `{"dependencies":{"encore.dev":"^1"}}`,
		"orders/db.ts": "import { SQLDatabase } from \"encore.dev/storage/sqldb\";\n\n" +
			"// new SQLDatabase(\"comment\", {})\nexport const db = new SQLDatabase(\"orders\", {\n  migrations: \"./migrations\", // here\n});\n",
		"orders/migrations/1_init.up.sql": "",
		"users/db.ts": "import { api } from 'encore.dev/api'\nimport { SQLDatabase as DB, type X } from 'encore.dev/storage/sqldb'\n" +
			"const url = 'http://x'; const db = new DB('users', { migrations: { path: './migrations', source: 'prisma' } })\n",
		"users/migrations/20240101_init/migration.sql": "",
		"events/e.ts": "import { SQLDatabase } from \"encore.dev/storage/sqldb\";\nconst a = new SQLDatabase(name);\nconst b = new SQLDatabase(`events`, config);\n" +
			"const c = SQLDatabase.named(\"orders\");\nconst d = new SQLDatabase(\"plain\");\nconst e = new SQLDatabase('dyn', { migrations: dir });\n",
		"left/migrations/1_x.up.sql": "",
		"orders/db.d.ts":             "import { SQLDatabase } from \"encore.dev/storage/sqldb\";\nnew SQLDatabase(\"types\")",
		"other.ts":                   "const s = 'new SQLDatabase(\"other\")';\n",
	})
	return dir
}

func readApp(t testing.TB, dir string) *App {
	t.Helper()
	a, err := ReadApp(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func describe(a *App) string {
	var b strings.Builder
	for _, d := range a.Databases {
		rel, _ := filepath.Rel(a.Dir, d.Migrations)
		if d.Migrations == "" {
			rel = "-"
		}
		b.WriteString(d.Name + " at " + d.Place + " in " + rel + " files " + strconv.Itoa(d.Files) + " problem " + d.Problem + "\n")
	}
	return b.String() + "\n" + strings.Join(a.Unknown, "\n") + "\n"
}

func TestReadAGoApp(t *testing.T) {
	t.Parallel()
	a := readApp(t, goApp(t))
	if a.ID != "shop-x7k2" || a.Language != Go {
		t.Errorf("%+v", a)
	}
	if strings.Contains(describe(a), hidden) {
		t.Error("the source is quoted")
	}
	golden.RequireEqual(t, []byte(describe(a)))
}

func TestReadATypeScriptApp(t *testing.T) {
	t.Parallel()
	a := readApp(t, tsApp(t))
	if a.ID != "shop-ts" || a.Language != TypeScript {
		t.Errorf("%+v", a)
	}
	golden.RequireEqual(t, []byte(describe(a)))
}

func TestWhatIsNoAppIsRefused(t *testing.T) {
	t.Parallel()
	empty, broken := t.TempDir(), t.TempDir()
	writeFiles(t, broken, map[string]string{"encore.app": "{"})
	for _, c := range []struct {
		dir  string
		kind fault.Kind
		say  string
	}{
		{empty, fault.Usage, "nothing else says which language"},
		{filepath.Join(empty, "gone"), fault.Usage, "no such file"},
		{broken, fault.Config, "encore.app"},
		{filepath.Join(broken, "encore.app"), fault.Usage, "not a folder"},
	} {
		if _, err := ReadApp(c.dir, ""); fault.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: %v", c.dir, err)
		}
	}
}

// checked is a starter as dbops reads it.
func checked(t testing.TB, text []byte) *config.Config {
	t.Helper()
	path := filepath.Join(t.TempDir(), "dbops.yaml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(path)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return c
}

func TestStarterOfAGoApp(t *testing.T) {
	t.Parallel()
	a := readApp(t, goApp(t))
	text := Starter(StarterOptions{App: a, Infra: parseInfra(t, testdata(t, "orders.jsonc"), Go), InfraPath: filepath.Join(a.Dir, "infra.config.json"), Dir: a.Dir})
	if strings.Contains(string(text), hidden) {
		t.Error("it holds a password")
	}
	c := checked(t, text)
	env := c.Environments["prod"]
	if env == nil || !env.Protected || env.Instances["orders-prod"] == nil || env.Instances["orders-prod"].RDS == nil {
		t.Fatalf("%s", text)
	}
	if r := env.Instances["orders-prod"].RDS; r.Region != "eu-west-1" || r.Identifier != "orders-prod" {
		t.Errorf("%+v", r)
	}
	if d := env.Databases["orders"]; d == nil || d.Name != "orders_prod" || d.Instance != "orders-prod" || !strings.HasSuffix(d.Migrations, "orders/migrations") {
		t.Errorf("%+v", d)
	}
	if i := env.Instances["main"]; i == nil || i.Kind() != cloud.Postgres || i.Postgres.Server().Host != "10.0.0.5" {
		t.Errorf("%+v", i)
	}
	golden.RequireEqual(t, text)
}

func TestStarterOfATypeScriptApp(t *testing.T) {
	t.Parallel()
	a := readApp(t, tsApp(t))
	infra := parseInfra(t, []byte(`{"metadata":{"app_id":"shop-ts","env_name":"staging"},"hosted_services":["orders","users"],"sql_servers":[
		{"host":"/cloudsql/shop-staging:europe-west1:shop-main","databases":{"orders":{"name":"orders_db","username":"o","password":"hunter2"}}},
		{"host":"db.example.com:6543","tls_config":{"ca":`+strconv.Quote(string(testdata(t, "one.pem")))+`},"databases":{"users":{"username":"u","password":"hunter2"}}},
		{"host":"x.cluster-c9akciq32abc.eu-west-1.rds.amazonaws.com","databases":{"plain":{"username":"u","password":"hunter2"}}}]}`), TypeScript)
	text := Starter(StarterOptions{App: a, Infra: infra, InfraPath: filepath.Join(a.Dir, "deploy/prod.json"), Dir: filepath.Join(a.Dir, "deploy")})
	if strings.Contains(string(text), hidden) {
		t.Error("it holds a password")
	}
	env := checked(t, text).Environments["staging"]
	if env == nil || env.Instances["shop-main"] == nil || env.Instances["shop-main"].CloudSQL == nil || env.Instances["shop-main"].CloudSQL.Project != "shop-staging" {
		t.Fatalf("%s", text)
	}
	if d := env.Databases["orders"]; d == nil || d.Name != "orders_db" {
		t.Errorf("the key is Encore's name in TypeScript: %+v", d)
	}
	golden.RequireEqual(t, text)
}

func TestStarterWithoutAnInfraConfig(t *testing.T) {
	t.Parallel()
	a := readApp(t, goApp(t))
	text := Starter(StarterOptions{App: a, Dir: a.Dir})
	checked(t, text)
	golden.RequireEqual(t, text)
}

func TestHosts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		host     string
		ca       bool
		provider string
		fields   string
	}{
		{"orders-prod.c9akciq32abc.eu-west-1.rds.amazonaws.com:5432", false, "rds", "eu-west-1 orders-prod"},
		{"Orders.c9akciq32abc.us-gov-west-1.rds.amazonaws.com", false, "rds", "us-gov-west-1 orders"},
		{"x.c9akciq32abc.cn-north-1.rds.amazonaws.com.cn", false, "rds", "cn-north-1 x"},
		{"x.cluster-c9akciq32abc.eu-west-1.rds.amazonaws.com", false, "postgres", "postgres://x.cluster-c9akciq32abc.eu-west-1.rds.amazonaws.com/?sslmode=verify-full"},
		{"x.proxy-c9akciq32abc.eu-west-1.rds.amazonaws.com", false, "postgres", "postgres://x.proxy-c9akciq32abc.eu-west-1.rds.amazonaws.com/?sslmode=verify-full"},
		{"/cloudsql/shop-prod:europe-west1:main", false, "cloudsql", "shop-prod europe-west1 main"},
		{"abc.def.europe-west1.sql.goog:5432", false, "postgres", "postgres://abc.def.europe-west1.sql.goog:5432/?sslmode=verify-full"},
		{"10.1.2.3:5432", true, "postgres", "postgres://10.1.2.3:5432/?sslmode=verify-ca"},
		{"[2001:db8::1]:5432", false, "postgres", "postgres://[2001:db8::1]:5432/?sslmode=verify-full"},
		{"localhost:5432", true, "postgres", "postgres://localhost:5432/?sslmode=disable"},
		{"/var/run/postgresql", false, "postgres", "postgres:///?host=/var/run/postgresql&sslmode=disable"},
		{"db.example.com", false, "postgres", "postgres://db.example.com/?sslmode=verify-full"},
	} {
		f := instanceOf(c.host, c.ca)
		var fields []string
		for _, kv := range f.fields {
			fields = append(fields, kv[1])
		}
		if f.provider != c.provider || strings.Join(fields, " ") != c.fields {
			t.Errorf("%s: %s %v", c.host, f.provider, fields)
		}
	}
}

// Whatever an infra config calls its hosts, databases and users: what is made of it is a right dbops.yaml.
func TestStartersAreRight(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "dbops.yaml")
	text := rapid.OneOf(rapid.StringN(1, 12, 70), rapid.SampledFrom([]string{
		"yes", "a: b", "# x", "'", `"`, "a,b", "[", "- x", "\u2028", "null", "0", "a#b", "x\n  y: z", "AKIAIOSFODNN7EXAMPLE2", strings.Repeat("ä", 40),
	}))
	host := rapid.OneOf(text, rapid.SampledFrom([]string{
		"a.c9akciq32abc.eu-west-1.rds.amazonaws.com", "10.0.0.1:5432", "[::1]", "localhost", "/cloudsql/shop-prod:europe-west1:main", "/cloudsql/p:r:i", "/a b", "db_1.example.com:1",
		"a..b", "-a", "h:0", "A[", "[a]", "[::1", "a:b:c", "fe80::1%eth0", "h:", ":5432", "/", "/var/run//x", "/../x", "h:05432", "1.2.3", "ä.example.com", "h.:5432", "a--b.c9akciq32abc.eu-west-1.rds.amazonaws.com",
	}))
	rapid.Check(t, func(t *rapid.T) {
		servers := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) string {
			return `{"host":` + quote(host.Draw(t, "host")) + `,"databases":{` + quote(text.Draw(t, "key")) + `:{"username":` + quote(text.Draw(t, "user")) + `,"password":"hunter2"}}}`
		}), 0, 4).Draw(t, "servers")
		infra, err := ParseInfra([]byte(`{"metadata":{"env_name":`+quote(text.Draw(t, "env"))+`},"sql_servers":[`+strings.Join(servers, ",")+`]}`), TypeScript)
		if err != nil {
			return // two of one name
		}
		a := &App{Dir: dir, ID: text.Draw(t, "id"), Language: TypeScript, Unknown: []string{text.Draw(t, "unknown")}}
		for _, d := range infra.Databases() {
			a.Databases = append(a.Databases, AppDatabase{Name: d.Encore, Place: text.Draw(t, "place"), Migrations: filepath.Join(dir, text.Draw(t, "folder"), "m")})
		}
		starter := Starter(StarterOptions{App: a, Infra: infra, InfraPath: filepath.Join(dir, text.Draw(t, "file")), Dir: dir})
		if strings.Contains(string(starter), hidden) {
			t.Fatal("it holds a password")
		}
		if err := os.WriteFile(file, starter, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err = config.Load(file)
		if err != nil && !strings.Contains(err.Error(), "AWS access key") { // a name that looks like a secret is refused, as it should be
			t.Fatalf("%v\n%s", err, starter)
		}
	})
}

func quote(s string) string {
	b, _ := json.Marshal(s) // strings always can
	return string(b)
}

func TestWhichFormatATextIs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, text string
		want       Kind
		say        string
	}{
		{"an infra config", string(testdata(t, "orders.json")), InfraConfig, ""},
		{"one with comments", string(testdata(t, "orders.jsonc")), InfraConfig, ""},
		{"one that begins with a comment", "// x\n{}", InfraConfig, ""},
		{"a broken one", "{", InfraConfig, ""},
		{"the JSON of a runtime config", runtimeJSON, RuntimeConfig, ""},
		{"a runtime config", raw(runtimeJSON), RuntimeConfig, ""},
		{"protobuf", raw(string(protoConfig())), RuntimeConfig, ""},
		{"protobuf of a file", string(protoConfig()), RuntimeConfig, ""},
		{"secrets", "A=" + raw(hidden), AppSecrets, ""},
		{"one secret whose text could be base64", "AAAA=" + raw("x"), AppSecrets, ""},
		{"references", "envref:A,B", AppSecrets, ""},
		{"a line of an environment", "ENCORE_RUNTIME_CONFIG=" + raw(runtimeJSON), "", "assignment"},
		{"an exported one", "export ENCORE_APP_SECRETS=A=" + raw(hidden), "", "assignment"},
		{"anything", hidden + "!", "", "none of Encore's formats"},
	} {
		got, err := DetectKind(c.text)
		if got != c.want || (err == nil) != (c.say == "") || (err != nil && (!strings.Contains(err.Error(), c.say) || strings.Contains(err.Error()+fault.HintOf(err), hidden))) {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
	}
}

func TestStepsAfterARotation(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	show := func(title string, steps []string) {
		b.WriteString("== " + title + "\n" + strings.Join(steps, "\n") + "\n\n")
		if slices.ContainsFunc(steps, func(s string) bool { return strings.Contains(s, hidden) || strings.Contains(s, "%!") }) {
			t.Errorf("%s: %q", title, steps)
		}
	}
	r := Rotation{Kind: InfraConfig, Language: Go, Database: "orders_prod", Username: "orders_b", From: "aws-sm:prod/orders#password", Text: "--reveal prints it"}
	r.Report = Report{Variables: []Variable{{"DB_USER", Username}, {"DB_PASSWORD", Password}}}
	show("Go, both from variables", r.Steps())
	r.Report = Report{Changed: []string{Username, Password}, OldUsername: "orders_a"}
	show("Go, both in the file", r.Steps())
	r.Language, r.Report = TypeScript, Report{Changed: []string{Username}, OldUsername: "orders_a", Variables: []Variable{{"DB_PASSWORD", Password}}}
	show("TypeScript, the password from a variable", r.Steps())
	r.Report = Report{}
	show("nothing to do", r.Steps())
	r.Report, r.Username, r.From = Report{Changed: []string{Host, CA}}, "", ""
	show("another host and CA", r.Steps())
	r.Kept = "infra.config.json.before-export.2"
	show("another host and CA, in place", r.Steps())
	r.Report = Report{Changed: []string{Password}, SameUser: true}
	show("the password of the same user", r.Steps())
	r.Username, r.Kept, r.Report = "orders_a", "", Report{CommentsGone: true, SameUser: true}
	show("the same user, and comments that go", r.Steps())
	r.Kind, r.Language, r.Username, r.Report = RuntimeConfig, Go, "orders_b", Report{Changed: []string{Username, Password}, OldUsername: `o"a`}
	show("the runtime config", r.Steps())
	r.Kind, r.Report = AppSecrets, Report{Changed: []string{Password}}
	show("app secrets", r.Steps())
	golden.RequireEqual(t, []byte(b.String()))
}
