package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// takes is cobra.ExactArgs that says which argument is missing, by the names that the usage line has.
func takes(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return fmt.Errorf("%s is missing", strings.Join(names[len(args):], " and "))
		case len(args) > len(names):
			return fmt.Errorf("%q is too much: it takes %s alone", args[len(names)], strings.Join(names, " and "))
		}
		return nil
	}
}
