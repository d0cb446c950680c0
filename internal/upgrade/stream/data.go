package stream

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
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
			b.tableIn(t)
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
	q := &queue{todo: todo, out: len(todo)}
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
	end  bool
}

func (q *queue) next() (u unit, late, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		switch {
		case q.end || q.out == 0:
			return u, false, false
		case len(q.todo) > 0:
			u, q.todo = q.todo[0], q.todo[1:]
			return u, false, true
		case len(q.late) > 0 && q.out == len(q.late):
			u, q.late = q.late[0], q.late[1:]
			return u, true, true
		}
		q.wake.Wait()
	}
}

func (q *queue) done(u unit, postponed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if postponed {
		q.late = append(q.late, u)
	} else {
		q.out--
	}
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
		u, late, ok := q.next()
		if !ok {
			return ctx.Err()
		}
		n, err := p.copyUnit(ctx, u)
		if pe, is := serverError(err); is && pe.Code == "23514" && !late && u.whole {
			c.tell.moved(u.t, 0, -u.t.rows)
			q.done(u, true)
			continue
		}
		if err != nil {
			return failed("copy the rows of table", u.t.name(), err)
		}
		c.tell.moved(u.t, 0, n)
		if c.finished(u.t) {
			c.tell.in(u.t)
			b.tableIn(u.t)
		}
		q.done(u, false)
	}
}

func (c *copier) finished(t *table) bool {
	c.tell.mu.Lock()
	defer c.tell.mu.Unlock()
	t.left--
	return t.left == 0
}

// copyUnit copies rows and notes that in one transaction of the target.
func (p *pair) copyUnit(ctx context.Context, u unit) (rows int64, err error) {
	for try := 1; ; try++ {
		err := p.ready(ctx)
		if err == nil && try > 1 {
			is, lerr := noted(ctx, p.conn, u.kind(), u.key())
			if is {
				return rows, nil
			}
			err = lerr
		}
		if err == nil {
			if rows, err = p.pump(ctx, u); err == nil {
				return rows, nil
			}
		}
		p.close(ctx) // what state it is in is not worth knowing
		if !again(ctx, err, try) {
			return 0, err
		}
	}
}

func (p *pair) pump(ctx context.Context, u unit) (int64, error) {
	begin := "begin"
	if before := u.before(); before != "" {
		begin += ";\n" + before
	}
	if err := script(ctx, p.conn, begin); err != nil {
		return 0, err
	}
	n := &counter{tell: p.tell, t: u.t}
	rows, err := pipe(ctx, p.from.PgConn(), p.conn.PgConn(), u.out(), u.in(), n)
	n.flush()
	if err != nil {
		p.tell.moved(u.t, -n.all, 0)
		return 0, err
	}
	return rows, script(ctx, p.conn, note(u.kind(), u.key(), rows, n.all)+";\ncommit")
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
