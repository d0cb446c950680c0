package tui

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/fault"
	"dbops/internal/tui/text"
	"dbops/internal/tui/work"
)

// trail is what kinds of message came last, oldest first. It holds no content: there may be secrets in it.
type trail [24]string

func (t trail) add(msg tea.Msg) trail {
	copy(t[:], t[1:])
	t[len(t)-1] = fmt.Sprintf("%T", msg)
	return t
}

// crashed saves what is needed to find the bug, and says where it is.
func crashed(c *work.Crash, m model, o Options) error {
	err := fault.New(fault.Internal, "show the terminal UI", fmt.Errorf("panic: %v", c.Value))
	var b strings.Builder
	fmt.Fprintf(&b, "dbops %s, %s, %s/%s\nat %s\npage: %s\nscreen: %dx%d\n\npanic: %v\n\n%s\nlast messages to the program:\n",
		o.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH, o.Now().UTC().Format(time.RFC3339), where(m), m.width, m.height, c.Value, c.Stack)
	for _, kind := range m.trail {
		if kind != "" {
			fmt.Fprintln(&b, " ", kind)
		}
	}
	fmt.Fprintln(&b, "last messages to the person:")
	for _, n := range m.notes.all[max(0, len(m.notes.all)-10):] {
		fmt.Fprintf(&b, "  %s %s\n", text.Clock(n.At), n.Text)
	}
	file, saveErr := save(o, b.String())
	if saveErr != nil {
		return err.Hint("this is a bug in dbops; its report could not be saved (%v):\n%s", saveErr, b.String())
	}
	return err.Hint("this is a bug in dbops: report it with %s. Runs go on without the terminal UI: dbops runs list", file)
}

// where is the page that was in front, if that can still be said.
func where(m model) (words string) {
	defer func() {
		if recover() != nil {
			words = "not known"
		}
	}()
	return m.where()
}

func save(o Options, report string) (string, error) {
	if o.StateDir == "" {
		return "", errors.New("no folder for it is known")
	}
	if err := os.MkdirAll(o.StateDir, 0o700); err != nil {
		return "", err
	}
	file := filepath.Join(o.StateDir, "crash-"+o.Now().UTC().Format("20060102-150405")+".txt")
	return file, os.WriteFile(file, []byte(report), 0o600)
}
