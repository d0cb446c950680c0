package dial

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"time"
)

const (
	// responseVariable names, as an argument, the variable that holds the session's token: arguments are for everybody to see.
	responseVariable = "AWS_SSM_START_SESSION_RESPONSE"
	// endPatience is how long the plugin may take to end a session before it is killed.
	endPatience = 3 * time.Second
	// sayWithin is how long the plugin may take to say that a connection was not made.
	sayWithin = time.Second
	maxSaid   = 600
)

// What the plugin says on its standard output.
var (
	portOpened = regexp.MustCompile(`Port (\d+) opened for sessionId`)
	portFailed = "Connection to destination port failed"
)

// plugin is a running session-manager-plugin with its session.
type plugin struct {
	cmd  *exec.Cmd
	dir  string        // of its own, for its socket
	node string        // the managed node
	open chan struct{} // closed when port is known
	done chan struct{} // closed when the process has ended

	mu       sync.Mutex
	port     string
	said     string        // the end of what it said
	failures int           // connections that the managed node could not make
	failing  chan struct{} // closed with the next one
	conns    map[*forwarded]struct{}
}

// startPlugin starts the program. The caller waits for done.
func startPlugin(program, response string, args []string) (*plugin, error) {
	dir, err := os.MkdirTemp("", "dbops-ssm-")
	if err != nil {
		return nil, err
	}
	p := &plugin{dir: dir, open: make(chan struct{}), done: make(chan struct{}), failing: make(chan struct{}), conns: map[*forwarded]struct{}{}}
	p.cmd = exec.Command(program, append([]string{responseVariable}, args...)...) //nolint:noctx // ends with the way
	// Its socket would be in the folder that everybody shares.
	p.cmd.Env = append(os.Environ(), responseVariable+"="+response, "TMPDIR="+dir)
	apart(p.cmd)
	out, in, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	p.cmd.Stdout, p.cmd.Stderr = in, in
	started := make(chan error, 1)
	go p.run(in, out, started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("run %s: %w", program, err)
	}
	return p, nil
}

// run starts the process, follows what it says, and waits for its end, all on one thread, which a process that is to end with this one needs.
func (p *plugin) run(in, out *os.File, started chan<- error) {
	release := withParent(p.cmd)
	defer release()
	err := p.cmd.Start()
	_ = in.Close()
	started <- err
	if err != nil {
		_ = out.Close()
		_ = os.RemoveAll(p.dir)
		close(p.done)
		return
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		p.follow(out)
	}()
	_ = p.cmd.Wait() // what it said tells more than its status
	<-read
	_ = out.Close()
	_ = os.RemoveAll(p.dir)
	close(p.done)
}

func (p *plugin) follow(out io.Reader) {
	r := bufio.NewReader(out)
	for {
		line, err := r.ReadString('\n')
		p.hear(strings.TrimSpace(line))
		if err != nil {
			return
		}
	}
}

func (p *plugin) hear(line string) {
	if line == "" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch m := portOpened.FindStringSubmatch(line); {
	case m != nil && p.port == "":
		p.port = m[1]
		close(p.open)
	case strings.Contains(line, portFailed):
		p.failures++
		close(p.failing)
		p.failing = make(chan struct{})
	default:
		p.said = strings.TrimSpace(p.said + " " + line)
		if n := len(p.said) - maxSaid; n > 0 {
			p.said = "..." + p.said[n:]
		}
	}
}

// ready waits until the program takes connections.
func (p *plugin) ready(ctx context.Context) error {
	select {
	case <-p.open:
		return nil
	case <-p.done:
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.said == "" {
			return fmt.Errorf("%s ended without a word", ssmPlugin)
		}
		return fmt.Errorf("%s ended: %s", ssmPlugin, p.said)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// gone tells whether the process has ended.
func (p *plugin) gone() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// end asks the program to end its session, and kills it if it does not.
func (p *plugin) end() {
	_ = p.cmd.Process.Signal(os.Interrupt)
	t := time.NewTimer(endPatience)
	defer t.Stop()
	select {
	case <-p.done:
	case <-t.C:
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// failed counts the connections that the managed node could not make. The channel is closed with the next one.
func (p *plugin) failed() (int, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failures, p.failing
}

// hasFailed tells whether there is one more than before. What the program says of it may come after the end of the connection.
func (p *plugin) hasFailed(before int) bool {
	t := time.NewTimer(sayWithin)
	defer t.Stop()
	for {
		now, next := p.failed()
		if now > before {
			return true
		}
		select {
		case <-next:
		case <-p.done:
			return false
		case <-t.C:
			return false
		}
	}
}
