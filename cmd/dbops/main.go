// Command dbops operates PostgreSQL on Amazon RDS, on Google Cloud SQL, or anywhere else.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() { os.Exit(run()) }

func run() int {
	// pgconn would take a whole connection from a service that this names; dbops.yaml says where to connect.
	_ = os.Unsetenv("PGSERVICE")

	// A terminal that is closed sends SIGHUP twice: the system does, and the shell. The second must not end what the first is ending in order.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	ended, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(ended, stop) // a second signal ends the process at once
	ctx, restore := signal.NotifyContext(ended, os.Interrupt)
	defer restore()
	context.AfterFunc(ctx, restore)

	c := &cli{in: os.Stdin, out: os.Stdout, err: os.Stderr, getenv: os.Getenv, ended: ended}
	return c.execute(ctx, os.Args[1:])
}
