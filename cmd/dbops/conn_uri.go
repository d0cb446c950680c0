package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"dbops/internal/app"
	"dbops/internal/config"
	"dbops/internal/fault"
)

type connURIOptions struct {
	env      string
	access   string
	database string
	idleExit time.Duration
}

func newConnURICmd(c *cli) *cobra.Command {
	o := &connURIOptions{}
	cmd := &cobra.Command{
		Use:   "conn-uri -e ENV DATABASE",
		Short: "Print a connection URI for a database",
		Long: `Print a URI by which any PostgreSQL client of this machine reaches a database: that of a proxy of yours that is open
for the environment and access, else of one that is opened in the background and ends when it had no client for a while.

The URI holds the proxy's password, which is good for that proxy only. It is never the database's own.

Exit status: 0 printed; 1 failed; 2 usage or configuration.`,
		Example: `  psql "$(dbops conn-uri -e prod shop)"
  dbops conn-uri -e staging shop --access write -o json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.database = args[0]
			return runConnURI(cmd.Context(), c, o)
		},
	}
	environmentFlag(cmd, &o.env, true)
	accessFlag(cmd, &o.access)
	cmd.Flags().DurationVar(&o.idleExit, "idle-exit", 10*time.Minute, "how long a proxy opened for this may be without a client")
	return cmd
}

// connURIJSON is dbops/conn-uri/v1.
type connURIJSON struct {
	Schema      string        `json:"schema"`
	Environment string        `json:"environment"`
	Access      config.Access `json:"access"`
	app.DatabaseURI
	PID int `json:"pid"` // of the proxy
}

func runConnURI(ctx context.Context, c *cli, o *connURIOptions) error {
	access, err := parseAccess(o.access)
	if err != nil {
		return err
	}
	a, err := c.app()
	if err != nil {
		return err
	}
	defer a.Close()
	if err := a.HasDatabase(o.env, o.database); err != nil {
		return err
	}
	if env, err := a.Config().Environment(o.env); err == nil && env.Protected && access != config.Read {
		warnProtected(c, o.env, access)
	}
	open, err := a.RunningProxies(o.env, access)
	if err != nil {
		return fault.New(fault.Internal, "look for open proxies", err)
	}
	if len(open) == 0 {
		p, err := startBackgroundProxy(ctx, a.Config().Path, o, access)
		if err != nil {
			return err
		}
		open = append(open, p)
	}
	for _, p := range open {
		for _, u := range p.URIs {
			if u.Database != o.database {
				continue
			}
			if c.json() {
				return printJSON(c.out, connURIJSON{Schema: "dbops/conn-uri/v1", Environment: o.env, Access: access, DatabaseURI: u, PID: p.PID})
			}
			_, err := fmt.Fprintln(c.out, u.URI)
			return err
		}
	}
	return fault.Newf(fault.Stale, "print the URI of "+o.database, "the open proxy of %s does not have it", o.env).
		Hint("dbops.yaml changed since that proxy was opened: end it (process %d) and try again", open[0].PID)
}

// startBackgroundProxy runs `dbops proxy` in a session of its own and waits until it listens.
func startBackgroundProxy(ctx context.Context, configPath string, o *connURIOptions, access config.Access) (app.RunningProxy, error) {
	op := "open a proxy of " + o.env
	self, err := os.Executable()
	if err != nil {
		return app.RunningProxy{}, fault.New(fault.Internal, op, err)
	}
	var complaint strings.Builder
	cmd := exec.CommandContext(context.WithoutCancel(ctx), self, "--config", configPath, "-o", "json",
		"proxy", "-e", o.env, "--access", string(access), "--idle-exit", o.idleExit.String(), "--background")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	keepDescriptors()
	cmd.Stderr = &complaint
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return app.RunningProxy{}, fault.New(fault.Internal, op, err)
	}
	if err := cmd.Start(); err != nil {
		return app.RunningProxy{}, fault.New(fault.Internal, op, err)
	}
	line, readErr := bufio.NewReader(stdout).ReadBytes('\n')
	var first proxyJSON
	if readErr == nil {
		readErr = json.Unmarshal(line, &first)
	}
	if readErr != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return app.RunningProxy{}, backgroundFailure(op, complaint.String(), readErr)
	}
	if err := cmd.Process.Release(); err != nil {
		return app.RunningProxy{}, fault.New(fault.Internal, op, err)
	}
	return app.RunningProxy{Environment: o.env, Access: access, Addr: first.Address, PID: first.PID, URIs: first.Databases}, nil
}

// backgroundFailure is the error that the other process printed.
func backgroundFailure(op, complaint string, cause error) error {
	var e errorJSON
	if json.Unmarshal([]byte(complaint), &e) == nil && e.Message != "" {
		return fault.New(e.Code, op, errors.New(e.Message)).Missing(e.Permission).Hint("%s", e.Hint)
	}
	return fault.New(fault.Internal, op, cause)
}
