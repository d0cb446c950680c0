package certs

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Setting is what to tell one tool.
type Setting struct {
	Tool     string `json:"tool"`
	Title    string `json:"title"`
	Text     string `json:"text"`           // to paste
	Verifies string `json:"verifies"`       // verify-full or verify-ca: what the tool then does
	Note     string `json:"note,omitempty"` // what is weaker than it could be, or has to be done first
}

// Tools are the names by which settings are asked for.
func Tools() []string {
	return []string{"psql", "service", "jdbc", "dbeaver", "metabase", "tableau", "npgsql", "powerbi", "node", "sqlalchemy", "encore-go", "encore-ts"}
}

// Settings returns what to tell the named tools; all for none.
func (k *Kit) Settings(tools ...string) []Setting {
	all := []Setting{
		k.psql(), k.service(), k.jdbc(), k.dbeaver(), k.metabase(), k.tableau(), k.npgsql(), k.powerBI(), k.node(), k.sqlalchemy(), k.encoreGo(), k.encoreTS(),
	}
	if len(tools) == 0 {
		return all
	}
	return slices.DeleteFunc(all, func(s Setting) bool { return !slices.Contains(tools, s.Tool) })
}

// bare notes what a tool cannot verify that connects to the bare address.
func (k *Kit) bare(s Setting) Setting {
	s.Verifies = k.BareMode
	if k.BareMode != verifyCA || k.Mode == verifyCA && !k.Own {
		return s
	}
	s.Note = strings.TrimPrefix(s.Note+"; "+ownCANote, "; ")
	return s
}

func (k *Kit) psql() Setting {
	parts := make([]string, 0, 8)
	for _, kv := range k.libpq() {
		parts = append(parts, kv[0]+"="+conninfo(kv[1]))
	}
	s := Setting{Tool: "psql", Title: "psql", Text: "psql " + shell(strings.Join(parts, " ")), Verifies: k.Mode}
	if len(k.Certs) == 0 {
		s.Note = "sslrootcert=system needs libpq 16 or newer"
	}
	return s
}

func (k *Kit) service() Setting {
	return Setting{
		Tool: "service", Title: "psql and whatever else uses libpq, by service", Verifies: k.Mode,
		Text: "PGSERVICEFILE=" + shell(k.Path(FileService)) + " psql service=" + k.Service,
	}
}

// jdbcParams are those of the JDBC driver. It takes a key as PKCS#8 in DER in every version.
func (k *Kit) jdbcParams() [][2]string {
	p := [][2]string{{"sslmode", k.BareMode}}
	if len(k.Certs) > 0 {
		p = append(p, [2]string{"sslrootcert", k.Path(FileRoots)})
	} else {
		p = append(p, [2]string{"sslfactory", "org.postgresql.ssl.DefaultJavaSSLFactory"})
	}
	if k.HasClient {
		p = append(p, [2]string{"sslcert", k.Path(FileCert)}, [2]string{"sslkey", k.Path(FileKeyDER)})
	}
	return p
}

func (k *Kit) jdbc() Setting {
	parts := make([]string, 0, 5)
	if k.User != "" {
		parts = append(parts, "user="+url.QueryEscape(k.User))
	}
	for _, kv := range k.jdbcParams() {
		parts = append(parts, kv[0]+"="+url.QueryEscape(kv[1]))
	}
	text := fmt.Sprintf("jdbc:postgresql://%s/%s?%s", hostPort(k.Bare, k.Port), url.PathEscape(k.Database), strings.Join(parts, "&"))
	if len(k.Certs) > 0 {
		text += fmt.Sprintf("\n# or by Java's own trust store, which holds the same CAs:\n# %s -Djavax.net.ssl.trustStorePassword=%s, and "+
			"sslfactory=org.postgresql.ssl.DefaultJavaSSLFactory in place of sslrootcert", shell("-Djavax.net.ssl.trustStore="+k.Path(FileTrust)), trustPassword)
	}
	if k.HasClient {
		text += fmt.Sprintf("\n# %s in place of %s has to call its key \"user\":\n# keytool -changealias -keystore %s -storepass:file %s -alias 1 -destalias user",
			FileP12, FileKeyDER, shell(k.Path(FileP12)), shell(k.Path(FileP12Secret)))
	}
	return k.bare(Setting{Tool: "jdbc", Title: "JDBC", Text: text})
}

func (k *Kit) dbeaver() Setting {
	lines := []string{
		"Main: Host " + k.Bare + ", Port " + k.Port + ", Database " + k.Database, "SSL: Use SSL", "SSL mode: " + k.BareMode,
		"CA certificate: " + k.rootFile(),
	}
	if k.HasClient {
		lines = append(lines, "Client certificate: "+k.Path(FileCert), "Client private key: "+k.Path(FileKeyDER))
	}
	return k.bare(Setting{Tool: "dbeaver", Title: "DBeaver", Text: strings.Join(lines, "\n")})
}

