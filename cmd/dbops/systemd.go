package main

import (
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"

	"dbops/internal/fault"
)

// handedOver are the listeners that systemd, or another parent, opened for this process (LISTEN_FDS).
func handedOver() ([]net.Listener, error) {
	all, err := activation.Listeners() // forgets the variables: they are for this process alone
	if err != nil {
		return nil, fault.New(fault.Usage, "take over the sockets that were handed over", err)
	}
	for i, ln := range all {
		if ln == nil {
			closeListeners(append(all[:i:i], compact(all[i+1:])...))
			return nil, fault.Newf(fault.Usage, "take over the sockets that were handed over", "number %d is no stream socket that listens", i+1).
				Hint("write ListenStream= in the socket unit")
		}
	}
	return all, nil
}

func compact(all []net.Listener) (out []net.Listener) {
	for _, ln := range all {
		if ln != nil {
			out = append(out, ln)
		}
	}
	return out
}

// notifier tells systemd (Type=notify) how the proxy is. Without systemd it does nothing.
type notifier struct {
	log   *slog.Logger
	every time.Duration // between two signs of life; 0 for none
	tell  func(state string) error
	ended sync.Once
}

func newNotifier(log *slog.Logger) *notifier {
	n := &notifier{log: log, tell: func(state string) error {
		_, err := daemon.SdNotify(false, state)
		return err
	}}
	limit, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("the watchdog is not served", "error", err)
	}
	const often = 3 // signs of life within the limit
	n.every = limit / often
	return n
}

func (n *notifier) say(state string) {
	if err := n.tell(state); err != nil {
		n.log.Warn("systemd does not hear", "state", state, "error", err)
	}
}

func (n *notifier) ready() { n.say(daemon.SdNotifyReady) }

// stopping says once that the end has begun.
func (n *notifier) stopping() { n.ended.Do(func() { n.say(daemon.SdNotifyStopping) }) }

// watch gives a sign of life now and then, as long as alive says so, until done.
func (n *notifier) watch(alive func() bool, done <-chan struct{}) {
	if n.every <= 0 {
		return
	}
	tick := time.NewTicker(n.every)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			if alive() {
				n.say(daemon.SdNotifyWatchdog)
			}
		}
	}
}
