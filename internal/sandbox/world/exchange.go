package world

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// exchange ends both servers and brings each back at the address of the other.
func (w *world) exchange(ctx context.Context, one, other string) error {
	ctx, done, err := w.begin(ctx)
	if err != nil {
		return err
	}
	defer done()
	ids := []string{one, other}
	slices.Sort(ids) // whoever takes several takes them in this order
	var both []*Server
	for _, id := range ids {
		giveBack, err := w.ids.take(ctx, id)
		if err != nil {
			return err
		}
		defer giveBack()
		s := w.server(id)
		if s == nil {
			return fmt.Errorf("exchange addresses: there is no server %s", id)
		}
		both = append(both, s)
	}
	records := make([]record, len(both))
	for i, s := range both {
		_, release, err := s.begin(ctx)
		if err != nil {
			return err
		}
		defer release()
		records[i] = s.record
	}
	records[0].Listen, records[1].Listen = both[1].addr(), both[0].addr()
	// What was begun ends with two servers, whoever stopped waiting for it.
	ctx = context.WithoutCancel(ctx)
	for i, s := range both {
		s.halt(ctx)
		s.gone = true
		err = errors.Join(err, s.edge.Close(), w.saveServer(records[i]))
		w.mu.Lock()
		delete(w.servers, s.record.ID)
		w.mu.Unlock()
	}
	for i, s := range both {
		_, launchErr := w.launch(ctx, records[i], s.cert, func(ctx context.Context, s *server) error { return s.boot(ctx, nil) })
		err = errors.Join(err, launchErr)
	}
	return err
}
