package serve

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"dbops/internal/fault"
)

// visit is the one session of a connection.
type visit struct {
	server *Server
	conn   *conn
	ssh    *ssh.ServerConn
	who    loggedIn
	ch     ssh.Channel

	term  string // empty: no terminal was asked for
	env   []string
	size  Size
	sizes chan Size // the latest
}

// Bounds of what a client may ask for.
const (
	maxCells = 1000
	maxEnv   = 16
	maxValue = 256
)

// serve answers the requests of the session until it is over.
func (v *visit) serve(ctx context.Context, cancel context.CancelCauseFunc, reqs <-chan *ssh.Request) {
	var shown sync.WaitGroup
	defer shown.Wait()
	defer cancel(errLost)
	begun := false
	for r := range reqs {
		ok := false
		begins := (r.Type == "shell" || r.Type == "exec") && !begun
		switch {
		case begins:
			ok, begun = true, true
		case r.Type == "pty-req" && !begun:
			ok = v.terminal(r.Payload)
		case r.Type == "window-change" && v.term != "":
			ok = v.resized(r.Payload)
		case r.Type == "env" && !begun:
			ok = v.environment(r.Payload)
		}
		if r.WantReply {
			_ = r.Reply(ok, nil)
		}
		if begins { // the answer goes before whatever is shown
			shown.Go(func() {
				defer cancel(nil)
				defer v.server.survive(v.conn)
				v.show(ctx, cancel, r.Type == "shell")
			})
		}
	}
}

func (v *visit) terminal(payload []byte) bool {
	var p struct {
		Term           string
		W, H, PxW, PxH uint32
		Modes          string
	}
	if ssh.Unmarshal(payload, &p) != nil || !plain(p.Term) {
		return false
	}
	v.term, v.size = p.Term, size(p.W, p.H)
	return true
}

func (v *visit) resized(payload []byte) bool {
	var p struct{ W, H, PxW, PxH uint32 }
	if ssh.Unmarshal(payload, &p) != nil {
		return false
	}
	select {
	case <-v.sizes: // of an earlier change that nobody has looked at
	default:
	}
	v.sizes <- size(p.W, p.H)
	return true
}

// size is bounded: a frame of this many cells is made.
func size(w, h uint32) Size {
	if w == 0 || h == 0 { // a client without a terminal of its own
		return Size{80, 24}
	}
	return Size{int(min(w, maxCells)), int(min(h, maxCells))}
}

// environment takes what says how a terminal is to be drawn on, and nothing else.
func (v *visit) environment(payload []byte) bool {
	var p struct{ Name, Value string }
	if ssh.Unmarshal(payload, &p) != nil || len(v.env) >= maxEnv || !plain(p.Value) {
		return false
	}
	if !slices.Contains([]string{"LANG", "LC_ALL", "LC_CTYPE", "COLORTERM", "NO_COLOR", "DBOPS_ACCESSIBLE"}, p.Name) {
		return false
	}
	v.env = append(v.env, p.Name+"="+p.Value)
	return true
}

