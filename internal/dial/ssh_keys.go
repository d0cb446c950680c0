package dial

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"dbops/internal/fault"
)

// keys are what a hop is logged in to with: the keys of files and of the agent, those first that were named for it.
type keys struct {
	all   []ssh.Signer
	names []string // of all, for messages
	notes []string // what was passed over, and why
	locks []string // files that are encrypted and that the agent does not hold
	conn  net.Conn // to the agent
}

func (k *keys) signers() ([]ssh.Signer, error) { return k.all, nil }

func (k *keys) close() {
	if k.conn != nil {
		_ = k.conn.Close()
	}
}

func (k *keys) add(name string, s ssh.Signer) {
	for _, have := range k.all {
		if bytes.Equal(have.PublicKey().Marshal(), s.PublicKey().Marshal()) {
			return
		}
	}
	k.all, k.names = append(k.all, s), append(k.names, name)
}

// keys collects the keys for a hop. A file that was named for dbops and cannot be used is a fault.Config.
func (o *SSHOptions) keys(ctx context.Context, h *hop) (*keys, error) {
	k := &keys{}
	held := k.agent(ctx, h)
	for _, file := range h.keyFiles {
		if err := k.file(file, held, h); err != nil {
			k.close()
			return nil, err
		}
	}
	if !h.only {
		for _, s := range held {
			k.add("of the agent, "+ssh.FingerprintSHA256(s.PublicKey()), s)
		}
	}
	return k, nil
}

// agent lists the keys of the agent. One that does not answer is noted.
func (k *keys) agent(ctx context.Context, h *hop) []ssh.Signer {
	if h.agent == "" {
		k.notes = append(k.notes, "there is no agent (SSH_AUTH_SOCK is not set)")
		return nil
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", h.agent)
	if err != nil {
		k.notes = append(k.notes, "the agent does not answer at "+h.agent)
		return nil
	}
	k.conn = conn
	held, err := agent.NewClient(conn).Signers()
	if err != nil {
		k.notes = append(k.notes, "the agent did not tell its keys: "+err.Error())
		return nil
	}
	if len(held) == 0 {
		k.notes = append(k.notes, "the agent holds no keys")
	}
	return held
}

// file adds the key of a file, with its certificate if it has one.
func (k *keys) file(file string, held []ssh.Signer, h *hop) error {
	text, err := os.ReadFile(file)
	if err != nil {
		if !h.named && errors.Is(err, fs.ErrNotExist) {
			return nil // one of those that OpenSSH would try
		}
		if !h.named {
			k.notes = append(k.notes, err.Error())
			return nil
		}
		return fault.New(fault.Config, "read the key", err).Hint("check key_file")
	}
	signer, err := ssh.ParsePrivateKey(text)
	if locked, ok := errors.AsType[*ssh.PassphraseMissingError](err); ok {
		public := locked.PublicKey
		if public == nil {
			public = publicOf(file)
		}
		if signer = heldBy(held, public); signer == nil {
			k.locks = append(k.locks, file)
			k.notes = append(k.notes, file+" has a passphrase and is not held by the agent")
			return nil
		}
	} else if err != nil {
		if public := publicKey(text); public != nil { // of a key that only the agent has, as of a hardware token
			signer = heldBy(held, public)
		}
		if signer == nil {
			why := file + " is no private key that can be used: " + strings.TrimPrefix(err.Error(), "ssh: ")
			if h.named {
				return fault.Newf(fault.Config, "read the key", "%s", why).Hint("check key_file; ssh-keygen -y -f %s reads it, too", file)
			}
			k.notes = append(k.notes, why)
			return nil
		}
	}
	for _, f := range append([]string{file + "-cert.pub"}, h.certFiles...) {
		cert, ok := publicOfFile(f).(*ssh.Certificate)
		if !ok {
			continue
		}
		if s, err := ssh.NewCertSigner(cert, signer); err == nil {
			k.add(f, s)
		}
	}
	k.add(file, signer)
	return nil
}

// heldBy finds the agent's half of a key.
func heldBy(held []ssh.Signer, public ssh.PublicKey) ssh.Signer {
	if public == nil {
		return nil
	}
	for _, s := range held {
		if bytes.Equal(s.PublicKey().Marshal(), public.Marshal()) {
			return s
		}
	}
	return nil
}

func publicOf(file string) ssh.PublicKey { return publicOfFile(file + ".pub") }

func publicOfFile(file string) ssh.PublicKey {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	return publicKey(text)
}

func publicKey(text []byte) ssh.PublicKey {
	public, _, _, _, err := ssh.ParseAuthorizedKey(text) //nolint:dogsled // the format has that many parts
	if err != nil {
		return nil
	}
	return public
}

// refused is a login that no key opened.
func (k *keys) refused(op string, h *hop) error {
	why := "it accepts none of the keys: " + strings.Join(k.names, ", ")
	if len(k.names) == 0 {
		why = "there is no key to log in with"
	}
	if len(k.notes) > 0 {
		why += " (" + strings.Join(k.notes, "; ") + ")"
	}
	f := fault.Newf(fault.Denied, op, "%s", why)
	switch {
	case len(k.locks) > 0:
		return f.Hint("ssh-add %s", k.locks[0])
	case len(k.names) == 0:
		return f.Hint("name key_file of the bastion in dbops.yaml, or give the agent a key with ssh-add")
	case h.userOfConfig:
		return f.Hint("is %s the right user? The public key belongs into the authorized_keys of that user there", h.user)
	}
	return f.Hint("%s", fmt.Sprintf("the public key belongs into the authorized_keys of %s there", h.user))
}
