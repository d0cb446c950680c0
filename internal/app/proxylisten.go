package app

import (
	"cmp"
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"

	"dbops/internal/config"
	"dbops/internal/proxy"
)

// listen opens every way in, and says in p.where what clients have to know.
func (p *Proxy) listen(ctx context.Context, env *config.Environment, o ProxyOptions) ([]net.Listener, error) {
	if len(o.Given) > 0 {
		return p.given(o.Given)
	}
	addr := cmp.Or(o.Listen, env.Listen)
	if addr == "" && o.Socket == "" {
		addr = "127.0.0.1:0"
	}
	var all []net.Listener
	if addr != "" {
		ln, err := proxy.Listen(ctx, addr)
		if err != nil {
			return nil, err
		}
		p.where.addr = ln.Addr().String()
		all = append(all, ln)
	}
	if o.Socket == "" {
		return all, nil
	}
	port := proxy.DefaultPort
	if len(all) > 0 {
		if tcp, ok := all[0].Addr().(*net.TCPAddr); ok {
			port = tcp.Port
		}
	}
	ln, err := proxy.ListenUnix(ctx, o.Socket, port)
	if err != nil {
		closeAll(all)
		return nil, err
	}
	p.where.socket = ln.Addr().String()
	return append(all, ln), nil
}

// given takes listeners that were handed over. The caller closes them if one is refused.
func (p *Proxy) given(all []net.Listener) ([]net.Listener, error) {
	for _, ln := range all {
		if err := proxy.Given(ln); err != nil {
			return nil, err
		}
		if ln.Addr().Network() == "tcp" {
			p.where.addr = cmp.Or(p.where.addr, ln.Addr().String())
			continue
		}
		path, err := filepath.Abs(ln.Addr().String())
		if err != nil {
			return nil, err
		}
		if err := usableSocket(path); err != nil {
			return nil, err
		}
		p.where.socket = cmp.Or(p.where.socket, path)
	}
	return all, nil
}

// keepFiles writes what clients and other commands need into the runtime folder.
func (p *Proxy) keepFiles() error {
	var lines []string
	if p.where.addr != "" {
		host, port, err := net.SplitHostPort(p.where.addr)
		if err != nil {
			return err
		}
		lines = append(lines, passLine(host, port, "*", "*", p.where.password))
	}
	return errors.Join(p.entry.write(filePass, []byte(strings.Join(append(lines, ""), "\n"))), p.entry.write(fileCA, p.caPEM))
}

// running is this proxy as other commands see it. p.mu is held.
func (p *Proxy) running() RunningProxy {
	r := RunningProxy{
		Config: p.app.cfg.Path, Environment: p.env, Protected: p.protected, Access: p.access, Addr: p.where.addr, Socket: p.where.socket,
		TLS: p.where.tls, Since: p.since, Until: p.until, PassFile: p.file(filePass), CAFile: p.file(fileCA), URIs: p.uris,
	}
	if p.entry != nil {
		r.Control = p.entry.controlPath()
	}
	return r
}

// ClientEnv are the standard variables by which a client program reaches the proxy, without any secret: PGPASSFILE names the file. An empty
// database leaves PGDATABASE out.
func (p *Proxy) ClientEnv(database string) ([]string, error) {
	env := []string{"PGUSER=" + ProxyUser}
	if database != "" {
		env = append(env, "PGDATABASE="+database)
	}
	if p.where.addr == "" {
		dir, port := splitSocket(p.where.socket)
		return append(env, "PGHOST="+dir, "PGPORT="+port), nil
	}
	if p.entry == nil {
		return nil, errNoEntry
	}
	host, port, err := net.SplitHostPort(p.where.addr)
	if err != nil {
		return nil, err
	}
	env = append(env, "PGHOST="+host, "PGPORT="+port, "PGPASSFILE="+p.PassFile())
	if p.where.tls {
		return append(env, "PGSSLMODE=verify-full", "PGSSLROOTCERT="+p.CAFile()), nil
	}
	return append(env, "PGSSLMODE=disable"), nil
}
