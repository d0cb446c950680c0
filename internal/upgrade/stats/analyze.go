package stats

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"golang.org/x/sync/errgroup"
)

const (
	// small is up to what size a table gets all statistics in the first pass.
	small = 8 << 20
	// tries of one table, when its connection is lost.
	tries = 3
)

// task is to analyse a table, quickly or as it is set for its columns.
type task struct {
	table
	quick bool
}

// analyzeAll does two passes over all tables. A large one that has statistics already, because this was begun before, needs no quick one.
func (r *run) analyzeAll(ctx context.Context) error {
	all, err := r.tables(ctx)
	if err != nil {
		return err
	}
	r.res.Tables = len(all)
	var first, second []task
	for _, t := range all {
		switch {
		case t.bytes <= small:
			first = append(first, task{table: t})
		default:
			if t.missing {
				first = append(first, task{table: t, quick: true})
			}
			second = append(second, task{table: t})
		}
	}
	return r.analyze(ctx, first, second)
}

// analyzeMissing analyses what has no statistics.
func (r *run) analyzeMissing(ctx context.Context) error {
	all, err := r.tables(ctx)
	if err != nil {
		return err
	}
	r.res.Tables = len(all)
	var tasks []task
	for _, t := range all {
		if t.missing {
			tasks = append(tasks, task{table: t})
		}
	}
	return r.analyze(ctx, tasks)
}

// analyze does the passes one after the other, and the tasks of each in order, several at once.
func (r *run) analyze(ctx context.Context, passes ...[]task) error {
	a := &analysis{run: r}
	for _, p := range passes {
		a.of += len(p)
	}
	for _, p := range passes {
		todo := make(chan task, len(p))
		for _, t := range p {
			todo <- t
		}
		close(todo)
		g, gctx := errgroup.WithContext(ctx)
		for range min(r.Jobs, len(p)) {
			g.Go(func() error { return a.work(gctx, todo) })
		}
		if err := g.Wait(); err != nil {
			return err
		}
	}
	return nil
}

// analysis is shared by the sessions that analyse.
type analysis struct {
	*run
	mu       sync.Mutex
	done, of int
}

// worker is one of them.
type worker struct {
	*analysis
	conn   *pgx.Conn
	quick  bool
	warned []string // by the statement
}

func (a *analysis) work(ctx context.Context, todo <-chan task) error {
	w := &worker{analysis: a}
	defer w.close(ctx)
	for t := range todo {
		if err := w.do(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

func (w *worker) close(ctx context.Context) {
	if w.conn != nil {
		_ = w.conn.Close(context.WithoutCancel(ctx))
	}
}

// do analyses a table. That it may not be analysed, or cannot be, is told and no error.
func (w *worker) do(ctx context.Context, t task) error {
	var err error
	for try := 1; ; try++ {
		if err = ctx.Err(); err != nil {
			return err
		}
		if err = w.once(ctx, t); err == nil || try == tries || ctx.Err() != nil {
			break
		}
		pe, ok := errors.AsType[*pgconn.PgError](err)
		if ok && pe.Code != "40P01" && !lost(err) {
			break
		}
		if err := rest(ctx, time.Duration(try*try)*250*time.Millisecond); err != nil {
			return err
		}
	}
	pe, ok := errors.AsType[*pgconn.PgError](err)
	if err != nil && (!ok || lost(err) || ctx.Err() != nil || strings.HasPrefix(pe.Code, "53") || pe.Code == "57014") {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case err != nil:
		w.leave(t.table, pe.Message)
	case len(w.warned) > 0:
		for _, m := range w.warned {
			w.leave(t.table, m)
		}
	case !t.quick:
		w.res.Analyzed++
	}
	w.done++
	w.Progress(w.done, w.of, t.String())
	return nil
}

// leave tells of a table once.
func (w *worker) leave(t table, why string) {
	l := LeftOut{Table: t.String(), Why: why}
	if !slices.Contains(w.res.LeftOut, l) {
		w.res.LeftOut = append(w.res.LeftOut, l)
	}
}

func (w *worker) once(ctx context.Context, t task) (err error) {
	if w.conn == nil || w.conn.IsClosed() {
		w.quick = false
		// Who may not analyse a table, or a partition of it, is warned and no more.
		w.conn, err = open(ctx, w.Target, func(_ *pgconn.PgConn, n *pgconn.Notice) {
			if n.SeverityUnlocalized == "WARNING" {
				w.warned = append(w.warned, n.Message)
			}
		})
		if err != nil {
			return err
		}
	}
	if t.quick != w.quick {
		set := "reset default_statistics_target"
		if t.quick {
			set = "set default_statistics_target = 10"
		}
		if _, err := w.conn.Exec(ctx, set, pgx.QueryExecModeSimpleProtocol); err != nil {
			return err
		}
		w.quick = t.quick
	}
	w.warned = nil
	_, err = w.conn.Exec(ctx, t.statement(w.major), pgx.QueryExecModeSimpleProtocol)
	return err
}

// cancelOnServer makes a context that ends cancel the statement, instead of leaving it to find out that nobody listens.
func cancelOnServer(c *pgconn.PgConn) ctxwatch.Handler {
	return &pgconn.CancelRequestContextWatcherHandler{Conn: c, DeadlineDelay: 3 * time.Second}
}

func rest(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
