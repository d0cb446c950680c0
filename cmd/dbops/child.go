package main

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"dbops/internal/fault"
	"dbops/internal/pg"
)

// childEnv is the environment of a program that a proxy is opened for: the caller's without what would lead it elsewhere, and lead.
func childEnv(lead []string) []string {
	var env []string
	for _, kv := range pg.Environ(os.Environ()) {
		switch name, _, _ := strings.Cut(kv, "="); name {
		case "DATABASE_URL", "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC": // those of systemd are for dbops
		default:
			env = append(env, kv)
		}
	}
	return append(env, lead...)
}

// runChild runs cmd to its end and returns what dbops ends with: its exit status, or 128 and the signal that ended it. It gets the signals
// that come here; those of keys it has got by itself if it shares the terminal.
func runChild(cmd *exec.Cmd, what string) error {
	const queue = 16
	signals := make(chan os.Signal, queue)
	signal.Notify(signals, os.Interrupt, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return fault.New(fault.Usage, what, err).Hint("check the name of the program, and that it may be run")
	}
	shares := terminal(os.Stdin)
	done := make(chan struct{})
	forwarded := make(chan struct{})
	go func() {
		defer close(forwarded)
		for {
			select {
			case s := <-signals:
				if keyed := s == os.Interrupt || s == syscall.SIGQUIT; !keyed || !shares {
					_ = cmd.Process.Signal(s)
				}
			case <-done:
				return
			}
		}
	}()
	err := cmd.Wait()
	close(done)
	<-forwarded
	exit, failed := errors.AsType[*exec.ExitError](err)
	switch {
	case err == nil:
		return nil
	case !failed:
		return fault.New(fault.Internal, what, err)
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		const bySignal = 128
		return &exitStatus{bySignal + int(status.Signal())}
	}
	return &exitStatus{exit.ExitCode()}
}
