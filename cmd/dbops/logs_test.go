package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

func TestALogThatHasGrownIsPutAsideOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "state", "runs.log")
	add := func(text string) {
		t.Helper()
		f, err := openLog(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	is := func(what, name, want string) {
		t.Helper()
		if b, err := os.ReadFile(name); string(b) != want {
			t.Errorf("%s: %q, %v, want %q", what, b, err, want)
		}
	}
	add("one\n")
	add("two\n")
	is("a short one is kept", path, "one\ntwo\n")
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("it is its owner's alone: %v, %v", info, err)
	}
	for _, last := range []string{"three\n", "four\n"} { // each time it has grown, and only the last one is kept beside it
		if err := os.Truncate(path, logMax+1); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if f, err := openLog(path); err != nil {
					t.Error(err)
				} else {
					_ = f.Close()
				}
			})
		}
		wg.Wait()
		if info, err := os.Stat(path + ".1"); err != nil || info.Size() != logMax+1 {
			t.Errorf("the old one: %v, %v", info, err)
		}
		add(last)
		is("a new one", path, last)
	}
	if all, err := fs.Glob(os.DirFS(filepath.Dir(path)), "*"); err != nil || len(all) != 2 {
		t.Errorf("left beside it: %v, %v", all, err)
	}
}
