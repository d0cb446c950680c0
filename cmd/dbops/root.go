package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"dbops/internal/app"
	"dbops/internal/config"
	"dbops/internal/fault"
)

// cli is what every command shares: streams, the environment, and the flags that all of them have.
type cli struct {
	in       io.Reader
	out, err io.Writer
	getenv   func(string) string

	ended context.Context // ends as a command's does, but not with ctrl+c; nil where nothing else ends it

	configPath string
	output     string
	verbose    bool

	looking *progress // of a look at many instances; nil where nobody sees it

	screen  bool          // the terminal UI draws: nothing else may write to the terminal
	capture *[]app.Change // where commands leave what they ask for, in place of doing it; nil: they do it
	running bool          // a command's own code has been reached: an error is no longer one of usage
}

const rootLong = `dbops operates PostgreSQL on Amazon RDS, on Google Cloud SQL, or anywhere else.

Without a command it opens the terminal UI. Every command says what it will do before it does it, and every error says
what to do next.

Exit status: 0 done, or nothing to do; 1 failed; 2 usage or configuration; 3 blocked by a preflight finding;
4 approval or confirmation missing; 5 findings; 130 interrupted.`

const rootExample = `  dbops                                  the terminal UI
  dbops --read-only --theme light        the same, to look and not to touch
  dbops --accessible                     the same for screen readers: read out line by line, no redraws
  dbops status -e prod                   every instance of prod
  dbops proxy -e prod                    one local port for all databases of prod
  dbops psql -e prod shop                psql on the database shop, read only
  dbops config init                      write a first dbops.yaml
  dbops sandbox up                       a local cloud to try all of it on`

func newRootCmd(c *cli) *cobra.Command {
	var look screenOptions
	showVersion := false // cobra's own answer knows no -o
	cmd := &cobra.Command{
		Use:           "dbops",
		Short:         "Operate PostgreSQL on Amazon RDS and Google Cloud SQL",
		Long:          rootLong,
		Example:       rootExample,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if c.output != "text" && c.output != "json" {
				return fault.Newf(fault.Usage, "read the flags", "unknown output %q", c.output).Hint("want -o text or -o json")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if showVersion {
				return runVersion(c, true)
			}
			return runTUI(cmd.Context(), c, cmd, &look)
		},
	}
	look.add(cmd)
	cmd.Flags().BoolVar(&showVersion, "version", false, "show the version")
	f := cmd.PersistentFlags()
	f.StringVar(&c.configPath, "config", "", "the dbops.yaml to use (default: $DBOPS_CONFIG, else found upward from here, else in the XDG config folder)")
	f.StringVarP(&c.output, "output", "o", "text", "text or json")
	f.BoolVarP(&c.verbose, "verbose", "v", false, "show causes and log lines on standard error")
	cmd.CompletionOptions.HiddenDefaultCmd = true
	cmd.AddCommand(
		newStatusCmd(c), newProxyCmd(c), newPsqlCmd(c), newConnURICmd(c), newSessionsCmd(c),
		newAvailabilityCmd(c), newFailoverCmd(c), newBackupCmd(c), newUpgradeCmd(c), newProtectCmd(c, true), newProtectCmd(c, false), newRenameCmd(c), newDriftCmd(c), newMigrateCmd(c), newCertsCmd(c), newCredsCmd(c),
		newApplyCmd(c), newRunbookCmd(c), newRunsCmd(c), newApprovalsCmd(c), newAuditCmd(c), newWorkerCmd(c), newServeCmd(c), newStateCmd(c), newNotificationsCmd(c),
		newEncoreCmd(c), newConfigCmd(c), newSandboxCmd(c), newVersionCmd(c), newManCmd(),
	)
	namesOperations(cmd)
	c.completes(cmd)
	return cmd
}

