package encore

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/tailscale/hujson"
	"google.golang.org/protobuf/encoding/protowire"

	"dbops/internal/fault"
)

// Runtime is what ENCORE_RUNTIME_CONFIG tells the Go runtime.
type Runtime struct {
	original string
	envelope envelope
	doc      *document
	entries  []*entry
	AppSlug  string
	EnvName  string
}

const runtimeWhat = "the runtime config"

// ParseRuntime reads the value of ENCORE_RUNTIME_CONFIG (base64 of JSON, or gzip: and base64), or the plain JSON of the file that
// ENCORE_RUNTIME_CONFIG_PATH names. That of the TypeScript runtime is protobuf, and refused. Whatever cannot be read is a fault.Config.
func ParseRuntime(text string) (*Runtime, error) {
	if len(text) > MaxText {
		return nil, malformed(runtimeWhat, fmt.Errorf("it is larger than %d MiB", MaxText>>20))
	}
	r := &Runtime{original: text}
	plain := []byte(text)
	if !looksLikeJSON(plain) {
		var err error
		if plain, r.envelope, err = unpack(text); err != nil {
			return nil, refuseProtobuf([]byte(text), malformed(runtimeWhat, err).
				Hint("want the value of ENCORE_RUNTIME_CONFIG: base64, or gzip: and base64; or the JSON in it"))
		}
	}
	doc, err := parseDocument(plain)
	if err != nil {
		return nil, refuseProtobuf(plain, malformed(runtimeWhat, err))
	}
	r.doc = doc
	if err := r.read(); err != nil {
		return nil, malformed(runtimeWhat, err)
	}
	return r, nil
}

func looksLikeJSON(text []byte) bool {
	t := bytes.TrimLeft(text, " \t\r\n")
	return bytes.HasPrefix(t, []byte("{")) || bytes.HasPrefix(t, []byte("//")) || bytes.HasPrefix(t, []byte("/*"))
}

// refuseProtobuf is the error for what the TypeScript runtime reads, else err.
func refuseProtobuf(plain []byte, err error) error {
	if !isProtobuf(plain) {
		return err
	}
	return fault.Newf(fault.Config, "read "+runtimeWhat, "this is protobuf, as Encore's TypeScript runtime reads it; dbops does not rewrite it: "+
		"its schema is Encore's own and changes, and a field that dbops does not know would be lost or broken without a word").
		Hint("give the app an infra.config.json instead (ENCORE_INFRA_CONFIG_PATH, which the runtime prefers): dbops encore export infra.config.json")
}

// isProtobuf tells whether b can be read as one message from beginning to end, and is no text.
func isProtobuf(b []byte) bool {
	text := !slices.ContainsFunc(b, func(c byte) bool { return c < ' ' && c != '\n' && c != '\r' && c != '\t' || c >= 0x7f })
	if len(b) == 0 || text {
		return false
	}
	for len(b) > 0 {
		num, _, n := protowire.ConsumeField(b)
		if n < 0 || num > 1000 { // Encore's numbers are small; large ones are chance
			return false
		}
		b = b[n:]
	}
	return true
}

func (r *Runtime) read() error {
	root, err := object(&r.doc.root, "the whole")
	if err != nil {
		return err
	}
	for key, to := range map[string]*string{"app_slug": &r.AppSlug, "env_name": &r.EnvName} {
		if *to, err = textOf(root, "", key); err != nil {
			return err
		}
	}
	servers, err := list(root, "sql_servers")
	if err != nil {
		return err
	}
	databases, err := list(root, "sql_databases")
	if err != nil {
		return err
	}
	for i := range databases {
		e, err := r.database(&databases[i], item("sql_databases", i), servers)
		if err != nil {
			return err
		}
		r.entries = append(r.entries, e)
	}
	return pairUp(r.entries)
}

