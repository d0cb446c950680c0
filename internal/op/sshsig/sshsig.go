// Package sshsig signs approvals with SSH keys and verifies them.
//
// Signatures have OpenSSH's format, in a namespace of their own, so that none made for git or a file counts as an approval:
// ssh-keygen -Y sign -n dbops makes one, ssh-keygen -Y verify reads ours. What is signed is up to the caller, who puts everything into
// the message that the approval depends on.
package sshsig

import (
	"bytes"
	"encoding/pem"
	"errors"
	"time"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"

	"dbops/internal/fault"
)

// Namespace keeps signatures of approvals apart from all others.
const Namespace = "dbops"

// maxSignature is more than a signature of any key has.
const maxSignature = 64 << 10

// Verify returns whose signature of message this is. It is a fault.Denied if it is nobody's whose key was valid at the given time, and a
// fault.Invalid if it is no signature.
func Verify(allowed *Allowed, message, signature []byte, at time.Time) (principal string, err error) {
	const op = "verify an approval's signature"
	sig, err := parse(signature)
	if err != nil {
		return "", fault.New(fault.Invalid, op, err).Hint("make it with: ssh-keygen -Y sign -n %s -f KEY FILE", Namespace)
	}
	id := ssh.FingerprintSHA256(sig.PublicKey)
	var outdated error
	for _, s := range allowed.signers {
		if !bytes.Equal(s.key.Marshal(), sig.PublicKey.Marshal()) {
			continue
		}
		if err := s.valid(at); err != nil {
			outdated = fault.Newf(fault.Denied, op, "the key %s of %s %w", id, s.principal, err).Hint("renew it in the allowed signers")
			continue
		}
		err := sshsig.Verify(bytes.NewReader(message), sig, s.key, sig.HashAlgorithm, Namespace)
		switch {
		case errors.Is(err, sshsig.ErrNamespaceMismatch):
			return "", fault.Newf(fault.Denied, op, "it was made in the namespace %q, not %s", short(sig.Namespace), Namespace).
				Hint("make it with: ssh-keygen -Y sign -n %s -f KEY FILE", Namespace)
		case err != nil:
			return "", fault.Newf(fault.Denied, op, "the signature by %s is not one of this message: %w", s.principal, err).
				Hint("the plan may have changed since it was signed: look at it again")
		}
		return s.principal, nil
	}
	if outdated != nil {
		return "", outdated
	}
	return "", fault.Newf(fault.Denied, op, "the key %s is not among the allowed signers", id).
		Hint("have its line added to the allowed signers, and that reviewed")
}

func (s signer) valid(at time.Time) error {
	switch {
	case !s.after.IsZero() && at.Before(s.after):
		return errors.New("is not valid before " + s.after.Format(time.RFC3339))
	case !s.before.IsZero() && at.After(s.before):
		return errors.New("was valid until " + s.before.Format(time.RFC3339))
	}
	return nil
}

// parse reads an armored signature with nothing around it.
func parse(signature []byte) (*sshsig.Signature, error) {
	signature = bytes.TrimSpace(signature)
	if len(signature) > maxSignature {
		return nil, errors.New("it is too large")
	}
	block, rest := pem.Decode(signature)
	if block == nil || block.Type != sshsig.PEMType || len(rest) > 0 || !bytes.HasPrefix(signature, []byte("-----BEGIN")) {
		return nil, errors.New("it is not an SSH signature")
	}
	return sshsig.ParseSignature(block.Bytes) // refuses RSA with SHA-1
}
