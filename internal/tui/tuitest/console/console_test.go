package console

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	uv "github.com/charmbracelet/ultraviolet"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 10 * time.Second

func shell(t *testing.T, o Options, script string) *Term {
	t.Helper()
	term, err := Start(t.Context(), o, "/bin/sh", "-c", script)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(term.Close)
	return term
}

func TestAProgramIsDrawnAndAnswersKeys(t *testing.T) {
	x := shell(t, Options{Cols: 40, Rows: 5}, `stty size; printf '\033]2;a title\007\033[1;7mname?\033[m '; read name; echo "hello $name"; exit 3`)
	if err := x.Wait("5 40", patience); err != nil {
		t.Fatal(err)
	}
	if err := x.Wait("name?", patience); err != nil {
		t.Fatal(err)
	}
	cell := x.Cells()[1][0]
	if cell.Content != "n" || cell.Style.Attrs&uv.AttrBold == 0 || cell.Style.Attrs&uv.AttrReverse == 0 {
		t.Errorf("the first cell is %+v", cell)
	}
	if x.Title() != "a title" {
		t.Errorf("title %q", x.Title())
	}
	if err := x.Send("m", "a", "x", "enter"); err != nil {
		t.Fatal(err)
	}
	if err := x.Wait("hello max", patience); err != nil {
		t.Fatal(err)
	}
	if code, err := x.Exit(patience); err != nil || code != 3 {
		t.Errorf("exit status %d, %v", code, err)
	}
}

func TestTheClipboardAndTheAlternateScreenAreSeen(t *testing.T) {
	x := shell(t, Options{}, `printf '\033[?1049h\033]52;c;aGVsbG8=\007on'; read x; printf '\033[?1049l'; read x`)
	if err := x.Wait("on", patience); err != nil {
		t.Fatal(err)
	}
	if x.Clipboard(patience) != "hello" || !x.AltScreen() {
		t.Errorf("clipboard %q, alternate screen %v", x.Clipboard(0), x.AltScreen())
	}
	if err := x.Send("enter"); err != nil {
		t.Fatal(err)
	}
	if err := x.WaitGone("on", patience); err != nil {
		t.Fatal(err)
	}
	if x.AltScreen() {
		t.Error("the alternate screen is still on")
	}
}

func TestASignalAndAResizeArrive(t *testing.T) {
	x := shell(t, Options{}, `trap 'stty size' WINCH; trap 'echo bye; exit 7' TERM; echo ready; while :; do read x; done`)
	if err := x.Wait("ready", patience); err != nil {
		t.Fatal(err)
	}
	if err := x.Resize(50, 9); err != nil {
		t.Fatal(err)
	}
	_ = x.Send("enter") // a shell runs its trap after the read
	if err := x.Wait("9 50", patience); err != nil {
		t.Fatal(err)
	}
	if err := x.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = x.Send("enter")
	if code, err := x.Exit(patience); err != nil || code != 7 {
		t.Errorf("exit status %d, %v", code, err)
	}
}

func TestWaitingInVainShowsTheScreen(t *testing.T) {
	x := shell(t, Options{}, `echo something else; read x`)
	if err := x.Wait("something else", patience); err != nil {
		t.Fatal(err)
	}
	err := x.Wait("never", 30*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "something else") {
		t.Errorf("got %v", err)
	}
	if err := x.WaitGone("something", 30*time.Millisecond); err == nil {
		t.Error("what is there is gone")
	}
	if _, err := x.Exit(30 * time.Millisecond); err == nil {
		t.Error("what runs has ended")
	}
	x.Settle(time.Millisecond, patience)
	x.Close()
	x.Close()
}

func TestBytes(t *testing.T) {
	for key, want := range map[string]string{"enter": "\r", "ctrl+c": "\x03", "j": "j", "esc": "\x1b", "?": "?", "+": "+", "shift+tab": "\x1b[Z"} {
		if got, err := Bytes(key); err != nil || got != want {
			t.Errorf("%s: %q, %v", key, got, err)
		}
	}
	for _, key := range []string{"ctrl+1", "hyper+x", "ctrl+"} {
		if _, err := Bytes(key); err == nil {
			t.Errorf("%s is no error", key)
		}
	}
}

func TestAMissingProgramIsAnError(t *testing.T) {
	if _, err := Start(t.Context(), Options{}, "/does/not/exist"); err == nil || !strings.Contains(err.Error(), os.ErrNotExist.Error()[:4]) && !strings.Contains(err.Error(), "no such file") {
		t.Errorf("got %v", err)
	}
}
