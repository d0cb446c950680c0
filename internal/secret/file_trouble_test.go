package secret_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gofrs/flock"

	"dbops/internal/fault"
	"dbops/internal/secret"
)

const pw = "correct-horse-battery"

func ref(path string) secret.Ref { return secret.Ref{Scheme: secret.SchemeFile, Name: path} }

func check(t *testing.T, what string, err error, kind fault.Kind, text, hint string) {
	t.Helper()
	if err == nil || fault.KindOf(err) != kind || !strings.Contains(err.Error(), text) || !strings.Contains(fault.HintOf(err), hint) || fault.HintOf(err) == "" {
		t.Errorf("%s: got %v, hint %q, want %s with %q and %q", what, err, fault.HintOf(err), kind, text, hint)
	}
	if err != nil && strings.Contains(err.Error()+fault.HintOf(err), pw) {
		t.Error("the error holds the secret")
	}
}

// rotating is a file with a current version, which a person wrote, and a pending one.
func rotating(t *testing.T, path string) (one, two string) {
	t.Helper()
	write(t, path, pw+"1", 0o600)
	v, err := secret.File{}.Stage(t.Context(), ref(path), "two", secret.New(pw+"2"))
	if err != nil {
		t.Fatal(err)
	}
	h, err := secret.File{}.Inspect(t.Context(), ref(path))
	if err != nil {
		t.Fatal(err)
	}
	return h.Current.ID, v.ID
}

func TestADiskThatFailsLosesNothing(t *testing.T) {
	t.Parallel()
	dir := inMemory(t)
	for disk, c := range map[syscall.Errno]struct {
		kind fault.Kind
		hint string
	}{
		syscall.ENOSPC: {fault.Failed, "make room where " + dir + " is, then try again: nothing is lost"},
		syscall.EDQUOT: {fault.Failed, "make room"},
		syscall.EROFS:  {fault.Denied, "writable"},
		syscall.EACCES: {fault.Denied, "run dbops as the owner of " + dir},
		syscall.EBUSY:  {fault.Busy, "mount its folder instead"},
		syscall.EIO:    {fault.Failed, "then try again: nothing is lost"},
	} {
		for _, call := range []string{"create", "stage", "promote", "retire"} {
			for n := 0; ; n++ {
				path := filepath.Join(dir, fmt.Sprintf("%d-%s-%d", disk, call, n))
				one, two := rotating(t, path)
				left, moved, step := n, false, ""
				broken := secret.Stepping(func(what string) error {
					if left--; left == -1 {
						step = what
						return &os.PathError{Op: "write", Path: path, Err: disk}
					}
					moved = moved || strings.HasSuffix(what, ".dbops.next") && strings.HasPrefix(what, "rename")
					return nil
				})
				do := func(s secret.File) (err error) {
					switch call {
					case "create":
						err = s.Create(t.Context(), ref(path+"-new"))
					case "stage":
						_, err = s.Stage(t.Context(), ref(path), "three", secret.New(pw+"3"))
					case "promote":
						err = s.Promote(t.Context(), ref(path), one, two)
					case "retire":
						err = s.Retire(t.Context(), ref(path), two)
					}
					return err
				}
				err := do(broken)
				if left >= 0 {
					if err != nil || n < 5 {
						t.Fatalf("%s: %d steps, %v", call, n, err)
					}
					break
				}
				check(t, call+" "+step, err, c.kind, "secret file:"+dir, c.hint)
				want := pw + "1"
				if moved {
					want = pw + "2"
				}
				if b, err := os.ReadFile(path); err != nil || string(b) != want {
					t.Fatalf("%s %s: another text, %v", call, step, err)
				}
				if had := texts(t, path); had[one] != pw+"1" || had[two] != pw+"2" && call == "promote" {
					t.Fatalf("%s %s: a text is lost", call, step)
				}
				for _, suffix := range []string{".dbops.new", ".dbops.next"} {
					if _, err := os.Lstat(path + suffix); !errors.Is(err, os.ErrNotExist) {
						t.Errorf("%s %s: %s is left behind", call, step, suffix)
					}
				}
				if err := do(secret.File{}); err != nil {
					t.Fatalf("%s %s: again: %v", call, step, err)
				}
			}
		}
	}
}

