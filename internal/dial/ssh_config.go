package dial

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"dbops/internal/fault"
)

// hop is one host on the way, with everything that is known of how to get in.
type hop struct {
	name         string // as it was called
	host, user   string
	port         int
	alias        string   // under which its key is known; empty: its own name
	keyFiles     []string // in the order to try
	certFiles    []string
	named        bool     // the key files were named for dbops: each has to be there
	agent        string   // the agent's socket; empty: none
	only         bool     // of the agent's keys, only those of the files
	knownHosts   []string // where the keys of hosts are known
	command      string   // that leads to it, in place of the network
	jump         string   // the hosts before it
	userOfConfig bool     // its user is what OpenSSH's configuration or this machine say
}

// String is user@host:port.
func (h *hop) String() string {
	at := h.user + "@" + h.name
	if h.port != sshPort {
		at = h.user + "@" + net.JoinHostPort(h.name, strconv.Itoa(h.port))
	}
	return at
}

const (
	sshPort = 22
	noFile  = "none"
	maxHops = 8
)

// hops are the hosts of the way in their order, the bastion last.
func (o *SSHOptions) hops(ctx context.Context) ([]hop, error) {
	last, err := o.resolve(ctx, SSHJump{User: o.User, Host: o.Host, Port: o.Port})
	if err != nil {
		return nil, err
	}
	before, err := o.before(ctx, o.Jump, last.jump, 1)
	if err != nil {
		return nil, err
	}
	if len(before) > 0 && last.command != "" {
		last.command = "" // ProxyJump wins, as with OpenSSH
	}
	return append(before, *last), nil
}

// before are the hosts before one: those that were named, else those of the configuration. Only the first of a list may have others before it.
func (o *SSHOptions) before(ctx context.Context, named []SSHJump, configured string, depth int) ([]hop, error) {
	if depth > maxHops {
		return nil, fault.Newf(fault.Config, "", "ProxyJump goes on and on").Hint("check ProxyJump in the configuration of OpenSSH")
	}
	if len(named) == 0 {
		for text := range strings.SplitSeq(configured, ",") {
			if text == "" || strings.EqualFold(text, noFile) {
				continue
			}
			j, err := parseJump(text)
			if err != nil {
				return nil, fault.New(fault.Config, "", err).Hint("check ProxyJump in the configuration of OpenSSH")
			}
			named = append(named, j)
		}
	}
	var out []hop
	for i, j := range named {
		h, err := o.resolve(ctx, j)
		if err != nil {
			return nil, err
		}
		if i == 0 && h.jump != "" {
			if out, err = o.before(ctx, nil, h.jump, depth+1); err != nil {
				return nil, err
			}
		}
		if len(out) > 0 {
			h.command = ""
		}
		out = append(out, *h)
	}
	return out, nil
}

// parseJump reads [USER@]HOST[:PORT], also as a URI.
func parseJump(text string) (SSHJump, error) {
	rest, j := strings.TrimSuffix(strings.TrimPrefix(text, "ssh://"), "/"), SSHJump{}
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		j.User, rest = rest[:at], rest[at+1:]
	}
	j.Host = strings.Trim(rest, "[]")
	if host, port, err := net.SplitHostPort(rest); err == nil {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return j, fmt.Errorf("the port of %q is none", text)
		}
		j.Host, j.Port = host, int(n)
	}
	if j.Host == "" || strings.HasPrefix(j.Host, "-") {
		return j, fmt.Errorf("%q names no host", text)
	}
	return j, nil
}

