package world

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"syscall"
	"time"

	"dbops/internal/fault"
	"dbops/internal/sandbox/edge"
)

const (
	startPatience   = time.Minute
	recoverPatience = 10 * time.Minute

	sqlCannotConnectNow = "57P03"
)

// boot starts PostgreSQL behind the edge, with extra settings for this time. The holder of change calls it.
func (s *server) boot(ctx context.Context, extra map[string]string) error {
	if s.process.runs() {
		return nil
	}
	patience := startPatience
	if len(extra) > 0 {
		patience = recoverPatience
	}
	if err := s.writeCertificate(s.cert); err != nil {
		return err
	}
	deadline := time.Now().Add(startPatience)
	for {
		port, err := edge.FreePort(ctx, "127.0.0.1")
		if err != nil {
			return err
		}
		if err := s.writeConf(port, extra); err != nil {
			return err
		}
		p, err := s.cluster.start(ctx, patience)
		if err == nil {
			s.mu.Lock()
			s.port, s.process = port, p
			s.mu.Unlock()
			return s.setVersion(ctx)
		}
		// Somebody was faster at that port, or the children of a server that was killed are not all gone yet.
		if !says(err, "could not create any TCP/IP sockets") && !says(err, "pre-existing shared memory block") || time.Now().After(deadline) {
			return err
		}
		pause := time.NewTimer(100 * time.Millisecond)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return errors.Join(err, context.Cause(ctx))
		}
	}
}

// listen opens the edge's address.
func (s *server) listen(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	err := s.edge.Listen(ctx, s.record.Listen)
	if errors.Is(err, syscall.EADDRINUSE) {
		err = fault.New(fault.Busy, "open the address of server "+s.record.ID, err).Hint("another program uses it: end that one")
	}
	return err
}

// admit opens the edge to the server that runs.
func (s *server) admit(ctx context.Context) error {
	if err := s.listen(ctx); err != nil {
		return err
	}
	s.edge.Up(s.backend())
	return nil
}

// halt stops the server in an orderly way: its sessions hear from it why they end.
func (s *server) halt(ctx context.Context) {
	s.edge.Down(sqlCannotConnectNow, "the database system is shutting down")
	s.process.end(ctx, syscall.SIGINT)
	s.edge.Down(sqlCannotConnectNow, "the database system is shut down")
}

func (s *server) start(ctx context.Context) error {
	ctx, done, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer done()
	return s.startHeld(ctx)
}

func (s *server) startHeld(ctx context.Context) error {
	if !s.process.runs() {
		s.edge.Down(sqlCannotConnectNow, "the database system is starting up")
	}
	if err := s.boot(ctx, nil); err != nil {
		return fmt.Errorf("start server %s: %w", s.record.ID, err)
	}
	return s.admit(ctx)
}

func (s *server) stop(ctx context.Context) error {
	ctx, done, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer done()
	s.halt(ctx)
	return nil
}

func (s *server) restart(ctx context.Context, settings map[string]string) error {
	ctx, done, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer done()
	if err := s.checkSettings(settings); err != nil {
		return err
	}
	before := s.record.Settings
	s.halt(ctx)
	s.set(merged(before, settings))
	// A restart that was begun ends with a server, whoever stopped waiting for it.
	ctx = context.WithoutCancel(ctx)
	if err := s.startHeld(ctx); err != nil {
		if len(settings) == 0 {
			return err
		}
		s.set(before)
		return fault.New(fault.Invalid, "restart server "+s.record.ID+" with new settings", errors.Join(err, s.startHeld(ctx))).
			Hint("it runs with the settings from before")
	}
	return s.world.saveServer(s.record)
}

func (s *server) set(settings map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.record.Settings = settings
}

// merged is a new map with the settings of both; those of over win.
func merged(under, over map[string]string) map[string]string {
	all := maps.Clone(under)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, over)
	return all
}

func (s *server) failover(ctx context.Context, outage time.Duration) error {
	ctx, done, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer done()
	wait := time.NewTimer(outage)
	defer wait.Stop()
	err = s.edge.Refuse()
	s.edge.Down(sqlCannotConnectNow, "the database system is starting up")
	s.edge.DropAll()
	s.process.end(ctx, syscall.SIGQUIT)
	select {
	case <-wait.C:
	case <-ctx.Done():
		err = errors.Join(err, context.Cause(ctx))
	}
	// A failover that was begun ends with a server, whoever stopped waiting for it.
	if startErr := s.startHeld(context.WithoutCancel(ctx)); startErr != nil {
		err = errors.Join(err, startErr)
	}
	if err != nil {
		return fmt.Errorf("fail over server %s: %w", s.record.ID, err)
	}
	return nil
}
