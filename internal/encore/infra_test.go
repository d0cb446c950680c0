package encore

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dbops/internal/fault"
	"dbops/internal/secret"
)

// hidden begins every secret of these tests: no error, report or listing may hold it.
const hidden = "hunter2"

func testdata(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func parseInfra(t testing.TB, text []byte, lang Language) *Infra {
	t.Helper()
	c, err := ParseInfra(text, lang)
	if err != nil {
		t.Fatalf("parse: %v", err)
	}
	return c
}

func set(t testing.TB, c interface {
	Set(database string, change Change) (Report, error)
}, database string, change Change,
) Report {
	t.Helper()
	r, err := c.Set(database, change)
	if err != nil {
		t.Fatalf("set: %v", err)
	}
	return r
}

func TestStrictTextComesOutAsItWas(t *testing.T) {
	t.Parallel()
	text := testdata(t, "orders.json")
	for _, text := range [][]byte{
		text, bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n")), []byte(" {} \n\n"), []byte(`{"sql_servers":null}`),
		[]byte(`{"sql_servers" :[ {"host" : "h", "databases":{ "a":{"password":"\u0068unter2" , "username" : "a"}}}]}`),
	} {
		for _, lang := range []Language{Go} {
			if got := parseInfra(t, text, lang).Text(); !bytes.Equal(got, text) {
				t.Errorf("%s: want the very bytes, got\n%s", lang, got)
			}
		}
	}
}

func TestCommentsGoAndNothingElseDoes(t *testing.T) {
	t.Parallel()
	want := testdata(t, "orders.json")
	got := parseInfra(t, testdata(t, "orders.jsonc"), Go).Text()
	if !bytes.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if !json.Valid(got) {
		t.Error("it is not strict JSON")
	}
	crlf := bytes.ReplaceAll(testdata(t, "orders.jsonc"), []byte("\n"), []byte("\r\n"))
	if got := parseInfra(t, crlf, Go).Text(); !bytes.Equal(got, bytes.ReplaceAll(want, []byte("\n"), []byte("\r\n"))) {
		t.Errorf("with Windows line ends: got\n%q", got)
	}
	inline := parseInfra(t, []byte("{/* a */\"x\":/* b */ 1 /* c */ , \"y\": [1,/*d*/],}"), Go).Text()
	if want := `{"x": 1 , "y": [1]}`; string(inline) != want {
		t.Errorf("got %s, want %s", inline, want)
	}
}

func TestOnlyTheChangedValuesChange(t *testing.T) {
	t.Parallel()
	text := testdata(t, "orders.json")
	c := parseInfra(t, text, Go)
	r := set(t, c, "orders", Change{Username: "orders_b", Password: secret.New(hidden + "-new")})
	if !slices.Equal(r.Changed, []string{Username, Password}) || len(r.Variables) != 0 || r.OldUsername != "orders_a" {
		t.Errorf("report %+v", r)
	}
	want := strings.NewReplacer(`"orders_a"`, `"orders_b"`, `"hunter2-old"`, `"hunter2-new"`).Replace(string(text))
	if got := string(c.Text()); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	again := parseInfra(t, c.Text(), Go)
	if r := set(t, again, "orders", Change{Username: "orders_b", Password: secret.New(hidden + "-new")}); len(r.Changed) != 0 {
		t.Errorf("the second time it changed %v", r.Changed)
	}
	if !bytes.Equal(again.Text(), c.Text()) {
		t.Error("the second time the text changed")
	}
}

func TestAValueWrittenInAnotherWayIsTheSame(t *testing.T) {
	t.Parallel()
	text := []byte(`{"sql_servers":[{"host":"h","databases":{"a":{"username":"\u0061_user","password":"\u0068unter2"}}}]}`)
	c := parseInfra(t, text, TypeScript)
	if r := set(t, c, "a", Change{Username: "a_user", Password: secret.New(hidden)}); len(r.Changed) != 0 || !bytes.Equal(c.Text(), text) {
		t.Errorf("changed %v", r.Changed)
	}
}

func TestVariablesStayAndAreReported(t *testing.T) {
	t.Parallel()
	text := testdata(t, "orders.json")
	c := parseInfra(t, text, Go)
	change := Change{Username: "billing_b", Password: secret.New(hidden)}
	r := set(t, c, "billing", change)
	if want := []Variable{{"BILLING_USER", Username}, {"BILLING_PASSWORD", Password}}; !slices.Equal(r.Variables, want) || len(r.Changed) != 0 {
		t.Errorf("report %+v", r)
	}
	if !bytes.Equal(c.Text(), text) {
		t.Error("the text changed")
	}
	if h, err := c.Holds("billing", change); err != nil || h.Username != InVariable || h.Password != InVariable || !h.All() {
		t.Errorf("holding %+v, %v", h, err)
	}

	change.Inline = true
	r = set(t, c, "billing", change)
	if !slices.Equal(r.Changed, []string{Username, Password}) || len(r.Variables) != 0 {
		t.Errorf("inline: report %+v", r)
	}
	want := strings.NewReplacer(`{"$env": "BILLING_USER"}`, `"billing_b"`, `{"$env": "BILLING_PASSWORD"}`, `"hunter2"`).Replace(string(text))
	if got := string(c.Text()); got != want {
		t.Errorf("inline: got\n%s", got)
	}
}

func TestAVariableOfTwoDatabasesIsWarnedOf(t *testing.T) {
	t.Parallel()
	c := parseInfra(t, []byte(`{"sql_servers":[{"host":"localhost","databases":{
		"a":{"username":"a","password":{"$env":"PW"}},"b":{"username":"b","password":{"$env":"PW"}}}}]}`), TypeScript)
	r := set(t, c, "a", Change{Password: secret.New(hidden)})
	if !slices.ContainsFunc(r.Warnings, func(w string) bool { return strings.Contains(w, "$PW is read for the database b too") }) {
		t.Errorf("warnings %q", r.Warnings)
	}
}

func TestWhatIsMissingIsAdded(t *testing.T) {
	t.Parallel()
	c := parseInfra(t, []byte("{\n  \"sql_servers\": [\n    {\n      \"host\": \"h\",\n      \"databases\": {\n        \"a\": {}\n      }\n    }\n  ]\n}\n"), Go)
	set(t, c, "a", Change{Username: "u", Password: secret.New(hidden), CA: string(testdata(t, "one.pem"))})
	var back struct {
		Servers []struct {
			TLS       struct{ CA string } `json:"tls_config"`
			Databases map[string]struct{ Username, Password string }
		} `json:"sql_servers"`
	}
	if err := json.Unmarshal(c.Text(), &back); err != nil {
		t.Fatal(err)
	}
	if s := back.Servers[0]; s.Databases["a"].Username != "u" || s.Databases["a"].Password != hidden || s.TLS.CA != string(testdata(t, "one.pem")) {
		t.Errorf("got %+v", s)
	}
	if want := "      },\n      \"tls_config\": {\"ca\": \"-----BEGIN"; !strings.Contains(string(c.Text()), want) {
		t.Errorf("a new member is not laid out like its neighbour:\n%s", c.Text())
	}
}

func TestTheLanguagesReadKeyAndNameTheOppositeWay(t *testing.T) {
	t.Parallel()
	text := testdata(t, "orders.json")
	first := func(lang Language) Database { return parseInfra(t, text, lang).Databases()[0] }
	if d := first(Go); d.Encore != "orders" || d.Name != "orders_prod" {
		t.Errorf("Go: %+v", d)
	}
	if d := first(TypeScript); d.Encore != "orders_prod" || d.Name != "orders" {
		t.Errorf("TypeScript: %+v", d)
	}
	_, err := ParseInfra(text, "")
	if fault.KindOf(err) != fault.Config || !strings.Contains(err.Error(), "opposite way") || fault.HintOf(err) == "" {
		t.Errorf("without a language: %v", err)
	}
	if d := parseInfra(t, []byte(`{"sql_servers":[{"host":"h","databases":{"a":{"name":"a","username":"u","password":"p"}}}]}`), "").Databases(); d[0].Encore != "a" {
		t.Errorf("where it makes no difference: %+v", d)
	}
	c := parseInfra(t, []byte(`{"sql_servers":[{"host":"h","databases":{"a":{"username":"u","password":"p"}}}]}`), "")
	if _, err := c.Set("a", Change{Username: "v"}); fault.KindOf(err) != fault.Usage {
		t.Errorf("a change without a language: %v", err)
	}
}

func TestTypeScriptTakesNoVariableForTheUserName(t *testing.T) {
	t.Parallel()
	c := parseInfra(t, []byte(`{"sql_servers":[{"host":"localhost","databases":{"a":{"username":{"$env":"U"},"password":{"$env":"P"}}}}]}`), TypeScript)
	if w := c.Warnings(); len(w) != 1 || !strings.Contains(w[0], "does not start") {
		t.Errorf("warnings %q", w)
	}
	if h, err := c.Holds("a", Change{Username: "a_b"}); err != nil || h.Username != No {
		t.Errorf("holding %+v, %v", h, err)
	}
	r := set(t, c, "a", Change{Username: "a_b", Password: secret.New(hidden)})
	if !slices.Equal(r.Changed, []string{Username}) || !slices.Equal(r.Variables, []Variable{{"P", Password}}) || len(c.Warnings()) != 0 {
		t.Errorf("report %+v, warnings %q", r, c.Warnings())
	}
	if want := `{"sql_servers":[{"host":"localhost","databases":{"a":{"username":"a_b","password":{"$env":"P"}}}}]}`; string(c.Text()) != want {
		t.Errorf("got %s", c.Text())
	}
}

func TestHostAndCAConcernTheWholeServer(t *testing.T) {
	t.Parallel()
	c := parseInfra(t, testdata(t, "orders.json"), Go)
	r := set(t, c, "orders", Change{Host: "orders-2.c9akciq32abc.eu-west-1.rds.amazonaws.com:5432", CA: string(testdata(t, "two.pem"))})
	if !slices.Equal(r.Changed, []string{Host, CA}) {
		t.Errorf("changed %v", r.Changed)
	}
	for _, want := range []string{"they changed for billing too", "verify-ca"} {
		if !slices.ContainsFunc(r.Warnings, func(w string) bool { return strings.Contains(w, want) }) {
			t.Errorf("no warning with %q in %q", want, r.Warnings)
		}
	}
	d := c.Databases()
	if d[1].Host != "orders-2.c9akciq32abc.eu-west-1.rds.amazonaws.com:5432" || d[1].CAs != 2 || d[1].TLS != tlsCAOnly || d[2].Host != "10.0.0.5" || d[2].TLS != tlsPrefer {
		t.Errorf("databases %+v", d)
	}
	if h, err := c.Holds("billing", Change{Host: d[1].Host, CA: string(testdata(t, "two.pem"))}); err != nil || h.Host != Yes || h.CA != Yes {
		t.Errorf("holding %+v, %v", h, err)
	}
}

func TestTypeScriptTakesExactlyOneCA(t *testing.T) {
	t.Parallel()
	text := []byte(`{"sql_servers":[{"host":"10.0.0.5:5432","databases":{"a":{"username":"u","password":"p"}}}]}`)
	c := parseInfra(t, text, TypeScript)
	_, err := c.Set("a", Change{CA: string(testdata(t, "two.pem")), Username: "v"})
	if fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), "2 certificates") || fault.HintOf(err) == "" {
		t.Errorf("two CAs: %v", err)
	}
	if !bytes.Equal(c.Text(), text) {
		t.Error("a refused change changed the text")
	}
	r := set(t, c, "a", Change{CA: string(testdata(t, "one.pem"))})
	if c.Databases()[0].TLS != tlsFull || !slices.ContainsFunc(r.Warnings, func(w string) bool { return strings.Contains(w, "must name the address 10.0.0.5") }) {
		t.Errorf("%+v, %q", c.Databases()[0], r.Warnings)
	}
}

func TestAChangeIsMadeWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	good := Change{Username: "orders_b", Password: secret.New(hidden), Host: "h:5432"}
	for _, c := range []struct {
		name   string
		lang   Language
		mutate func(*Change)
		kind   fault.Kind
		say    string
	}{
		{"a space in the password, which Go does not quote", Go, func(c *Change) { c.Password = secret.New("hunter2 x") }, fault.Invalid, "without quoting"},
		{"a quote in the password", Go, func(c *Change) { c.Password = secret.New("hunter2'") }, fault.Invalid, "without quoting"},
		{"a backslash in the user name", Go, func(c *Change) { c.Username = `a\b` }, fault.Invalid, "the user name"},
		{"a line break in the password", TypeScript, func(c *Change) { c.Password = secret.New("hunter2\n") }, fault.Invalid, "control character"},
		{"bytes that are no text", TypeScript, func(c *Change) { c.Password = secret.New("hunter2\xff") }, fault.Invalid, "UTF-8"},
		{"a URL as the host", Go, func(c *Change) { c.Host = "postgres://u:hunter2@h/" }, fault.Invalid, "NAME:PORT"},
		{"a port that is none", Go, func(c *Change) { c.Host = "h:99999" }, fault.Invalid, "65535"},
		{"a key in the CA", Go, func(c *Change) { c.CA = "-----BEGIN PRIVATE KEY-----\naHVudGVyMg==\n-----END PRIVATE KEY-----\n" }, fault.Invalid, "no certificate"},
		{"no CA in the CA", Go, func(c *Change) { c.CA = hidden }, fault.Invalid, "no certificate in PEM"},
		{"a CA that cannot be read", Go, func(c *Change) { c.CA = "-----BEGIN CERTIFICATE-----\naHVudGVyMg==\n-----END CERTIFICATE-----\n" }, fault.Invalid, "cannot be read"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			text := []byte(strings.ReplaceAll(string(testdata(t, "orders.json")), `"name": "orders",`, ""))
			config := parseInfra(t, text, c.lang)
			change := good
			c.mutate(&change)
			_, err := config.Set("orders_prod", change)
			if fault.KindOf(err) != c.kind || err == nil || !strings.Contains(err.Error(), c.say) {
				t.Fatalf("got %v", err)
			}
			if strings.Contains(err.Error()+fault.HintOf(err), hidden) {
				t.Error("the error holds a secret")
			}
			if !bytes.Equal(config.Text(), text) {
				t.Error("the text changed")
			}
		})
	}
	if _, err := parseInfra(t, testdata(t, "orders.json"), Go).Set("order", Change{}); fault.KindOf(err) != fault.Usage || !strings.Contains(fault.HintOf(err), "orders, billing, events") {
		t.Errorf("an unknown database: %v (%s)", err, fault.HintOf(err))
	}
	spaced := parseInfra(t, []byte(`{"sql_servers":[{"host":"localhost","databases":{"a":{"username":"u","password":"p"}}}]}`), TypeScript)
	set(t, spaced, "a", Change{Password: secret.New(`a "quoted" \ one`)})
	if h, err := spaced.Holds("a", Change{Password: secret.New(`a "quoted" \ one`)}); err != nil || h.Password != Yes {
		t.Errorf("TypeScript takes any password: %+v, %v", h, err)
	}
}

