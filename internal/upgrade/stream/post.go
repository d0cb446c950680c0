package stream

import (
	"context"
	"slices"

	"golang.org/x/sync/errgroup"
)

// makePost makes what comes after the data, but for the indexes that are there already.
func (c *copier) makePost(ctx context.Context) error {
	left := func(passes ...pass) []*item {
		return slices.DeleteFunc(c.toc.of(passes...), func(it *item) bool { return c.book.has(kindPost, it.key) })
	}
	rest, keys := left(passRest), left(passKeys)
	after := left(passAfter, passACL, passFill, passWake)
	c.tell.phase("after the data", len(rest)+len(keys)+len(after), 0)
	if err := c.makeAll(ctx, kindPost, rest); err != nil {
		return err
	}
	if err := c.makeKeys(ctx); err != nil {
		return err
	}
	slices.SortStableFunc(after, func(a, b *item) int { return int(a.pass - b.pass) })
	return c.makeAll(ctx, kindPost, after)
}

func (c *copier) makeKeys(ctx context.Context) error {
	b := c.newBoard()
	b.tablesIn(c.tables...)
	b.add(passKeys)
	g, ctx := errgroup.WithContext(ctx)
	for range c.Jobs {
		g.Go(func() error { return b.work(ctx) })
	}
	return g.Wait()
}
