package stream

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
)

// board hands out what can be made at once: whose tables are in, and locked by nobody else here.
type board struct {
	*copier
	mu      sync.Mutex
	wake    *sync.Cond
	in      map[int]bool // entries of tables, and what is made
	waiting []*task
	running []*task
}

// firstPart marks what is done of an item that is made in two parts.
const firstPart = "/1"

// task makes an item, or a part of it.
type task struct {
	it     *item
	sql    string
	key    string
	kind   string
	needs  []int
	after  *task
	shared []int // tables that others may share meanwhile
	alone  []int // tables that others may not touch
	last   bool  // of its item
	did    bool
}

func (c *copier) newBoard() *board {
	b := &board{copier: c, in: map[int]bool{}}
	b.wake = sync.NewCond(&b.mu)
	return b
}

// tableIn tells that a table's rows are complete.
func (b *board) tableIn(t *table) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.in[t.id] = true
	b.wake.Broadcast()
}

// add puts the items of a pass on the board, and returns how many. Those of partitioned tables are no work, and left to [passRest]; so is what has no table.
func (b *board) add(p pass) (items int) {
	copied := map[int]bool{} // and whether it is large
	pages := map[int]int64{}
	var every []int
	for _, t := range b.tables {
		pages[t.id] = t.pages
		copied[t.id] = t.size >= b.SplitBytes/partOfSplit
		every = append(every, t.id)
	}
	isCopied := func(d int) bool { _, ok := copied[d]; return ok }
	b.mu.Lock()
	defer b.mu.Unlock()
	all := b.toc.of(p)
	among := map[int]bool{}
	for _, it := range all {
		among[it.id] = true
	}
	for _, it := range all {
		if b.book.has(kindPost, it.key) {
			b.in[it.id] = true
			continue
		}
		var needs, on []int
		for _, d := range it.deps {
			dep := b.toc.byID[d]
			switch {
			case dep == nil:
			case isCopied(d):
				needs, on = append(needs, d), append(on, d)
				if p == passKeys && it.namespace == dep.namespace && strings.HasPrefix(it.tag, dep.tag+" ") { // its own table's rows are looked up in the other
					it.weight = pages[d]
				}
			case dep.desc == "TABLE" || dep.desc == "MATERIALIZED VIEW":
				on = append(on, d)
			case among[d]:
				needs = append(needs, d)
			}
		}
		if slices.ContainsFunc(it.deps, func(d int) bool { return b.toc.byID[d] != nil && b.toc.byID[d].desc == "FUNCTION" }) {
			needs = every // a function may read any table, whatever it says
		}
		if p == passIndex && !slices.ContainsFunc(on, isCopied) {
			it.pass = passRest
			continue
		}
		b.waiting = append(b.waiting, tasks(it, needs, on, !slices.ContainsFunc(on, func(d int) bool { return !isCopied(d) }) && slices.ContainsFunc(on, func(d int) bool { return copied[d] }))...)
		items++
	}
	slices.SortStableFunc(b.waiting, func(x, y *task) int { return cmp.Compare(y.it.weight, x.it.weight) })
	here := map[int]bool{}
	for _, t := range b.waiting {
		here[t.it.id] = true
	}
	for _, t := range b.waiting {
		t.needs = slices.DeleteFunc(slices.Clone(t.needs), func(d int) bool { return !isCopied(d) && !here[d] })
	}
	return items
}

// partOfSplit of the size from which a table is split makes it worth to make its keys in parts.
const partOfSplit = 32

// tasks are the parts that an item is made in, where that gives the same result sooner: with a large table, and no partitioned one.
func tasks(it *item, needs, on []int, parts bool) []*task {
	base := task{it: it, kind: kindPost, key: it.key, needs: needs}
	two := func(first, second string, firstShared bool) []*task {
		a, z := base, base
		a.sql, a.key = first, it.key+firstPart
		z.sql, z.after, z.last = second, &a, true
		a.alone, z.alone = on, on
		if firstShared {
			a.alone, a.shared = nil, on
		}
		return []*task{&a, &z}
	}
	switch {
	case it.desc == "INDEX":
		base.sql, base.shared, base.last = it.sql(), on, true
		return []*task{&base}
	case parts && it.desc == "CONSTRAINT":
		if index, constraint, ok := it.asIndex(); ok {
			return two(index, constraint, true)
		}
	case parts && it.desc == "FK CONSTRAINT":
		if add, validate, ok := it.asUnchecked(); ok {
			both := two(add, validate, false)
			both[1].alone, both[1].shared = nil, on // several can be checked at once
			return both
		}
	}
	base.sql, base.alone, base.last = it.sql(), on, true
	return []*task{&base}
}

// next waits for a task that can be done; nil when all are.
func (b *board) next(ctx context.Context) *task {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		if ctx.Err() != nil || len(b.waiting) == 0 {
			return nil
		}
		for i, t := range b.waiting {
			if b.free(t) {
				b.waiting = slices.Delete(b.waiting, i, i+1)
				b.running = append(b.running, t)
				return t
			}
		}
		b.wake.Wait()
	}
}

func (b *board) free(t *task) bool {
	if t.after != nil && !t.after.did {
		return false
	}
	for _, d := range t.needs {
		if !b.in[d] {
			return false
		}
	}
	for _, r := range b.running {
		if overlap(t.alone, r.alone) || overlap(t.alone, r.shared) || overlap(t.shared, r.alone) {
			return false
		}
	}
	return true
}

func overlap(a, b []int) bool {
	return slices.ContainsFunc(a, func(x int) bool { return slices.Contains(b, x) })
}

// work does tasks until there are no more.
func (b *board) work(ctx context.Context) error {
	end := context.AfterFunc(ctx, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.wake.Broadcast()
	})
	defer end()
	l := &line{copier: b.copier}
	defer l.close(ctx)
	for {
		t := b.next(ctx)
		if t == nil {
			return ctx.Err()
		}
		if !b.book.has(t.kind, t.key) {
			if err := l.do(ctx, t.kind, t.key, t.sql, note(t.kind, t.key, 0, 0)); err != nil {
				return failed("make", t.it.name(), err)
			}
		}
		b.finish(t)
	}
}

func (b *board) finish(t *task) {
	b.mu.Lock()
	t.did = true
	b.running = slices.DeleteFunc(b.running, func(r *task) bool { return r == t })
	if t.last {
		b.in[t.it.id] = true
	}
	b.wake.Broadcast()
	b.mu.Unlock()
	if t.last {
		b.tell.item(t.it.name())
	}
}
