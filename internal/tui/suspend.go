package tui

import (
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/fault"
)

// suspend gives the terminal back to the shell, and stops the process until the shell continues it.
func (m model) suspend() tea.Cmd {
	return tea.Exec(suspension{m.out}, func(err error) tea.Msg { return suspendedMsg{err} })
}

// suspendedMsg says that the process goes on, or why it was not stopped.
type suspendedMsg struct{ err error }

// suspension is a [tea.ExecCommand]: Bubble Tea's own waits for ever where no shell is there to continue the process.
type suspension struct{ out *output }

func (suspension) SetStdin(io.Reader)  {}
func (suspension) SetStdout(io.Writer) {}
func (suspension) SetStderr(io.Writer) {}

// Run returns when the process was continued.
func (s suspension) Run() error {
	const limit = 10 * time.Second
	s.out.flush(limit) // what gives the terminal back
	return stop()
}

func (m model) suspended(msg suspendedMsg) (model, tea.Cmd) {
	if msg.err != nil {
		m.notes = m.notes.add(m.now, "not suspended", fault.New(fault.Failed, "suspend", msg.err))
	}
	return m, nil
}

// stop stops the process and those of its job, and returns when it was continued. The system does not stop a process that has no shell with job
// control above it, as in a container.
func stop() error {
	const patience, late = 500 * time.Millisecond, 200 * time.Millisecond
	continued := make(chan os.Signal, 1)
	signal.Notify(continued, syscall.SIGCONT)
	defer signal.Stop(continued)
	if err := syscall.Kill(0, syscall.SIGTSTP); err != nil {
		return err
	}
	for _, wait := range []time.Duration{patience, late} { // both are over at once where the process was stopped for longer
		t := time.NewTimer(wait)
		select {
		case <-continued:
			t.Stop()
			return nil
		case <-t.C:
		}
	}
	return errors.New("no shell with job control started this dbops")
}
