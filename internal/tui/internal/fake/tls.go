package fake

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"path/filepath"
	"time"

	"dbops/internal/app"
	"dbops/internal/certs"
	"dbops/internal/cloud"
	"dbops/internal/fault"
)

// Fetched are the files for clients that were asked for.
func (c *Core) Fetched() []app.KitRequest {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fetched
}

// Certificates implements [core.TLS].
func (c *Core) Certificates(ctx context.Context, r app.CertsRequest) ([]app.Certs, error) {
	st := c.ask(ctx, c.instance(r.Environment, r.Instance))
	if ctx.Err() != nil {
		return nil, fault.New(fault.Interrupted, "look at certificates", ctx.Err())
	}
	out := app.Certs{Instance: st.Instance, Err: st.Err}
	if st.Live == nil {
		return []app.Certs{out}, nil
	}
	s := &certs.Subject{Environment: r.Environment, Instance: r.Instance, Provider: st.Provider, RootsFrom: "the machine's own CAs"}
	if st.Provider != cloud.Postgres {
		s.Told = told(st.Live, st.At)
		s.RootsFrom = map[cloud.Kind]string{
			cloud.RDS: "dbops's own copy of the CAs of RDS in eu-west-1", cloud.CloudSQL: "the CAs that Cloud SQL tells of this instance",
		}[st.Provider]
	}
	out.Survey = &certs.Survey{Subject: s}
	if len(st.Live.Endpoints) == 0 || st.Live.State != cloud.Available {
		out.Survey.Unseen = fault.Newf(fault.Unavailable, "look at the certificate of "+s.String(), "no answer in time").Hint("this machine must be in a network that reaches it")
		return []app.Certs{out}, nil
	}
	host := st.Live.Endpoints[0].Host
	s.Names = []string{host}
	until := st.Live.TLS.Expires
	if until.IsZero() {
		until = st.At.AddDate(1, 0, 0)
	}
	out.Survey.Seen = &certs.Seen{
		Address: certs.Address{HostPort: host + ":5432"}, Version: tls.VersionTLS13, Cipher: "TLS_AES_128_GCM_SHA256",
		Chain: []*x509.Certificate{leaf(host, st.At.AddDate(-1, 0, 0), until)},
	}
	s.Roots = out.Survey.Seen.Chain
	if s.Told != nil {
		s.Told.CAs[0].Fingerprint = certs.SHA1(s.Roots[0])
	}
	return []app.Certs{out}, nil
}

// told is what the cloud tells of its CAs and client certificates.
func told(i *cloud.Instance, now time.Time) *cloud.Certificates {
	out := &cloud.Certificates{Instance: i, CAs: []cloud.ServerCA{{ID: i.TLS.CA, Role: cloud.CAActive, From: now.AddDate(-3, 0, 0), Until: now.AddDate(34, 0, 0)}}}
	if i.Provider == cloud.RDS {
		out.CAs = append(out.CAs, cloud.ServerCA{ID: "rds-ca-ecc384-g1", Role: cloud.CAOffered, Until: now.AddDate(95, 0, 0)})
		return out
	}
	out.CommonName = true
	out.CAs = append(out.CAs, cloud.ServerCA{ID: "b1946ac92492d234", Role: cloud.CANext, From: now.AddDate(0, 0, -2), Until: now.AddDate(10, 0, 0)})
	out.Clients = []cloud.ClientCert{
		{ID: "1f8ac10f23c5b5bc", Name: "laptop-ann", Created: now.AddDate(0, -8, 0), Until: now.AddDate(0, 0, 19)},
		{ID: "86fcf9f3bb6e4d52", Name: "metabase", Created: now.AddDate(0, -2, 0), Until: now.AddDate(9, 10, 0)},
	}
	return out
}

// leaf is a server's certificate that nobody vouches for. Its key, and so its fingerprint, is another each time.
func leaf(host string, from, until time.Time) *x509.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err) // there is no randomness
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host}, NotBefore: from, NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		panic(err) // the template is right
	}
	out, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err) // it was just made
	}
	return out
}

// FailKits makes the writing of files for clients fail; a nil err lets it succeed.
func (c *Core) FailKits(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kitErr = err
}

// FetchKit implements [core.TLS].
func (c *Core) FetchKit(_ context.Context, r app.KitRequest) (*app.Kit, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changes.readOnly != "" {
		return nil, fault.Newf(fault.Denied, "write the files for clients to "+r.Dir, "nothing is changed from here: %s", c.changes.readOnly)
	}
	if c.kitErr != nil {
		return nil, c.kitErr
	}
	c.fetched = append(c.fetched, r)
	return &app.Kit{
		Kit:   &certs.Kit{Notes: []string{"the settings have no user: --user names one"}},
		Files: []string{filepath.Join(r.Dir, "root.crt"), filepath.Join(r.Dir, "root.jks"), filepath.Join(r.Dir, "pg_service.conf")},
		Seen:  &certs.Seen{Address: certs.Address{HostPort: "orders:5432"}},
	}, nil
}

// ClientRequest implements [core.TLS].
func (c *Core) ClientRequest(_ context.Context, _, _, name, dir, database, user string) (certs.CreateRequest, error) {
	return certs.CreateRequest{Name: name, Dir: dir, Host: "laptop", Database: database, User: user}, nil
}
