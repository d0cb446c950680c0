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

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once

	c := &cli{in: os.Stdin, out: os.Stdout, err: os.Stderr, getenv: os.Getenv}
	return c.execute(ctx, os.Args[1:])
}
