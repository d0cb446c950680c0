package encore

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"dbops/internal/fault"
	"dbops/internal/secret"
)

// deliverForever makes the test binary a process that delivers until it is killed.
const deliverForever = "DBOPS_TEST_DELIVER"

func TestMain(m *testing.M) {
	if path := os.Getenv(deliverForever); path != "" {
		for i := 0; ; i++ {
			slot := []string{"a", "b"}[i%2]
			if _, err := Deliver(context.Background(), path, Go, delivery(slot)); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			if i == 0 {
				fmt.Println("ready")
			}
		}
	}
	os.Exit(m.Run())
}

func delivery(slot string) Delivery {
	return Delivery{Database: "orders", Change: Change{Username: "orders_" + slot, Password: secret.New("hunter2-" + slot)}}
}

func target(t testing.TB, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "infra.config.json")
	if err := os.WriteFile(path, testdata(t, "orders.json"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func modeOf(t testing.TB, path string) os.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}

func content(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// alone demands that nothing lies beside a file.
func alone(t testing.TB, path string) {
	t.Helper()
	files, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(files) != 1 {
		t.Errorf("beside the file: %v, %v", files, err)
	}
}

func TestADeliveryIsMadeOnce(t *testing.T) {
	t.Parallel()
	path := target(t, 0o600)
	if h, err := Holds(path, Go, delivery("b")); err != nil || h.Username != No || h.Password != No || h.All() {
		t.Errorf("before: %+v, %v", h, err)
	}
	d, err := Deliver(t.Context(), path, Go, delivery("b"))
	if err != nil || !d.Written || !slices.Equal(d.Changed, []string{Username, Password}) {
		t.Fatalf("%+v, %v", d, err)
	}
	want := strings.NewReplacer("orders_a", "orders_b", "hunter2-old", "hunter2-b").Replace(string(testdata(t, "orders.json")))
	if got := string(content(t, path)); got != want || modeOf(t, path) != 0o600 {
		t.Errorf("mode %o, got\n%s", modeOf(t, path), got)
	}
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if d, err := Deliver(t.Context(), path, Go, delivery("b")); err != nil || d.Written || len(d.Changed) != 0 {
		t.Errorf("again: %+v, %v", d, err)
	}
	if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) || !after.ModTime().Equal(before.ModTime()) {
		t.Error("the second delivery wrote")
	}
	if h, err := Holds(path, Go, delivery("b")); err != nil || h.Username != Yes || h.Password != Yes || !h.All() {
		t.Errorf("after: %+v, %v", h, err)
	}
	if b, err := json.Marshal(d); err != nil || bytes.Contains(b, []byte(hidden)) {
		t.Errorf("%v: %s", err, b)
	}
	alone(t, path)
}

func TestTheNewFileIsItsOwnersAlone(t *testing.T) {
	t.Parallel()
	root := os.Geteuid() == 0
	for _, c := range []struct{ before, after, afterOfRoot os.FileMode }{
		{0o644, 0o600, 0o640}, {0o600, 0o600, 0o600}, {0o400, 0o400, 0o400}, {0o640, 0o600, 0o640}, {0o666, 0o600, 0o640},
	} {
		path := target(t, c.before)
		want := c.after
		if root {
			want = c.afterOfRoot
		}
		d, err := Deliver(t.Context(), path, Go, delivery("b"))
		if err != nil || modeOf(t, path) != want {
			t.Errorf("%o: got %o, want %o, %v", c.before, modeOf(t, path), want, err)
		}
		warned := slices.ContainsFunc(d.Warnings, func(w string) bool { return strings.Contains(w, "mode was") })
		if warned != (c.before != want) {
			t.Errorf("%o: warnings %q", c.before, d.Warnings)
		}
	}
}

func TestTheFileStaysItsOwners(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		path := target(t, 0o600) // only root can give a file away; as its owner it must stay ours
		if _, err := Deliver(t.Context(), path, Go, delivery("b")); err != nil {
			t.Fatal(err)
		}
		return
	}
	path := target(t, 0o640)
	if err := os.Chown(path, 12345, 23456); err != nil {
		t.Fatal(err)
	}
	if _, err := Deliver(t.Context(), path, Go, delivery("b")); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || st.Uid != 12345 || st.Gid != 23456 || info.Mode().Perm() != 0o600 {
		t.Errorf("owner %d, group %d, mode %o", st.Uid, st.Gid, info.Mode().Perm())
	}
}

