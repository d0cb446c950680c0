package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/adrg/xdg"

	"dbops/internal/fault"
)

// FileName is the name of a configuration file that is looked for.
const FileName = "dbops.yaml"

// Find returns the path of the configuration file: explicit (the flag --config), else what DBOPS_CONFIG names, else the dbops.yaml
// in cwd or the nearest folder above it, else the one below the user's configuration folder. If there is none the fault.Config
// lists every place that was looked at.
func Find(explicit string, getenv func(string) string, cwd string) (string, error) {
	for _, named := range []struct{ by, path string }{{"--config", explicit}, {"DBOPS_CONFIG", getenv("DBOPS_CONFIG")}} {
		if named.path == "" {
			continue
		}
		path := within(cwd, named.path)
		if _, err := os.Stat(path); err != nil {
			return "", fault.Newf(fault.Config, "", "%s names %s: %w", named.by, named.path, plain(err)).
				Hint("correct it, or write a new file there with dbops config init")
		}
		return path, nil
	}
	var looked []string
	for dir := filepath.Clean(cwd); ; dir = filepath.Dir(dir) {
		path := filepath.Join(dir, FileName)
		found, why := usable(path)
		if found {
			return path, nil
		}
		looked = append(looked, path+why)
		if dir == filepath.Dir(dir) {
			break
		}
	}
	for _, dir := range userDirs(getenv) {
		path := filepath.Join(dir, "dbops", FileName)
		found, why := usable(path)
		if found {
			return path, nil
		}
		looked = append(looked, path+why)
	}
	return "", fault.Newf(fault.Config, "", "there is no dbops.yaml; looked for\n  %s", strings.Join(looked, "\n  ")).
		Hint("dbops config init")
}

// userDirs are the folders of the user's configuration: the XDG one, and ~/.config where the system has another habit.
func userDirs(getenv func(string) string) []string {
	dir := getenv("XDG_CONFIG_HOME")
	if !filepath.IsAbs(dir) {
		dir = xdg.ConfigHome
	}
	dirs := []string{dir}
	if home := getenv("HOME"); filepath.IsAbs(home) && getenv("XDG_CONFIG_HOME") == "" {
		if dir := filepath.Join(home, ".config"); !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// usable tells whether path is a file that may be taken without being named, or why not. One that lies in a shared temporary
// folder could be anybody's, and would say where passwords are sent.
func usable(path string) (bool, string) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, ""
	case err != nil:
		return false, fmt.Sprintf(" (%v)", plain(err))
	case info.IsDir():
		return false, " (a folder)"
	}
	dir, err := os.Stat(filepath.Dir(path))
	if err == nil && dir.Mode()&os.ModeSticky != 0 && dir.Mode().Perm()&0o002 != 0 {
		return false, " (ignored: anybody may write there; name it with --config)"
	}
	return true, ""
}