// resolve works out how to get to a host: as it was asked for, then as OpenSSH's configuration says, then OpenSSH's defaults.
func (o *SSHOptions) resolve(ctx context.Context, j SSHJump) (*hop, error) {
	said, err := o.openSSH(ctx, j)
	if err != nil {
		return nil, err
	}
	one := func(key, fallback string) string {
		if v := said[key]; len(v) > 0 && v[0] != "" {
			return v[0]
		}
		return fallback
	}
	u, err := user.Current()
	if err != nil {
		return nil, err
	}
	h := &hop{
		name: j.Host, host: one("hostname", j.Host), user: j.User, port: j.Port, alias: one("hostkeyalias", ""),
		keyFiles: said["identityfile"], certFiles: said["certificatefile"], only: one("identitiesonly", "no") == "yes",
		agent: one("identityagent", "SSH_AUTH_SOCK"), jump: one("proxyjump", ""),
		knownHosts: append(strings.Fields(one("userknownhostsfile", "")), strings.Fields(one("globalknownhostsfile", ""))...),
	}
	if h.user == "" {
		h.user, h.userOfConfig = one("user", u.Username), true
	}
	if h.port == 0 {
		if h.port, err = strconv.Atoi(one("port", strconv.Itoa(sshPort))); err != nil {
			return nil, fault.Newf(fault.Config, "", "the port of %s is none", j.Host).Hint("check Port in the configuration of OpenSSH")
		}
	}
	if said == nil {
		h.keyFiles = []string{"~/.ssh/id_rsa", "~/.ssh/id_ecdsa", "~/.ssh/id_ed25519"}
		h.knownHosts = []string{"~/.ssh/known_hosts", "~/.ssh/known_hosts2", "/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"}
	}
	if o.KeyFile != "" {
		h.keyFiles, h.certFiles, h.named, h.only = []string{o.KeyFile}, nil, true, true
	}
	if o.KnownHosts != "" {
		h.knownHosts = []string{o.KnownHosts}
	}
	expand := h.tokens(u)
	for _, files := range [][]string{h.keyFiles, h.certFiles, h.knownHosts} {
		for i, f := range files {
			files[i] = inHome(expand.Replace(f), u)
		}
	}
	switch {
	case h.agent == "SSH_AUTH_SOCK":
		h.agent = o.Getenv("SSH_AUTH_SOCK")
	case strings.EqualFold(h.agent, noFile):
		h.agent = ""
	case strings.HasPrefix(h.agent, "$"):
		h.agent = o.Getenv(strings.Trim(h.agent, "${}"))
	default:
		h.agent = inHome(expand.Replace(h.agent), u)
	}
	if command := one("proxycommand", ""); !strings.EqualFold(command, noFile) {
		h.command = expand.Replace(command)
	}
	return h, nil
}

// tokens are what OpenSSH replaces in files and commands.
func (h *hop) tokens(u *user.User) *strings.Replacer {
	return strings.NewReplacer("%%", "%", "%h", h.host, "%n", h.name, "%p", strconv.Itoa(h.port), "%r", h.user, "%u", u.Username, "%d", u.HomeDir)
}

func inHome(path string, u *user.User) string {
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		return filepath.Join(u.HomeDir, rest)
	}
	return path
}

// openSSH asks OpenSSH itself what its configuration says of a host: it alone knows all of Include and Match. Without a program of OpenSSH there
// is none to ask, and nil is returned.
func (o *SSHOptions) openSSH(ctx context.Context, j SSHJump) (map[string][]string, error) {
	if o.ConfigFile == noFile {
		return nil, nil
	}
	program, err := exec.LookPath("ssh")
	if err != nil {
		if o.ConfigFile == "" {
			return nil, nil
		}
		return nil, fault.Newf(fault.Config, "", "there is no ssh to read %s with", o.ConfigFile).
			Hint("install OpenSSH's client, or leave config_file out and say everything in dbops.yaml")
	}
	args := []string{"-G"}
	if o.ConfigFile != "" {
		args = append(args, "-F", o.ConfigFile)
	}
	if j.User != "" {
		args = append(args, "-l", j.User)
	}
	if j.Port != 0 {
		args = append(args, "-p", strconv.Itoa(j.Port))
	}
	cmd := exec.CommandContext(ctx, program, append(args, "--", j.Host)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		why := strings.Join(strings.Fields(stderr.String()), " ")
		if _, ok := errors.AsType[*exec.ExitError](err); !ok || why == "" {
			why = err.Error()
		}
		return nil, fault.Newf(fault.Config, "", "the configuration of OpenSSH cannot be read: %s", why).Hint("ssh -G %s shows the same", j.Host)
	}
	said := map[string][]string{}
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), " ")
		said[key] = append(said[key], value)
	}
	return said, lines.Err()
}
