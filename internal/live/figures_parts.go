package live

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

func (f *Figures) readConnections(ctx context.Context, conn *pgx.Conn) error {
	c := &f.Connections
	err := conn.QueryRow(ctx, connectionsSQL).Scan(&c.Total, &c.Active, &c.Idle, &c.InTx, &c.Hidden, &c.Locked)
	if err != nil {
		return err
	}
	c.Other = c.Total - c.Active - c.Idle - c.InTx - c.Hidden
	if f.Query, err = longest(ctx, conn, "query_start", "state = 'active'"); err != nil {
		return err
	}
	f.Transaction, err = longest(ctx, conn, "xact_start", "state <> 'idle'")
	return err
}

// longest is the session whose began is the oldest; nil without one.
func longest(ctx context.Context, conn *pgx.Conn, began, state string) (*Who, error) {
	w := &Who{}
	err := conn.QueryRow(ctx, fmt.Sprintf(longestSQL, began, state)).Scan(&w.PID, &w.User, &w.Application, &w.Age)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil //nolint:nilnil // nobody does anything
	}
	return w, err
}

func (f *Figures) readReplication(ctx context.Context, conn *pgx.Conn) error {
	all, err := collect[Follower](ctx, conn, followersSQL)
	if err != nil {
		return err
	}
	for _, one := range all {
		if one.State == "" { // the login may not see it: its row has a name and nothing else
			f.Missing = append(f.Missing, Missing{Part: "replication", Why: "the login may not see who follows this server", Hint: monitor})
			break
		}
		f.Followers = append(f.Followers, one)
	}
	if !f.Replica {
		return nil
	}
	return conn.QueryRow(ctx, behindSQL).Scan(&f.Behind)
}

func hidden(n int) Missing {
	what := "one session"
	if n > 1 {
		what = fmt.Sprintf("%d sessions", n)
	}
	return Missing{Part: "sessions", Why: "the login may not see what " + what + " of others do", Hint: monitor}
}