func (r *Runtime) database(v *hujson.Value, at string, servers []hujson.Value) (*entry, error) {
	o, err := object(v, at)
	if err != nil {
		return nil, err
	}
	e := &entry{at: at, object: o}
	if e.Server, err = whole(o, at, "server_id"); err != nil {
		return nil, err
	}
	if e.Server < 0 || e.Server >= len(servers) {
		return nil, fmt.Errorf("%s is %d, and there are %d sql_servers", below(at, "server_id"), e.Server, len(servers))
	}
	e.serverAt = item("sql_servers", e.Server)
	if e.server, err = object(&servers[e.Server], e.serverAt); err != nil {
		return nil, err
	}
	if e.Host, err = textOf(e.server, e.serverAt, "host"); err != nil {
		return nil, err
	}
	ca, err := textOf(e.server, e.serverAt, "server_ca_cert")
	if err != nil {
		return nil, err
	}
	if e.CAs, e.TLS = len(certificates(ca)), tlsPrefer; ca != "" {
		e.TLS = tlsCAOnly
	}
	var user string
	for _, f := range []struct {
		key string
		to  *string
	}{{"encore_name", &e.Encore}, {"database_name", &e.Name}, {"user", &user}, {"password", new(string)}} {
		if *f.to, err = textOf(o, at, f.key); err != nil {
			return nil, err
		}
		if *f.to == "" && f.key != "password" { // an empty one is a login without a password
			return nil, fmt.Errorf("%s is missing", below(at, f.key))
		}
	}
	e.Username, e.Password = Origin{Text: user, InText: true}, Origin{InText: true}
	return e, nil
}

// Databases lists what the config names, in its order.
func (r *Runtime) Databases() []Database { return databases(r.entries) }

// Warnings say how far TLS can be relied on.
func (r *Runtime) Warnings() []string {
	var report Report
	for _, e := range r.entries {
		if e.TLS == tlsPrefer && !local(e.Host) {
			report.warn(e.serverAt + " has no server_ca_cert: the runtime prefers TLS, checks nobody's certificate, and goes on without TLS if the server says so")
		}
		if e.CAs > 0 {
			report.warn(caWarnings(e.Host, Go, e.TLS)...)
		}
	}
	return report.Warnings
}

// Set makes the entry of a database hold what c says, or changes nothing and says why. Doing it again changes nothing more.
func (r *Runtime) Set(database string, change Change) (Report, error) {
	op := "change database " + database + " in " + runtimeWhat
	e, err := find(r.entries, database, op)
	if err != nil {
		return Report{}, err
	}
	ca, err := change.check(op, Go)
	if err != nil {
		return Report{}, err
	}
	report := Report{CommentsGone: r.doc.lenient}
	was := e.Username
	for _, f := range []struct {
		what, key, value string
		in               *hujson.Object
	}{
		{Username, "user", change.Username, e.object},
		{Password, "password", change.Password.Reveal(), e.object},
		{Host, "host", change.Host, e.server},
		{CA, "server_ca_cert", ca, e.server},
	} {
		if f.value != "" && r.doc.setText(f.in, f.key, f.value) {
			report.Changed = append(report.Changed, f.what)
			if f.what == Username {
				report.OldUsername = e.Username.Text
			}
			if f.in == e.server && len(e.Shares) > 0 {
				report.warn(fmt.Sprintf("%s is that of the whole server: it changed for %s too", f.what, joined(e.Shares)))
			}
		}
	}
	report.live(was, change)
	r.entries = nil
	if err := r.read(); err != nil {
		return Report{}, fault.New(fault.Internal, op, err)
	}
	report.warn(r.Warnings()...)
	return report, nil
}

// Text is the value as it was read, with what changed: packed and encoded alike. Where nothing changed it is the very same text. It holds the
// passwords.
func (r *Runtime) Text() (string, error) {
	if !r.doc.changed && !r.doc.lenient {
		return r.original, nil
	}
	text, err := r.envelope.pack(r.doc.text())
	if err != nil {
		return "", fault.New(fault.Internal, "write "+runtimeWhat, err)
	}
	return text, nil
}
