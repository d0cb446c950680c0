package live

import (
	"cmp"
	"maps"
	"slices"
)

// Tree is a session that others wait for, above those.
type Tree struct {
	Session Session `json:"session"`
	Waiting []Tree  `json:"waiting,omitempty"`
}

// Forest is who blocks whom: those that wait for nobody at the top, the one that most wait for first. A session stands once, as near to the top as
// may be, for in a long queue each waits for all before it. A circle, which PostgreSQL breaks as a deadlock within a second, begins with its
// lowest number.
func (a *Activity) Forest() []Tree {
	by, waiting := map[int]Session{}, a.waiting()
	for _, s := range a.Sessions {
		by[s.PID] = s
	}
	for pid, all := range waiting {
		if _, known := by[pid]; !known { // it has ended since, or is of no session
			by[pid] = Session{PID: pid, Blocks: len(all)}
		}
	}
	first := slices.SortedFunc(maps.Keys(waiting), func(x, y int) int { return cmp.Or(cmp.Compare(by[y].Blocks, by[x].Blocks), cmp.Compare(x, y)) })
	below, seen := map[int][]int{}, map[int]bool{}
	var tops []int
	spread := func(todo []int) {
		tops = append(tops, todo...)
		for ; len(todo) > 0; todo = todo[1:] {
			for _, w := range slices.Sorted(slices.Values(waiting[todo[0]])) {
				if !seen[w] {
					seen[w] = true
					below[todo[0]] = append(below[todo[0]], w)
					todo = append(todo, w)
				}
			}
		}
	}
	var roots []int
	for _, pid := range first {
		if len(by[pid].BlockedBy) == 0 {
			seen[pid] = true
			roots = append(roots, pid)
		}
	}
	spread(roots)
	for _, pid := range first { // what is left waits in circles
		if !seen[pid] {
			seen[pid] = true
			spread([]int{pid})
		}
	}
	var grow func(pid int) Tree
	grow = func(pid int) Tree {
		t := Tree{Session: by[pid]}
		for _, w := range below[pid] {
			t.Waiting = append(t.Waiting, grow(w))
		}
		return t
	}
	var out []Tree
	for _, pid := range tops {
		out = append(out, grow(pid))
	}
	return out
}

// waiting are those that wait for each, directly.
func (a *Activity) waiting() map[int][]int {
	out := map[int][]int{}
	for _, s := range a.Sessions {
		for _, pid := range s.BlockedBy {
			out[pid] = append(out[pid], s.PID)
		}
	}
	return out
}

// count fills in how many wait for each.
func (a *Activity) count() {
	waiting := a.waiting()
	for i, s := range a.Sessions {
		a.Sessions[i].Blocks = len(behind(s.PID, waiting))
	}
}

// behind are those that wait for a session, directly or behind another, in order.
func behind(pid int, waiting map[int][]int) []int {
	seen := map[int]bool{pid: true}
	todo := []int{pid}
	for len(todo) > 0 {
		next := todo[0]
		todo = todo[1:]
		for _, w := range waiting[next] {
			if !seen[w] {
				seen[w] = true
				todo = append(todo, w)
			}
		}
	}
	delete(seen, pid)
	return slices.Sorted(maps.Keys(seen))
}

// Behind are the sessions that wait for one, directly or behind another.
func (a *Activity) Behind(pid int) []Session {
	var out []Session
	for _, w := range behind(pid, a.waiting()) {
		out = append(out, a.Sessions[slices.IndexFunc(a.Sessions, func(s Session) bool { return s.PID == w })])
	}
	return out
}
