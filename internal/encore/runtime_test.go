package encore

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"dbops/internal/fault"
	"dbops/internal/secret"
)

const runtimeJSON = `{"app_id":"x","app_slug":"shop","env_name":"prod","deploy_time":"2026-08-01T00:00:00Z","trace_sampling_rate":0.10,` +
	`"sql_databases":[{"server_id":0,"encore_name":"orders","database_name":"orders_prod","user":"orders_a","password":"hunter2-old","min_connections":0,"max_connections":30},` +
	`{"server_id":0,"encore_name":"billing","database_name":"billing","user":"billing_a","password":"hunter2-billing","x_new":{"a":1.0}}],` +
	`"sql_servers":[{"host":"orders-prod.c9akciq32abc.eu-west-1.rds.amazonaws.com:5432"}],"auth_keys":[{"kid":1,"data":"aHVudGVyMg=="}]}`

func zipped(t testing.TB, text string, h gzip.Header, level int) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, level)
	if err != nil {
		t.Fatal(err)
	}
	w.Header = h
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// opened is a value as Encore's Go runtime opens it.
func opened(t testing.TB, value string) string {
	t.Helper()
	value, isZipped := strings.CutPrefix(value, "gzip:")
	b, err := base64.StdEncoding.DecodeString(value)
	if err != nil {
		b, err = base64.RawURLEncoding.DecodeString(value)
	}
	if err != nil {
		t.Fatal(err)
	}
	if isZipped {
		r, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if b, err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
	return string(b)
}

func TestRuntimeConfigsRoundTrip(t *testing.T) {
	t.Parallel()
	header := gzip.Header{Name: "runtime.json", Comment: "by hand", ModTime: time.Unix(1700000000, 0), OS: 3, Extra: []byte("x")}
	padded := runtimeJSON + strings.Repeat(" ", 3-len(runtimeJSON)%3+1) // of a length of 3n+1, so that the standard alphabet needs padding, and the other cannot be taken for it
	for _, c := range []struct {
		name, text string
		urls       bool
	}{
		{"base64", base64.StdEncoding.EncodeToString([]byte(padded)), false},
		{"base64 of URLs", base64.RawURLEncoding.EncodeToString([]byte(padded)), true},
		{"a newline behind it", base64.StdEncoding.EncodeToString([]byte(padded)) + "\n", false},
		{"broken into lines", wrap(base64.StdEncoding.EncodeToString([]byte(padded))), false},
		{"gzip", "gzip:" + base64.StdEncoding.EncodeToString(zipped(t, padded, header, gzip.BestCompression)), false},
		{"gzip, another level and alphabet", "gzip:" + base64.RawURLEncoding.EncodeToString(zipped(t, padded, gzip.Header{OS: 255}, gzip.BestSpeed)), true},
		{"the JSON of a file", runtimeJSON + "\n", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r, err := ParseRuntime(c.text)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := r.Text(); err != nil || got != c.text {
				t.Fatalf("unchanged: %v, got\n%s\nwant\n%s", err, got, c.text)
			}
			report := set(t, r, "orders", Change{Username: "orders_b", Password: secret.New(hidden + "-new")})
			if !slices.Equal(report.Changed, []string{Username, Password}) || report.OldUsername != "orders_a" {
				t.Errorf("report %+v", report)
			}
			got, err := r.Text()
			if err != nil {
				t.Fatal(err)
			}
			want := strings.NewReplacer("orders_a", "orders_b", "hunter2-old", "hunter2-new")
			if strings.HasPrefix(c.text, "{") {
				if got != want.Replace(c.text) {
					t.Errorf("got %s", got)
				}
				return
			}
			if strings.HasPrefix(got, "gzip:") != strings.HasPrefix(c.text, "gzip:") || strings.HasSuffix(got, "\n") != strings.HasSuffix(c.text, "\n") {
				t.Error("it is packed in another way")
			}
			if opened(t, got) != want.Replace(padded) {
				t.Errorf("got %s", opened(t, got))
			}
			body := strings.TrimSpace(strings.TrimPrefix(got, "gzip:"))
			_, urls := base64.RawURLEncoding.DecodeString(body)
			_, standard := base64.StdEncoding.DecodeString(body)
			if alphabet := map[bool]error{true: urls, false: standard}[c.urls]; alphabet != nil {
				t.Errorf("another alphabet: %v", alphabet)
			}
			if again, err := ParseRuntime(got); err != nil || len(set(t, again, "orders", Change{Username: "orders_b", Password: secret.New(hidden + "-new")}).Changed) != 0 {
				t.Errorf("again: %v", err)
			}
		})
	}
	value := "gzip:" + base64.StdEncoding.EncodeToString(zipped(t, runtimeJSON, header, gzip.DefaultCompression))
	r, err := ParseRuntime(value)
	if err != nil {
		t.Fatal(err)
	}
	set(t, r, "orders", Change{Username: "orders_b"})
	text, err := r.Text()
	if err != nil {
		t.Fatal(err)
	}
	b, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, "gzip:"))
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil || z.Name != header.Name || z.Comment != header.Comment || !z.ModTime.Equal(header.ModTime) || z.OS != header.OS || string(z.Extra) != "x" {
		t.Errorf("the header of gzip: %+v, %v", z.Header, err)
	}
}

