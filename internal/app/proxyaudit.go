package app

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"dbops/internal/op"
	"dbops/internal/proxy"
	"dbops/internal/state"
	"dbops/internal/state/audit"
)

// trail writes the connections of a proxy into the audit log, beside the data path: that waits for nothing. What finds no room in the queue,
// because the state does not answer, is lost; that is counted, told, and written down when the state is back.
type trail struct {
	open func(context.Context) (*state.Store, error)
	tell func(failure bool, text string)
	log  *slog.Logger

	queue chan audit.Entry
	quit  chan struct{}
	done  chan struct{}
	once  sync.Once
	lost  atomic.Int64 // since the log was written last
	total atomic.Int64

	added, written atomic.Int64
	failure        atomic.Pointer[string] // the last one
}

const (
	trailQueue = 1024
	trailBatch = 64
	trailTry   = 10 * time.Second
	trailLast  = 3 * time.Second        // for what is in the queue when the proxy ends
	trailEvery = 100 * time.Millisecond // between writes: a client that connects for each query costs few of them
	trailPause = time.Second            // after the first failure
	trailRest  = 30 * time.Second
)

func newTrail(open func(context.Context) (*state.Store, error), tell func(bool, string), log *slog.Logger) *trail {
	t := &trail{
		open: open, tell: tell, log: log,
		queue: make(chan audit.Entry, trailQueue), quit: make(chan struct{}), done: make(chan struct{}),
	}
	return t
}

// add never waits.
func (t *trail) add(e audit.Entry) {
	e.At = time.Now()
	t.added.Add(1)
	select {
	case t.queue <- e:
	default:
		t.lost.Add(1)
		t.total.Add(1)
	}
}

// run writes until close, and then what is left if the state takes it in time.
func (t *trail) run(ctx context.Context) {
	defer close(t.done)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go t.hurry(ctx, cancel)
	failing, losing, pause := false, false, trailPause
	var last time.Time
	for {
		var batch []audit.Entry
		select {
		case e := <-t.queue:
			if rest := trailEvery - time.Since(last); rest > 0 && len(t.queue) < trailBatch {
				t.pause(rest) // or until the proxy ends
			}
			batch = t.more(e)
		case <-t.quit:
			t.finish(ctx)
			return
		}
		for {
			err := t.write(ctx, trailTry, batch)
			if err == nil {
				if failing {
					t.tell(false, "the audit log takes entries again")
				}
				failing, losing, pause, last = false, false, trailPause, time.Now()
				break
			}
			if !failing {
				t.tell(true, fmt.Sprintf("connections are not written to the audit log: %s; they go on, and %d entries are kept for later", err, trailQueue))
			}
			failing = true
			if !losing && t.lost.Load() > 0 {
				losing = true
				t.tell(true, fmt.Sprintf("entries on connections are being lost: the audit log takes none (%s), and there is no room for more than %d", err, trailQueue))
			}
			if !t.pause(pause) {
				t.abandon(ctx, batch)
				return
			}
			pause = min(2*pause, trailRest)
		}
	}
}

// hurry gives a state that hangs little time once the proxy ends.
func (t *trail) hurry(ctx context.Context, cancel context.CancelFunc) {
	select {
	case <-t.quit:
	case <-ctx.Done():
		return
	}
	timer := time.NewTimer(trailLast)
	defer timer.Stop()
	select {
	case <-timer.C:
		cancel()
	case <-ctx.Done():
	}
}

// pause waits, unless the proxy ends.
func (t *trail) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-t.quit:
		return false
	}
}

// more adds to an entry those that wait behind it.
func (t *trail) more(e audit.Entry) []audit.Entry {
	batch := []audit.Entry{e}
	for len(batch) < trailBatch {
		select {
		case e := <-t.queue:
			batch = append(batch, e)
		default:
			return batch
		}
	}
	return batch
}

