package upgrade

import (
	"context"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"

	"dbops/internal/fault"
)

// held are sessions whose snapshots show both sides as they were at a cut-over: what is compared with them may be compared while clients write.
// They end with the run, or with the process, and a comparison that comes later says so.
type held struct {
	mu  sync.Mutex
	all map[string]pair // by run and database
}

// pair is one database on both sides.
type pair struct{ from, to holding }

// holding is a session that keeps a snapshot.
type holding struct {
	conn *pgx.Conn
	name string
}

func newHeld() *held { return &held{all: map[string]pair{}} }

func (h *held) get(run, database string) (pair, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p, ok := h.all[run+" "+database]
	return p, ok
}

func (h *held) put(ctx context.Context, run, database string, p pair) {
	h.mu.Lock()
	defer h.mu.Unlock()
	key := run + " " + database
	if old, ok := h.all[key]; ok {
		old.close(ctx)
	}
	h.all[key] = p
}

// drop lets the snapshots of a run's databases go.
func (h *held) drop(ctx context.Context, run string, databases []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, d := range databases {
		if p, ok := h.all[run+" "+d]; ok {
			p.close(ctx)
			delete(h.all, run+" "+d)
		}
	}
}

// forget lets all of a run's snapshots go.
func (h *held) forget(ctx context.Context, run string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for key, p := range h.all {
		if strings.HasPrefix(key, run+" ") {
			p.close(ctx)
			delete(h.all, key)
		}
	}
}

func (p pair) close(ctx context.Context) {
	for _, h := range []holding{p.from, p.to} {
		if h.conn != nil {
			_ = h.conn.Close(context.WithoutCancel(ctx))
		}
	}
}

// alive tells whether both sides can still be seen as they were.
func (p pair) alive(ctx context.Context) bool {
	for _, h := range []holding{p.from, p.to} {
		if h.conn == nil || h.conn.IsClosed() || h.conn.Ping(ctx) != nil {
			return false
		}
	}
	return true
}

// hold keeps both sides of a database as they are.
func (m *moving) hold(ctx context.Context, run, database string) error {
	var p pair
	for _, side := range []struct {
		at   Server
		into *holding
	}{{m.from, &p.from}, {m.to, &p.to}} {
		h, err := m.snapshot(ctx, side.at, database)
		if err != nil {
			p.close(ctx)
			return err
		}
		*side.into = h
	}
	m.r.held.put(ctx, run, database, p)
	return nil
}

func (m *moving) snapshot(ctx context.Context, at Server, database string) (h holding, err error) {
	if h.conn, err = m.r.d.Connect(ctx, m.t, at, database, func(c *pgx.ConnConfig) {
		c.RuntimeParams["application_name"] = "dbops upgrade"
	}); err != nil {
		return h, err
	}
	_, err = h.conn.Exec(ctx, "set idle_in_transaction_session_timeout = 0; begin isolation level repeatable read read only", pgx.QueryExecModeSimpleProtocol)
	if err == nil {
		err = h.conn.QueryRow(ctx, "select pg_catalog.pg_export_snapshot()").Scan(&h.name)
	}
	if err != nil {
		_ = h.conn.Close(context.WithoutCancel(ctx))
		return h, fault.New(fault.Unavailable, "keep the state of database "+database+" on "+at.Name, err)
	}
	return h, nil
}
