package encore

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/tailscale/hujson"

	"dbops/internal/secret"
)

// Whatever is read: strict text comes out as it was, the rest strict and meaning the same, and a change changes what it says and no more.
func FuzzInfra(f *testing.F) {
	f.Add(testdata(f, "orders.jsonc"), true)
	f.Add(testdata(f, "orders.json"), false)
	f.Add([]byte(`{"sql_servers":[{"host":"h","databases":{"a":{"username":"u","password":{"$env":"P"},},},}/*x*/]}`), false)
	f.Add([]byte("{\"sql_servers\":[{\"host\":\"h\",\"databases\":{\"a\":{// x\r\n}}}]}"), true)
	f.Fuzz(func(t *testing.T, text []byte, isGo bool) {
		lang := TypeScript
		if isGo {
			lang = Go
		}
		before := bytes.Clone(text)
		c, err := ParseInfra(text, lang)
		if err != nil {
			return
		}
		out := c.Text()
		if json.Valid(text) && !bytes.Equal(out, text) {
			t.Fatalf("strict text changed: %q became %q", text, out)
		}
		standard, err := hujson.Standardize(bytes.Clone(text))
		if err != nil || !reflect.DeepEqual(meaning(t, standard), meaning(t, out)) {
			t.Fatalf("%v: it means something else: %q became %q", err, text, out)
		}
		change := Change{Username: "new_user", Password: secret.New("new_password"), Host: "new.example.com:5432", Inline: true}
		for _, d := range c.Databases() {
			if _, err := c.Set(d.Encore, change); err != nil {
				t.Fatalf("set %q: %v", d.Encore, err)
			}
			again, err := ParseInfra(c.Text(), lang)
			if err != nil {
				t.Fatalf("what was written cannot be read: %v\n%s", err, c.Text())
			}
			if h, err := again.Holds(d.Encore, change); err != nil || h.Username != Yes || h.Password != Yes || h.Host != Yes {
				t.Fatalf("%q does not hold the change: %+v, %v", d.Encore, h, err)
			}
		}
		if !bytes.Equal(text, before) {
			t.Fatal("the caller's bytes changed")
		}
		if len(c.Databases()) == 0 && !bytes.Equal(c.Text(), out) {
			t.Fatal("it changed although there was nothing to change")
		}
	})
}

func meaning(t *testing.T, text []byte) any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber() // as written
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("not JSON: %v\n%s", err, text)
	}
	return v
}

func FuzzRuntime(f *testing.F) {
	f.Add(runtimeJSON)
	f.Add(base64.StdEncoding.EncodeToString([]byte(runtimeJSON)))
	f.Add(base64.RawURLEncoding.EncodeToString([]byte(runtimeJSON)) + "\n")
	f.Add("gzip:" + base64.StdEncoding.EncodeToString(zipped(f, runtimeJSON, gzip.Header{Name: "x"}, 9)))
	f.Add(base64.StdEncoding.EncodeToString(protoConfig()))
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRuntime(text)
		if err != nil {
			return
		}
		if got, err := r.Text(); err != nil || (got != text && !r.doc.lenient) {
			t.Fatalf("%v: %q became %q", err, text, got)
		}
		change := Change{Username: "new_user", Password: secret.New("new_password"), Host: "new.example.com"}
		for _, d := range r.Databases() {
			if _, err := r.Set(d.Encore, change); err != nil {
				t.Fatalf("set %q: %v", d.Encore, err)
			}
		}
		got, err := r.Text()
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseRuntime(got)
		if err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		for _, d := range again.Databases() {
			if d.Username.Text != "new_user" || d.Host != "new.example.com" {
				t.Fatalf("%+v", d)
			}
		}
		if strings.HasPrefix(got, "gzip:") != strings.HasPrefix(text, "gzip:") {
			t.Fatal("packed in another way")
		}
	})
}

func FuzzSecrets(f *testing.F) {
	f.Add("A="+raw("x")+",B=", "B", "value")
	f.Add("gzip:"+base64.StdEncoding.EncodeToString(zipped(f, "A="+raw("x"), gzip.Header{OS: 3}, 9)), "C", "")
	f.Add("envref:V0,V1\n", "A", "y")
	f.Add("", "A", "\x00")
	lookup := func(name string) (string, bool) {
		v, ok := map[string]string{"V0": "A=" + raw("x"), "V1": ",Z=" + raw("z")}[name]
		return v, ok
	}
	f.Fuzz(func(t *testing.T, text, name, value string) {
		s, err := ParseSecrets(text, lookup)
		if err != nil {
			return
		}
		all, err := s.Values()
		if err != nil || len(all) != 1 || !all[0].Value.Equal(text) {
			t.Fatalf("%v: unchanged it is not as it was", err)
		}
		names := s.Names()
		if _, err := s.Set(name, secret.New(value)); err != nil {
			return
		}
		if all, err = s.Values(); err != nil {
			t.Fatal(err)
		}
		vars := map[string]string{}
		for _, v := range all {
			vars[v.Name] = v.Value.Reveal()
		}
		now := vars[SecretsVariable]
		if len(all) > 1 || s.refs != nil && s.changed {
			now = strings.TrimSpace(text)
		}
		again, err := ParseSecrets(now, func(n string) (string, bool) { v, ok := vars[n]; return v, ok })
		if err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		if v, ok := again.Get(name); !ok || !v.Equal(value) {
			t.Fatal("another value")
		}
		for _, n := range names {
			if _, ok := again.Get(n); !ok {
				t.Fatalf("%q is lost", n)
			}
		}
	})
}

// Source that is not understood is noted, and nothing worse.
func FuzzSource(f *testing.F) {
	f.Add("import { SQLDatabase } from \"encore.dev/storage/sqldb\";\nnew SQLDatabase('a', { migrations: { path: `x`, source: 'prisma' } })")
	f.Add("package a\nimport \"encore.dev/storage/sqldb\"\nvar d = sqldb.NewDatabase(\"a\", sqldb.DatabaseConfig{Migrations: \"m\"})")
	f.Add("import { SQLDatabase as D } from \"encore.dev/storage/sqldb\"; new D(\"x\", {migrations: {path: '")
	f.Fuzz(func(_ *testing.T, text string) {
		a := &App{Dir: "/app", Language: TypeScript}
		a.tsSource("/app/a.ts", []byte(text))
		a.Language = Go
		a.goSource("/app/a.go", []byte(text))
	})
}
