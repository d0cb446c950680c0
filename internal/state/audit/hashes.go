package audit

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"dbops/internal/state/db"
)

// missingHashError says that a hash of the tree is not in the store.
type missingHashError struct{ index int64 }

func (e *missingHashError) Error() string {
	return fmt.Sprintf("the stored hash %d is missing or damaged", e.index)
}

// hashes reads stored hashes, each call with one query.
func (l *Log) hashes(ctx context.Context, q db.Querier) tlog.HashReader {
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		found := make(map[int64]tlog.Hash, len(indexes))
		args := make([]any, len(indexes))
		marks := make([]string, len(indexes))
		for i, x := range indexes {
			args[i], marks[i] = x, "$"+strconv.Itoa(i+1)
		}
		err := db.Each(ctx, q, func(r db.Rows) error {
			var idx int64
			var b []byte
			if err := r.Scan(&idx, &b); err != nil {
				return err
			}
			if len(b) == tlog.HashSize {
				found[idx] = tlog.Hash(b)
			}
			return nil
		}, "select idx, hash from audit_hashes where idx in ("+strings.Join(marks, ", ")+")", args...)
		if err != nil {
			return nil, err
		}
		hashes := make([]tlog.Hash, len(indexes))
		for i, x := range indexes {
			h, ok := found[x]
			if !ok {
				return nil, &missingHashError{x}
			}
			hashes[i] = h
		}
		return hashes, nil
	})
}
