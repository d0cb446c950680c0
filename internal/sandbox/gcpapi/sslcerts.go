package gcpapi

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"slices"
	"time"

	sqladmin "google.golang.org/api/sqladmin/v1"

	"dbops/internal/sandbox/edge"
	"dbops/internal/sandbox/pki"
)

// maxClientCerts is the real service's limit for one instance.
const maxClientCerts = 10

// clientRule lets clients in that show a certificate of the instance's client CA which is listed: neither a deleted nor an ephemeral one.
func (s *Server) clientRule(inst *instance) edge.ClientRule {
	s.mu.Lock()
	defer s.mu.Unlock()
	return edge.ClientRule{
		CAs: inst.ClientCA.CA.Pool(), Required: inst.DB.Settings.IpConfiguration.SslMode == certificateToo,
		Check: func(c *x509.Certificate) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			sha1 := pki.Fingerprint(c)
			if !slices.ContainsFunc(inst.ClientCerts, func(known *sqladmin.SslCert) bool { return known.Sha1Fingerprint == sha1 }) {
				return errors.New("the client certificate was deleted")
			}
			return nil
		},
	}
}

func (s *Server) listSSLCerts(c *call) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	inst, err := s.instance(c)
	if err != nil {
		return nil, err
	}
	out := &sqladmin.SslCertsListResponse{Kind: "sql#sslCertsList"}
	for _, cert := range inst.ClientCerts {
		out.Items = append(out.Items, clone(cert))
	}
	return out, nil
}

func (s *Server) getSSLCert(c *call) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	inst, i, err := s.clientCert(c)
	if err != nil {
		return nil, err
	}
	return clone(inst.ClientCerts[i]), nil
}

func (s *Server) clientCert(c *call) (*instance, int, error) {
	inst, err := s.instance(c)
	if err != nil {
		return nil, 0, err
	}
	i := slices.IndexFunc(inst.ClientCerts, func(cert *sqladmin.SslCert) bool { return cert.Sha1Fingerprint == c.params["sha1"] })
	if i < 0 {
		return nil, 0, missing("sslCertDoesNotExist", "SSL certificate")
	}
	return inst, i, nil
}

// insertSSLCert signs a client certificate. The answer is the only place where its key is ever shown.
func (s *Server) insertSSLCert(c *call) (any, error) {
	var in sqladmin.SslCertsInsertRequest
	if _, err := (fields{in: []string{"commonName"}}).decode(c.body, &in); err != nil {
		return nil, err
	}
	if in.CommonName == "" || len(in.CommonName) > 64 {
		return nil, invalid("commonName must have 1 to 64 characters.")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	inst, err := s.instance(c)
	if err != nil {
		return nil, err
	}
	taken := slices.ContainsFunc(inst.ClientCerts, func(cert *sqladmin.SslCert) bool { return cert.CommonName == in.CommonName })
	switch {
	case !inst.running():
		return nil, notRunning()
	case taken:
		return nil, exists("sslCertAlreadyExists", "The SSL certificate already exists.")
	case len(inst.ClientCerts) >= maxClientCerts:
		return nil, invalid("An instance can have at most %d SSL certificates.", maxClientCerts)
	}
	leaf, err := inst.ClientCA.CA.Issue(time.Until(inst.ClientCA.CA.Certificate().NotAfter), func(t *x509.Certificate) {
		t.Subject = pkix.Name{CommonName: in.CommonName, Organization: []string{"Google, Inc"}, Country: []string{"US"}}
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	})
	if err != nil {
		return nil, err
	}
	cert := inst.certMessage(leaf.Cert, time.Now())
	op, err := s.begin(c, inst, &operation{}, "UPDATE", []step{{takesSmall, nil}}, func(err error) {
		if err == nil {
			inst.ClientCerts = append(inst.ClientCerts, cert)
		}
	})
	if err != nil {
		return nil, err
	}
	return &sqladmin.SslCertsInsertResponse{
		Kind: "sql#sslCertsInsert", Operation: op, ServerCaCert: inst.caCert(inst.ServerCA),
		ClientCert: &sqladmin.SslCertDetail{CertInfo: clone(cert), CertPrivateKey: string(leaf.KeyPEM)},
	}, nil
}

func (s *Server) deleteSSLCert(c *call) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	inst, i, err := s.clientCert(c)
	if err != nil {
		return nil, err
	}
	cert := inst.ClientCerts[i]
	return s.begin(c, inst, &operation{}, "UPDATE", []step{{takesSmall, nil}}, func(err error) {
		if err == nil {
			inst.ClientCerts = slices.DeleteFunc(inst.ClientCerts, func(other *sqladmin.SslCert) bool { return other == cert })
		}
	})
}