func TestALinkStaysALink(t *testing.T) {
	t.Parallel()
	path := target(t, 0o600)
	link := filepath.Join(t.TempDir(), "link.json")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if d, err := Deliver(t.Context(), link, Go, delivery("b")); err != nil || !d.Written {
		t.Fatalf("%+v, %v", d, err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 || !bytes.Contains(content(t, path), []byte("orders_b")) {
		t.Errorf("%v, %v", info, err)
	}
}

func TestWhatCannotBeDeliveredLeavesTheFile(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		prepare func(path string) error
		change  func(*Delivery)
		lang    Language
		kind    fault.Kind
		say     string
	}{
		{"the password comes from a variable", nil, func(d *Delivery) { d.Database = "billing" }, Go, fault.Blocked, "BILLING_USER"},
		{"an unknown database", nil, func(d *Delivery) { d.Database = "order" }, Go, fault.Usage, "no database"},
		{"no language", nil, nil, "", fault.Config, "opposite way"},
		{"a password that Go cannot take", nil, func(d *Delivery) { d.Password = secret.New("hunter2 x") }, Go, fault.Invalid, "without quoting"},
		{"it is no JSON", func(p string) error { return os.WriteFile(p, []byte(`{"a": hunter2}`), 0o600) }, nil, Go, fault.Config, "line 1, column 7"},
		{"it is too large", func(p string) error { return os.WriteFile(p, make([]byte, MaxText+1), 0o600) }, nil, Go, fault.Invalid, "larger than"},
		{"it is gone", os.Remove, nil, Go, fault.NotFound, "no such file"},
		{"it is a folder", func(p string) error { return os.Rename(filepath.Dir(p)+"/x", p) }, nil, Go, fault.Invalid, "regular file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := target(t, 0o600)
			if c.name == "it is a folder" {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
				if err := os.Mkdir(filepath.Dir(path)+"/x", 0o700); err != nil {
					t.Fatal(err)
				}
			}
			if c.prepare != nil {
				if err := c.prepare(path); err != nil {
					t.Fatal(err)
				}
			}
			before, _ := os.ReadFile(path) // may be gone, or a folder
			d := delivery("b")
			if c.change != nil {
				c.change(&d)
			}
			got, err := Deliver(t.Context(), path, c.lang, d)
			if fault.KindOf(err) != c.kind || err == nil || !strings.Contains(err.Error(), c.say) || got.Written {
				t.Fatalf("%+v, %v", got, err)
			}
			if !strings.Contains(err.Error(), path) || strings.Contains(err.Error()+fault.HintOf(err), hidden) {
				t.Errorf("the error names no file, or holds a secret: %v", err)
			}
			if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
				t.Error("the file changed")
			}
		})
	}
}

func TestVariablesAreTheCallersIfItSaysSo(t *testing.T) {
	t.Parallel()
	path := target(t, 0o600)
	d := delivery("b")
	d.Database, d.Variables = "billing", true
	got, err := Deliver(t.Context(), path, Go, d)
	if err != nil || got.Written || !slices.Equal(got.Variables, []Variable{{"BILLING_USER", Username}, {"BILLING_PASSWORD", Password}}) {
		t.Errorf("%+v, %v", got, err)
	}
	d.Variables, d.Inline = false, true
	if got, err := Deliver(t.Context(), path, Go, d); err != nil || !got.Written || len(got.Variables) != 0 {
		t.Errorf("inline: %+v, %v", got, err)
	}
}

func TestSeveralDatabasesAreDeliveredAtOnceOrNotAtAll(t *testing.T) {
	t.Parallel()
	path := target(t, 0o600)
	events := Delivery{Database: "events", Change: Change{Username: "events_b", Password: secret.New("hunter2-e"), Inline: true}}
	billing := Delivery{Database: "billing", Change: Change{Username: "billing_b", Password: secret.New("hunter2-b")}}
	if _, err := Deliver(t.Context(), path, Go, delivery("b"), events, billing); fault.KindOf(err) != fault.Blocked {
		t.Errorf("one that cannot be: %v", err)
	}
	if !bytes.Equal(content(t, path), testdata(t, "orders.json")) {
		t.Error("one that cannot be delivered did not keep the others back")
	}
	d, err := Deliver(t.Context(), path, Go, delivery("b"), events)
	if err != nil || !d.Written || !slices.Equal(d.Changed, []string{Username, Password}) {
		t.Errorf("%+v, %v", d, err)
	}
	for _, want := range []string{"orders_b", "events_b"} {
		if !bytes.Contains(content(t, path), []byte(`"`+want+`"`)) {
			t.Errorf("%s is missing", want)
		}
	}
	if d, err := Deliver(t.Context(), path, Go, delivery("b"), events); err != nil || d.Written {
		t.Errorf("again: %+v, %v", d, err)
	}
}

