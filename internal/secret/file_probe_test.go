package secret_test

import (
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"dbops/internal/fault"
	"dbops/internal/secret"
)

func listing(t *testing.T, dir string) (names []string) {
	t.Helper()
	all, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		names = append(names, f.Name())
	}
	return names
}

// What a probe says is what writing ends with, and it leaves nothing behind.
func TestAProbeSaysWhatWritingWouldEndWith(t *testing.T) {
	t.Parallel()
	store := secret.File{}
	for name, spoil := range map[string]func(dir, path string) error{
		"nothing is wrong":              func(string, string) error { return nil },
		"others may write there":        func(dir, _ string) error { return os.Chmod(dir, 0o777) },
		"the folder may not be written": func(dir, _ string) error { return os.Chmod(dir, 0o500) }, // but by root
		"others may read the file":      func(_, path string) error { return os.Chmod(path, 0o644) },
		"others may read the versions":  func(_, path string) error { return os.Chmod(path+".dbops", 0o644) },
		"the file is gone":              func(_, path string) error { return os.Remove(path) },
		"it is a link to nowhere": func(_, path string) error {
			if err := os.Remove(path); err != nil {
				return err
			}
			return os.Symlink(path+"-missing", path)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, "api")
			rotating(t, path)
			if err := spoil(dir, path); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.Chmod(dir, 0o700) })
			before := listing(t, dir)
			probed := store.Probe(t.Context(), ref(path))
			if after := listing(t, dir); !slices.Equal(before, after) {
				t.Errorf("it left %v of %v", after, before)
			}
			_, wrote := store.Stage(t.Context(), ref(path), "three", secret.New(pw+"3"))
			if (probed == nil) != (wrote == nil) || fault.KindOf(probed) != fault.KindOf(wrote) || (probed != nil && fault.HintOf(probed) == "") {
				t.Errorf("it says %v (%s), and writing %v (%s)", probed, fault.HintOf(probed), wrote, fault.HintOf(wrote))
			}
		})
	}
	dir := filepath.Join(t.TempDir(), "missing")
	check(t, "no folder", store.Probe(t.Context(), ref(filepath.Join(dir, "api"))), fault.NotFound, "there is no folder "+dir, "install -d -m 700 "+dir)
	empty := t.TempDir()
	if err := store.Probe(t.Context(), ref(filepath.Join(empty, "new"))); err != nil || len(listing(t, empty)) > 0 {
		t.Errorf("a new place: %v, %v", err, listing(t, empty))
	}
}

func TestWhatIsImmutableIsNotAMatterOfItsOwner(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "api")
	rotating(t, path)
	store := secret.Stepping(func(string) error { return &os.PathError{Op: "rename", Path: path, Err: syscall.EPERM} })
	check(t, "probe", store.Probe(t.Context(), ref(path)), fault.Denied, "operation not permitted", "chattr -i")
	_, err := store.Stage(t.Context(), ref(path), "three", secret.New(pw+"3"))
	check(t, "stage", err, fault.Denied, "operation not permitted", "lsattr")
}

// A file that somebody deleted, or emptied, comes back from what lies beside it, at every point of a rotation.
func TestAFileThatIsGoneComesBack(t *testing.T) {
	t.Parallel()
	store, ctx := secret.File{}, t.Context()
	for name, remove := range map[string]func(string) error{
		"the file is gone":  os.Remove,
		"the file is empty": func(path string) error { return os.Truncate(path, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "api")
			holds := func(want string) {
				t.Helper()
				text, err := os.ReadFile(path)
				info, errInfo := os.Stat(path)
				if err != nil || errInfo != nil || string(text) != want || info.Mode().Perm() != 0o600 {
					t.Errorf("it holds %d bytes, %v, %v", len(text), err, errInfo)
				}
				if h, err := store.Inspect(ctx, ref(path)); err != nil || h.Amiss != "" {
					t.Errorf("%+v, %v", h, err)
				}
			}
			one, two := rotating(t, path)
			if err := store.Promote(ctx, ref(path), one, two); err != nil {
				t.Fatal(err)
			}
			three, err := store.Stage(ctx, ref(path), "three", secret.New(pw+"3"))
			if err != nil {
				t.Fatal(err)
			}
			for _, move := range []struct{ from, to, text string }{
				{two, two, pw + "2"},      // put back
				{two, three.ID, pw + "3"}, // a rotation goes on
				{two, three.ID, pw + "3"}, // and is repeated
				{three.ID, two, pw + "2"}, // and undone
			} {
				if err := remove(path); err != nil {
					t.Fatal(err)
				}
				was, err := store.Inspect(ctx, ref(path))
				if err != nil || was.Amiss != name || was.Current.ID == "" {
					t.Errorf("%+v, %v", was, err)
				}
				if err := store.Promote(ctx, ref(path), move.from, move.to); err != nil {
					t.Errorf("%s to %s: %v", move.from, move.to, err)
				}
				holds(move.text)
			}
			h, err := store.Inspect(ctx, ref(path))
			if err != nil || h.Current.ID != two || h.Previous.ID != three.ID {
				t.Errorf("%+v, %v", h, err)
			}
			if err := remove(path); err != nil {
				t.Fatal(err)
			}
			if err := store.Promote(ctx, ref(path), one, three.ID); fault.KindOf(err) != fault.Stale {
				t.Errorf("another current version: %v", err)
			}
		})
	}
}
