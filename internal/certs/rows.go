package certs

import (
	"bytes"
	"crypto/x509"
	"slices"
	"time"

	"dbops/internal/certs/bundle"
	"dbops/internal/cloud"
)

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
		return append(all, s.shownCAs()...)
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

// shownCAs are the CAs of a server that no provider vouches for: those that it shows, and the trusted one that its chain ends in. If there is
// none, the CA is known by its name only.
func (s *Survey) shownCAs() (all []Row) {
	if s.Seen == nil {
		return nil
	}
	leaf := s.Seen.Chain[0]
	cas := slices.Clone(s.Seen.Chain[1:])
	if root, err := s.Seen.Root(s.Expect(), time.Now()); err == nil && !root.Equal(leaf) && !slices.ContainsFunc(cas, root.Equal) {
		cas = append(cas, root)
	}
	for _, c := range cas {
		all = append(all, Row{
			Sort: RowCA, Name: bundle.Name(c), Fingerprint: bundle.Fingerprint(c), Issuer: issuer(c), From: c.NotBefore.UTC(), Until: c.NotAfter.UTC(),
			Seen: slices.ContainsFunc(s.Seen.Chain, c.Equal),
		})
	}
	if len(all) == 0 && !bytes.Equal(leaf.RawIssuer, leaf.RawSubject) {
		all = append(all, Row{Sort: RowCA, Name: issuer(leaf)})
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