func TestSomebodyElsesChangeIsNotOverwritten(t *testing.T) {
	t.Parallel()
	path := target(t, 0o600)
	old, info, err := readFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := fileFault("deliver", replace(path, []byte("new"), old, info)); fault.KindOf(err) != fault.Stale {
		t.Errorf("got %v", err)
	}
	if string(content(t, path)) != "{}" {
		t.Error("it was overwritten")
	}
	alone(t, path)
}

func TestDeliveriesToOneFileWaitForEachOther(t *testing.T) {
	t.Parallel()
	path := target(t, 0o600)
	var all sync.WaitGroup
	for _, d := range []Delivery{
		delivery("b"),
		{Database: "billing", Change: Change{Username: "billing_b", Password: secret.New("hunter2-billing"), Inline: true}},
		{Database: "events", Change: Change{Username: "events_b", Password: secret.New("hunter2-events"), Inline: true}},
	} {
		all.Go(func() {
			if _, err := Deliver(t.Context(), path, Go, d); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, want := range []string{"orders_b", "billing_b", "events_b", "hunter2-b", "hunter2-billing", "hunter2-events"} {
		if !bytes.Contains(content(t, path), []byte(`"`+want+`"`)) {
			t.Errorf("%s is lost", want)
		}
	}
	unlock, err := lockFolder(t.Context(), filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Deliver(ctx, path, Go, delivery("a")); fault.KindOf(err) != fault.Busy {
		t.Errorf("while the folder is locked: %v", err)
	}
}

// A process is killed again and again while it delivers: the file is always whole, one or the other, and the next delivery cleans up.
func TestAKilledDeliveryLeavesAWholeFile(t *testing.T) {
	t.Parallel()
	path := target(t, 0o600)
	old := string(testdata(t, "orders.json"))
	want := map[string]bool{old: true}
	for _, slot := range []string{"a", "b"} {
		want[strings.NewReplacer("orders_a", "orders_"+slot, "hunter2-old", "hunter2-"+slot).Replace(old)] = true
	}
	leftovers := 0
	for range 15 {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), deliverForever+"="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 8)); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // it was killed
		if !want[string(content(t, path))] {
			t.Fatalf("the file is neither old nor new:\n%s", content(t, path))
		}
		files, err := os.ReadDir(filepath.Dir(path))
		if err != nil {
			t.Fatal(err)
		}
		leftovers += len(files) - 1
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(path), prefix(path)+"42"), []byte("hunter2 left behind"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Deliver(t.Context(), path, Go, delivery("a")); err != nil {
		t.Fatal(err)
	}
	alone(t, path)
	t.Logf("killed with a file in the making: %d of 15 times", leftovers)
}

func TestTheLanguageOfAFolder(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		files map[string]string
		in    string
		want  Language
		kind  fault.Kind
	}{
		{"encore.app says it", map[string]string{"encore.app": "{\"id\": \"x\", \"lang\": \"typescript\",} // app\n", "go.mod": ""}, ".", TypeScript, ""},
		{"encore.app says nothing: Go", map[string]string{"encore.app": `{"id": ""}`}, ".", Go, ""},
		{"encore.app is above", map[string]string{"encore.app": `{"lang":"typescript"}`, "deploy/prod/x": ""}, "deploy/prod", TypeScript, ""},
		{"go.mod", map[string]string{"go.mod": "module x"}, ".", Go, ""},
		{"package.json of Encore", map[string]string{"package.json": `{"dependencies":{"encore.dev":"^1"}}`}, ".", TypeScript, ""},
		{"package.json of something else", map[string]string{"package.json": `{}`}, ".", "", ""},
		{"both", map[string]string{"package.json": `{"dependencies":{"encore.dev":"^1"}}`, "go.mod": ""}, ".", "", ""},
		{"nothing", map[string]string{"x": ""}, ".", "", ""},
		{"encore.app is broken", map[string]string{"encore.app": `{"lang": hunter2}`}, ".", "", fault.Config},
		{"encore.app says another language", map[string]string{"encore.app": `{"lang": "rust"}`}, ".", "", fault.Config},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			writeFiles(t, dir, c.files)
			got, err := FolderLanguage(filepath.Join(dir, c.in))
			if got != c.want || (err != nil) != (c.kind != "") || (err != nil && fault.KindOf(err) != c.kind) {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func writeFiles(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