func wrap(s string) string {
	var b strings.Builder
	for i, r := range s {
		if i > 0 && i%76 == 0 {
			b.WriteByte('\n')
		}
		b.WriteRune(r)
	}
	return b.String()
}

func TestRuntimeConfigServers(t *testing.T) {
	t.Parallel()
	r, err := ParseRuntime(runtimeJSON)
	if err != nil {
		t.Fatal(err)
	}
	if w := r.Warnings(); len(w) != 1 || !strings.Contains(w[0], "no server_ca_cert") {
		t.Errorf("warnings %q", w)
	}
	report := set(t, r, "billing", Change{Host: "10.0.0.9:5432", CA: string(testdata(t, "two.pem"))})
	if !slices.Equal(report.Changed, []string{Host, CA}) || !slices.ContainsFunc(report.Warnings, func(w string) bool { return strings.Contains(w, "changed for orders too") }) {
		t.Errorf("report %+v", report)
	}
	d := r.Databases()
	if d[0].Host != "10.0.0.9:5432" || d[0].CAs != 2 || d[0].Name != "orders_prod" || d[0].Username.Text != "orders_a" || d[0].Password.Text != "" {
		t.Errorf("%+v", d[0])
	}
	if b, err := json.Marshal([]any{d, report}); err != nil || bytes.Contains(b, []byte(hidden)) {
		t.Errorf("%v: %s", err, b)
	}
}

// protoConfig is the beginning of what the TypeScript runtime reads: two messages with strings.
func protoConfig() []byte {
	var env []byte
	env = protowire.AppendString(protowire.AppendTag(env, 1, protowire.BytesType), "hunter2-app")
	env = protowire.AppendVarint(protowire.AppendTag(env, 5, protowire.VarintType), 2)
	b := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), env)
	return protowire.AppendBytes(protowire.AppendTag(b, 2, protowire.BytesType), env)
}

func TestProtobufIsRefusedAndSaysWhy(t *testing.T) {
	t.Parallel()
	b := protoConfig()
	for name, text := range map[string]string{
		"base64": base64.StdEncoding.EncodeToString(b), "a file": string(b),
		"gzip": "gzip:" + base64.StdEncoding.EncodeToString(zipped(t, string(b), gzip.Header{OS: 255}, 6)),
	} {
		_, err := ParseRuntime(text)
		if fault.KindOf(err) != fault.Config || !strings.Contains(err.Error(), "TypeScript") || !strings.Contains(fault.HintOf(err), "ENCORE_INFRA_CONFIG_PATH") {
			t.Errorf("%s: %v", name, err)
		}
		if strings.Contains(err.Error(), hidden) {
			t.Errorf("%s: the error holds a secret", name)
		}
	}
}

func TestMalformedRuntimeConfigs(t *testing.T) {
	t.Parallel()
	pack := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	whole := zipped(t, runtimeJSON, gzip.Header{OS: 255}, 6)
	for _, c := range []struct{ name, text, say string }{
		{"nothing", "", "it is empty"},
		{"gzip of nothing", "gzip:", "it is empty"},
		{"no base64", "hunter2!", "not base64"},
		{"base64 of text", pack(hidden), "not JSON at line 1"},
		{"base64 of a list", pack(`["hunter2"]`), "not an object"},
		{"gzip: before plain base64", "gzip:" + pack(`{"a":"hunter2"}`), "not gzip"},
		{"gzip cut off", "gzip:" + base64.StdEncoding.EncodeToString(whole[:len(whole)-20]), "damaged or cut off"},
		{"gzip with a wrong checksum", "gzip:" + base64.StdEncoding.EncodeToString(append(slices.Clone(whole[:len(whole)-8]), 0, 0, 0, 0, 0, 0, 0, 0)), "damaged"},
		{"JSON cut off", `{"sql_databases":[{"password":"hunter2`, "not JSON"},
		{"a database on no server", `{"sql_databases":[{"server_id":3,"encore_name":"a","password":"hunter2"}],"sql_servers":[{"host":"h"}]}`, "server_id is 3"},
		{"a server that is no number", `{"sql_databases":[{"server_id":"hunter2"}],"sql_servers":[{"host":"h"}]}`, "server_id is not a whole number"},
		{"a password that is no string", `{"sql_databases":[{"encore_name":"a","database_name":"a","user":"u","password":["hunter2"]}],"sql_servers":[{"host":"h"}]}`, "password is not a string"},
		{"a database without a name", `{"sql_databases":[{"database_name":"a","user":"u","password":"hunter2"}],"sql_servers":[{"host":"h"}]}`, "encore_name is missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := ParseRuntime(c.text)
			if fault.KindOf(err) != fault.Config || err == nil || !strings.Contains(err.Error(), c.say) {
				t.Fatalf("got %v, want %q", err, c.say)
			}
			if strings.Contains(err.Error()+fault.HintOf(err), hidden) {
				t.Errorf("the error holds a secret: %v", err)
			}
		})
	}
}

func TestAGzipBombIsNotUnpacked(t *testing.T) {
	t.Parallel()
	bomb := "gzip:" + base64.StdEncoding.EncodeToString(zipped(t, strings.Repeat(" ", MaxText+1), gzip.Header{}, gzip.BestCompression))
	if _, err := ParseRuntime(bomb); err == nil || !strings.Contains(err.Error(), "unpacked it is larger") {
		t.Errorf("got %v", err)
	}
}
