package work

import (
	"context"

	tea "charm.land/bubbletea/v2"
)

// batchSize bounds the work of one Update.
const batchSize = 64

// Batch is what a stream had to say: at least one item, or its end, or both.
type Batch[T any] struct {
	To     ID
	Gen    int // which stream of the addressee; it drops those of an earlier one
	Items  []T
	Closed bool // the stream has ended: ask no more
}

// Addressee is the page that reads the stream.
func (b Batch[T]) Addressee() ID { return b.To }

// Next is a command that waits for one item of ch and then takes what is already there. The page answers each [Batch] that is
// not Closed with another Next: it pulls, so a busy stream cannot run ahead of the screen. When the scope ends, so does the
// stream.
func Next[T any](s Scope, gen int, ch <-chan T) tea.Cmd {
	return s.Do(func(ctx context.Context) tea.Msg {
		b := Batch[T]{To: s.ID, Gen: gen}
		select {
		case v, ok := <-ch:
			if !ok {
				b.Closed = true
				return b
			}
			b.Items = append(b.Items, v)
		case <-ctx.Done():
			b.Closed = true
			return b
		}
		for len(b.Items) < batchSize {
			select {
			case v, ok := <-ch:
				if !ok {
					b.Closed = true
					return b
				}
				b.Items = append(b.Items, v)
			default:
				return b
			}
		}
		return b
	})
}
