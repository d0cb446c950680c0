// Package certs knows what servers prove themselves by: it lists certificates, checks them in live handshakes, gives clients what they need to
// verify them, and rotates CAs.
//
// [Survey] brings together what a provider tells of an instance and what its server shows; [Survey.Check] judges both. [Kit] is what a client
// gets: files, and for each tool the settings to paste. What changes an instance are operations of package op, made by [New]: a client's key is
// on the disk before anything else happens, and never in a plan, a journal or an audit entry.
package certs

import (
	"context"
	"crypto/sha1" //nolint:gosec // the clouds name certificates by it
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net"

	"dbops/internal/certs/bundle"
	"dbops/internal/cloud"
)

// Subject is an instance whose certificates are looked at.
type Subject struct {
	Environment, Instance string
	Provider              cloud.Kind

	// Told is what the provider tells; nil for a plain server, which nobody manages.
	Told *cloud.Certificates
	// Roots are the CAs to trust, and RootsFrom who they are; nil: the system's. On Cloud SQL they are all CAs of the instance.
	Roots     []*x509.Certificate
	RootsFrom string
	// RootsHint says where a CA that is missing among Roots is had from.
	RootsHint string
	// Addresses of the server, the best first.
	Addresses []Address
	// Names that the certificate must bear one of; none: any name will do.
	Names []string
	// CommonName says that the first of Names may be in the certificate's subject only.
	CommonName bool
	// Socket says that the server listens on a socket of this machine, where there is no TLS.
	Socket bool
}

func (s *Subject) String() string { return s.Environment + "/" + s.Instance }

// Expect is what the server's certificate should be.
func (s *Subject) Expect() Expect {
	e := Expect{Roots: s.Roots, RootsFrom: s.RootsFrom, Names: s.Names, CommonName: s.CommonName, Unknown: s.RootsHint, Renew: s.renew()}
	if s.Told == nil {
		return e
	}
	if s.shared() {
		return e // any of them may have signed
	}
	e.Active = s.Told.CA(cloud.CAActive)
	if s.Provider == cloud.RDS {
		e.Until = s.Told.Instance.TLS.Expires
	}
	return e
}

// shared tells whether several CAs are active at once.
func (s *Subject) shared() bool {
	n := 0
	for _, c := range s.Told.CAs {
		if c.Role == cloud.CAActive {
			n++
		}
	}
	return n > 1
}

// Dial opens a network connection.
type Dial = func(ctx context.Context, network, addr string) (net.Conn, error)

// Survey is an instance with what its server showed: exactly one of Seen and Unseen is set, neither on a socket.
type Survey struct {
	*Subject
	Seen   *Seen
	Unseen error
	// Gate is the run that waits until every client has the CA to come; empty if none is known.
	Gate string
}

// Observe looks at the server of a subject.
func Observe(ctx context.Context, s *Subject, dial Dial) *Survey {
	out := &Survey{Subject: s}
	if s.Socket {
		return out
	}
	out.Seen, out.Unseen = Look(ctx, "look at the certificate of "+s.String(), s.Addresses, dial)
	return out
}

func parseOne(text string) (*x509.Certificate, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("it is not PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}

// CAs parses the CAs that a provider handed out.
func CAs(told *cloud.Certificates) ([]*x509.Certificate, error) {
	all := []*x509.Certificate{} // not nil, which would mean the system's
	for _, c := range told.CAs {
		if c.PEM == "" {
			continue
		}
		certs, err := bundle.Parse([]byte(c.PEM))
		if err != nil {
			return nil, fmt.Errorf("the CA %s: %w", c.ID, err)
		}
		all = append(all, certs...)
	}
	return all, nil
}

// SHA1 is the fingerprint by which clouds name a certificate.
func SHA1(c *x509.Certificate) string {
	sum := sha1.Sum(c.Raw) //nolint:gosec // the clouds' own naming
	return hex.EncodeToString(sum[:])
}

// PEM is a certificate in PEM, and nothing else.
func PEM(c *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}
