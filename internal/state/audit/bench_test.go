package audit

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"testing"
	"time"

	"dbops/internal/state/db"
)

// BenchmarkAppend is one append in a transaction of its own, signed and durable.
func BenchmarkAppend(b *testing.B) {
	for name, store := range stores() {
		b.Run(name, func(b *testing.B) {
			l := open(b, store(b), keysIn(b.TempDir()))
			e := step("run-1", "modify")[0]
			for b.Loop() {
				add(b, l, e)
			}
		})
	}
}

// BenchmarkCommit is the least that a durable transaction costs, to compare with.
func BenchmarkCommit(b *testing.B) {
	for name, store := range stores() {
		b.Run(name, func(b *testing.B) {
			d := store(b)
			n := 0
			for b.Loop() {
				n++
				err := d.Tx(b.Context(), func(ctx context.Context, q db.Querier) error {
					_, err := q.Exec(ctx, "insert into meta (name, value) values ($1, 'x')", fmt.Sprint("n", n))
					return err
				})
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkMillion fills a log with a million entries, and verifies, exports and lists it.
func BenchmarkMillion(b *testing.B) {
	l := open(b, sqlite(b, filepath.Join(b.TempDir(), "state.db")), keysIn(b.TempDir()))
	const total, each = 1_000_000, 20_000
	start := time.Now()
	for n := 0; n < total; n += each {
		var entries []Entry
		for i := range each / 2 {
			entries = append(entries, step(fmt.Sprintf("run-%d", (n+i)/20), fmt.Sprintf("step-%d", i%10))...)
		}
		err := l.d.Tx(b.Context(), func(ctx context.Context, q db.Querier) error {
			_, err := l.appendAll(ctx, q, entries)
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	b.Logf("filled in %v", time.Since(start))
	b.Run("verify", func(b *testing.B) {
		for b.Loop() {
			if r := verify(b, l); !r.OK() || r.Size != total+1 || r.Open != 0 {
				b.Fatalf("%+v", r)
			}
		}
	})
	b.Run("verify the last 1000", func(b *testing.B) {
		for b.Loop() {
			if r, err := l.Verify(b.Context(), total-1000); err != nil || !r.OK() {
				b.Fatalf("%+v, %v", r, err)
			}
		}
	})
	b.Run("check", func(b *testing.B) {
		for b.Loop() {
			if _, err := l.Check(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("append", func(b *testing.B) {
		for b.Loop() {
			add(b, l, step("run-1", "modify")[0])
		}
	})
	b.Run("prove a run", func(b *testing.B) {
		for b.Loop() {
			if _, err := l.Prove(b.Context(), l.d.Read(), Filter{Run: "run-77"}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("export", func(b *testing.B) {
		for b.Loop() {
			if _, err := l.Export(b.Context(), io.Discard); err != nil {
				b.Fatal(err)
			}
		}
	})
}
