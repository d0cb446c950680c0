package app

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"dbops/internal/config"
)

func testApp(t *testing.T) *App {
	t.Helper()
	return New(&config.Config{Path: "/etc/dbops.yaml", Environments: map[string]*config.Environment{}}, Options{
		RuntimeDir: filepath.Join(t.TempDir(), "run"),
		Getenv:     func(string) string { return "" },
	})
}

func running(addr string, access config.Access) RunningProxy {
	return RunningProxy{
		Config: "/etc/dbops.yaml", Environment: "prod", Access: access, Addr: addr, Since: time.Now(),
		URIs: []DatabaseURI{{Database: "shop", URI: "postgresql://dbops:secret@" + addr + "/shop"}},
	}
}

// list lists a proxy as an open one does, until the returned function is called.
func list(dir string, p RunningProxy) (unlist func(), err error) {
	e, err := newEntry(dir)
	if err != nil {
		return nil, err
	}
	return func() { _ = e.remove() }, e.publish(p)
}

func TestOpenProxiesAreListedUntilTheyEnd(t *testing.T) {
	a := testApp(t)
	unlist, err := list(a.opts.RuntimeDir, running("127.0.0.1:1", config.Read))
	if err != nil {
		t.Fatal(err)
	}
	open, err := a.RunningProxies("prod", config.Read)
	if err != nil || len(open) != 1 || open[0].Addr != "127.0.0.1:1" || open[0].PID != os.Getpid() {
		t.Fatalf("%+v, %v", open, err)
	}
	for name, find := range map[string]func() ([]RunningProxy, error){
		"another environment": func() ([]RunningProxy, error) { return a.RunningProxies("staging", config.Read) },
		"another access":      func() ([]RunningProxy, error) { return a.RunningProxies("prod", config.Write) },
	} {
		if found, err := find(); err != nil || len(found) != 0 {
			t.Errorf("%s: %+v, %v", name, found, err)
		}
	}
	unlist()
	if open, err = a.RunningProxies("prod", ""); err != nil || len(open) != 0 {
		t.Errorf("after its end: %+v, %v", open, err)
	}
}

func TestTheNewestProxyComesFirst(t *testing.T) {
	a := testApp(t)
	older := running("127.0.0.1:1", config.Read)
	older.Since = older.Since.Add(-time.Hour)
	for _, p := range []RunningProxy{older, running("127.0.0.1:2", config.Read)} {
		unlist, err := list(a.opts.RuntimeDir, p)
		if err != nil {
			t.Fatal(err)
		}
		defer unlist()
	}
	open, err := a.RunningProxies("prod", "")
	if err != nil || len(open) != 2 || open[0].Addr != "127.0.0.1:2" {
		t.Errorf("%+v, %v", open, err)
	}
}

func TestAnEntryOfADeadProcessIsClearedAway(t *testing.T) {
	a := testApp(t)
	unlist, err := list(a.opts.RuntimeDir, running("127.0.0.1:1", config.Read))
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(a.opts.RuntimeDir, "*"))
	if err != nil || len(files) != 2 {
		t.Fatal(files, err)
	}
	saved := map[string][]byte{}
	for _, f := range files {
		if saved[f], err = os.ReadFile(f); err != nil {
			t.Fatal(err)
		}
	}
	unlist()
	for f, b := range saved { // as a killed process leaves them
		if err := os.WriteFile(f, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if open, err := a.RunningProxies("prod", ""); err != nil || len(open) != 0 {
		t.Errorf("%+v, %v", open, err)
	}
	if left, err := filepath.Glob(filepath.Join(a.opts.RuntimeDir, "*")); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestPasswordsOfProxiesAreForTheirOwnerOnly(t *testing.T) {
	a := testApp(t)
	if err := os.MkdirAll(a.opts.RuntimeDir, 0o755); err != nil {
		t.Fatal(err)
	}
	unlist, err := list(a.opts.RuntimeDir, running("127.0.0.1:1", config.Read))
	if err != nil {
		t.Fatal(err)
	}
	defer unlist()
	info, err := os.Stat(a.opts.RuntimeDir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("folder: %v, %v", info.Mode(), err)
	}
	files, err := filepath.Glob(filepath.Join(a.opts.RuntimeDir, "*.json"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	if info, err = os.Stat(files[0]); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("file: %v, %v", info.Mode(), err)
	}
}

func TestAFolderThatALinkStandsForIsRefused(t *testing.T) {
	a := testApp(t)
	if err := os.Symlink(t.TempDir(), a.opts.RuntimeDir); err != nil {
		t.Fatal(err)
	}
	if _, err := list(a.opts.RuntimeDir, running("127.0.0.1:1", config.Read)); err == nil {
		t.Error("a link was followed: its target may be another user's")
	}
}
