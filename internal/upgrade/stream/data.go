package stream

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/errgroup"
)

// copyData copies all tables, and builds the indexes of those that are in.
func (c *copier) copyData(ctx context.Context) error {
	if err := c.split(ctx); err != nil {
		return failed("prepare tables that are copied in ranges", "", err)
	}
	b := c.newBoard()
	var todo []unit
	var total int64
	for _, t := range c.tables {
		for _, u := range t.units(c.book.steps[t.key()]) {
			if !c.book.has(u.kind(), u.key()) {
				todo = append(todo, u)
				t.left++
			}
		}
		if t.left > 0 {
			total += t.size
		} else {
			b.tablesIn(t)
		}
	}
	of := 0
	for _, t := range c.tables {
		if t.left > 0 {
			of++
		}
	}
	of += b.add(passIndex)
	c.tell.phase("data", of, total)
	g, ctx := errgroup.WithContext(ctx)
	q := &queue{todo: todo, out: len(todo), jobs: c.Jobs}
	q.wake = sync.NewCond(&q.mu)
	end := context.AfterFunc(ctx, q.stop)
	defer end()
	for range c.Jobs {
		g.Go(func() error { return c.copyUnits(ctx, q, b) })
		g.Go(func() error { return b.work(ctx) })
	}
	return g.Wait()
}

// split notes in what steps large tables are copied.
func (c *copier) split(ctx context.Context) error {
	var total int64
	for _, t := range c.tables {
		total += t.size
	}
	for _, t := range c.tables {
		if _, ok := c.book.steps[t.key()]; ok || c.book.has(kindTable, t.key()) {
			continue
		}
		if step := t.step(c.SplitBytes, total, c.Jobs); step > 0 {
			if err := c.book.do(ctx, "truncate only "+t.sql(), note(kindStep, t.key(), step, 0)); err != nil {
				return err
			}
			c.book.steps[t.key()] = step
		}
	}
	return nil
}

// queue hands units out. One whose rows fail a CHECK comes back after all others: the check may read another table.
type queue struct {
	mu   sync.Mutex
	wake *sync.Cond
	todo []unit
	late []unit
	out  int // not finished
	jobs int
	end  bool
}

// together is how many small tables are copied in one transaction.
const together = 50

// next hands out a unit, or some of small tables, which come last.
func (q *queue) next() (some []unit, late, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		switch {
		case q.end || q.out == 0:
			return nil, false, false
		case len(q.todo) > 0:
			n := 1
			if u := q.todo[0]; u.whole && u.t.small() {
				n = max(1, min(together, len(q.todo)/q.jobs))
			}
			some, q.todo = q.todo[:n], q.todo[n:]
			return some, false, true
		case len(q.late) > 0 && q.out == len(q.late):
			some, q.late = q.late[:1], q.late[1:]
			return some, true, true
		}
		q.wake.Wait()
	}
}

func (q *queue) done(units []unit, postponed []unit) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.late = append(q.late, postponed...)
	q.out -= len(units) - len(postponed)
	q.wake.Broadcast()
}

func (q *queue) stop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.end = true
	q.wake.Broadcast()
}

// pair is a session on either side.
type pair struct {
	line
	from *pgx.Conn
}

func (p *pair) close(ctx context.Context) {
	p.line.close(ctx)
	if p.from != nil {
		_ = p.from.Close(context.WithoutCancel(ctx))
		p.from = nil
	}
}

func (p *pair) ready(ctx context.Context) (err error) {
	if err := p.line.ready(ctx); err != nil {
		return fmt.Errorf("log in to the target: %w", err)
	}
	if p.from != nil && !p.from.IsClosed() {
		return nil
	}
	if p.from, err = p.source.reader(ctx); err != nil {
		p.from = nil
		return fmt.Errorf("log in to the source: %w", err)
	}
	return nil
}

func (c *copier) copyUnits(ctx context.Context, q *queue, b *board) error {
	p := &pair{line: line{copier: c}}
	defer p.close(ctx)
	for {
		some, late, ok := q.next()
		if !ok {
			return ctx.Err()
		}
		postponed, err := p.take(ctx, b, some, late)
		if err != nil {
			return err
		}
		q.done(some, postponed)
	}
}

// take copies units together, or one by one where that fails.
func (p *pair) take(ctx context.Context, b *board, some []unit, late bool) (postponed []unit, err error) {
	err = p.copy(ctx, some)
	pe, is := serverError(err)
	switch {
	case err == nil:
		b.tablesIn(p.finished(some)...)
		return nil, nil
	case is && len(some) > 1: // because of one of them
		for i := range some {
			more, err := p.take(ctx, b, some[i:i+1], late)
			if err != nil {
				return nil, err
			}
			postponed = append(postponed, more...)
		}
		return postponed, nil
	case is && pe.Code == "23514" && !late && some[0].whole:
		return some, nil
	}
	return nil, failed("copy the rows of table", some[0].t.name(), err)
}

