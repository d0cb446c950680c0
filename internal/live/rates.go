package live

import "time"

// Rates are what happened in each second between two readings.
type Rates struct {
	Over         time.Duration
	Transactions float64
	Rollbacks    float64
	RolledBack   float64 // share of the transactions: 0 to 1
	Hits         float64 // share of the blocks that were in the server's memory: 0 to 1; 1 where none was asked for
	ReadBytes    float64 // from outside the server's memory
	Fetched      float64 // tuples
	Changed      float64
	TempBytes    float64
	Deadlocks    int64 // in all, not in a second
}

// Between works out the rates between two readings. ok is false where they cannot be compared: the clock stood still, or the counters began anew.
func Between(before, now *Figures) (r Rates, ok bool) {
	if before == nil || now == nil {
		return r, false
	}
	b, n := before.Counters, now.Counters
	over := now.At.Sub(before.At)
	if over <= 0 || now.Replica != before.Replica || n.Commits < b.Commits || n.BlocksHit < b.BlocksHit || n.BlocksRead < b.BlocksRead ||
		n.Rollbacks < b.Rollbacks || n.Fetched < b.Fetched || n.Changed < b.Changed || n.TempBytes < b.TempBytes || n.Deadlocks < b.Deadlocks {
		return r, false
	}
	per := func(x, y int64) float64 { return float64(y-x) / over.Seconds() }
	r = Rates{
		Over: over, Rollbacks: per(b.Rollbacks, n.Rollbacks), Fetched: per(b.Fetched, n.Fetched), Changed: per(b.Changed, n.Changed),
		ReadBytes: per(b.BlocksRead, n.BlocksRead) * float64(n.BlockSize), TempBytes: per(b.TempBytes, n.TempBytes), Deadlocks: n.Deadlocks - b.Deadlocks, Hits: 1,
	}
	r.Transactions = per(b.Commits, n.Commits) + r.Rollbacks
	if r.Transactions > 0 {
		r.RolledBack = r.Rollbacks / r.Transactions
	}
	hit, read := float64(n.BlocksHit-b.BlocksHit), float64(n.BlocksRead-b.BlocksRead)
	if hit+read > 0 {
		r.Hits = hit / (hit + read)
	}
	return r, true
}
