package proxy

import "sync"

const (
	idleSize = 8 << 10  // of the buffer of a direction that is quiet: one of PostgreSQL's own buffers
	bulkSize = 64 << 10 // of the buffer of a direction through which much flows
	recordTo = 16 << 10 // the most that one read of a TLS connection returns
)

// buffers are the big ones, shared by all sessions: a quiet session holds none.
type buffers struct{ pool sync.Pool }

func (b *buffers) take() *[]byte {
	if p, ok := b.pool.Get().(*[]byte); ok {
		return p
	}
	p := make([]byte, bulkSize)
	return &p
}

func (b *buffers) give(p *[]byte) { b.pool.Put(p) }

// buffer is one direction's: small while little comes, big while reads fill it.
type buffer struct {
	pool  *buffers
	small []byte
	big   *[]byte
}

// space is where to read to.
func (b *buffer) space() []byte {
	if b.big != nil {
		return *b.big
	}
	if b.small == nil {
		b.small = make([]byte, idleSize)
	}
	return b.small
}

// fit chooses the size for the next read, after one that gave n bytes; more says that the peer has still more.
func (b *buffer) fit(n int, more bool) {
	switch {
	case b.big == nil && n == idleSize:
		b.big = b.pool.take()
	case b.big != nil && n < idleSize && !more:
		b.release()
	}
}

func (b *buffer) release() {
	if b.big != nil {
		b.pool.give(b.big)
		b.big = nil
	}
}
