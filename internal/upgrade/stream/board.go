package stream

import (
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
	in      map[int]bool    // entries of tables, and what is made
	blocked map[int][]*task // by what they wait for
	ready   []*task         // the largest first
	running []*task
	waiting int // blocked or ready
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
	open   int   // what it needs and is not there
	then   *task // waits for this one
	shared []int // tables that others may share meanwhile
	alone  []int // tables that others may not touch
	last   bool  // of its item
}

func (c *copier) newBoard() *board {
	b := &board{copier: c, in: map[int]bool{}, blocked: map[int][]*task{}}
	b.wake = sync.NewCond(&b.mu)
	return b
}

// tablesIn tells that the rows of tables are complete.
func (b *board) tablesIn(all ...*table) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, t := range all {
		b.arrived(t.id)
	}
	b.wake.Broadcast()
}

// arrived notes what is there now, and readies what waited for nothing else. b.mu is held.
func (b *board) arrived(id int) {
	b.in[id] = true
	for _, t := range b.blocked[id] {
		b.nearer(t)
	}
	delete(b.blocked, id)
}

// nearer readies a task that waits for nothing any more. b.mu is held.
func (b *board) nearer(t *task) {
	if t.open--; t.open <= 0 {
		i, _ := slices.BinarySearchFunc(b.ready, t.it.weight, func(r *task, w int64) int { // behind its equals
			if r.it.weight >= w {
				return -1
			}
			return 1
		})
		b.ready = slices.Insert(b.ready, i, t)
	}
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
	var fresh []*task
	here := map[int]bool{}
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
		made := tasks(it, needs, on, !slices.ContainsFunc(on, func(d int) bool { return !isCopied(d) }) && slices.ContainsFunc(on, func(d int) bool { return copied[d] }))
		fresh, here[it.id] = append(fresh, made...), true
		items++
	}
	for _, t := range fresh {
		for _, d := range t.needs {
			if !b.in[d] && (isCopied(d) || here[d]) {
				t.open++
				b.blocked[d] = append(b.blocked[d], t)
			}
		}
	}
	for _, t := range fresh { // the second part of an item waits for the first
		if t.then != nil {
			t.then.open++
		}
	}
	b.waiting += len(fresh)
	for _, t := range fresh {
		if t.open == 0 {
			b.nearer(t)
		}
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
		z.sql, z.last = second, true
		a.then = &z
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

// next waits for a task that can be done; nil when all are, or are being done.
func (b *board) next(ctx context.Context) *task {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		if ctx.Err() != nil || b.waiting == 0 {
			return nil
		}
		if i := slices.IndexFunc(b.ready, b.free); i >= 0 {
			t := b.ready[i]
			b.ready = slices.Delete(b.ready, i, i+1)
			b.running = append(b.running, t)
			b.waiting--
			return t
		}
		b.wake.Wait()
	}
}

// free tells whether nobody here holds what a task locks.
func (b *board) free(t *task) bool {
	return !slices.ContainsFunc(b.running, func(r *task) bool {
		return overlap(t.alone, r.alone) || overlap(t.alone, r.shared) || overlap(t.shared, r.alone)
	})
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
	b.running = slices.DeleteFunc(b.running, func(r *task) bool { return r == t })
	if t.then != nil {
		b.nearer(t.then)
	}
	if t.last {
		b.arrived(t.it.id)
	}
	b.wake.Broadcast()
	b.mu.Unlock()
	if t.last {
		b.tell.item(t.it.name())
	}
}
