package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"dbops/internal/app"
	"dbops/internal/fault"
	"dbops/internal/migrate/source"
)

type migrateNewOptions struct {
	database, dir string
	sequence      bool
	timestamp     bool
}

func newMigrateNewCmd(c *cli) *cobra.Command {
	o := &migrateNewOptions{}
	cmd := &cobra.Command{
		Use: "new NAME", Short: "Make the two files of a new migration",
		Long: `Make the up and down file of a new migration, with a version after the last one: a timestamp or the next number, as the folder has it. An empty
folder begins with timestamps: two branches seldom choose the same.

Exit status: 0 made; 1 they could not be written; 2 usage or configuration.`,
		Example: "  dbops migrate new 'add notes to orders' --database shop\n  dbops migrate new add-notes --dir migrations/shop --sequence",
		Args:    takes("NAME"),
		RunE:    func(_ *cobra.Command, args []string) error { return runMigrateNew(c, o, args[0]) },
	}
	fs := cmd.Flags()
	fs.StringVarP(&o.database, "database", "d", "", "the database, as dbops.yaml names it (default: the only one with migrations)")
	fs.StringVar(&o.dir, "dir", "", "the folder, in place of a database's")
	fs.BoolVar(&o.sequence, "sequence", false, "number it, also where the folder has timestamps or is empty")
	fs.BoolVar(&o.timestamp, "timestamp", false, "give it a timestamp, also where the folder has numbers")
	cmd.MarkFlagsMutuallyExclusive("sequence", "timestamp")
	cmd.MarkFlagsMutuallyExclusive("database", "dir")
	return cmd
}

func runMigrateNew(c *cli, o *migrateNewOptions, name string) error {
	dir := o.dir
	if dir == "" {
		var err error
		if dir, err = c.onlyFolder(o.database); err != nil {
			return err
		}
	}
	f, err := source.Read(dir)
	if err != nil && o.dir != "" {
		return fault.New(fault.Usage, "make a migration in "+dir, err).Hint("make the folder first: mkdir -p %s", dir)
	}
	if err != nil {
		return err
	}
	var n source.Numbering
	switch {
	case o.sequence:
		n = source.Sequence
	case o.timestamp:
		n = source.Timestamp
	}
	up, down, err := f.Create(name, n, time.Now())
	if err != nil {
		return err
	}
	if c.json() {
		return printJSON(c.out, map[string]string{"schema": "dbops/migrate-new/v1", "up": up, "down": down})
	}
	_, err = fmt.Fprintf(c.out, "%s\n%s\n", up, down)
	return err
}

// onlyFolder is the folder of a database, in whatever environments it is, or the only one that there is.
func (c *cli) onlyFolder(database string) (string, error) {
	a, err := c.app()
	if err != nil {
		return "", err
	}
	defer a.Close()
	p := app.MigrationPick{}
	if database != "" {
		p.Names = []string{database}
	}
	asks, err := a.Asked(p)
	if err != nil {
		return "", err
	}
	var folders, names []string
	for _, one := range asks {
		if one.Set.String() == database {
			folders = []string{one.Set.Folder}
			break
		}
		if !slices.Contains(folders, one.Set.Folder) {
			folders = append(folders, one.Set.Folder)
			names = append(names, one.Set.String())
		}
	}
	if len(folders) == 1 {
		return folders[0], nil
	}
	f := fault.Newf(fault.Usage, "choose the folder of the new migration", "there are %d", len(folders))
	if len(folders) == 0 {
		return "", f.Hint("--dir FOLDER, or databases.NAME.migrations in dbops.yaml")
	}
	return "", f.Hint("--database %s", strings.Join(names, ", or --database "))
}
