package app

import (
	"slices"
	"strings"

	"dbops/internal/config"
	"dbops/internal/fault"
)

// unknown says that there is no such thing, and which there are.
func unknown(op, noun, name string, names []string) error {
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	err := fault.Newf(fault.Usage, op, "unknown %s %q", noun, name)
	if near := config.Nearest(name, names); near != "" {
		return err.Hint("did you mean %q? There are: %s", near, strings.Join(names, ", "))
	}
	if len(names) == 0 {
		return err.Hint("there are none")
	}
	return err.Hint("there are: %s", strings.Join(names, ", "))
}
