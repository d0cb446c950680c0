package config

import (
	"net"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Server is what the URL of a [Postgres] says.
type Server struct {
	Host    string // a name, an address, or the absolute path of the folder of a Unix socket
	Port    uint16
	User    string // "" if not said
	SSLMode string
}

// Socket tells whether the server is reached through a Unix socket.
func (s Server) Socket() bool { return strings.HasPrefix(s.Host, "/") }

// String is host:port.
func (s Server) String() string {
	if s.Host == "" {
		return ""
	}
	return net.JoinHostPort(s.Host, strconv.Itoa(int(s.Port)))
}

// Local tells whether nothing of a session leaves this machine.
func (s Server) Local() bool { return s.Socket() || loopback(s.Host) }

// Server reads the URL. [Load] has checked it; of a URL that was not checked, what cannot be read is zero.
func (p *Postgres) Server() Server { return serverURL(p.URL) }

func serverURL(raw string) Server {
	u, err := url.Parse(raw)
	if err != nil {
		return Server{}
	}
	q := u.Query()
	s := Server{Host: u.Hostname(), Port: 5432, User: u.User.Username(), SSLMode: q.Get("sslmode")}
	port := u.Port()
	if s.Host == "" {
		s.Host = q.Get("host")
		if p := q.Get("port"); p != "" {
			port = p
		}
	}
	if n, err := strconv.ParseUint(port, 10, 16); err == nil && n > 0 {
		s.Port = uint16(n)
	}
	return s
}

// sslmodes are those of libpq.
func sslmodes() []string {
	return []string{"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}
}

// postgres checks a server by its URL. No message repeats the URL: it may hold a password.
func (c *checker) postgres(p *Postgres, v *Via, s spot) {
	hasCA := c.caFile(s)
	if !c.has(s, "url", isText, true) {
		return
	}
	at := s.down("url")
	u, err := url.Parse(p.URL)
	if err != nil || (u.Scheme != "postgres" && u.Scheme != "postgresql") || u.Opaque != "" {
		suggestion := "write it as in postgres://db.example.com:5432/?sslmode=verify-full"
		if strings.Contains(p.URL, ",") {
			suggestion = "name one server; each of several is an instance of its own"
		}
		c.report.atValue(at, suggestion, "this is not the URL of a PostgreSQL server")
		return
	}
	if _, has := u.User.Password(); has {
		c.report.atValue(at, keepElsewhere, "the URL has room for a password; dbops.yaml must hold no secrets")
	}
	server := serverURL(p.URL)
	c.host(u, server, at)
	c.parameters(u.Query(), server, at)
	c.sslmode(server, local(v, server), hasCA, at)
}

func (c *checker) host(u *url.URL, server Server, at spot) {
	q := u.Query()
	switch {
	case server.Host == "":
		c.report.atValue(at, "write it as in postgres://db.example.com:5432/?sslmode=verify-full", "the host is missing")
	case strings.Contains(server.Host, ","):
		c.report.atValue(at, "name one server; each of several is an instance of its own", "the URL names several hosts")
	case u.Hostname() != "" && (q.Has("host") || q.Has("port")):
		c.report.atValue(at, "keep one of them", "the URL names its host twice")
	case server.Socket() && path.Clean(server.Host) != server.Host:
		c.report.atValue(at, "", "the folder of the socket must be a plain absolute path")
	case !server.Socket() && net.ParseIP(server.Host) == nil && !hostname(server.Host):
		c.report.atValue(at, "", "the host must be a name, an address, or the folder of a Unix socket")
	}
	for _, port := range []string{u.Port(), q.Get("port")} {
		if n, err := strconv.ParseUint(port, 10, 16); port != "" && (err != nil || n == 0) {
			c.report.atValue(at, "", "the port must be a number from 1 to 65535")
		}
	}
}

// parameters refuses what would have no effect: dbops sets everything else of a connection itself.
func (c *checker) parameters(q url.Values, server Server, at spot) {
	known := []string{"sslmode", "host", "port"}
	for _, name := range keys(q) {
		switch {
		case strings.EqualFold(name, "password"), strings.EqualFold(name, "sslpassword"):
			c.report.atValue(at, keepElsewhere, "the URL has room for a password; dbops.yaml must hold no secrets")
		case name == "sslrootcert":
			c.report.atValue(at, "write ca_file: beside url", "sslrootcert has no effect here")
		case name == "user":
			c.report.atValue(at, "write user: under logins", "user has no effect here")
		case !slices.Contains(known, name):
			suggestion := didYouMean(name, known)
			if suggestion == "" {
				suggestion = "delete it; dbops knows sslmode, and host and port of a Unix socket"
			}
			c.report.atValue(at, suggestion, "unknown parameter %s", quote(name))
		case len(q[name]) > 1:
			c.report.atValue(at, "", "%s is given twice", name)
		case name == "host" && !server.Socket() && server.Host == q.Get("host") && server.Host != "":
			c.report.atValue(at, "write the host before the slash", "host in the query is for the folder of a Unix socket")
		}
	}
}

func (c *checker) sslmode(server Server, local, hasCA bool, at spot) {
	const full = "use sslmode=verify-full, with ca_file unless the certificate is from a public CA"
	switch mode := server.SSLMode; mode {
	case "verify-ca", "verify-full":
	case "":
		suggestion := full
		if local {
			suggestion = "use sslmode=disable for a server on this machine, or verify-full with ca_file"
		}
		c.report.atValue(at, suggestion, "sslmode is missing, and dbops does not guess how safe the connection must be")
	case "allow", "prefer":
		c.report.atValue(at, full, "sslmode=%s would fall back to an unencrypted connection without a word", mode)
	case "disable", "require":
		switch {
		case !local && mode == "disable":
			c.report.atValue(at, full, "sslmode=disable would send passwords and data in the clear to another machine")
		case !local:
			c.report.atValue(at, full, "sslmode=require encrypts, and does not check who answers")
		case hasCA:
			c.report.atValue(at, "use sslmode=verify-full", "with sslmode=%s ca_file has no effect", mode)
		}
	default:
		suggestion := didYouMean(mode, sslmodes())
		if suggestion == "" {
			suggestion = full
		}
		c.report.atValue(at, suggestion, "unknown sslmode")
	}
}
