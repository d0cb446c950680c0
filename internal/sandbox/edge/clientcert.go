package edge

import (
	"crypto/tls"
	"crypto/x509"
)

// ClientRule says which certificates clients may show, and whether they must.
type ClientRule struct {
	CAs      *x509.CertPool                // nil: clients are not asked for one
	Required bool                          // a session without one is refused
	Check    func(*x509.Certificate) error // of a certificate that CAs vouch for; nil: each will do
}

// SetClientRule decides about clients' certificates; it is asked for each handshake. Nil: clients are asked for none.
func (e *Edge) SetClientRule(rule func() ClientRule) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.clientRule = rule
}

func (e *Edge) clients() ClientRule {
	e.mu.Lock()
	rule := e.clientRule
	e.mu.Unlock()
	if rule == nil {
		return ClientRule{}
	}
	return rule()
}

// ask has a TLS server ask for a certificate as PostgreSQL with an ssl_ca_file does: none will do, but not a wrong one.
func (r ClientRule) ask(c *tls.Config) {
	if r.CAs == nil {
		return
	}
	c.ClientAuth, c.ClientCAs = tls.VerifyClientCertIfGiven, r.CAs
	c.VerifyConnection = func(s tls.ConnectionState) error {
		if len(s.PeerCertificates) == 0 || r.Check == nil {
			return nil
		}
		return r.Check(s.PeerCertificates[0])
	}
}
