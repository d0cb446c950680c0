package sshsig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"runtime"
	"strings"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"dbops/internal/fault"
)

// Key says which key signs.
type Key struct {
	// File holds a private key, or a public one whose private half is beside it (the name without .pub) or in the agent. Without it the agent's only key signs.
	File string
	// AgentSocket is where the agent listens: $SSH_AUTH_SOCK. A key with a passphrase signs through the agent only.
	AgentSocket string
}

const signOp = "sign an approval"

// Sign returns the armored signature of message. The agent may ask its owner, so this takes until the context ends.
func Sign(ctx context.Context, key Key, message []byte) ([]byte, error) {
	if key.File == "" {
		return signByAgent(ctx, key, nil, message)
	}
	private, public, err := readKey(key.File)
	if err != nil {
		return nil, err
	}
	if private == nil {
		private = beside(key.File, public)
	}
	if private == nil {
		return signByAgent(ctx, key, public, message)
	}
	return sign(private, message)
}

// beside is the private half in the file beside a public one, if it can sign by itself.
func beside(file string, public ssh.PublicKey) ssh.Signer {
	name, ok := strings.CutSuffix(file, ".pub")
	if !ok {
		return nil
	}
	private, _, err := readKey(name)
	if err != nil || private == nil || !bytes.Equal(private.PublicKey().Marshal(), public.Marshal()) {
		return nil
	}
	return private
}

func sign(by ssh.Signer, message []byte) ([]byte, error) {
	if err := strong(by.PublicKey()); err != nil {
		return nil, fault.New(fault.Config, signOp, err).Hint("make a key: ssh-keygen -t ed25519")
	}
	sig, err := sshsig.Sign(bytes.NewReader(message), by, sshsig.HashSHA512, Namespace)
	if err != nil {
		return nil, fault.New(fault.Denied, signOp, err)
	}
	return sshsig.Armor(sig), nil
}

// maxKeyFile is more than any key file has.
const maxKeyFile = 64 << 10

// readKey returns the private key of a file, or the public one if the private one is not to be had from it.
func readKey(file string) (ssh.Signer, ssh.PublicKey, error) {
	b, info, err := read(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fault.New(fault.Usage, signOp, err).Hint("name the file of an SSH key: --ssh-key ~/.ssh/id_ed25519")
	}
	if err != nil {
		return nil, nil, fault.New(fault.Config, signOp, err).Hint("name the file of an SSH key: --ssh-key ~/.ssh/id_ed25519")
	}
	if public, _, _, _, err := ssh.ParseAuthorizedKey(b); err == nil {
		return nil, public, nil
	}
	private, err := ssh.ParsePrivateKey(b)
	locked, isLocked := errors.AsType[*ssh.PassphraseMissingError](err)
	if err != nil && !isLocked {
		return nil, nil, foreign(file, b, err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return nil, nil, fault.Newf(fault.Denied, signOp, "others may read the private key %s", file).Hint("chmod 600 %s", file)
	}
	if isLocked {
		if locked.PublicKey != nil {
			return nil, locked.PublicKey, nil
		}
		beside, _, err := read(file + ".pub")
		if err != nil {
			return nil, nil, fault.Newf(fault.Config, signOp, "%s has a passphrase, and its public half is not beside it", file).Hint("ssh-keygen -y -f %s > %s.pub", file, file)
		}
		public, _, _, _, err := ssh.ParseAuthorizedKey(beside)
		if err != nil {
			return nil, nil, fault.Newf(fault.Config, signOp, "%s.pub: %w", file, err)
		}
		return nil, public, nil
	}
	return private, nil, nil
}

// foreign says of a file that is no key what is wanted in its place.
func foreign(file string, content []byte, err error) error {
	const want = "name a private key in OpenSSH's or a PEM format, or a public one whose private half is beside it or in the SSH agent: --ssh-key ~/.ssh/id_ed25519"
	switch {
	case bytes.HasPrefix(content, []byte("PuTTY-User-Key-File-")):
		return fault.Newf(fault.Config, signOp, "%s is a key of PuTTY's own format", file).Hint("puttygen %s -O private-openssh -o KEY; then --ssh-key KEY", file)
	case bytes.Contains(content, []byte("PRIVATE KEY-----")):
		return fault.Newf(fault.Config, signOp, "%s is a private key that cannot be read: %w", file, err).Hint("%s", want)
	}
	return fault.Newf(fault.Config, signOp, "%s is not an SSH key", file).Hint("%s", want)
}

func read(file string) ([]byte, fs.FileInfo, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxKeyFile {
		return nil, nil, fmt.Errorf("%s is not a key file", file)
	}
	b, err := os.ReadFile(file)
	return b, info, err
}

// signByAgent signs with the agent's key that is public, or with its only one.
func signByAgent(ctx context.Context, key Key, public ssh.PublicKey, message []byte) ([]byte, error) {
	add, why := "ssh-add", ""
	if private, ok := strings.CutSuffix(key.File, ".pub"); ok {
		add, why = "ssh-add "+private, "beside the public key "+key.File+" is no private half that signs by itself: "
	} else if key.File != "" {
		add = "ssh-add " + key.File
	}
	if key.AgentSocket == "" {
		return nil, fault.Newf(fault.Config, signOp, "%sno SSH agent runs, and it needs one", why).Hint("eval $(ssh-agent); %s", add)
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", key.AgentSocket)
	if err != nil && ctx.Err() != nil {
		return nil, agentFault(ctx, err)
	}
	if err != nil {
		return nil, fault.New(fault.Unavailable, signOp, err).Hint("SSH_AUTH_SOCK names an agent that does not answer: eval $(ssh-agent); %s", add)
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	signers, err := agent.NewClient(conn).Signers()
	if err != nil {
		return nil, agentFault(ctx, err)
	}
	by, err := choose(signers, public)
	if err != nil {
		return nil, fault.Newf(fault.Config, signOp, "%s%w", why, err).Hint("%s; or name the file of a private key", add)
	}
	armored, err := sign(by, message)
	if ctx.Err() != nil {
		return nil, agentFault(ctx, err)
	}
	return armored, err
}

func agentFault(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		err = ctx.Err()
		return fault.New(fault.KindOf(err), signOp, err)
	}
	return fault.New(fault.Unavailable, signOp, err)
}

func choose(signers []ssh.Signer, public ssh.PublicKey) (ssh.Signer, error) {
	if public == nil {
		if len(signers) == 1 {
			return signers[0], nil
		}
		return nil, fmt.Errorf("the SSH agent has %d keys, and none is named", len(signers))
	}
	for _, s := range signers {
		if bytes.Equal(s.PublicKey().Marshal(), public.Marshal()) {
			return s, nil
		}
	}
	return nil, fmt.Errorf("the SSH agent does not have the key %s", ssh.FingerprintSHA256(public))
}
