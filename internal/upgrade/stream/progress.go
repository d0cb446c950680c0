package stream

import (
	"sync"
	"time"
)

// Progress is how a copy goes.
type Progress struct {
	Phase string        `json:"phase"`           // snapshot, schema, before the data, data, large objects, sequences, source, after the data, dump, restore
	What  string        `json:"what,omitempty"`  // the table or item that moved last
	Done  int           `json:"done"`            // tables or items of the phase
	Of    int           `json:"of,omitempty"`    // 0: not known
	Rows  int64         `json:"rows,omitempty"`  // of the phase
	Bytes int64         `json:"bytes,omitempty"` // that went over the wire in this phase
	Total int64         `json:"total,omitempty"` // bytes on the source's disk, which are about as many
	Rate  float64       `json:"rate,omitempty"`  // bytes each second, lately
	Left  time.Duration `json:"left_ns,omitempty"`
	// Table is what has moved of the table that is named.
	Table struct {
		Rows  int64 `json:"rows"`
		Bytes int64 `json:"bytes"`
		Total int64 `json:"total"`
		In    bool  `json:"in"` // all of it
	} `json:"table"`
}

const tellEvery = 250 * time.Millisecond

// Nothing is estimated before so much is done, or so long has gone by.
const (
	leftPart  = 0.02
	leftAfter = 2 * time.Second
)

// teller adds up what happens.
type teller struct {
	mu    sync.Mutex
	tell  func(Progress)
	now   Progress
	began time.Time
	last  time.Time
	mark  time.Time // of the rate
	bytes int64
}

func newTeller(tell func(Progress)) *teller { return &teller{tell: tell} }

// phase begins one with so many items and bytes to come.
func (t *teller) phase(name string, of int, total int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.now = Progress{Phase: name, Of: of, Total: total}
	t.began, t.mark, t.bytes = time.Now(), time.Now(), 0
	t.say(true)
}

// item tells that one more is done.
func (t *teller) item(what string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.now.Done++
	t.now.What = what
	t.say(t.now.Done == t.now.Of)
}

// moved tells of bytes and rows of a table.
func (t *teller) moved(tb *table, bytes, rows int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	tb.bytes += bytes
	tb.rows += rows
	t.now.Bytes += bytes
	t.now.Rows += rows
	t.now.What = tb.name()
	t.table(tb, false)
	t.say(false)
}

// in tells that a table is complete.
func (t *teller) in(tb *table) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.now.Done++
	t.now.What = tb.name()
	t.table(tb, true)
	t.say(true)
}

func (t *teller) table(tb *table, in bool) {
	t.now.Table.Rows, t.now.Table.Bytes, t.now.Table.Total, t.now.Table.In = tb.rows, tb.bytes, tb.size, in
}

func (t *teller) say(always bool) {
	now := time.Now()
	if since := now.Sub(t.mark); since >= time.Second {
		t.now.Rate = float64(t.now.Bytes-t.bytes) / since.Seconds()
		t.mark, t.bytes = now, t.now.Bytes
	}
	if t.tell == nil || !always && now.Sub(t.last) < tellEvery {
		return
	}
	t.last = now
	t.now.Left = t.left(now)
	t.tell(t.now)
}

// left is an estimate from how long the part that is done took.
func (t *teller) left(now time.Time) time.Duration {
	var part float64
	switch {
	case t.now.Total > 0:
		part = float64(t.now.Bytes) / float64(t.now.Total)
	case t.now.Of > 0:
		part = float64(t.now.Done) / float64(t.now.Of)
	}
	took := now.Sub(t.began)
	if part <= 0 || part >= 1 || part < leftPart && took < leftAfter { // a few rows of a moment say nothing
		return 0
	}
	return time.Duration(float64(took) * (1 - part) / part)
}
