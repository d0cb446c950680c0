package backup

import (
	"context"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/fault"
	"dbops/internal/op"
)

// to logs in to the databases of an instance.
func (r *Room) to(t op.Target, instance string) dial {
	return func(ctx context.Context, database string) (*pgx.Conn, error) {
		return r.d.Connect(ctx, t, instance, database)
	}
}

// reachable waits until a database answers a query, and returns when it did. A new instance's name, address and certificate take a while
// to get around.
func (r *Room) reachable(ctx context.Context, s *op.Session, instance, database string) (at time.Time, err error) {
	what := "log in to " + instance
	pace := r.d.Pace
	pace.Patience, pace.Most = r.d.Reach, min(pace.Most, 5*time.Second)
	var last error
	err = s.Poll(ctx, pace, what, func(ctx context.Context) (bool, string, error) {
		switch last = r.ask(ctx, s.Plan.Target, instance, database); {
		case last == nil:
			at = time.Now().UTC()
			return true, "", nil
		case is(last, fault.Denied, fault.Config, fault.Usage, fault.Interrupted):
			return false, "", last
		}
		return false, instance + " does not answer yet: " + oneLine(last), nil
	})
	if is(err, fault.Unavailable) && last != nil { // not to be waited for nine times over
		err = fault.New(fault.Invalid, what, last).Hint("look at its state, its network and its login; then dbops runs decide %s retry, or undo", s.Run)
	}
	return at, err
}

func (r *Room) ask(ctx context.Context, t op.Target, instance, database string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	c, err := r.d.Connect(ctx, t, instance, database)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	var one int
	return c.QueryRow(ctx, `select 1`).Scan(&one)
}

// oneLine is an error as a report has it.
func oneLine(err error) string {
	text := strings.Join(strings.Fields(err.Error()), " ")
	if r := []rune(text); len(r) > 300 {
		text = string(r[:300]) + " ..."
	}
	return text
}
