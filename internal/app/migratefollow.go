package app

import (
	"context"

	"dbops/internal/migrate"
)

// RehearsalNews is what a rehearsal tells: a line of what it does, or its end.
type RehearsalNews struct {
	Text  string
	Ended bool
	All   []Rehearsed // at the end
	Err   error
}

// FollowRehearsal is [App.RehearseMigrations], telling what it does. The channel closes after the end, or when ctx has ended.
func (a *App) FollowRehearsal(ctx context.Context, asks []migrate.Ask, late bool, to *int64, o RehearseOptions) <-chan RehearsalNews {
	ch := make(chan RehearsalNews, 64)
	tell := func(n RehearsalNews) {
		select {
		case ch <- n:
		case <-ctx.Done():
		}
	}
	o.Tell = func(text string) { tell(RehearsalNews{Text: text}) }
	go func() { // ends with ctx, or before
		defer close(ch)
		end := RehearsalNews{Ended: true}
		end.Err = a.guarded("rehearse migrations", func() (err error) {
			end.All, err = a.RehearseMigrations(ctx, asks, late, to, o)
			return err
		})
		tell(end)
	}()
	return ch
}