// execute runs one command line and returns the exit status.
func (c *cli) execute(ctx context.Context, args []string) int {
	root := newRootCmd(c)
	c.noteRuns(root)
	root.SetArgs(args)
	root.SetIn(c.in)
	root.SetOut(c.out)
	root.SetErr(c.err)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if exit, ok := errors.AsType[*exitStatus](err); ok {
		return exit.code
	}
	if !c.running {
		if _, ok := errors.AsType[*fault.Error](err); !ok { // cobra's own complaint about flags or arguments
			err = fault.New(fault.Usage, "", err).Hint("%s --help", commandPath(root, args))
		}
		if asksForJSON(args) { // the flag itself may not have been reached
			c.output = "json"
		}
	}
	c.printError(err)
	return fault.ExitStatus(err)
}

// noteRuns lets execute tell a mistake on the command line from a failure of the command.
func (c *cli) noteRuns(cmd *cobra.Command) {
	if run := cmd.RunE; run != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			c.running = true
			return run(cmd, args)
		}
	}
	for _, sub := range cmd.Commands() {
		c.noteRuns(sub)
	}
}

func asksForJSON(args []string) bool {
	for i, a := range args {
		switch a {
		case "-ojson", "-o=json", "--output=json":
			return true
		case "-o", "--output":
			return i+1 < len(args) && args[i+1] == "json"
		case "--":
			return false
		}
	}
	return false
}

// commandPath is the longest known command at the head of args, for a hint.
func commandPath(root *cobra.Command, args []string) string {
	if cmd, _, err := root.Find(args); err == nil {
		return cmd.CommandPath()
	}
	return root.CommandPath()
}

// exitStatus ends with a status of another program, which has said everything itself.
type exitStatus struct{ code int }

func (e *exitStatus) Error() string { return "exit status" }

// app loads the configuration and wires the rooms. The caller closes it.
func (c *cli) app() (*app.App, error) {
	cfg, err := c.load()
	if err != nil {
		return nil, err
	}
	o := app.Options{Version: version(), Log: c.log(), Getenv: c.getenv, Notice: c.notice, Operations: operations{c}}
	c.showProgress(&o)
	return app.New(cfg, o), nil
}

// notice tells who runs a command something besides its answer.
func (c *cli) notice(text string) {
	if !c.screen {
		c.looking.wipe()
		fmt.Fprintln(c.err, oneBlock(text))
	}
}

// appLogging is app for a process that nobody watches: it says what it does.
func (c *cli) appLogging(log *slog.Logger) (*app.App, error) {
	cfg, err := c.load()
	if err != nil {
		return nil, err
	}
	return app.New(cfg, app.Options{Version: version(), Log: log, Getenv: c.getenv, Operations: operations{c}}), nil
}

func (c *cli) load() (*config.Config, error) {
	path, err := c.findConfig()
	if err != nil {
		return nil, err
	}
	return config.Load(path)
}

// findConfig is the path of the dbops.yaml in use, whether it can be read or not.
func (c *cli) findConfig() (string, error) {
	cwd, err := os.Getwd()
	if err != nil {
		return "", fault.New(fault.Config, "find dbops.yaml", err)
	}
	path, err := config.Find(c.configPath, c.getenv, cwd)
	if err != nil {
		return "", err
	}
	return filepath.Abs(path)
}

// log writes to standard error when -v asks for it.
func (c *cli) log() *slog.Logger {
	if !c.verbose {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(c.err, nil))
}

func (c *cli) json() bool { return c.output == "json" }

// terminal tells whether a stream is one a person looks at.
func terminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// environmentFlag adds -e. Help names it alike everywhere.
func environmentFlag(cmd *cobra.Command, env *string, required bool) {
	cmd.Flags().StringVarP(env, "env", "e", "", "the environment, as named in dbops.yaml")
	if required {
		_ = cmd.MarkFlagRequired("env")
	}
}

func accessFlag(cmd *cobra.Command, access *string) {
	cmd.Flags().StringVar(access, "access", string(config.Read), "what sessions may do: read, write or admin")
}

func parseAccess(s string) (config.Access, error) {
	switch a := config.Access(strings.ToLower(s)); a {
	case config.Read, config.Write, config.Admin:
		return a, nil
	}
	return "", fault.Newf(fault.Usage, "read the flags", "unknown access %q", s).Hint("want --access read, write or admin")
}
