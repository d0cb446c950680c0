package tui

import (
	"slices"
	"time"

	"dbops/internal/fault"
	"dbops/internal/tui/dialog"
	"dbops/internal/tui/overview"
)

const (
	keepNotes = 200
	noteTime  = 8 * time.Second // a message that is no failure leaves by itself
)

// notes are the messages to the person, oldest first. It is a value.
type notes struct {
	all       []dialog.Message
	dismissed time.Time // failures up to then were seen
}

// add appends a message, or renews the last one when it says the same.
func (n notes) add(now time.Time, text string, err error) notes {
	msg := dialog.Message{At: now, Text: text}
	if err != nil {
		msg.Text, msg.Hint, msg.Failure = text+": "+fault.Reason(err), overview.Hint(err), true
	}
	n.all = slices.Clone(n.all)
	if i := len(n.all) - 1; i >= 0 && n.all[i].Text == msg.Text {
		n.all[i].At = now
		return n
	}
	n.all = append(n.all, msg)
	if over := len(n.all) - keepNotes; over > 0 {
		n.all = n.all[over:]
	}
	return n
}

// shown is the message for the line: the last one, while it is new; a failure until it was dismissed. What is older is in the history only, so that
// a failure does not stand beside what has come of another try.
func (n notes) shown(now time.Time) (dialog.Message, bool) {
	if i := len(n.all) - 1; i >= 0 && !n.all[i].Failure {
		return n.all[i], now.Sub(n.all[i].At) < noteTime
	}
	return n.failure()
}

func (n notes) failure() (dialog.Message, bool) {
	if i := len(n.all) - 1; i >= 0 && n.all[i].Failure && n.all[i].At.After(n.dismissed) {
		return n.all[i], true
	}
	return dialog.Message{}, false
}

// dismiss takes a failure off the line; it stays in the history. ok is false when there was none.
func (n notes) dismiss() (next notes, ok bool) {
	if _, ok = n.failure(); !ok {
		return n, false
	}
	n.dismissed = n.all[len(n.all)-1].At
	return n, true
}
