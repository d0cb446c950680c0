package gcpapi

import (
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"net/url"
	"time"

	sqladmin "google.golang.org/api/sqladmin/v1"

	"dbops/internal/sandbox/gcpapi/googleid"
	"dbops/internal/sandbox/pki"
)

// principalURI is the scheme of the name in an ephemeral certificate that says whose logins it stands for.
const principalURI = "sandbox-cloudsql"

func (s *Server) connectSettings(c *call) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	inst, err := s.instance(c)
	if err != nil {
		return nil, err
	}
	if !inst.running() {
		return nil, notRunning()
	}
	db := inst.shown()
	return &sqladmin.ConnectSettings{
		Kind: "sql#connectSettings", BackendType: db.BackendType, DatabaseVersion: db.DatabaseVersion, Region: db.Region,
		ConnectionName: db.ConnectionName, IpAddresses: db.IpAddresses, ServerCaCert: db.ServerCaCert,
		ServerCaMode: db.Settings.IpConfiguration.ServerCaMode, MdxProtocolSupport: []string{"CLIENT_PROTOCOL_TYPE"},
	}, nil
}

func (s *Server) generateEphemeralCert(c *call) (any, error) {
	var in sqladmin.GenerateEphemeralCertRequest
	f := fields{in: []string{"public_key", "access_token", "validDuration"}}
	if _, err := f.decode(c.body, &in); err != nil {
		return nil, err
	}
	ttl := s.cfg.CertTTL
	if in.ValidDuration != "" {
		d, err := time.ParseDuration(in.ValidDuration)
		if err != nil || d <= 0 {
			return nil, invalid("Invalid value for validDuration: %.20q.", in.ValidDuration)
		}
		ttl = min(ttl, d)
	}
	key, err := publicKey(in.PublicKey)
	if err != nil {
		return nil, invalid("Invalid value for public_key: %v.", err)
	}
	email := ""
	if in.AccessToken != "" {
		bearer, err := s.identity.Check(in.AccessToken)
		if err != nil || !bearer.May(googleid.ScopePlatform, googleid.ScopeSQLAdmin, googleid.ScopeSQLLogin) {
			return nil, invalid("The access token of the request is not valid for logins.")
		}
		email = bearer.Email
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	inst, err := s.instance(c)
	if err != nil {
		return nil, err
	}
	if !inst.running() {
		return nil, notRunning()
	}
	der, err := inst.ClientCA.CA.Sign(key, ttl, func(t *x509.Certificate) {
		t.Subject = pkix.Name{CommonName: "cloudsql ephemeral", Organization: []string{"Google, Inc"}, Country: []string{"US"}}
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		t.URIs = []*url.URL{{Scheme: principalURI, Opaque: url.PathEscape(email)}}
	})
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &sqladmin.GenerateEphemeralCertResponse{EphemeralCert: inst.certMessage(cert, time.Now())}, nil
}

// publicKey reads what connectors send: PEM whose type is "RSA PUBLIC KEY" and whose content is PKIX nevertheless.
func publicKey(text string) (crypto.PublicKey, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("it is not PEM")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, errors.New("it is not a public key")
	}
	if k, ok := key.(*rsa.PublicKey); ok && (k.Size() < 256 || k.Size() > 1024) {
		return nil, errors.New("an RSA key has 2048 to 8192 bits")
	}
	return key, nil
}

// principal is whose ephemeral certificate it is: "" for nobody in particular. Other certificates of the client CA, those that
// a person asked for, do not open the connector port.
func principal(cert *x509.Certificate) (email string, err error) {
	for _, u := range cert.URIs {
		if u.Scheme == principalURI {
			return url.PathUnescape(u.Opaque)
		}
	}
	return "", errors.New("the client certificate is not an ephemeral one")
}

// certMessage is a certificate as the API shows it.
func (i *instance) certMessage(cert *x509.Certificate, created time.Time) *sqladmin.SslCert {
	return &sqladmin.SslCert{
		Kind: "sql#sslCert", Instance: i.DB.Name, CommonName: cert.Subject.CommonName, Sha1Fingerprint: pki.Fingerprint(cert),
		CertSerialNumber: cert.SerialNumber.String(), CreateTime: timestamp(created), ExpirationTime: timestamp(cert.NotAfter),
		Cert: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})),
	}
}

// caCert is a server CA as the API shows it.
func (i *instance) caCert(a *authority) *sqladmin.SslCert {
	return i.certMessage(a.CA.Certificate(), a.Created)
}
