package sessions

import (
	"context"
	"errors"
	"sync"
	"time"

	"dbops/internal/app"
	"dbops/internal/tui/core"
)

// CloseLimit bounds the draining of one proxy. It is longer than the proxy's own patience.
const CloseLimit = 15 * time.Second

// Keeper knows every proxy that is open and closes each exactly once, whoever asks first. It outlives the event loop: what is
// still open when the screen is gone is closed by [Keeper.CloseAll].
type Keeper struct {
	hurry context.CancelFunc
	drain context.Context // the patience of every drain, which a person can end

	mu     sync.Mutex
	closed bool
	open   map[core.Proxy]*closing
}

// closing is the one call of a proxy's Close.
type closing struct {
	begun bool
	done  chan struct{}
	err   error // once done is closed
}

// errLeaving refuses a proxy that would outlive the program.
var errLeaving = errors.New("dbops is quitting")

// NewKeeper returns a keeper of nothing.
func NewKeeper() *Keeper {
	k := &Keeper{open: make(map[core.Proxy]*closing)}
	k.drain, k.hurry = context.WithCancel(context.Background())
	return k
}

// Hurry ends all draining, now and later. It may be called twice.
func (k *Keeper) Hurry() { k.hurry() }

// Open opens a proxy and keeps it. One that was ready only after [Keeper.CloseAll] is closed at once.
func (k *Keeper) Open(ctx context.Context, c core.Core, o app.ProxyOptions) (core.Proxy, error) {
	p, err := c.OpenProxy(ctx, o)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	late := k.closed
	k.open[p] = &closing{done: make(chan struct{})}
	k.mu.Unlock()
	if late {
		return nil, errors.Join(errLeaving, k.Close(ctx, p))
	}
	return p, nil
}

// Close drains p for at most [CloseLimit]. A second call waits for the first and returns what it did. The end of ctx does not
// cut the drain short, because it means that the program ends; [Keeper.Hurry] does.
func (k *Keeper) Close(ctx context.Context, p core.Proxy) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), CloseLimit)
	defer cancel()
	defer context.AfterFunc(k.drain, cancel)() //nolint:contextcheck // a person in a hurry, not the caller, ends it early
	k.mu.Lock()
	c := k.open[p]
	first := c != nil && !c.begun
	if first {
		c.begun = true
	}
	k.mu.Unlock()
	switch {
	case c == nil: // closed already
		return nil
	case !first:
		<-c.done
		return c.err
	}
	c.err = p.Close(ctx)
	close(c.done)
	k.mu.Lock()
	delete(k.open, p)
	k.mu.Unlock()
	return c.err
}

// CloseAll drains every open proxy at once, refuses new ones, and returns when all have ended.
func (k *Keeper) CloseAll(ctx context.Context) error {
	k.mu.Lock()
	k.closed = true
	var left []core.Proxy
	for p := range k.open {
		left = append(left, p)
	}
	k.mu.Unlock()
	errs := make([]error, len(left))
	var wg sync.WaitGroup
	for i, p := range left {
		wg.Go(func() { errs[i] = k.Close(ctx, p) })
	}
	wg.Wait()
	return errors.Join(errs...)
}