func TestPlacesThatAreNotSafe(t *testing.T) {
	t.Parallel()
	store, ctx := secret.File{}, t.Context()
	stage := func(path string) error {
		_, err := store.Stage(ctx, ref(path), "three", secret.New(pw+"3"))
		return err
	}
	t.Run("the folder does not exist", func(t *testing.T) {
		t.Parallel()
		dir := filepath.Join(t.TempDir(), "missing")
		path := filepath.Join(dir, "api")
		check(t, "create", store.Create(ctx, ref(path)), fault.NotFound, "there is no folder "+dir, "install -d -m 700 "+dir)
		_, err := store.Inspect(ctx, ref(path))
		check(t, "inspect", err, fault.NotFound, "there is no folder", "install -d")
	})
	t.Run("others may write in the folder", func(t *testing.T) {
		t.Parallel()
		for _, mode := range []os.FileMode{0o777, 0o770, 0o777 | os.ModeSticky} {
			dir := t.TempDir()
			path := filepath.Join(dir, "api")
			one, two := rotating(t, path)
			if err := os.Chmod(dir, mode); err != nil {
				t.Fatal(err)
			}
			for what, err := range map[string]error{
				"create": store.Create(ctx, ref(filepath.Join(dir, "new"))), "stage": stage(path),
				"promote": store.Promote(ctx, ref(path), one, two), "retire": store.Retire(ctx, ref(path), two),
			} {
				check(t, what, err, fault.Denied, "others may write in its folder", "chmod go-w "+dir)
			}
			if h, err := store.Inspect(ctx, ref(path)); err != nil || h.Current.ID != one || h.Pending.ID != two {
				t.Errorf("%+v, %v", h, err)
			}
		}
	})
	t.Run("others may read the file", func(t *testing.T) {
		t.Parallel()
		for _, mode := range []os.FileMode{0o644, 0o604, 0o660, 0o700} {
			path := filepath.Join(t.TempDir(), "api")
			one, two := rotating(t, path)
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
			check(t, "stage", stage(path), fault.Denied, "it is open to others", "chmod 600 "+path)
			check(t, "promote", store.Promote(ctx, ref(path), one, two), fault.Denied, "it is open to others", "chmod 600 "+path)
		}
	})
	t.Run("others may read the sidecar", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "api")
		rotating(t, path)
		if err := os.Chmod(path+".dbops", 0o640); err != nil {
			t.Fatal(err)
		}
		_, err := store.Inspect(ctx, ref(path))
		check(t, "inspect", err, fault.Denied, path+".dbops is open to others", "change the passwords")
	})
	t.Run("the sidecar is not what dbops wrote", func(t *testing.T) {
		t.Parallel()
		for _, text := range []string{"", "{", `{"schema":"other"}`, `{"schema":"dbops/secret-file/v1","versions":[{"text":"` + pw + `"}]}`} {
			path := filepath.Join(t.TempDir(), "api")
			write(t, path+".dbops", text, 0o600)
			check(t, "create", store.Create(ctx, ref(path)), fault.Invalid, path+".dbops: it is not what dbops wrote", "remove it")
		}
		path := filepath.Join(t.TempDir(), "api")
		if err := os.Symlink("/etc/hostname", path+".dbops"); err != nil {
			t.Fatal(err)
		}
		check(t, "create", store.Create(ctx, ref(path)), fault.Invalid, "is not a regular file", "ls -l")
	})
	t.Run("what is no file", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		pipe := filepath.Join(dir, "pipe")
		if err := syscall.Mkfifo(pipe, 0o600); err != nil {
			t.Fatal(err)
		}
		large := filepath.Join(dir, "large")
		write(t, large, strings.Repeat("x", 64<<10+1), 0o600)
		loop := filepath.Join(dir, "loop")
		if err := os.Symlink(loop, loop); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{pipe, large, filepath.Join(large, "below")} {
			check(t, path, stage(path), fault.Invalid, "", "ls -l "+path)
		}
		if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
			t.Fatal(err)
		}
		check(t, "a folder", stage(filepath.Join(dir, "folder")), fault.Invalid, "is not a regular file", "ls -l")
		if err := stage(loop); err == nil || fault.HintOf(err) == "" {
			t.Errorf("a loop of links: %v", err)
		}
	})
}

