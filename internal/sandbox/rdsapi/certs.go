package rdsapi

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"

	"dbops/internal/sandbox/awsid"
	"dbops/internal/sandbox/pki"
	"dbops/internal/sandbox/play"
)

// authority is one certificate authority of the region. All of them sign with ECDSA, whatever their names say.
type authority struct {
	ID string  `json:"id"`
	CA *pki.CA `json:"ca"`
}

const (
	defaultCA       = "rds-ca-rsa2048-g1"
	authoritiesFile = "rds-cas.json"
	day             = 24 * time.Hour
	leafLife        = 365 * day
)

// openAuthorities brings back the authorities of dir, or makes them: two with a long life, and one that ends soon, so that
// there is something to rotate away from.
func openAuthorities(dir, region string) ([]authority, error) {
	var cas []authority
	found, err := play.Load(dir, authoritiesFile, &cas)
	if err != nil {
		return nil, err
	}
	if found {
		for _, ca := range cas {
			if err := ca.CA.Open(); err != nil {
				return nil, fmt.Errorf("%s: %w", ca.ID, err)
			}
		}
		return cas, nil
	}
	for _, want := range []struct {
		id, name string
		ttl      time.Duration
	}{
		{"rds-ca-ecc384-g1", "Root CA ECC384 G1", 100 * 365 * day},
		{defaultCA, "Root CA RSA2048 G1", 40 * 365 * day},
		{"rds-ca-2019", "2019 CA", 45 * day},
	} {
		ca, err := pki.NewCA(pkix.Name{
			CommonName: "Amazon RDS " + region + " " + want.name, Organization: []string{"dbops sandbox"}, OrganizationalUnit: []string{"Amazon RDS"},
		}, want.ttl)
		if err != nil {
			return nil, err
		}
		cas = append(cas, authority{ID: want.id, CA: ca})
	}
	return cas, play.Save(dir, authoritiesFile, cas)
}

func (a *API) authority(id string) (authority, error) {
	for _, ca := range a.cas {
		if ca.ID == id {
			return ca, nil
		}
	}
	return authority{}, awsid.Newf(404, "CertificateNotFound", "Certificate not found: %s", id)
}

// issue makes a server certificate for an instance that listens on host, signed by the named authority.
func (a *API) issue(caID, identifier, host string) (leaf, tls.Certificate, *types.CertificateDetails, error) {
	ca, err := a.authority(caID)
	if err != nil {
		return leaf{}, tls.Certificate{}, nil, err
	}
	ttl := min(leafLife, time.Until(ca.CA.Certificate().NotAfter))
	l, err := ca.CA.Issue(ttl, func(c *x509.Certificate) {
		c.Subject = pkix.Name{CommonName: identifier + "." + a.region + ".rds.amazonaws.com", Organization: []string{"dbops sandbox"}}
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		c.DNSNames = []string{c.Subject.CommonName, "localhost"}
		if ip := net.ParseIP(host); ip != nil {
			c.IPAddresses = []net.IP{ip}
		} else if host != "localhost" {
			c.DNSNames = append(c.DNSNames, host)
		}
	})
	if err != nil {
		return leaf{}, tls.Certificate{}, nil, fmt.Errorf("issue the certificate of %s: %w", identifier, err)
	}
	till := l.Cert.NotAfter.UTC()
	return leaf{Cert: l.CertPEM, Key: l.KeyPEM}, l.TLS, &types.CertificateDetails{CAIdentifier: &ca.ID, ValidTill: &till}, nil
}

// rotate gives an instance a certificate of another authority, without a restart.
func (a *API) rotate(in *instance, caID string) error {
	host, _, err := net.SplitHostPort(in.Listen)
	if err != nil {
		return err
	}
	l, pair, details, err := a.issue(caID, in.id(), host)
	if err != nil {
		return err
	}
	s, err := a.server(in)
	if err != nil {
		return err
	}
	if err := s.SetCertificate(pair); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	in.Leaf, in.DB.CACertificateIdentifier, in.DB.CertificateDetails = l, &caID, details
	return nil
}

func (a *API) describeCertificates(_ context.Context, in *rds.DescribeCertificatesInput) (*rds.DescribeCertificatesOutput, error) {
	all := make([]types.Certificate, 0, len(a.cas))
	for _, ca := range a.cas {
		if in.CertificateIdentifier != nil && *in.CertificateIdentifier != ca.ID {
			continue
		}
		c := ca.CA.Certificate()
		all = append(all, types.Certificate{
			CertificateIdentifier: new(ca.ID), CertificateArn: new("arn:aws:rds:" + a.region + "::cert:" + ca.ID), CertificateType: new("CA"),
			Thumbprint: new(pki.Fingerprint(c)), ValidFrom: new(c.NotBefore.UTC()), ValidTill: new(c.NotAfter.UTC()), CustomerOverride: new(false),
		})
	}
	if in.CertificateIdentifier != nil && len(all) == 0 {
		_, err := a.authority(*in.CertificateIdentifier)
		return nil, err
	}
	out, marker, err := page(all, func(c types.Certificate) string { return *c.CertificateIdentifier }, in.Marker, in.MaxRecords)
	if err != nil {
		return nil, err
	}
	return &rds.DescribeCertificatesOutput{Certificates: out, Marker: marker, DefaultCertificateForNewLaunches: new(defaultCA)}, nil
}

// fold is an identifier as RDS keeps it.
func fold(identifier string) string { return strings.ToLower(identifier) }
