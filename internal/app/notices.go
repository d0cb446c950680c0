package app

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"dbops/internal/fault"
	"dbops/internal/notify"
	"dbops/internal/op"
	"dbops/internal/secret"
	"dbops/internal/state"
)

// postRoom sends notices while the engine is open.
type postRoom struct {
	ctx context.Context // that of the last attempts, after all else has ended

	mu    sync.Mutex
	stop  func()
	wrote atomic.Bool // this process has something to tell
}

const (
	postEach = time.Second     // how often it is looked for notices that are due
	postLast = 4 * time.Second // what the end of a process may wait for a receiver that it has something to tell
	postRest = time.Second     // what it may wait with what others have left
)

// close sends what is due, for a short while: what does not arrive is sent by whatever process has the state open next.
func (r *postRoom) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stop != nil {
		r.stop()
		r.stop = nil
	}
}

// couriers begin to send notices, if dbops.yaml has receivers.
func (a *App) couriers(store *state.Store) {
	if len(a.cfg.Notifications) == 0 {
		return
	}
	a.posts.mu.Lock()
	defer a.posts.mu.Unlock()
	c := a.courier(store)
	ctx, cancel := context.WithCancel(a.posts.ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		for op.Sleep(ctx, postEach) == nil {
			a.post(ctx, c)
		}
	})
	a.posts.stop = func() {
		cancel()
		wg.Wait()
		patience := postRest
		if a.posts.wrote.Load() {
			patience = postLast
		}
		last, done := context.WithTimeout(a.posts.ctx, patience)
		defer done()
		a.post(last, c)
	}
}

func (a *App) post(ctx context.Context, c *notify.Courier) {
	if _, err := c.Deliver(ctx); err != nil && ctx.Err() == nil {
		a.opts.Log.Warn("notices could not be sent; trying again", "error", err)
	}
}

func (a *App) courier(store *state.Store) *notify.Courier {
	return &notify.Courier{Store: store, Receiver: a.receiver, Client: notify.NewClient(), Log: a.opts.Log, UserAgent: a.userAgent()}
}

func (a *App) receiver(name string) (notify.Receiver, bool) {
	w, ok := a.cfg.Notifications[name]
	if !ok {
		return notify.Receiver{}, false
	}
	return notify.ReceiverOf(name, w, func(ctx context.Context, place string) (secret.Value, error) {
		ref, err := a.cfg.Secret(place)
		if err != nil {
			return secret.Value{}, err
		}
		return a.secrets.Get(ctx, ref)
	}), true
}

// notices are who is told of what; nil without receivers.
func (a *App) notices() func(op.Happening) []state.Notice {
	if len(a.cfg.Notifications) == 0 {
		return nil
	}
	return func(h op.Happening) (all []state.Notice) {
		for _, name := range slices.Sorted(maps.Keys(a.cfg.Notifications)) {
			if !a.cfg.Notifications[name].Wants(h.Run.Environment, h.On) {
				continue
			}
			n := noticeOf(h)
			body, err := json.Marshal(n)
			if err != nil {
				continue // it has nothing that cannot be written
			}
			a.posts.wrote.Store(true)
			all = append(all, state.Notice{ID: n.ID, Receiver: name, Environment: n.Environment, Run: n.Run, Occasion: n.On, Body: body})
		}
		return all
	}
}

func noticeOf(h op.Happening) notify.Notice {
	n := notify.Notice{
		Schema: notify.Schema, ID: "n" + uuid.NewString()[:12], On: h.On, At: time.Now().UTC().Truncate(time.Second),
		Environment: h.Run.Environment, Instance: h.Run.Instance, Run: h.Run.ID, Approval: h.Approval, Plan: h.Run.PlanHash, Kind: h.Run.Kind,
		Title: h.Run.Title, State: string(h.Run.State), Step: h.Run.Step, Text: h.Text, Hint: h.Hint, Requester: h.Run.Requester, Actor: h.Run.Actor,
	}
	if n.Run != "" {
		n.Next = "dbops runs show " + n.Run
	} else {
		n.Next, n.Hint = cmp.Or(n.Hint, "dbops approvals list"), ""
	}
	return n
}

// Notices lists what was told to whom, the newest first.
func (a *App) Notices(ctx context.Context, limit int) (all []state.Notice, err error) {
	store, err := a.Store(ctx)
	if err != nil {
		return nil, err
	}
	err = store.Read(ctx, "list notices", func(ctx context.Context, tx *state.Tx) error {
		all, err = tx.Notices(ctx, state.NoticeFilter{Limit: limit})
		return err
	})
	return all, err
}

// SendNotices makes one attempt for each notice that is due, and returns how many arrived.
func (a *App) SendNotices(ctx context.Context) (int, error) {
	store, err := a.Store(ctx)
	if err != nil {
		return 0, err
	}
	return a.courier(store).Deliver(ctx)
}

// TestNotice posts a notice that says that it is a test, at once. An error says why it did not arrive.
func (a *App) TestNotice(ctx context.Context, name string) (notify.Notice, error) {
	what := "send a test to the webhook " + name
	r, ok := a.receiver(name)
	if !ok {
		return notify.Notice{}, fault.Newf(fault.Usage, what, "dbops.yaml has no webhook of that name").Hint("notifications: has %v", slices.Sorted(maps.Keys(a.cfg.Notifications)))
	}
	env := slices.Sorted(maps.Keys(a.cfg.Environments))[0]
	if only := a.cfg.Notifications[name].Environments; len(only) > 0 {
		env = only[0]
	}
	n := noticeOf(op.Happening{On: notify.OnTest, Run: state.Run{Environment: env, Instance: "any", Title: "a notice of dbops"}, Text: "nothing happened, and nothing is to be done"})
	n.Next = ""
	body, err := json.Marshal(n)
	if err != nil {
		return n, fault.New(fault.Internal, what, err)
	}
	if _, err := a.courier(nil).Post(ctx, r, n.ID, body); err != nil {
		return n, fault.New(fault.Unavailable, what, err).Hint("look at notifications.%s in dbops.yaml, and at the receiver", name)
	}
	return n, nil
}
