package main

import (
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strings"

	"dbops/internal/app"
	"dbops/internal/fault"
	"dbops/internal/pg"
)

// connFormat writes how to reach a database through a proxy.
type connFormat func(app.RunningProxy, app.DatabaseURI) (string, error)

func connFormats() map[string]connFormat {
	return map[string]connFormat{
		"uri":     func(_ app.RunningProxy, u app.DatabaseURI) (string, error) { return u.URI, nil },
		"jdbc":    jdbcURL,
		"pgpass":  pgpassLine,
		"service": serviceSection,
		"env":     shellVariables,
	}
}

// parts are what a client is told one by one. A socket needs no password.
type parts struct{ host, port, user, password, database, sslmode string }

func partsOf(p app.RunningProxy, u app.DatabaseURI) (parts, error) {
	out := parts{user: app.ProxyUser, database: u.Database}
	parsed, err := url.Parse(u.URI)
	if err != nil {
		return out, fault.New(fault.Internal, "read the URI of "+u.Database, redacted(err))
	}
	if p.Addr == "" {
		q := parsed.Query()
		out.host, out.port = q.Get("host"), q.Get("port")
		return out, nil
	}
	if out.host, out.port, err = net.SplitHostPort(parsed.Host); err != nil {
		return out, fault.New(fault.Internal, "read the address of "+u.Database, err)
	}
	out.password, _ = parsed.User.Password()
	out.sslmode = parsed.Query().Get("sslmode")
	return out, nil
}

// redacted keeps a URI, and the password in it, out of a message.
func redacted(err error) error {
	if e, ok := err.(*url.Error); ok { //nolint:errorlint // url.Parse returns it as it is
		return e.Err
	}
	return err
}

func jdbcURL(p app.RunningProxy, u app.DatabaseURI) (string, error) {
	c, err := partsOf(p, u)
	if err != nil {
		return "", err
	}
	if p.Addr == "" {
		return "", fault.Newf(fault.Usage, "print a JDBC URL", "the open proxy of %s has a socket only, and JDBC speaks TCP", p.Environment).
			Hint("open it with --listen 127.0.0.1:0, too")
	}
	q := url.Values{"user": {c.user}, "password": {c.password}, "sslmode": {"disable"}}
	if c.sslmode != "" {
		q.Set("sslmode", c.sslmode)
	}
	return fmt.Sprintf("jdbc:postgresql://%s/%s?%s", net.JoinHostPort(c.host, c.port), url.PathEscape(c.database), q.Encode()), nil
}

func pgpassLine(p app.RunningProxy, u app.DatabaseURI) (string, error) {
	c, err := partsOf(p, u)
	if err != nil {
		return "", err
	}
	if p.Addr == "" {
		return "", fault.Newf(fault.Usage, "print a line for ~/.pgpass", "the open proxy of %s has a socket only, which needs no password", p.Environment).
			Hint("psql %q", u.URI)
	}
	esc := strings.NewReplacer(`\`, `\\`, `:`, `\:`)
	line := []string{c.host, c.port, c.database, c.user, c.password}
	for i, f := range line {
		line[i] = esc.Replace(f)
	}
	return strings.Join(line, ":"), nil
}

func serviceSection(p app.RunningProxy, u app.DatabaseURI) (string, error) {
	c, err := partsOf(p, u)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "[%s-%s]", p.Environment, u.Database)
	for _, kv := range [][2]string{
		{"host", c.host}, {"port", c.port}, {"dbname", c.database}, {"user", c.user}, {"password", c.password}, {"sslmode", c.sslmode},
	} {
		if kv[1] != "" {
			fmt.Fprintf(&b, "\n%s=%s", kv[0], kv[1])
		}
	}
	return b.String(), nil
}

// shellVariables name the file with the password, not the password. Like a command of dbops proxy, what follows is led to the proxy, or nowhere.
func shellVariables(p app.RunningProxy, u app.DatabaseURI) (string, error) {
	c, err := partsOf(p, u)
	if err != nil {
		return "", err
	}
	passfile := p.PassFile
	if p.Addr == "" {
		passfile = ""
	}
	if passfile != "" {
		if passfile, err = filepath.Abs(passfile); err != nil {
			return "", fault.New(fault.Internal, "find the file with the password", err)
		}
	}
	ca := ""
	switch {
	case p.Addr == "":
	case !p.TLS:
		c.sslmode = "disable"
	case p.CAFile != "":
		c.sslmode, ca = "verify-full", p.CAFile
	}
	lines := []string{"unset DATABASE_URL " + strings.Join(pg.Variables(), " ")}
	for _, kv := range [][2]string{
		{"PGHOST", c.host},
		{"PGPORT", c.port},
		{"PGUSER", c.user},
		{"PGDATABASE", c.database},
		{"PGPASSFILE", passfile},
		{"PGSSLMODE", c.sslmode},
		{"PGSSLROOTCERT", ca},
	} {
		if kv[1] != "" {
			lines = append(lines, "export "+kv[0]+"="+shellQuote(kv[1]))
		}
	}
	return strings.Join(lines, "\n"), nil
}
