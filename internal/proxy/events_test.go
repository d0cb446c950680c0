package proxy

import (
	"fmt"
	"testing"
)

func TestEventsReachEverySubscriberAndNeverBlock(t *testing.T) {
	s := &Server{}
	a, cancelA := s.Events(100)
	b, cancelB := s.Events(2)
	for i := range 10 {
		s.hub.send(Event{Kind: "open", Text: fmt.Sprint(i)})
	}
	for i := range 10 {
		if e := <-a; e.Text != fmt.Sprint(i) || e.At.IsZero() {
			t.Errorf("%+v", e)
		}
	}
	if x, y := <-b, <-b; x.Text != "8" || y.Text != "9" {
		t.Errorf("who does not keep up has %q and %q", x.Text, y.Text)
	}
	if got := s.hub.missedCount(); got != 8 {
		t.Errorf("%d events were missed", got)
	}
	cancelA()
	cancelA()
	if _, open := <-a; open {
		t.Error("the channel is open after cancel")
	}
	s.hub.close()
	if _, open := <-b; open {
		t.Error("the channel is open after the end")
	}
	cancelB()
	c, cancelC := s.Events(0)
	if _, open := <-c; open {
		t.Error("a subscription after the end")
	}
	cancelC()
	s.hub.send(Event{})
}