func TestMalformedInfraConfigs(t *testing.T) {
	t.Parallel()
	database := func(db string) string { return `{"sql_servers":[{"host":"h","databases":{"a":` + db + `}}]}` }
	for _, c := range []struct{ name, text, say string }{
		{"nothing", " \n", "it is empty"},
		{"cut off", `{"sql_servers":[{"host":"h","databases":{"a":{"password":"hunter2`, "line 1, column"},
		{"a password without quotes", database("{\n\"password\": hunter2}"), "line 2, column 13"},
		{"a password with a broken escape", database(`{"password": "hunter2\q"}`), "line 1, column"},
		{"a list", `["hunter2"]`, "not an object"},
		{"text", `"hunter2"`, "not an object"},
		{"bytes", "{\"a\":\"hunter2\xff\"}", "UTF-8"},
		{"two texts", `{} {"a":"hunter2"}`, "line 1, column 4"},
		{"too deep", strings.Repeat("[", 5000) + hidden, "nested"},
		{"servers that are none", `{"sql_servers":{"a":"hunter2"}}`, "sql_servers is not a list"},
		{"a server that is none", `{"sql_servers":["hunter2"]}`, "sql_servers[0] is not an object"},
		{"a server without a host", `{"sql_servers":[{}]}`, "sql_servers[0].host is missing"},
		{"a host that is none", `{"sql_servers":[{"host":5}]}`, "sql_servers[0].host is not a string"},
		{"a database that is none", database(`"hunter2"`), "sql_servers[0].databases.a is not an object"},
		{"a password that is a number", database(`{"username":"u","password":42}`), "a.password is neither a string nor"},
		{"a password that is another object", database(`{"password":{"env":"hunter2"}}`), "a.password is neither"},
		{"a variable with no name", database(`{"password":{"$env":""}}`), "a.password is neither"},
		{"a variable and more", database(`{"password":{"$env":"X","hunter2":1}}`), "a.password is neither"},
		{"a password that is there twice", database(`{"password":"hunter2","password":"hunter2"}`), "a.password is there twice"},
		{"a database that is there twice", `{"sql_servers":[{"host":"h","databases":{"a":{},"a":{}}}]}`, "databases.a is there twice"},
		{"a database on two servers", `{"sql_servers":[{"host":"h","databases":{"a":{}}},{"host":"i","databases":{"a":{}}}]}`, "the same database to the app"},
		{"a key in another case", database(`{"Password":"hunter2"}`), `is written "Password"`},
		{"a CA that is none", `{"sql_servers":[{"host":"h","tls_config":{"ca":1}}]}`, "tls_config.ca is not a string"},
		{"tls that is none", `{"sql_servers":[{"host":"h","tls_config":"x"}]}`, "tls_config is not an object"},
		{"a switch that is none", `{"sql_servers":[{"host":"h","tls_config":{"disabled":"hunter2"}}]}`, "neither true nor false"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := ParseInfra([]byte(c.text), Go)
			if fault.KindOf(err) != fault.Config || err == nil || !strings.Contains(err.Error(), c.say) {
				t.Fatalf("got %v, want %q", err, c.say)
			}
			if strings.Contains(err.Error()+fault.HintOf(err), hidden) {
				t.Errorf("the error holds a secret: %v", err)
			}
		})
	}
}

