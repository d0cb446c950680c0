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
	// Commit and Committed are of the checkout that it was built from, if git could say; Modified tells that it had changes besides.
	Commit    string `json:"commit,omitempty"`
	Committed string `json:"committed,omitempty"` // RFC 3339
	Modified  bool   `json:"modified,omitempty"`
	Go        string `json:"go"`
	OS        string `json:"os"`
	Arch      string `json:"arch"`
	// Libraries are the versions of the modules that it was built with, by path.
	Libraries map[string]string `json:"libraries,omitempty"`
}

// built is what the binary itself says of how it was made.
func built() versionJSON {
	v := versionJSON{Schema: "dbops/version/v1", Version: version(), Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Commit = s.Value
		case "vcs.time":
			v.Committed = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	v.Libraries = map[string]string{}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		v.Libraries[m.Path] = m.Version
	}
	return v
}

func newVersionCmd(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Show the version",
		Long:    "Show the version of dbops and of the Go it was built with; with -o json the commit and the versions of all libraries, too.\n\nExit status: 0.",
		Example: "  dbops version\n  dbops version -o json",
		Args:    cobra.NoArgs,
		RunE:    func(*cobra.Command, []string) error { return runVersion(c, false) },
	}
}

// runVersion shows the version; short is the bare word, for scripts that compare it.
func runVersion(c *cli, short bool) (err error) {
	v := built()
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
