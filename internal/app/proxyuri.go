package app

import (
	"net/url"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"dbops/internal/fault"
	"dbops/internal/secret"
)

// DatabaseURI is how a client reaches one database through a proxy.
type DatabaseURI struct {
	Database string `json:"database"`
	Instance string `json:"instance"`
	// URI holds the proxy's password, which is good for this run only; that of a proxy that has a socket only holds none.
	URI string `json:"uri"`
	// SocketURI is by the socket, if there is one.
	SocketURI string `json:"socket_uri,omitempty"`
}

// proxyUsers are the names that a client may come under: what clients send that were told none is the name of who runs them.
func proxyUsers() []string {
	users := []string{ProxyUser}
	if u, err := user.Current(); err == nil {
		users = append(users, u.Username)
	}
	return users
}

// where is what a client has to know of a proxy.
type where struct {
	addr     string // host:port, or empty
	socket   string // path, or empty
	tls      bool   // clients by TCP must encrypt
	password secret.Value
}

func (w where) database(name, instance string) DatabaseURI {
	u := DatabaseURI{Database: name, Instance: instance}
	if w.socket != "" {
		dir, port := splitSocket(w.socket)
		by := url.URL{Scheme: "postgresql", User: url.User(ProxyUser), Path: "/" + name, RawQuery: url.Values{"host": {dir}, "port": {port}}.Encode()}
		u.SocketURI = by.String()
		u.URI = u.SocketURI
	}
	if w.addr != "" {
		by := url.URL{Scheme: "postgresql", User: url.UserPassword(ProxyUser, w.password.Reveal()), Host: w.addr, Path: "/" + name}
		if w.tls {
			by.RawQuery = "sslmode=require"
		}
		u.URI = by.String()
	}
	return u
}

// socketName is what libpq calls the socket of a port.
const socketName = ".s.PGSQL."

func splitSocket(path string) (dir, port string) {
	return filepath.Dir(path), strings.TrimPrefix(filepath.Base(path), socketName)
}

// usableSocket refuses a socket by whose name no client would find it.
func usableSocket(path string) error {
	_, port := splitSocket(path)
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fault.Newf(fault.Usage, "use the socket "+path, "clients look for a name such as %s5432", socketName).
			Hint("write ListenStream=%%t/dbops/prod/%s5432 in the socket unit", socketName)
	}
	return nil
}

// passLine is a line of a file for PGPASSFILE.
func passLine(host, port, database, user string, password secret.Value) string {
	esc := strings.NewReplacer(`\`, `\\`, `:`, `\:`)
	fields := []string{host, port, database, user, password.Reveal()}
	for i, f := range fields {
		if f != "*" {
			fields[i] = esc.Replace(f)
		}
	}
	return strings.Join(fields, ":")
}
