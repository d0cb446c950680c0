package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dbops/internal/fault"
)

func TestFind(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for _, f := range []string{"project/dbops.yaml", "project/a/b/.keep", "named/other.yaml", "xdg/dbops/dbops.yaml", "home/.config/dbops/dbops.yaml", "empty/.keep", "folder/dbops.yaml/.keep"} {
		path := filepath.Join(root, f)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	shared := filepath.Join(root, "shared")
	if err := os.MkdirAll(filepath.Join(shared, "work"), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(shared, FileName), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(shared, os.ModeSticky|0o777); err != nil {
		t.Fatal(err)
	}
	xdg := map[string]string{"XDG_CONFIG_HOME": filepath.Join(root, "xdg")}
	nowhere := map[string]string{"XDG_CONFIG_HOME": filepath.Join(root, "none")}
	for name, c := range map[string]struct {
		explicit string
		env      map[string]string
		cwd      string
		want     string   // below root
		errs     []string // parts of the error
	}{
		"the flag wins":                        {"../named/other.yaml", map[string]string{"DBOPS_CONFIG": "/no"}, "project", "named/other.yaml", nil},
		"the flag must name a file":            {"no.yaml", nil, "project", "", []string{"--config names no.yaml: no such file or directory"}},
		"then the variable":                    {"", map[string]string{"DBOPS_CONFIG": root + "/named/other.yaml"}, "project", "named/other.yaml", nil},
		"the variable must name a file":        {"", map[string]string{"DBOPS_CONFIG": "no.yaml"}, "project", "", []string{"DBOPS_CONFIG names no.yaml: no such file or directory"}},
		"then the folder":                      {"", xdg, "project", "project/dbops.yaml", nil},
		"or the nearest above":                 {"", xdg, "project/a/b", "project/dbops.yaml", nil},
		"then the user's":                      {"", xdg, "empty", "xdg/dbops/dbops.yaml", nil},
		"or the one in ~/.config":              {"", map[string]string{"HOME": root + "/home"}, "empty", "home/.config/dbops/dbops.yaml", nil},
		"a folder of the name is passed over":  {"", xdg, "folder", "xdg/dbops/dbops.yaml", nil},
		"a shared temporary folder is no home": {"", nowhere, "shared/work", "", []string{"shared/dbops.yaml (ignored: anybody may write there; name it with --config)"}},
		"every place that was looked at is listed": {"", nowhere, "folder", "", []string{
			"there is no dbops.yaml", root + "/folder/dbops.yaml (a folder)", root + "/dbops.yaml\n", "\n  /dbops.yaml", root + "/none/dbops/dbops.yaml",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := Find(c.explicit, func(k string) string { return c.env[k] }, filepath.Join(root, c.cwd))
			if c.errs == nil {
				if err != nil || got != filepath.Join(root, c.want) {
					t.Fatalf("got %s, %v", got, err)
				}
				return
			}
			if fault.KindOf(err) != fault.Config || !strings.Contains(fault.HintOf(err), "dbops config init") {
				t.Fatalf("got %s, %v (%s)", got, err, fault.HintOf(err))
			}
			for _, part := range c.errs {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q is not in %q", part, err)
				}
			}
		})
	}
}
