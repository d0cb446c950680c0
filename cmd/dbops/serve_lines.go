package main

import (
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/term"

	"dbops/internal/serve"
	"dbops/internal/tui"
)

// readOut tells whether a session asks for the terminal UI to be read out, as a terminal of one's own does.
func readOut(env []string) bool {
	dumb := false
	for _, e := range slices.Backward(env) {
		name, value, _ := strings.Cut(e, "=")
		switch name {
		case "DBOPS_ACCESSIBLE":
			if on, err := strconv.ParseBool(value); err == nil {
				return on
			}
		case "TERM":
			dumb = value == "dumb"
		}
	}
	return dumb
}

// sshLines has lines typed at a session's terminal, which shows no keys by itself. What it started ends with the session's keys.
func sshLines(s *serve.Session, cells func() int) *tui.Lines {
	interrupts := make(chan os.Signal, 1)
	t := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{breakable{s.In, interrupts}, s.Out}, "")
	_ = t.SetSize(s.Size.W, s.Size.H)
	in, typed := io.Pipe()
	go func() {
		for {
			line, err := t.ReadLine()
			if err == nil {
				_, err = typed.Write([]byte(line + "\n"))
			}
			if err != nil {
				_ = typed.Close()
				return
			}
		}
	}()
	return &tui.Lines{In: in, Out: t, Interrupt: interrupts, Cells: cells}
}

// breakable takes ctrl+c out of what is typed, and tells of it.
type breakable struct {
	from   io.Reader
	breaks chan<- os.Signal
}

func (b breakable) Read(p []byte) (int, error) {
	const ctrlC = 3
	for {
		n, err := b.from.Read(p)
		kept := slices.DeleteFunc(p[:n], func(c byte) bool { return c == ctrlC })
		if len(kept) < n {
			select {
			case b.breaks <- os.Interrupt:
			default: // one is enough
			}
		}
		if len(kept) > 0 || err != nil {
			return len(kept), err
		}
	}
}
