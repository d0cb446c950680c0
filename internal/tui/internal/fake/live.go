package fake

import (
	"context"
	"math"
	"time"

	"dbops/internal/live"
)

// server is what the servers of the core do.
type server struct {
	err      error
	delay    time.Duration
	activity func() *live.Activity
	read     int
}

// FailLive makes looking at servers take d and fail with err; a nil err lets it succeed.
func (c *Core) FailLive(d time.Duration, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.server.delay, c.server.err = d, err
}

// Connected replaces who is connected.
func (c *Core) Connected(f func() *live.Activity) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.server.activity = f
}

// Looked counts the readings of figures and of sessions.
func (c *Core) Looked() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.server.read
}

func (c *Core) askServer(ctx context.Context) error {
	c.mu.Lock()
	d, err := c.server.delay, c.server.err
	c.server.read++
	c.mu.Unlock()
	if late := wait(ctx, d); late != nil {
		return late
	}
	return err
}

// LiveFigures implements [core.Live]. Each reading is busier than the one before, up and down.
func (c *Core) LiveFigures(ctx context.Context, _, _ string, _ live.Want) (*live.Figures, error) {
	if err := c.askServer(ctx); err != nil {
		return nil, err
	}
	c.mu.Lock()
	n := float64(c.server.read)
	c.mu.Unlock()
	grown := func(a, b float64) int64 { return int64(1e6 + a*n + b*math.Sin(n/2)) }
	now := c.now()
	return &live.Figures{
		At: now, Version: "16.4",
		Connections: live.Connections{Max: 500, Total: 212 + int(20*math.Sin(n/3)), Active: 24, Idle: 180 + int(20*math.Sin(n/3)), InTx: 7, Other: 1, Locked: 3},
		Counters: live.Counters{
			Commits: grown(2400, 1500), Rollbacks: int64(5 * n), BlocksHit: grown(9e4, 100), BlocksRead: grown(700, 400), BlockSize: 8192, Changed: grown(800, 300),
			Fetched: grown(4e4, 100),
		},
		Query:       &live.Who{PID: 40122, User: "bi_ro", Application: "metabase", Age: live.Span(41*60 + 2*n)},
		Transaction: &live.Who{PID: 40122, User: "bi_ro", Application: "metabase", Age: live.Span(41*60 + 2*n)},
		Waits:       []live.Wait{{Type: "IO", Event: "DataFileRead", Count: 9}, {Type: "Lock", Event: "transactionid", Count: 3}},
		Followers:   []live.Follower{{Name: "orders-dr", State: "streaming", Sync: "async", Lag: span(0.04)}},
		Sizes:       []live.Size{{Database: "orders", Bytes: 742 << 30}, {Database: "billing", Bytes: 12 << 30}},
	}, nil
}

func span(s float64) *live.Span { return new(live.Span(s)) }

// LiveSessions implements [core.Live].
func (c *Core) LiveSessions(ctx context.Context, _, _ string) (*live.Activity, error) {
	if err := c.askServer(ctx); err != nil {
		return nil, err
	}
	return c.connected(), nil
}

func (c *Core) connected() *live.Activity {
	c.mu.Lock()
	f := c.server.activity
	c.mu.Unlock()
	if f != nil {
		return f()
	}
	return connected(c.now())
}

// LiveSession implements [core.Live].
func (c *Core) LiveSession(ctx context.Context, _, _ string, pid int) (*live.Detail, error) {
	if err := c.askServer(ctx); err != nil {
		return nil, err
	}
	a := c.connected()
	d := &live.Detail{Waiting: a.Behind(pid), Missing: a.Missing}
	for i, s := range a.Sessions {
		if s.PID == pid {
			d.Session = &a.Sessions[i]
			d.Locks = []live.Lock{
				{Object: "its own transaction 88122", Mode: "ExclusiveLock", Granted: true, Count: 1},
				{Object: "carts", Mode: "RowExclusiveLock", Granted: true, Count: 1},
				{Object: "carts_pkey", Mode: "RowExclusiveLock", Granted: true, Count: 1},
			}
			if s.Waits != nil {
				d.Locks = append(d.Locks, live.Lock{Object: s.Waits.Object, Mode: s.Waits.Mode, Count: 1})
			}
		}
	}
	return d, nil
}

func connected(now time.Time) *live.Activity {
	client := func(pid int, user, application, client, state string, tx, statement float64, query string) live.Session {
		s := live.Session{
			PID: pid, Started: now.Add(-2 * time.Hour), Type: "client backend", User: user, Application: application, Client: client, Database: "orders", State: state,
			Statement: span(statement), InState: span(statement), Asked: now.Add(-time.Duration(statement * float64(time.Second))), Query: query,
		}
		if tx > 0 {
			s.InTransaction = span(tx)
		}
		return s
	}
	holder := client(39980, "app_rw", "cart", "10.3.4.21:51822", "idle in transaction", 430, 428, "update carts set touched_at = now()\n where id = 17")
	holder.Wrote, holder.Blocks, holder.WaitType, holder.WaitEvent = true, 3, "Client", "ClientRead"
	first := client(40311, "app_rw", "checkout", "10.3.4.22:40120", "active", 41, 41, "update carts set paid = true where id = 17")
	first.BlockedBy, first.Waits, first.Blocks, first.WaitType, first.WaitEvent = []int{39980}, &live.LockWait{Mode: "ShareLock", Object: "a row of carts", For: span(41)}, 1, "Lock", "transactionid"
	ddl := client(40402, "migrator", "golang-migrate", "10.3.9.4:39111", "active", 12, 12, "alter table carts add column note text")
	ddl.BlockedBy, ddl.Waits, ddl.WaitType, ddl.WaitEvent = []int{39980, 40311}, &live.LockWait{Mode: "AccessExclusiveLock", Object: "carts", For: span(12)}, "Lock", "relation"
	second := client(40417, "app_rw", "checkout", "10.3.4.23:40981", "active", 9, 9, "update carts set paid = true where id = 17")
	second.BlockedBy, second.Waits, second.WaitType, second.WaitEvent = []int{39980}, &live.LockWait{Mode: "ExclusiveLock", Object: "a row of carts", For: span(9)}, "Lock", "tuple"
	report := client(40122, "bi_ro", "metabase", "10.3.7.2:50111", "active", 2462, 2462, "select o.id, sum(l.quantity) filter (where l.kind = 'book') from orders o join order_lines l using (order_id) group by o.id order by 2 desc")
	report.WaitType, report.WaitEvent = "IO", "DataFileRead"
	vacuum := live.Session{PID: 39001, Started: now.Add(-time.Hour), Type: "autovacuum worker", Application: "autovacuum worker", Database: "orders", State: "active", InTransaction: span(900), Statement: span(900), InState: span(900), Query: "autovacuum: VACUUM public.order_lines"}
	idle := client(40118, "app_rw", "cart", "10.3.4.21:51830", "idle", 0, 3, "commit")
	idle.WaitType, idle.WaitEvent = "Client", "ClientRead"
	return &live.Activity{At: now, Sessions: []live.Session{holder, first, ddl, second, report, vacuum, idle, client(40119, "app_rw", "checkout", "10.3.4.22:40121", "idle", 0, 0.4, "select 1")}}
}