func (k *Kit) rootFile() string {
	if len(k.Certs) == 0 {
		return "none: the machine's own"
	}
	return k.Path(FileRoots)
}

func (k *Kit) metabase() Setting {
	lines := []string{
		"Host: " + k.Bare, "Port: " + k.Port, "Database name: " + k.Database, "Use a secure connection (SSL): on", "SSL Mode: " + k.BareMode,
		"SSL Root Certificate (PEM): " + k.rootFile(),
	}
	if k.HasClient {
		lines = append(lines, "Authenticate client certificate: on", "SSL Client Certificate (PEM): "+k.Path(FileCert), "SSL Client Key (PKCS-8/DER): "+k.Path(FileKeyDER))
	}
	return k.bare(Setting{Tool: "metabase", Title: "Metabase", Text: strings.Join(lines, "\n")})
}

func (k *Kit) tableau() Setting {
	lines := []string{"# postgres.properties, in \"My Tableau Repository/Datasources\"; and tick \"Require SSL\" for " + hostPort(k.Bare, k.Port)}
	for _, kv := range k.jdbcParams() {
		lines = append(lines, kv[0]+"="+strings.ReplaceAll(kv[1], `\`, `\\`))
	}
	return k.bare(Setting{Tool: "tableau", Title: "Tableau", Text: strings.Join(lines, "\n")})
}

func (k *Kit) npgsql() Setting {
	mode := "VerifyFull"
	if k.BareMode == verifyCA {
		mode = "VerifyCA"
	}
	parts := []string{"Host=" + dotnet(k.Bare), "Port=" + k.Port, "Database=" + dotnet(k.Database)}
	if k.User != "" {
		parts = append(parts, "Username="+dotnet(k.User))
	}
	parts = append(parts, "SSL Mode="+mode)
	if len(k.Certs) > 0 {
		parts = append(parts, "Root Certificate="+dotnet(k.Path(FileRoots)))
	}
	s := Setting{Tool: "npgsql", Title: "Npgsql (.NET)"}
	if k.HasClient {
		parts = append(parts, "SSL Certificate="+dotnet(k.Path(FileP12)), "SSL Password=...")
		s.Note = "the SSL Password is in " + k.Path(FileP12Secret)
	}
	s.Text = strings.Join(parts, ";")
	return k.bare(s)
}

// powerBI has a connector that always verifies the name, with the CAs that Windows trusts.
func (k *Kit) powerBI() Setting {
	s := Setting{Tool: "powerbi", Title: "Power BI", Verifies: k.BareMode}
	if k.BareMode == verifyFull {
		s.Text = "Get data, PostgreSQL database: Server " + k.Bare + ":" + k.Port + ", Database " + k.Database
		if len(k.Certs) > 0 {
			s.Text = "certutil -user -addstore Root \"" + k.Path(FileRoots) + "\"\n" + s.Text
			s.Note = "certutil takes one certificate of a file: split " + FileRoots + " where it holds several; Windows then trusts these CAs for everything this user does"
		}
		return s
	}
	parts := []string{"Driver={PostgreSQL Unicode}", "Server=" + k.Bare, "Port=" + k.Port, "Database=" + odbc(k.Database), "SSLmode=" + verifyCA, "pqopt=" + odbc("sslrootcert="+conninfo(k.Path(FileRoots)))}
	s.Text = "Get data, ODBC, with PostgreSQL's ODBC driver: " + strings.Join(parts, ";")
	s.Note = "Power BI's own connector verifies a DNS name, which this certificate does not bear; ODBC goes through libpq"
	return k.bare(s)
}

func (k *Kit) node() Setting {
	var b strings.Builder
	host := k.Bare
	fmt.Fprintf(&b, "const fs = require('fs')\nnew (require('pg').Client)({\n  host: %s, port: %s, database: %s,", js(host), k.Port, js(k.Database))
	if k.User != "" {
		fmt.Fprintf(&b, " user: %s,", js(k.User))
	}
	b.WriteString("\n  ssl: {\n")
	if len(k.Certs) > 0 {
		fmt.Fprintf(&b, "    ca: fs.readFileSync(%s, 'utf8'),\n", js(k.Path(FileRoots)))
	}
	if k.HasClient {
		fmt.Fprintf(&b, "    cert: fs.readFileSync(%s, 'utf8'), key: fs.readFileSync(%s, 'utf8'),\n", js(k.Path(FileCert)), js(k.Path(FileKey)))
	}
	s := Setting{Tool: "node", Title: "node-postgres", Verifies: verifyFull}
	switch {
	case k.BareMode == verifyFull:
	case k.Own:
		fmt.Fprintf(&b, "    checkServerIdentity: (_, cert) => cert.subject.CN === %s ? undefined : new Error('another instance: ' + cert.subject.CN),\n", js(k.Host))
		if k.HostAddr == "" {
			s.Verifies = verifyCA
		}
	default:
		b.WriteString("    checkServerIdentity: () => undefined, // WEAKER: no name is verified\n")
		s.Verifies = verifyCA
	}
	b.WriteString("  },\n})")
	s.Text = b.String()
	return s
}

func (k *Kit) sqlalchemy() Setting {
	args := make([]string, 0, 8)
	for _, kv := range k.libpq() {
		args = append(args, py(kv[0])+": "+py(kv[1]))
	}
	return Setting{
		Tool: "sqlalchemy", Title: "SQLAlchemy, with psycopg or psycopg2", Verifies: k.Mode,
		Text: "create_engine(\"postgresql+psycopg://\", connect_args={" + strings.Join(args, ", ") + "})",
	}
}

// encoreGo is for the runtime of Encore's Go services, which verifies the CA only.
func (k *Kit) encoreGo() Setting {
	var all strings.Builder
	for _, c := range k.Certs {
		all.WriteString(PEM(c))
	}
	s := Setting{
		Tool: "encore-go", Title: "Encore, Go: of the server in infra.config.json", Verifies: verifyCA,
		Text: encore(hostPort(k.Bare, k.Port), map[string]any{"ca": all.String()}),
		Note: "WEAKER: Encore's Go runtime verifies the CA and no name: whoever has a certificate of the same CA passes",
	}
	if k.Region {
		s.Note += ", and a CA of RDS signs the instances of every customer in the region"
	}
	if k.Own {
		s.Note = "Encore's Go runtime verifies the CA and no name; the CA signs this instance and no other, so it is as good"
	}
	if len(k.Certs) == 0 {
		return k.encoreNothing(s)
	}
	return s
}

// encoreNothing is what Encore's runtimes do where no CA is in their configuration.
func (*Kit) encoreNothing(s Setting) Setting {
	s.Text, s.Verifies = "", "nothing"
	s.Note = "WEAKER: Encore's runtimes verify nothing without a CA in their configuration: name the server's CA with ca_file in dbops.yaml, and fetch again"
	return s
}

// encoreTS is for the runtime of Encore's TypeScript services, which takes the first certificate only.
func (k *Kit) encoreTS() Setting {
	s := Setting{Tool: "encore-ts", Title: "Encore, TypeScript: of the server in infra.config.json", Verifies: k.BareMode}
	if len(k.Certs) == 0 {
		return k.encoreNothing(s)
	}
	c := k.Active
	if c == nil && len(k.Certs) == 1 {
		c = k.Certs[0]
	}
	if c == nil {
		s.Note = "Encore's TypeScript runtime takes exactly one CA, and which one signed the server's certificate is not known: its server could not be looked at"
		return s
	}
	tls := map[string]any{"ca": PEM(c)}
	s.Note = "it takes exactly one CA, so a rotation cannot overlap: change it and restart at the moment of the rotation"
	if k.BareMode == verifyCA {
		tls["disable_tls_hostname_verification"] = true
		if k.Own {
			s.Note += "; no name is verified, and the CA signs this instance and no other, so it is as good"
		} else {
			s.Note += "; WEAKER: no name is verified"
		}
	}
	s.Text = encore(hostPort(k.Bare, k.Port), tls)
	return s
}

func encore(host string, tls map[string]any) string {
	b, err := json.MarshalIndent(struct {
		Host string         `json:"host"`
		TLS  map[string]any `json:"tls_config"`
	}{host, tls}, "", "  ")
	if err != nil {
		return ""
	}
	return string(b)
}

// hostPort is an address as URLs write it.
func hostPort(host, port string) string {
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + port
}

// conninfo is a value of a libpq connection string.
func conninfo(v string) string {
	if v != "" && !strings.ContainsAny(v, " '\\\t") {
		return v
	}
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(v) + "'"
}

// dotnet is a value of a .NET connection string.
func dotnet(v string) string {
	if v != "" && !strings.ContainsAny(v, ";'\"= \t") {
		return v
	}
	return `"` + strings.ReplaceAll(v, `"`, `""`) + `"`
}

// odbc is a value of an ODBC connection string.
func odbc(v string) string {
	if v != "" && !strings.ContainsAny(v, "[]{}(),;?*=!@ ") {
		return v
	}
	return "{" + strings.ReplaceAll(v, "}", "}}") + "}"
}

// shell is one word of a POSIX shell.
func shell(v string) string {
	if v != "" && !strings.ContainsFunc(v, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-:@%+,=", r))
	}) {
		return v
	}
	return "'" + strings.ReplaceAll(v, "'", `'\''`) + "'"
}

// js is a text of JavaScript, and py one of Python: JSON's are both, but for what cannot be in a path.
func js(v string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // a text, into memory
	return strings.TrimSuffix(b.String(), "\n")
}

func py(v string) string { return js(v) }
