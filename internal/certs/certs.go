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
	"time"

	"dbops/internal/certs/bundle"
	"dbops/internal/cloud"
	"dbops/internal/op"
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
	e := Expect{Roots: s.Roots, RootsFrom: s.RootsFrom, Names: s.Names, CommonName: s.CommonName}
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

// Check tells what is wrong, or will be within a time.
func (s *Survey) Check(now time.Time, within time.Duration) (all []op.Finding) {
	switch {
	case s.Socket:
		return []op.Finding{{Severity: op.Info, Check: checkReach, Text: "its server is on a socket of this machine, where there is no TLS"}}
	case errors.Is(s.Unseen, errNoTLS):
		all = append(all, op.Finding{Severity: op.Warn, Check: checkProtocol, Text: errNoTLS.Error(), Remedy: "switch TLS on at the server"})
	case s.Seen != nil:
		all = append(all, s.Seen.Judge(s.Expect(), now, within)...)
	}
	if s.Told == nil {
		return all
	}
	for _, c := range s.Told.CAs {
		remedy := "dbops certs rotate-ca -e " + s.Environment + " " + s.Instance
		switch c.Role {
		case cloud.CAActive:
			all = append(all, ending("the CA "+c.ID, c.From, c.Until, now, within, remedy)...)
		case cloud.CANext:
			all = append(all, ending("the CA "+c.ID+" that is to come", time.Time{}, c.Until, now, within, remedy+", to another")...)
			all = append(all, op.Finding{Severity: op.Info, Check: checkProvider, Text: "the CA " + c.ID + " is added, and the server does not use it yet", Remedy: remedy})
		case cloud.CAPrevious, cloud.CAOffered:
		}
	}
	for _, c := range s.Told.Clients {
		all = append(all, ending("the client certificate "+c.Name, time.Time{}, c.Until, now, within,
			fmt.Sprintf("make a new one under another name, deliver it, then: dbops certs revoke-client -e %s %s %s", s.Environment, s.Instance, c.Name))...)
	}
	if t := s.Told.Instance.TLS; t.Mode != "" && !t.Required {
		all = append(all, op.Finding{Severity: op.Info, Check: checkProtocol, Text: "the server also takes connections without TLS", Evidence: t.Mode})
	}
	return all
}

// Bad tells whether one of the findings is more than a note.
func Bad(all []op.Finding) bool {
	for _, f := range all {
		if f.Severity != op.Info {
			return true
		}
	}
	return false
}

// The sorts of row in a list.
const (
	RowServer = "server"
	RowCA     = "ca"
	RowClient = "client"
)

// Row is one certificate in a list.
type Row struct {
	Sort        string    `json:"sort"`
	Name        string    `json:"name"`
	Role        string    `json:"role,omitempty"`        // of a CA
	ID          string    `json:"id,omitempty"`          // of a CA or a client certificate, by which the provider knows it
	Fingerprint string    `json:"fingerprint,omitempty"` // SHA-256 in hex, where the certificate itself is known
	Issuer      string    `json:"issuer,omitempty"`
	From        time.Time `json:"from,omitzero"`
	Until       time.Time `json:"until,omitzero"`
	Seen        bool      `json:"seen,omitempty"` // in a handshake now, not only told by the provider
}

// Rows lists the certificates of an instance: the server's, its CAs, the clients'. CAs that a region only offers are left out.
func (s *Survey) Rows() []Row {
	var all []Row
	switch {
	case s.Seen != nil:
		c := s.Seen.Chain[0]
		all = append(all, Row{
			Sort: RowServer, Name: bundle.Name(c), Fingerprint: bundle.Fingerprint(c), Issuer: issuer(c), From: c.NotBefore.UTC(), Until: c.NotAfter.UTC(), Seen: true,
		})
	case s.Told != nil && s.Provider == cloud.RDS && len(s.Names) > 0:
		all = append(all, Row{Sort: RowServer, Name: s.Names[0], Until: s.Told.Instance.TLS.Expires})
	}
	if s.Told == nil {
		return all
	}
	for _, c := range s.Told.CAs {
		if c.Role == cloud.CAOffered {
			continue
		}
		r := Row{Sort: RowCA, Name: c.ID, Role: string(c.Role), ID: c.ID, From: c.From, Until: c.Until}
		if cert := s.find(c); cert != nil {
			r.Fingerprint = bundle.Fingerprint(cert)
			if s.Provider != cloud.RDS {
				r.Name = bundle.Name(cert)
			}
		}
		all = append(all, r)
	}
	for _, c := range s.Told.Clients {
		r := Row{Sort: RowClient, Name: c.Name, ID: c.ID, From: c.Created, Until: c.Until}
		if cert, err := parseOne(c.PEM); err == nil {
			r.Fingerprint, r.Issuer = bundle.Fingerprint(cert), issuer(cert)
		}
		all = append(all, r)
	}
	return all
}

// find is the certificate of a CA among those that are trusted.
func (s *Subject) find(ca cloud.ServerCA) *x509.Certificate {
	for _, c := range s.Roots {
		if ca.Fingerprint != "" && SHA1(c) == ca.Fingerprint {
			return c
		}
	}
	return nil
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
