package dial

import (
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"time"
)

// command is the stream to a host that a ProxyCommand of OpenSSH's configuration leads to, as gcloud's tunnels through IAP are.
type command struct {
	io.Reader
	io.WriteCloser
	cmd  *exec.Cmd
	once sync.Once
	err  error
}

// runCommand starts a ProxyCommand, in a shell as OpenSSH does: it is the user's own text.
func runCommand(text string) (net.Conn, error) {
	shell := os.Getenv("SHELL")
	if shell == "" {
		shell = "/bin/sh"
	}
	cmd := exec.Command(shell, "-c", "exec "+text) //nolint:noctx // ends with Close
	apart(cmd)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &command{Reader: out, WriteCloser: in, cmd: cmd}, nil
}

// Close ends the program.
func (c *command) Close() error {
	c.once.Do(func() {
		c.err = c.WriteCloser.Close()
		_ = c.cmd.Process.Kill()
		_ = c.cmd.Wait() // it was killed
	})
	return c.err
}

// What a connection has and a program does not: the SSH connection inside needs none of it.

func (c *command) LocalAddr() net.Addr              { return place("0.0.0.0:22") }
func (c *command) RemoteAddr() net.Addr             { return place("0.0.0.0:22") }
func (c *command) SetDeadline(time.Time) error      { return nil }
func (c *command) SetReadDeadline(time.Time) error  { return nil }
func (c *command) SetWriteDeadline(time.Time) error { return nil }
