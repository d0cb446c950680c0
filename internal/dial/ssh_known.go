package dial

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
	xknown "golang.org/x/crypto/ssh/knownhosts"

	"dbops/internal/fault"
)

// knownHosts decides whether a host is the one that is known. A host that is not known, or that shows another key, is never accepted.
type knownHosts struct {
	db      *knownhosts.HostKeyDB // nil: none of the files is there
	files   []string
	hop     *hop
	before  []hop
	refusal error // of the last check
}

// known reads the files of known hosts. One that cannot be read is a fault.Config.
func (o *SSHOptions) known(h *hop, before []hop) (*knownHosts, error) {
	k := &knownHosts{files: h.knownHosts, hop: h, before: before}
	var there []string
	for _, f := range h.knownHosts {
		if _, err := os.Stat(f); err == nil {
			there = append(there, f)
		}
	}
	if len(there) == 0 {
		return k, nil
	}
	var err error
	if k.db, err = knownhosts.NewDB(there...); err != nil {
		return nil, fault.Newf(fault.Config, "read the known hosts", "%s", strings.TrimPrefix(err.Error(), "knownhosts: ")).
			Hint("correct the line, or remove it")
	}
	return k, nil
}

// called is the name that the host's key is known under, with the port.
func (k *knownHosts) called() string {
	if k.hop.alias != "" {
		return net.JoinHostPort(k.hop.alias, strconv.Itoa(sshPort))
	}
	return k.hop.addr()
}

// algorithms are those of the keys that are known of the host: it may have others, which nobody knows. Nil for a host that is not known.
func (k *knownHosts) algorithms() []string {
	if k.db == nil {
		return nil
	}
	return k.db.HostKeyAlgorithms(k.called())
}

// check is the callback of a handshake.
func (k *knownHosts) check(_ string, remote net.Addr, key ssh.PublicKey) error {
	k.refusal = k.judge(remote, key)
	return k.refusal
}

func (k *knownHosts) judge(remote net.Addr, key ssh.PublicKey) error {
	shown := key.Type() + " " + ssh.FingerprintSHA256(key)
	host := xknown.Normalize(k.called())
	if k.db == nil {
		return k.unknown(host, shown)
	}
	err := k.db.HostKeyCallback()(k.called(), remote, key)
	if err == nil {
		return nil
	}
	if revoked, ok := errors.AsType[*xknown.RevokedError](err); ok {
		return fault.Newf(fault.Denied, "", "its host key is marked as revoked in %s:%d (%s)", revoked.Revoked.Filename, revoked.Revoked.Line, shown).
			Hint("do not connect; ask who runs the host")
	}
	changed, ok := errors.AsType[*xknown.KeyError](err)
	if !ok {
		return fault.Newf(fault.Denied, "", "its host key cannot be verified: %w (%s)", err, shown).
			Hint("check the certificate of the host, and the lines with @cert-authority in %s", strings.Join(k.files, ", "))
	}
	if len(changed.Want) == 0 {
		return k.unknown(host, shown)
	}
	w := changed.Want[0]
	return fault.Newf(fault.Denied, "", "its host key is not the one in %s:%d: it shows %s, which may be somebody in between", w.Filename, w.Line, shown).
		Hint("ask who runs the host for its fingerprint; only if it is the right one: ssh-keygen -R '%s' -f %s, then add the new one with %s", host, w.Filename, k.learn())
}

func (k *knownHosts) unknown(host, shown string) error {
	where := "no file of known hosts is there"
	if len(k.files) > 0 {
		where = k.files[0]
	}
	return fault.Newf(fault.Denied, "", "%s is not among the known hosts (%s): it shows %s", host, where, shown).
		Hint("compare the fingerprint with the host's own (ssh-keygen -lf /etc/ssh/ssh_host_*_key.pub there), then add it with %s", k.learn())
}

// learn is the command that asks a person and adds the host's key.
func (k *knownHosts) learn() string {
	cmd := "ssh -o StrictHostKeyChecking=ask"
	if len(k.files) > 0 {
		cmd += " -o UserKnownHostsFile=" + k.files[0]
	}
	if len(k.before) > 0 {
		var jumps []string
		for i := range k.before {
			jumps = append(jumps, fmt.Sprintf("%s@%s:%d", k.before[i].user, k.before[i].name, k.before[i].port))
		}
		cmd += " -J " + strings.Join(jumps, ",")
	}
	return fmt.Sprintf("%s -p %d %s@%s true", cmd, k.hop.port, k.hop.user, k.hop.name)
}