// finished are the tables that are complete with these units.
func (c *copier) finished(some []unit) (all []*table) {
	for _, u := range some {
		c.tell.mu.Lock()
		u.t.left--
		last := u.t.left == 0
		c.tell.mu.Unlock()
		if last {
			c.tell.in(u.t)
			all = append(all, u.t)
		}
	}
	return all
}

// sent is what went of a unit.
type sent struct{ rows, bytes int64 }

// copy copies the rows of units and notes that, in one transaction of the target.
func (p *pair) copy(ctx context.Context, some []unit) error {
	var all []sent
	for try := 1; ; try++ {
		err := p.ready(ctx)
		if err == nil && try > 1 {
			is, lerr := noted(ctx, p.conn, some[0].kind(), some[0].key())
			if is {
				p.told(some, all, 1)
				return nil
			}
			err = lerr
		}
		if err == nil {
			if all, err = p.pump(ctx, some); err == nil {
				return nil
			}
		}
		p.close(ctx) // what state it is in is not worth knowing
		if !again(ctx, err, try) {
			return err
		}
	}
}

// told adds what went of units to the progress, or takes it back.
func (p *pair) told(some []unit, all []sent, sign int64) {
	for i, n := range all {
		p.tell.moved(some[i].t, sign*n.bytes, sign*n.rows)
	}
}

func (p *pair) pump(ctx context.Context, some []unit) (all []sent, err error) {
	begin, end := []string{"begin"}, []string{}
	for _, u := range some {
		if before := u.before(); before != "" {
			begin = append(begin, before)
		}
	}
	if err := script(ctx, p.conn, strings.Join(begin, ";\n")); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			p.told(some, all, -1)
		}
	}()
	for _, u := range some {
		n := &counter{tell: p.tell, t: u.t}
		rows, err := pipe(ctx, p.from.PgConn(), p.conn.PgConn(), u.out(), u.in(), n)
		n.flush()
		all = append(all, sent{rows, n.all})
		p.tell.moved(u.t, 0, rows)
		if err != nil {
			return all, err
		}
		end = append(end, note(u.kind(), u.key(), rows, n.all))
	}
	return all, script(ctx, p.conn, strings.Join(append(end, "commit"), ";\n"))
}

const pipeBuffer = 256 << 10

// pipe copies from one server to the other, no faster than the slower one, and holds no more than a row and a buffer.
func pipe(ctx context.Context, from, to *pgconn.PgConn, out, in string, n *counter) (int64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	read, write := io.Pipe()
	sent := make(chan error, 1)
	var sentRows int64
	go func() {
		w := bufio.NewWriterSize(io.MultiWriter(n, write), pipeBuffer)
		tag, err := from.CopyTo(ctx, w, out)
		if err == nil {
			err = w.Flush()
		}
		sentRows = tag.RowsAffected()
		_ = write.CloseWithError(err)
		sent <- err
	}()
	tag, err := to.CopyFrom(ctx, read, in)
	_ = read.CloseWithError(errStopped)
	serr := <-sent
	switch {
	case serr != nil && !errors.Is(serr, errStopped): // then the target only says that it got no more
		if err != nil && refused(err) {
			return 0, err
		}
		return 0, fmt.Errorf("read from the source: %w", serr)
	case err != nil:
		return 0, fmt.Errorf("write to the target: %w", err)
	case serr != nil:
		return 0, serr
	case sentRows != tag.RowsAffected():
		return 0, fmt.Errorf("the source sent %d rows, and the target took %d", sentRows, tag.RowsAffected())
	}
	return tag.RowsAffected(), nil
}

var errStopped = errors.New("the target takes no more")

// refused tells whether the target itself refused, rather than the source's end having reached it.
func refused(err error) bool {
	pe, ok := serverError(err)
	return ok && pe.Code != "57014"
}

// counter tells of bytes that went by, not of each one.
type counter struct {
	tell *teller
	t    *table
	all  int64
	some int64
}

func (n *counter) Write(p []byte) (int, error) {
	n.all += int64(len(p))
	if n.some += int64(len(p)); n.some >= 1<<20 {
		n.flush()
	}
	return len(p), nil
}

func (n *counter) flush() {
	if n.some != 0 {
		n.tell.moved(n.t, n.some, 0)
		n.some = 0
	}
}
