package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Control answers HTTP about a server: probes and figures for everybody who may ask, and what changes it for its owner.
type Control struct {
	Server   *Server
	Gatherer prometheus.Gatherer
	// Status is what GET /status answers.
	Status func() any
	// Check logs in to every database, and tells what came of each.
	Check func(ctx context.Context) map[string]error
	// Stop ends the server, as the end of Serve's context does.
	Stop func()
	// Reload reads the configuration again.
	Reload func() error
}

const aliveLimit = 2 * time.Second

// Ready tells whether the server takes clients: it serves and does not end.
func (s *Server) Ready() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.served.Load() && !s.draining
}

// Alive tells whether the server answers: it does not hang.
func (s *Server) Alive() bool {
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		_ = s.Totals()
	}()
	timer := time.NewTimer(aliveLimit)
	defer timer.Stop()
	select {
	case <-answered:
		return true
	case <-timer.C:
		return false
	}
}

// Public is what may be asked on a port, where nobody knows who asks: nothing is changed, nobody is logged in, no secret is told. Only
// this machine is meant, so requests for another host's name, which web pages can make a browser send, are refused.
func (c *Control) Public() http.Handler {
	mux := http.NewServeMux()
	c.probes(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !loopbackHost(r.Host) {
			http.Error(w, "ask for this machine: http://127.0.0.1 or http://localhost", http.StatusForbidden)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// Private is what the owner may ask and do, over a socket that is theirs alone. What changes something is POST only.
func (c *Control) Private() http.Handler {
	mux := http.NewServeMux()
	c.probes(mux)
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, c.Status()) })
	mux.HandleFunc("GET /check", func(w http.ResponseWriter, r *http.Request) {
		out, status := map[string]string{}, http.StatusOK
		for database, err := range c.Check(r.Context()) {
			out[database] = ""
			if err != nil {
				out[database], status = err.Error(), http.StatusServiceUnavailable
			}
		}
		answer(w, status, out)
	})
	mux.HandleFunc("POST /stop", func(w http.ResponseWriter, _ *http.Request) {
		c.Stop()
		answer(w, http.StatusAccepted, "ending")
	})
	mux.HandleFunc("POST /reload", func(w http.ResponseWriter, _ *http.Request) {
		if err := c.Reload(); err != nil {
			answer(w, http.StatusUnprocessableEntity, err.Error())
			return
		}
		answer(w, http.StatusOK, "reloaded")
	})
	mux.HandleFunc("POST /connections/{id}/kill", func(w http.ResponseWriter, r *http.Request) {
		id, err := strconv.ParseUint(r.PathValue("id"), 10, 64)
		if err != nil || !c.Server.Kill(id) {
			answer(w, http.StatusNotFound, "no such connection")
			return
		}
		answer(w, http.StatusOK, "killed")
	})
	return mux
}

func (c *Control) probes(mux *http.ServeMux) {
	probe := func(path string, is func() bool, yes, no string) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			if is() {
				answer(w, http.StatusOK, yes)
				return
			}
			answer(w, http.StatusServiceUnavailable, no)
		})
	}
	probe("/startup", c.Server.served.Load, "started", "starting")
	probe("/readiness", c.Server.Ready, "ready", "ending")
	probe("/liveness", c.Server.Alive, "alive", "does not answer")
	mux.Handle("GET /metrics", promhttp.HandlerFor(c.Gatherer, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError}))
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // nobody can be told
}

func loopbackHost(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// ServeHTTP serves h on ln until ctx ends. Requests that run then are given a moment.
func ServeHTTP(ctx context.Context, ln net.Listener, h http.Handler) error {
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: time.Minute, IdleTimeout: time.Minute,
		MaxHeaderBytes: 16 << 10,
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if srv.Shutdown(ctx) != nil {
			_ = srv.Close()
		}
	})
	err := srv.Serve(ln)
	if !stop() {
		<-ended
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
