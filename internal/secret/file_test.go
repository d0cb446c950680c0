package secret

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"dbops/internal/fault"
)

func TestFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, c := range []struct {
		name string
		text string
		mode os.FileMode
		key  string
		want string
		kind fault.Kind
	}{
		{"a file of the owner alone", hidden + "\n", 0o600, "", hidden, ""},
		{"one that not even the owner may write", hidden, 0o400, "", hidden, ""},
		{"a field", `{"password":"` + hidden + `"}`, 0o600, "password", hidden, ""},
		{"everybody may read", hidden, 0o644, "", "", fault.Denied},
		{"everybody may write", hidden, 0o602, "", "", fault.Denied},
		{"the group may write", hidden, 0o620, "", "", fault.Denied},
		{"empty", "", 0o600, "", "", fault.NotFound},
		{"too large", strings.Repeat("x", maxText+1), 0o600, "", "", fault.Invalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			name := write(t, dir, c.text, c.mode)
			v, err := File{}.Get(t.Context(), Ref{Scheme: SchemeFile, Name: name, Key: c.key})
			if c.kind == "" {
				if err != nil || !v.Equal(c.want) {
					t.Fatalf("error %v, or another text", err)
				}
				return
			}
			if fault.KindOf(err) != c.kind || strings.Contains(err.Error(), "hunter2") {
				t.Fatalf("error %v, want %s", err, c.kind)
			}
			if c.kind == fault.Denied && fault.HintOf(err) != "chmod 600 "+name {
				t.Errorf("hint %q", fault.HintOf(err))
			}
		})
	}
}

func TestRootsFilesMayBeReadByAGroup(t *testing.T) {
	t.Parallel()
	name := write(t, t.TempDir(), hidden, 0o640)
	_, err := File{}.Get(t.Context(), Ref{Scheme: SchemeFile, Name: name})
	want := fault.Denied
	if os.Getuid() == 0 {
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(name, 1, 1); err != nil {
			t.Fatal(err)
		}
		_, err = File{}.Get(t.Context(), Ref{Scheme: SchemeFile, Name: name})
	}
	if fault.KindOf(err) != want {
		t.Errorf("a common user's file that its group may read: %v", err)
	}
}

func TestWhatIsNoFileIsNotRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fault.Kind{
		filepath.Join(dir, "missing"): fault.NotFound,
		dir:                           fault.Invalid,
		pipe:                          fault.Invalid, // and nobody waits for its writer
	} {
		if _, err := (File{}).Get(t.Context(), Ref{Scheme: SchemeFile, Name: name}); fault.KindOf(err) != want {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
}

func write(t *testing.T, dir, text string, mode os.FileMode) string {
	t.Helper()
	f, err := os.CreateTemp(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err := f.Chmod(mode); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}
