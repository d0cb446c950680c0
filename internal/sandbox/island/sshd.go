package island

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"dbops/internal/pg"
)

// SSHD is a server of OpenSSH's, as scripts/peers.sh brings it, with a key that lets in.
type SSHD struct {
	User    string // the only one it can let in
	KeyFile string // a private key that opens it
	HostKey ssh.PublicKey
	dir     string
	program string
}

// Program is where scripts/peers.sh put a peer. Without it the test fails.
func Program(t testing.TB, variable string) string {
	t.Helper()
	path := os.Getenv(variable)
	if path == "" {
		t.Fatalf("%s is not set: run scripts/peers.sh, and the tests with what scripts/peers.sh --env prints", variable)
	}
	if why, none := strings.CutPrefix(path, "none: "); none {
		t.Fatalf("this machine has none: %s", why)
	}
	return path
}

// NewSSHD makes keys and a configuration, to which lines are added.
func NewSSHD(t testing.TB, lines ...string) *SSHD {
	t.Helper()
	s := &SSHD{dir: Dir(t), program: Program(t, "DBOPS_PEER_SSHD")}
	who, err := pg.RunAs()
	if err != nil {
		t.Fatal(err)
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	s.User = me.Username
	if who != nil {
		s.User = who.Name
	}
	s.HostKey = s.Key(t, "host_key")
	s.KeyFile = filepath.Join(s.dir, "id")
	s.Authorize(t, s.Key(t, "id"))
	config := append([]string{
		"HostKey " + filepath.Join(s.dir, "host_key"), "AuthorizedKeysFile " + filepath.Join(s.dir, "authorized_keys"),
		"StrictModes no", "UsePAM no", "PasswordAuthentication no", "KbdInteractiveAuthentication no", "PidFile none", "UseDNS no",
	}, lines...)
	for _, part := range []string{"session", "auth"} { // programs of its own since OpenSSH 9.8 and 10
		if real, err := filepath.EvalSymlinks(s.program); err == nil {
			path := filepath.Join(filepath.Dir(real), "..", "libexec", "sshd-"+part)
			if _, err := os.Stat(path); err == nil {
				config = append(config, "Sshd"+strings.ToUpper(part[:1])+part[1:]+"Path "+path)
			}
		}
	}
	s.write(t, "sshd_config", strings.Join(config, "\n")+"\n", 0o644)
	for _, name := range []string{"", "host_key", "id", "sshd_config"} {
		if err := who.Own(filepath.Join(s.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// Argv runs it for one connection.
func (s *SSHD) Argv() []string {
	return []string{s.program, "-i", "-e", "-f", filepath.Join(s.dir, "sshd_config")}
}

// Key makes a key pair, the private one in a file of that name in the server's folder.
func (s *SSHD) Key(t testing.TB, name string) ssh.PublicKey {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, name)
	if err != nil {
		t.Fatal(err)
	}
	s.write(t, name, string(pem.EncodeToMemory(block)), 0o600)
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer.PublicKey()
}

// Path is that of a file in the server's folder.
func (s *SSHD) Path(name string) string { return filepath.Join(s.dir, name) }

// Authorize lets in who has one of the keys, and nobody else.
func (s *SSHD) Authorize(t testing.TB, keys ...ssh.PublicKey) {
	t.Helper()
	var text strings.Builder
	for _, k := range keys {
		text.Write(ssh.MarshalAuthorizedKey(k))
	}
	s.write(t, "authorized_keys", text.String(), 0o644)
}

// KnownAs is a file of known hosts in which it is known at addresses. They are host:port.
func (s *SSHD) KnownAs(t testing.TB, addrs ...string) string {
	t.Helper()
	var text strings.Builder
	for _, a := range addrs {
		host, port, err := net.SplitHostPort(a)
		if err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("[%s]:%s", host, port)
		if port == "22" {
			name = host
		}
		text.WriteString(name + " " + string(ssh.MarshalAuthorizedKey(s.HostKey)))
	}
	path := filepath.Join(t.TempDir(), "known_hosts")
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (s *SSHD) write(t testing.TB, name, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(s.Path(name), []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}
