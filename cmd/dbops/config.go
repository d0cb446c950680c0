package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"dbops/internal/app"
	"dbops/internal/config"
	"dbops/internal/fault"
)

func newConfigCmd(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check, describe or write dbops.yaml",
		Long:  "Check, describe or write dbops.yaml.",
		Example: `  dbops config check
  dbops config schema > dbops.schema.json
  dbops config init --region eu-west-1 --project shop-prod`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newConfigCheckCmd(c), newConfigSchemaCmd(c), newConfigInitCmd(c))
	return cmd
}

// configCheckJSON is dbops/config-check/v1.
type configCheckJSON struct {
	Schema       string   `json:"schema"`
	Path         string   `json:"path"`
	Environments []string `json:"environments"`
	Instances    int      `json:"instances"`
	Databases    int      `json:"databases"`
	Containers   int      `json:"containers"`
}

func newConfigCheckCmd(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Check dbops.yaml and list every mistake",
		Long: `Read dbops.yaml as every command does, and list every mistake with file, line, column and the right spelling; then the
allowed signers, and that everybody under serve.users has a key there. Nothing is contacted.

Exit status: 0 it is right; 2 it is not, or there is none.`,
		Example: "  dbops config check\n  dbops config check --config infra/dbops.yaml",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := c.load()
			if err != nil {
				return err
			}
			if err := app.CheckGuests(cfg); err != nil {
				return err
			}
			out := configCheckJSON{Schema: "dbops/config-check/v1", Path: cfg.Path, Environments: cfg.EnvironmentNames()}
			for _, e := range cfg.Environments {
				out.Instances += len(e.Instances)
				out.Databases += len(e.Databases)
				out.Containers += len(e.Containers)
			}
			if c.json() {
				return printJSON(c.out, out)
			}
			_, err = fmt.Fprintf(c.out, "%s is right: %s (instances: %d, databases: %d, containers: %d)\n",
				out.Path, strings.Join(out.Environments, ", "), out.Instances, out.Databases, out.Containers)
			return err
		},
	}
}

func newConfigSchemaCmd(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of dbops.yaml, for editors",
		Long: `Print the JSON Schema of dbops.yaml. Editors with a YAML language server complete and check the file by it when its
first line is:

  # yaml-language-server: $schema=dbops.schema.json

Exit status: 0.`,
		Example: "  dbops config schema > dbops.schema.json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			b, err := config.Schema()
			if err != nil {
				return fault.New(fault.Internal, "make the schema", err)
			}
			_, err = c.out.Write(b)
			return err
		},
	}
}

type configInitOptions struct {
	app.DiscoverOptions
	label  string
	file   string
	stdout bool
}

func newConfigInitCmd(c *cli) *cobra.Command {
	o := &configInitOptions{}
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Write a first dbops.yaml",
		Long: `Write a commented dbops.yaml to start from. With regions or projects it lists the instances that your credentials may
see there and writes them in, each in the environment that its tag or label "environment" (or "env") names. A file that
exists is never overwritten.

Exit status: 0 written; 1 a place could not be asked; 2 usage, or the file exists.`,
		Example: `  dbops config init
  dbops config init --region eu-west-1 --region us-east-1 --profile prod
  dbops config init --project shop-prod --label team=shop --stdout`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runConfigInit(cmd, c, o) },
	}
	f := cmd.Flags()
	f.StringSliceVar(&o.Regions, "region", nil, "AWS region to look for RDS instances in (repeatable)")
	f.StringVar(&o.Profile, "profile", "", "profile of the AWS configuration")
	f.StringSliceVar(&o.Projects, "project", nil, "Google Cloud project to look for Cloud SQL instances in (repeatable)")
	f.StringVar(&o.CloudSQLEndpoint, "cloudsql-endpoint", "", "base URL of the Cloud SQL Admin API, for an emulator")
	f.StringVar(&o.label, "label", "", "only instances with this tag or label: KEY or KEY=VALUE")
	f.StringVar(&o.file, "file", "dbops.yaml", "file to write")
	f.BoolVar(&o.stdout, "stdout", false, "print it instead")
	return cmd
}

func runConfigInit(cmd *cobra.Command, c *cli, o *configInitOptions) error {
	op := "write " + o.file
	if !o.stdout {
		if _, err := os.Lstat(o.file); err == nil {
			return fault.Newf(fault.Usage, op, "it exists").Hint("--file NAME writes another, --stdout prints it")
		}
	}
	// gcloud's own way to name an emulator.
	o.CloudSQLEndpoint = cmp.Or(o.CloudSQLEndpoint, c.getenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_SQL"))
	o.LabelKey, o.LabelValue, _ = strings.Cut(o.label, "=")
	found, errs := app.Discover(cmd.Context(), o.DiscoverOptions)
	if len(errs) > 0 && !o.stdout {
		for _, err := range errs[:len(errs)-1] {
			c.printError(err)
		}
		return fault.New(fault.KindOf(errs[len(errs)-1]), op, errs[len(errs)-1]).Hint("nothing was written; --stdout shows what was found")
	}
	starter := config.Starter(found)
	if o.stdout {
		if _, err := c.out.Write(starter); err != nil {
			return fault.New(fault.Internal, op, err)
		}
	} else {
		if err := renameio.WriteFile(o.file, starter, 0o644); err != nil {
			return fault.New(fault.Config, op, err)
		}
		abs, err := filepath.Abs(o.file)
		if err != nil {
			return fault.New(fault.Internal, op, err)
		}
		fmt.Fprintf(c.err, "wrote %s with %d instances; next: edit it, then dbops config check\n", abs, len(found))
	}
	for _, err := range errs[:max(0, len(errs)-1)] {
		c.printError(err)
	}
	if len(errs) > 0 {
		return errs[len(errs)-1]
	}
	return nil
}