func TestWhatTheRuntimesIgnoreIsWarnedOf(t *testing.T) {
	t.Parallel()
	text := `{"sql_servers":[{"host":"db.example.com","tls_config":{"disabled":true,"disable_ca_verification":true,"disable_ca_validation":true},
		"databases":{"a":{"username":"u","password":"p","client_cert":{"cert":"x","key":"hunter2"}}}}]}`
	for lang, want := range map[Language][]string{
		Go:         {"disabled is ignored by the Go", "disable_ca_validation is ignored by the Go", "disable_ca_verification is ignored by both", "client_cert is ignored", "has no ca"},
		TypeScript: {"in the clear", "disable_ca_verification is ignored by both"},
	} {
		got := parseInfra(t, []byte(text), lang).Warnings()
		for _, w := range want {
			if !slices.ContainsFunc(got, func(g string) bool { return strings.Contains(g, w) }) {
				t.Errorf("%s: no warning with %q in %q", lang, w, got)
			}
		}
		if len(got) != len(want) {
			t.Errorf("%s: %d warnings, want %d: %q", lang, len(got), len(want), got)
		}
	}
}

// Listings, reports and holdings go to logs and journals.
func TestNothingThatIsReportedHoldsASecret(t *testing.T) {
	t.Parallel()
	c := parseInfra(t, testdata(t, "orders.json"), Go)
	r := set(t, c, "orders", Change{Username: "b", Password: secret.New(hidden + "-new"), Host: "h"})
	h, err := c.Holds("orders", Change{Password: secret.New(hidden + "-new")})
	if err != nil || h.Password != Yes {
		t.Fatalf("%+v, %v", h, err)
	}
	b, err := json.Marshal([]any{c.Databases(), c.Warnings(), r, h})
	if err != nil || bytes.Contains(b, []byte(hidden)) {
		t.Errorf("%v: %s", err, b)
	}
}
