package proxy

import (
	"log/slog"
	"strings"
	"sync"
	"testing"

	"dbops/internal/pg"
	"dbops/internal/secret"
)

// stuckLog takes nothing until it is let.
type stuckLog struct {
	let chan struct{}
	syncBuffer
}

func (s *stuckLog) Write(p []byte) (int, error) {
	<-s.let
	return s.syncBuffer.Write(p)
}

func TestALogThatTakesNothingHoldsNobodyUp(t *testing.T) {
	s := postgres(t, 15)
	sink := &stuckLog{let: make(chan struct{})}
	p := serve(t, Config{Upstreams: []Upstream{s.upstream("orders", pg.Params{})}}, func(s *Server) {
		s.log = slog.New(queued{slog.NewTextHandler(sink, nil), s.logs})
	})
	for range 10 {
		c := p.connect(t, "orders")
		if got := query[int](t, c, "select 1"); got != 1 {
			t.Error("wrong")
		}
		must(t, c.Close(t.Context()))
	}
	for range 3 * logWaiting { // more than it holds
		p.Server.log.Info("a line more")
	}
	p.connect(t, "orders")
	close(sink.let)
	eventually(t, "it says what it has dropped", func() bool { return strings.Contains(sink.String(), "dropped=") })
	if !strings.Contains(sink.String(), "connection opened") {
		t.Error("what was waiting is lost")
	}
}

func TestTheLastLinesAreWritten(t *testing.T) {
	sink := &syncBuffer{}
	s, err := New(Config{
		Environment: "prod", Password: secret.New(proxyPassword), Upstreams: []Upstream{unreachable(t, "orders")}, Log: slog.New(slog.NewTextHandler(sink, nil)),
	})
	must(t, err)
	ln, err := Listen(t.Context(), "127.0.0.1:0")
	must(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		for range 100 {
			s.log.Info("a line")
		}
		_ = ln.Close()
	})
	_ = s.Serve(t.Context(), ln)
	wg.Wait()
	if n := strings.Count(sink.String(), "a line"); n != 100 {
		t.Errorf("%d lines", n)
	}
}
