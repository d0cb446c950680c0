package proxy

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// processes finds who holds a socket. Who held one lately is asked first, and only for descriptors near the one it had: a pool opens its
// connections one after the other, and may hold ten thousand. What that does not find takes a look at all descriptors of all processes. Such
// looks take a fifth of one processor at most: in a crowd some are not looked for.
type processes struct {
	kernel atomic.Bool   // the kernel has answered once: it can be believed that a socket is gone
	turn   chan struct{} // holds one token while somebody looks at all
	next   time.Time     // when the next full look may begin; of who has the turn

	mu     sync.Mutex
	recent []holding
}

// holding is a process, and the descriptor at which it had a socket last.
type holding struct{ pid, fd int }

func newProcesses() *processes { return &processes{turn: make(chan struct{}, 1)} }

const (
	recentMax = 16
	lookLimit = time.Second // that a search waits for its turn
	lookShare = 4           // pauses between looks are so many times as long as a look

	nearAbove, nearBelow = 64, 8 // descriptors that are near
)

// lately are the processes that were found last, the last one first.
func (p *processes) lately() []holding {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.recent)
}

func (p *processes) found(h holding) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.recent = slices.DeleteFunc(p.recent, func(o holding) bool { return o.pid == h.pid })
	p.recent = slices.Insert(p.recent, 0, h)
	p.recent = p.recent[:min(len(p.recent), recentMax)]
	return h.pid
}

func (p *processes) lost(pid int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.recent = slices.DeleteFunc(p.recent, func(o holding) bool { return o.pid == pid })
}

// holder is the process that holds the socket with that inode, 0 if it is not found.
func (p *processes) holder(uid int, inode uint64) int {
	link := fmt.Sprintf("socket:[%d]", inode)
	for _, h := range p.lately() {
		switch fd, alive := near(h, link); {
		case fd >= 0:
			return p.found(holding{h.pid, fd})
		case !alive:
			p.lost(h.pid)
		}
	}
	limit := time.NewTimer(lookLimit)
	defer limit.Stop()
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-limit.C:
		return 0
	}
	if pause := time.Until(p.next); pause > 0 {
		timer := time.NewTimer(pause)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-limit.C:
			return 0
		}
	}
	begin := time.Now()
	h, ok := search(uid, link, p.lately())
	p.next = time.Now().Add(lookShare * time.Since(begin))
	if !ok {
		return 0
	}
	return p.found(h)
}
