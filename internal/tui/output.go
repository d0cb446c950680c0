package tui

import (
	"context"
	"io"
	"os"
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"
)

const (
	// most is how many bytes may wait for a terminal: some full frames of a large one.
	most = 256 << 10
	// lastBytes is how long a terminal that is left may take for what it was given.
	lastBytes = 5 * time.Second
)

// output hands what is drawn to a terminal without waiting for it. While the terminal has not taken what it was given, no other frame is drawn and
// no size is taken: frames are skipped, not queued, and keys go on working where a terminal is slow, or was stopped with ctrl+s.
type output struct {
	to   io.Writer
	lost func(error)   // the terminal takes nothing any more
	free chan struct{} // it has taken all, and something was skipped

	mu      sync.Mutex
	changed *sync.Cond
	pending []byte
	writing bool
	ending  bool // nothing is skipped or held back any more
	closed  bool // nothing is written any more
	err     error
	skipped bool
	frame   tea.View // that was handed over last
	drawn   bool     // there is one
	size    tea.Msg  // that was held back
	done    chan struct{}
}

// newOutput returns one that writes to w until [output.finish].
func newOutput(w io.Writer, lost func(error)) *output {
	o := &output{to: w, lost: lost, free: make(chan struct{}, 1), done: make(chan struct{})}
	o.changed = sync.NewCond(&o.mu)
	go o.drain() // finish waits for it
	return o
}

// Write takes p for the terminal. It waits only where very much is pending.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.pending) >= most && o.err == nil && !o.ending {
		o.changed.Wait()
	}
	if o.err != nil {
		return 0, o.err
	}
	o.pending = append(o.pending, p...)
	o.changed.Broadcast()
	return len(p), nil
}

// drain writes what is pending.
func (o *output) drain() {
	defer close(o.done)
	o.mu.Lock()
	defer o.mu.Unlock()
	for {
		for len(o.pending) == 0 {
			if o.closed {
				return
			}
			o.changed.Wait()
		}
		p := o.pending
		o.pending, o.writing = nil, true
		o.mu.Unlock()
		_, err := o.to.Write(p)
		o.mu.Lock()
		o.writing = false
		o.changed.Broadcast()
		if err != nil {
			o.err = err
			o.lost(err)
			return
		}
		if o.skipped && len(o.pending) == 0 {
			o.skipped = false
			select {
			case o.free <- struct{}{}:
			default:
			}
		}
	}
}

func (o *output) busy() bool { return (o.writing || len(o.pending) > 0) && !o.ending && o.err == nil }

// view is the frame of view, or, while the terminal is busy, the one before it.
func (o *output) view(view func() tea.View) tea.View {
	if o == nil { // a test's model
		return view()
	}
	o.mu.Lock()
	if o.drawn && o.busy() {
		defer o.mu.Unlock()
		o.skipped = true
		return o.frame
	}
	o.mu.Unlock()
	v := view()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.frame, o.drawn = v, true
	return v
}

// filter holds a new size back while the terminal is busy, as each is a frame; the last one counts. None at all is no size: a broken report.
func (o *output) filter(_ tea.Model, msg tea.Msg) tea.Msg {
	size, ok := msg.(tea.WindowSizeMsg)
	if !ok {
		return msg
	}
	if size.Width <= 0 || size.Height <= 0 {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.busy() {
		o.size, o.skipped = msg, true
		return nil
	}
	o.size = nil
	return msg
}

// freeMsg says that the terminal has taken all, so that a frame that was skipped can be drawn.
type freeMsg struct{}

// follow tells p that the terminal is free, each time, until ctx ends.
func (o *output) follow(ctx context.Context, p *tea.Program) {
	for {
		select {
		case <-o.free:
			p.Send(o.next())
		case <-ctx.Done():
			return
		}
	}
}

// next is what the program is told when the terminal is free.
func (o *output) next() tea.Msg {
	o.mu.Lock()
	defer o.mu.Unlock()
	if msg := o.size; msg != nil {
		o.size = nil
		return msg
	}
	return freeMsg{}
}

// flush waits until the terminal has taken all, for at most limit.
func (o *output) flush(limit time.Duration) {
	if o == nil {
		return
	}
	over := false
	t := time.AfterFunc(limit, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		over = true
		o.changed.Broadcast()
	})
	defer t.Stop()
	o.mu.Lock()
	defer o.mu.Unlock()
	for (o.writing || len(o.pending) > 0) && o.err == nil && !over {
		o.changed.Wait()
	}
}

// end lets no writer wait any more: what follows gives the terminal back.
func (o *output) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ending = true
	o.changed.Broadcast()
}

// finish waits for what is pending, but not for a terminal that does not take it.
func (o *output) finish() {
	if o == nil {
		return
	}
	o.mu.Lock()
	o.ending, o.closed = true, true
	o.changed.Broadcast()
	o.mu.Unlock()
	t := time.NewTimer(lastBytes)
	defer t.Stop()
	select {
	case <-o.done:
	case <-t.C:
	}
}

// screenFile is the terminal of this process, written to by way of an output. Bubble Tea asks a file for its size and state.
type screenFile struct {
	*output
	f *os.File
}

func (s screenFile) Read(p []byte) (int, error) { return s.f.Read(p) }
func (s screenFile) Close() error               { return s.f.Close() }
func (s screenFile) Fd() uintptr                { return s.f.Fd() }

// keyFile is the terminal of this process, read from. One that is gone ends the program: it would sit there without any keys.
type keyFile struct {
	*os.File
	lost func(error)
}

func (k keyFile) Read(p []byte) (int, error) {
	n, err := k.File.Read(p)
	if err != nil {
		k.lost(err)
	}
	return n, err
}