func TestALinkStaysAndItsTargetIsReplaced(t *testing.T) {
	t.Parallel()
	dir, store := t.TempDir(), secret.File{}
	real := filepath.Join(dir, "real")
	if err := os.Mkdir(real, 0o700); err != nil {
		t.Fatal(err)
	}
	path, link := filepath.Join(real, "v1"), filepath.Join(dir, "link")
	one, two := rotating(t, path)
	if err := os.Symlink(filepath.Join("real", "v1"), link); err != nil {
		t.Fatal(err)
	}
	if err := store.Promote(t.Context(), ref(link), one, two); err != nil {
		t.Fatal(err)
	}
	if to, err := os.Readlink(link); err != nil || to != "real/v1" {
		t.Errorf("the link leads to %q, %v", to, err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != pw+"2" {
		t.Errorf("the target was not replaced, %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 2 {
		t.Errorf("%v is beside the link, %v", left, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	_, err := store.Stage(t.Context(), ref(link), "x", secret.New(pw))
	check(t, "stage", err, fault.NotFound, "it is a link to nowhere", "ls -l "+link)
}

func TestOwnerGroupAndModeAreKept(t *testing.T) {
	t.Parallel()
	store, dir := secret.File{}, t.TempDir()
	path := filepath.Join(dir, "api")
	one, two := rotating(t, path)
	if err := os.Chmod(path, 0o440); err != nil {
		t.Fatal(err)
	}
	uid, gid := os.Geteuid(), os.Getegid()
	if uid == 0 {
		uid, gid = 12, 34
		if err := errors.Join(os.Chown(dir, uid, gid), os.Chown(path, uid, gid)); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Promote(t.Context(), ref(path), one, two); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	st, _ := info.Sys().(*syscall.Stat_t)
	if int(st.Uid) != uid || int(st.Gid) != gid || info.Mode().Perm() != 0o440 {
		t.Errorf("it belongs to %d:%d, mode %#o", st.Uid, st.Gid, info.Mode().Perm())
	}
	if info, err := os.Stat(path + ".dbops"); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the sidecar: %v, %v", info.Mode(), err)
	}
	if os.Geteuid() != 0 {
		return
	}
	err = store.Create(t.Context(), ref(filepath.Join(dir, "new")))
	check(t, "a new file in another user's folder", err, fault.Denied, "belongs to user 12", "install -m 600 -o 12 /dev/null "+filepath.Join(dir, "new"))
	write(t, filepath.Join(dir, "new"), "", 0o600)
	if err := os.Chown(filepath.Join(dir, "new"), 12, 34); err != nil {
		t.Fatal(err)
	}
	v, err := store.Stage(t.Context(), ref(filepath.Join(dir, "new")), "one", secret.New(pw))
	if err == nil {
		err = store.Promote(t.Context(), ref(filepath.Join(dir, "new")), "", v.ID)
	}
	if info, statErr := os.Stat(filepath.Join(dir, "new")); err != nil || statErr != nil || info.Sys().(*syscall.Stat_t).Uid != 12 {
		t.Errorf("the file that was made for it: %v, %v", err, statErr)
	}
}

func TestOneProcessAtATime(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "api")
	one, two := rotating(t, path)
	lock := flock.New(path + ".dbops.lock")
	if ok, err := lock.TryLock(); !ok || err != nil {
		t.Fatal(ok, err)
	}
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		err := secret.File{}.Promote(context.Background(), ref(path), one, two)
		check(t, "promote", err, fault.Busy, "another process has changed it for 20s", "fuser "+path+".dbops.lock")
		if time.Since(start) < 20*time.Second {
			t.Errorf("after %s", time.Since(start))
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := (secret.File{}).Promote(ctx, ref(path), one, two); fault.KindOf(err) == fault.Busy || err == nil {
			t.Errorf("the caller gave up: %v", err)
		}
		time.AfterFunc(time.Second, func() { _ = lock.Unlock() })
		if err := (secret.File{}).Promote(context.Background(), ref(path), one, two); err != nil {
			t.Errorf("it did not wait: %v", err)
		}
	})
}

func TestASidecarStaysSmall(t *testing.T) {
	t.Parallel()
	path, store := filepath.Join(inMemory(t), "api"), secret.File{}
	write(t, path, pw, 0o600)
	for i := range 200 {
		h, err := store.Inspect(t.Context(), ref(path))
		if err != nil {
			t.Fatal(err)
		}
		v, err := store.Stage(t.Context(), ref(path), fmt.Sprint(i), secret.New(pw+fmt.Sprint(i)))
		if err == nil {
			err = store.Promote(t.Context(), ref(path), h.Current.ID, v.ID)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if had := texts(t, path); len(had) != 2 {
		t.Errorf("%d texts", len(had))
	}
	if info, err := os.Stat(path + ".dbops"); err != nil || info.Size() > 16<<10 {
		t.Errorf("%d bytes, %v", info.Size(), err)
	}
	_, err := store.Stage(t.Context(), ref(path), "190", secret.New(pw))
	check(t, "a token of a while ago", err, fault.Stale, "another took its place", "begin anew")
}
