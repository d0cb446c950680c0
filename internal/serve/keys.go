package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// Keys are what a person presses. Nobody who presses none for too long, or whose input ends, stays.
type Keys struct {
	out    *io.PipeReader
	in     *io.PipeWriter
	idle   time.Duration
	timer  *time.Timer
	closed chan struct{}
	cancel context.CancelCauseFunc
}

func newKeys(idle time.Duration, cancel context.CancelCauseFunc) *Keys {
	k := &Keys{idle: idle, closed: make(chan struct{}), cancel: cancel}
	k.out, k.in = io.Pipe()
	k.timer = time.AfterFunc(idle, func() { cancel(fmt.Errorf("no key was pressed for %s", idle)) })
	return k
}

// take passes on what comes from the terminal, until that ends or nobody reads any more. Whoever sent the last key may see what it does.
func (k *Keys) take(from io.Reader, grace time.Duration) {
	buf := make([]byte, 4<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			k.timer.Reset(k.idle)
			if _, err := k.in.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			break
		}
	}
	_ = k.in.Close()
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-timer.C:
		k.cancel(errors.New("the terminal's input ended"))
	case <-k.closed:
	}
}

// Read implements [io.Reader]. It ends with [Keys.Close].
func (k *Keys) Read(p []byte) (int, error) { return k.out.Read(p) }

// Close ends what reads. It is called once.
func (k *Keys) Close() {
	close(k.closed)
	k.timer.Stop()
	_ = k.out.Close()
}
