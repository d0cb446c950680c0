package main

import (
	"context"
	"errors"
	"net/url"
	"os/exec"
	"time"

	"dbops/internal/app"
	"dbops/internal/config"
	"dbops/internal/fault"
)

// runWithProxy runs a command with a proxy that ends with it.
func runWithProxy(ctx context.Context, c *cli, a *app.App, o *proxyOptions, po app.ProxyOptions) error {
	env, err := a.Config().Environment(o.env)
	if err != nil {
		return err
	}
	database := o.database
	if database == "" && len(env.Databases) == 1 {
		database = env.DatabaseNames()[0]
	}
	if database != "" {
		if err := a.HasDatabase(o.env, database); err != nil {
			return err
		}
	}
	path, err := exec.LookPath(o.command[0])
	if err != nil {
		return fault.New(fault.Usage, "run "+o.command[0], err).Hint("check the name of the program, and that it may be run")
	}
	if env.Protected && po.Access != config.Read && po.Reason != "" {
		warnProtected(c, o.env, po.Access)
	}
	p, err := a.OpenProxy(ctx, po)
	if err != nil {
		return err
	}
	defer closeSoon(ctx, c, p)
	lead, err := p.ClientEnv(database)
	if err != nil {
		return fault.New(fault.Internal, "run "+o.command[0], err)
	}
	if database != "" {
		if uri, err := withoutPassword(p, database); err == nil {
			lead = append(lead, "DATABASE_URL="+uri)
		}
	}
	go showEvents(c, p, false)
	cmd := exec.CommandContext(context.WithoutCancel(ctx), path, o.command[1:]...)
	cmd.Args[0] = o.command[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.in, c.out, c.err
	cmd.Env = childEnv(lead)
	return runChild(cmd, "run "+o.command[0])
}

// showEvents says on standard error what went wrong, until the proxy ends: standard output is the command's. A client that says itself why it
// was refused or lost leaves the notes.
func showEvents(c *cli, p *app.Proxy, notes bool) {
	for e := range p.Events() {
		if !c.json() && (!notes || e.Kind == "note") {
			_ = printEvent(c, e) // nobody else can be told
		}
	}
}

// closeSoon ends a proxy whose one client is gone: nothing is left to drain.
func closeSoon(ctx context.Context, c *cli, p *app.Proxy) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 8*time.Second) // the audit log may take six
	defer cancel()
	_ = p.Close(ctx)
	sayLost(c, p)
}

// withoutPassword is the URI of a database for a client that takes the password from PGPASSFILE.
func withoutPassword(p *app.Proxy, database string) (string, error) {
	for _, u := range p.URIs() {
		if u.Database != database {
			continue
		}
		parsed, err := url.Parse(u.URI)
		if err != nil {
			return "", err
		}
		parsed.User = url.User(app.ProxyUser)
		return parsed.String(), nil
	}
	return "", errors.New("no such database")
}
