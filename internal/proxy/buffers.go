package proxy

import "sync"

const (
	idleSize = 8 << 10  // of the buffer of a direction that cannot wait without one
	bulkSize = 64 << 10 // of the buffers while something flows
	recordTo = 16 << 10 // the most that one read of a TLS connection returns
	sealing  = 256      // what TLS adds to bulkSize, at most
)

// buffers are the big ones, shared by all sessions: a quiet session holds none.
type buffers struct {
	pool  sync.Pool
	watch func(n int) // for tests: how many were taken
}

func (b *buffers) take() *[]byte {
	if b.watch != nil {
		b.watch(1)
	}
	if p, ok := b.pool.Get().(*[]byte); ok {
		return p
	}
	p := make([]byte, bulkSize+sealing)
	return &p
}

func (b *buffers) give(p *[]byte) {
	if b.watch != nil {
		b.watch(-1)
	}
	b.pool.Put(p)
}

// buffer is that of a direction that keeps one: small while little comes, big while reads fill it.
type buffer struct {
	pool  *buffers
	small []byte
	big   *[]byte
}

// space is where to read to.
func (b *buffer) space() []byte {
	if b.big != nil {
		return (*b.big)[:bulkSize]
	}
	if b.small == nil {
		b.small = make([]byte, idleSize)
	}
	return b.small
}

// fit chooses the size for the next read, after one that gave n bytes.
func (b *buffer) fit(n int) {
	switch {
	case b.big == nil && n == idleSize:
		b.big = b.pool.take()
	case b.big != nil && n < idleSize:
		b.release()
	}
}

func (b *buffer) release() {
	if b.big != nil {
		b.pool.give(b.big)
		b.big = nil
	}
}

// calm finds the moment to give memory back: when many sessions have begun, and no more do. A login leaves ten times of what its session
// keeps, and a proxy whose sessions are quiet makes no garbage that would have the runtime collect it.
type calm struct{ last, freed uint64 }

const manyLogins = 100

// after is called from time to time with how many sessions have begun.
func (c *calm) after(begun uint64) bool {
	quiet := begun == c.last
	c.last = begun
	if !quiet || begun-c.freed < manyLogins {
		return false
	}
	c.freed = begun
	return true
}
