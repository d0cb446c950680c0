package sshsig

import (
	"bytes"
	"time"

	"golang.org/x/crypto/ssh"

	"dbops/internal/fault"
)

// Holder is whose key this is at a time. That whoever offers it has its private half, is for the caller to see. It is a fault.Denied if it
// is nobody's.
func (a *Allowed) Holder(key ssh.PublicKey, at time.Time) (principal string, err error) {
	const op = "find whose key it is"
	var outdated error
	for _, s := range a.signers {
		if !bytes.Equal(s.key.Marshal(), key.Marshal()) {
			continue
		}
		if err := s.valid(at); err != nil {
			outdated = fault.Newf(fault.Denied, op, "the key %s of %s %w", ssh.FingerprintSHA256(key), s.principal, err).Hint("renew it in the allowed signers")
			continue
		}
		return s.principal, nil
	}
	if outdated != nil {
		return "", outdated
	}
	return "", fault.Newf(fault.Denied, op, "the key %s is not among the allowed signers", ssh.FingerprintSHA256(key)).
		Hint("have its line added to the allowed signers, and that reviewed")
}

// Has tells whether a principal has a key at a time.
func (a *Allowed) Has(principal string, at time.Time) bool {
	for _, s := range a.signers {
		if s.principal == principal && s.valid(at) == nil {
			return true
		}
	}
	return false
}
