package audit

import (
	"context"
	"math"
	"slices"
	"time"

	"dbops/internal/state/db"
)

// Filter says which entries are meant. Empty fields mean all.
type Filter struct {
	Run, Target, Actor string
	Since              time.Time
	Before             int64 // entries with smaller numbers, for the page before; 0 for no bound
	Limit              int   // the latest so many; 0 for a thousand
}

const defaultLimit = 1000

func (f Filter) matches(e Entry) bool {
	return (f.Run == "" || e.Run == f.Run) && (f.Target == "" || e.Target == f.Target) && (f.Actor == "" || e.Actor == f.Actor)
}

// List reads the latest entries that f means, oldest first. Nothing is verified: a damaged entry is there with its number and a text.
func (l *Log) List(ctx context.Context, q db.Querier, f Filter) ([]Entry, error) {
	rows, err := l.list(ctx, q, f)
	if err != nil {
		return nil, db.Fault("list the audit log of "+l.d.Name, err)
	}
	entries := make([]Entry, len(rows))
	for i, r := range rows {
		entries[i] = r.entry
	}
	return entries, nil
}

// row is an entry with its exact text.
type row struct {
	entry Entry
	body  []byte
}

func (l *Log) list(ctx context.Context, q db.Querier, f Filter) ([]row, error) {
	limit, before := f.Limit, f.Before
	if limit <= 0 {
		limit = defaultLimit
	}
	if before <= 0 {
		before = math.MaxInt64
	}
	found := make([]row, 0, min(limit, defaultLimit))
	for {
		page, err := readPage(ctx, q, f.Run, before)
		if err != nil {
			return nil, err
		}
		for _, r := range page {
			before = r.entry.Seq
			if old := !f.Since.IsZero() && !r.entry.At.IsZero() && r.entry.At.Before(f.Since.Add(-skew)); old || len(found) == limit {
				slices.Reverse(found)
				return found, nil
			}
			damaged := r.entry.V == 0
			if damaged || f.matches(r.entry) && !r.entry.At.Before(f.Since) {
				found = append(found, r)
			}
		}
		if len(page) < pageSize {
			slices.Reverse(found)
			return found, nil
		}
	}
}

const (
	pageSize = 512
	// skew is how far clocks of writers may differ: entries are in the order in which they were committed, not of their times.
	skew = time.Hour
)

// readPage reads entries with numbers below before, the latest first.
func readPage(ctx context.Context, q db.Querier, run string, before int64) ([]row, error) {
	where, args := "", []any{before, pageSize}
	if run != "" {
		where, args = " and run = $2", []any{before, run, pageSize}
	}
	limit := " order by seq desc limit $2"
	if run != "" {
		limit = " order by seq desc limit $3"
	}
	var page []row
	err := db.Each(ctx, q, func(rows db.Rows) error {
		var seq int64
		var body []byte
		if err := rows.Scan(&seq, &body); err != nil {
			return err
		}
		e, err := decode(body)
		if err != nil {
			e = Entry{Text: "damaged: " + cut(err.Error(), maxField)}
		}
		e.Seq = seq
		page = append(page, row{e, body})
		return nil
	}, "select seq, body from audit_entries where seq < $1"+where+limit, args...)
	return page, err
}
