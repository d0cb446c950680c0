// Package island makes networks that cannot be reached: a network namespace with nothing in it but what a test puts there, so that a connection
// into it proves the way it took.
//
// An island has addresses and names of its own. Doors lead into it from sockets of the file system, which every network shares: a test
// puts a [Gate] before a door to have it on this machine's loopback, and to close it.
package island

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Spec is what is on an island.
type Spec struct {
	Addresses []string          `json:"addresses"` // IPv4
	Hosts     map[string]string `json:"hosts"`     // names, which nobody else knows, and their addresses
	// Bridges lead out: what connects to an address of the island is passed to a socket in the island's folder.
	Bridges map[string]string `json:"bridges,omitempty"`
	// Doors lead in: what connects to a socket in the island's folder is passed to an address of the island.
	Doors map[string]string `json:"doors,omitempty"`
	// Servers are programs that are run with each connection to a socket in the island's folder as their input and output.
	Servers map[string][]string `json:"servers,omitempty"`
	// Programs run as long as the island.
	Programs [][]string `json:"programs,omitempty"`

	Dir string `json:"dir"` // set by Start
	UID uint32 `json:"uid"` // of servers and programs; set by Start
	GID uint32 `json:"gid"`
}

// Island is a running one.
type Island struct {
	dir string
	cmd *exec.Cmd
}

// variable hands a Spec to the process of an island.
const variable = "DBOPS_ISLAND"

// dialDoor is the socket of [Island.Dial].
const dialDoor = "dial"

// Main is for TestMain to call first: in the process of an island it does not return.
func Main() {
	text := os.Getenv(variable)
	if text == "" {
		return
	}
	var s Spec
	err := json.Unmarshal([]byte(text), &s)
	if err == nil {
		err = s.live()
	}
	if err != nil {
		_, _ = os.Stderr.WriteString("island: " + err.Error() + "\n")
		os.Exit(1) //nolint:forbidigo // the process is the island
	}
	os.Exit(0) //nolint:forbidigo // the process is the island
}

// Dir makes a folder that servers and programs can reach. It ends with the test.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "island-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // other users pass through
		t.Fatal(err)
	}
	return dir
}

// Socket is the path of a door, a bridge's end or a server.
func (i *Island) Socket(name string) string { return filepath.Join(i.dir, name) }

// Dial connects to an address of the island from within, as somebody does who is there.
func (i *Island) Dial(ctx context.Context, _, addr string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", i.Socket(dialDoor))
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if _, err := conn.Write([]byte(addr + "\n")); err != nil {
		_ = conn.Close()
		return nil, err
	}
	answer := make([]byte, 0, 256)
	for one := make([]byte, 1); ; {
		if _, err := conn.Read(one); err != nil {
			_ = conn.Close()
			return nil, err
		}
		if one[0] == '\n' {
			break
		}
		answer = append(answer, one[0])
	}
	if why := strings.TrimSpace(string(answer)); why != "" {
		_ = conn.Close()
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: &refusal{why}}
	}
	return conn, nil
}

type refusal struct{ why string }

func (r *refusal) Error() string { return r.why }