func (t *trail) write(ctx context.Context, limit time.Duration, batch []audit.Entry) (err error) {
	defer func() {
		if err != nil {
			text := err.Error()
			t.failure.Store(&text)
			return
		}
		t.written.Add(int64(len(batch)))
	}()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	store, err := t.open(ctx)
	if err != nil {
		return err
	}
	lost := t.lost.Load()
	err = store.Tx(ctx, "write connections to the audit log", func(ctx context.Context, tx *state.Tx) error {
		if lost > 0 {
			gap := batch[0]
			gap.Step, gap.Target, gap.Text = "lost", "", fmt.Sprintf("%d entries on connections are missing here: the log did not take them in time", lost)
			if err := tx.Append(ctx, gap); err != nil {
				return err
			}
		}
		for _, e := range batch {
			if err := tx.Append(ctx, e); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil && lost > 0 {
		t.lost.Add(-lost)
		t.tell(true, fmt.Sprintf("%d entries on connections did not find room while the audit log took none, and are lost", lost))
	}
	return err
}

// finish writes what is left when the proxy ends.
func (t *trail) finish(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, trailLast)
	defer cancel()
	for {
		select {
		case e := <-t.queue:
			batch := t.more(e)
			if t.write(ctx, trailLast, batch) != nil {
				t.abandon(ctx, batch)
				return
			}
		default:
			return
		}
	}
}

// abandon tries once more, and then counts what is lost.
func (t *trail) abandon(ctx context.Context, batch []audit.Entry) {
	for {
		err := t.write(ctx, trailLast, batch)
		if err != nil {
			n := int64(len(batch)+len(t.queue)) + t.lost.Load()
			t.total.Add(int64(len(batch) + len(t.queue)))
			t.tell(true, fmt.Sprintf("%d entries on connections are lost, as the audit log does not take them: %s", n, err))
			return
		}
		select {
		case e := <-t.queue:
			batch = t.more(e)
		default:
			return
		}
	}
}

// close ends run, and waits for it.
func (t *trail) close() {
	t.once.Do(func() { close(t.quit) })
	<-t.done
}

// missing is how many entries are not in the log, and why.
func (t *trail) missing() (n int64, why string) {
	if n = t.added.Load() - t.written.Load(); n <= 0 {
		return 0, ""
	}
	why = "it did not take them in time"
	if text := t.failure.Load(); text != nil {
		why = *text
	}
	return n, why
}

// AuditLost is how many entries on this proxy the audit log did not take, and why. It is for after the end: until then some may only be late.
func (p *Proxy) AuditLost() (n int64, why string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.trail != nil {
		n, why = p.trail.missing()
	}
	if p.unrevoked != nil {
		n, why = n+1, p.unrevoked.Error()
	}
	return n, why
}

// connectionEntry is what the audit log says of an event, nil for one that it does not.
func (p *Proxy) connectionEntry(e proxy.Event) *audit.Entry {
	if e.Connection == nil || e.Kind != "open" && e.Kind != "close" {
		return nil
	}
	c := e.Connection
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	who := c.Peer.User
	if who == "" {
		who = "unknown"
	}
	text := facts(
		"connection", strconv.FormatUint(c.ID, 10), "database", c.Database, "access", string(p.access), "login", c.User,
		"process", c.Process, "pid", strconv.Itoa(c.PID), "application", c.Application, "from", c.Client,
	)
	if e.Kind == "close" {
		text += " " + facts("took", e.Took.Round(time.Millisecond).String(), "from_client", strconv.FormatInt(c.FromClient, 10),
			"to_client", strconv.FormatInt(c.ToClient, 10), "reason", e.Reason)
	}
	return &audit.Entry{
		Actor: who + "@" + host, Via: op.ViaUnverified, Host: host, Run: p.id, Kind: "proxy.connection", Step: e.Kind, Phase: audit.Note,
		Target: p.env + "/" + c.Instance, Text: text,
	}
}

// facts writes names and values, quoted where they could be taken for more than one.
func facts(pairs ...string) string {
	var out []string
	for i := 0; i+1 < len(pairs); i += 2 {
		v := pairs[i+1]
		if v == "" || v == "0" && pairs[i] == "pid" {
			continue
		}
		if strings.ContainsAny(v, " =\"\\\n\t") {
			v = strconv.Quote(v)
		}
		out = append(out, pairs[i]+"="+v)
	}
	return strings.Join(out, " ")
}
