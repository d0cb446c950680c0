package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// release is set by the linker; a build from a checkout has none.
var release string

func version() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "dev-" + s.Value[:12]
		}
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	return "dev"
}

// versionJSON is dbops/version/v1.
type versionJSON struct {
	Schema  string `json:"schema"`
	Version string `json:"version"`
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
}

func newVersionCmd(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Show the version",
		Long:    "Show the version of dbops and of the Go it was built with.\n\nExit status: 0.",
		Example: "  dbops version\n  dbops version -o json",
		Args:    cobra.NoArgs,
		RunE:    func(*cobra.Command, []string) error { return runVersion(c, false) },
	}
}

// runVersion shows the version; short is the bare word, for scripts that compare it.
func runVersion(c *cli, short bool) (err error) {
	v := versionJSON{Schema: "dbops/version/v1", Version: version(), Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	switch {
	case c.json():
		return printJSON(c.out, v)
	case short:
		_, err = fmt.Fprintln(c.out, v.Version)
	default:
		_, err = fmt.Fprintf(c.out, "dbops %s (%s, %s/%s)\n", v.Version, v.Go, v.OS, v.Arch)
	}
	return err
}