func plain(s string) bool {
	return s != "" && len(s) <= maxValue && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

// show shows the person what they came for.
func (v *visit) show(ctx context.Context, cancel context.CancelCauseFunc, shell bool) {
	leave, err := v.enter(shell)
	if err != nil {
		v.server.o.Log.Info("session refused", "person", v.who.person.Name, "from", v.from(), "err", err)
		v.finish(err)
		return
	}
	v.conn.show()
	began := time.Now()
	var beside sync.WaitGroup
	beside.Go(func() { v.note(ctx, "opened", "") }) // nobody waits for that
	v.server.wg.Go(func() { v.keepAlive(ctx) })     // which ends with the connection
	v.server.wg.Go(func() { v.recheck(ctx, cancel) })
	err = v.stay(ctx, cancel)
	why := "left"
	if err != nil {
		why = err.Error()
	}
	if cause := context.Cause(ctx); cause != nil {
		why = cause.Error()
	}
	leave()
	v.finish(err)
	beside.Wait()
	v.note(ctx, "closed", fmt.Sprintf(" after %s: %s", time.Since(began).Round(time.Second), why))
}

// enter finds out whether there is anything to show, and room for it.
func (v *visit) enter(shell bool) (leave func(), err error) {
	const what = "open the terminal UI"
	port := v.ssh.LocalAddr().String()
	port = port[strings.LastIndexByte(port, ':')+1:]
	if !shell {
		return nil, fault.Newf(fault.Usage, what, "no commands are run here").Hint("log in without one: ssh -p %s HOST", port)
	}
	if v.term == "" {
		return nil, fault.Newf(fault.Usage, what, "there is no terminal to draw on").Hint("ssh -t -p %s HOST", port)
	}
	return v.server.admit(v.who.person)
}

// stay returns what Show does; a bug in that is one of this session.
func (v *visit) stay(ctx context.Context, cancel context.CancelCauseFunc) (err error) {
	defer func() {
		if p := recover(); p != nil {
			v.server.o.Log.Error("a session ended in a bug of dbops", "person", v.who.person.Name, "panic", p, "stack", string(debug.Stack()))
			err = fault.Newf(fault.Internal, "show the terminal UI", "it panicked").Hint("this is a bug in dbops: report it with what the server wrote about it")
		}
	}()
	keys := newKeys(v.server.o.Idle, cancel)
	v.server.wg.Go(func() { keys.take(v.ch, v.server.o.Grace) })
	defer keys.Close()
	return v.server.o.Show(ctx, &Session{
		Person: v.who.person, From: v.from(), Env: append(v.env, "TERM="+v.term), In: keys, Out: v.ch, Size: v.size, Sizes: v.sizes,
	})
}

func (v *visit) from() string { return v.ssh.RemoteAddr().String() }

// note says in the log, and to whoever wants to know, that the session was opened or closed.
func (v *visit) note(ctx context.Context, step, more string) {
	p := v.who.person
	text := fmt.Sprintf("SSH session %s from %s with the key %s, may %s%s", step, v.from(), p.Key, p.May, more)
	v.server.o.Log.Info("session", "person", p.Name, "text", text)
	v.server.o.Note(context.WithoutCancel(ctx), p, step, text)
}

// finish says what went wrong, and ends the session with the status that the command line would have.
func (v *visit) finish(err error) {
	if err != nil {
		text := "dbops: " + err.Error() + "\n"
		if h := fault.HintOf(err); h != "" {
			text += "hint: " + h + "\n"
		}
		_, _ = v.ch.Stderr().Write([]byte(strings.ReplaceAll(text, "\n", "\r\n")))
	}
	_, _ = v.ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{uint32(fault.ExitStatus(err))}))
	_ = v.ch.Close()
}

// keepAlive asks the other end to say something: who is silent for too long is gone.
func (v *visit) keepAlive(ctx context.Context) {
	const often = 3
	tick := time.NewTicker(v.server.o.Silence / often)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if _, _, err := v.ssh.SendRequest("keepalive@openssh.com", true, nil); err != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// recheck ends the session when its key is not among those that may log in any more, or may do something else. Where that cannot be found
// out, the person stays: nobody is thrown out of the work at hand by a slip in a file.
func (v *visit) recheck(ctx context.Context, cancel context.CancelCauseFunc) {
	tick := time.NewTicker(v.server.o.Recheck)
	defer tick.Stop()
	unknown := false
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		p, err := v.server.o.Who(v.who.key)
		switch {
		case denied(err):
			cancel(errors.New("your key may not log in any more"))
			return
		case err != nil:
			if !unknown {
				v.server.o.Log.Error("who may log in cannot be found out; open sessions stay", "person", v.who.person.Name, "err", err)
			}
			unknown = true
		case p != v.who.person:
			cancel(errors.New("what you may do has changed; log in again"))
			return
		default:
			unknown = false
		}
	}
}
