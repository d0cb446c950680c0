package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"dbops/internal/certs/bundle"
	"dbops/internal/cloud"
	"dbops/internal/op"
)

// Expect is what a server's certificate should be.
type Expect struct {
	Roots     []*x509.Certificate // whom to trust; nil: the system's
	RootsFrom string              // who they are, for a person
	Names     []string            // one of which it must bear; none: any name will do
	// CommonName says that the first of Names may be in the subject only.
	CommonName bool
	Active     *cloud.ServerCA // that signed it, as the provider tells; nil: nobody tells
	Until      time.Time       // its end, as the provider tells; zero: nobody tells
	// Unknown says where a CA that is missing among Roots is had from, and Renew how the server gets another certificate.
	Unknown, Renew string
}

// The checks, by which a finding is known.
const (
	checkChain    = "chain"
	checkName     = "name"
	checkExpiry   = "expiry"
	checkProtocol = "protocol"
	checkProvider = "provider"
	checkReach    = "reach"
)

// Judge tells what is wrong with what a server showed.
func (s *Seen) Judge(e Expect, now time.Time, within time.Duration) []op.Finding {
	out := s.judgeChain(e, now)
	out = append(out, s.judgeName(e)...)
	leaf := s.Chain[0]
	out = append(out, ending("the server's certificate", leaf.NotBefore, leaf.NotAfter, now, within, e.renew())...)
	for _, c := range s.Chain[1:] {
		out = append(out, ending("the CA certificate "+bundle.Name(c)+" that the server shows", c.NotBefore, c.NotAfter, now, within, e.renew())...)
	}
	if s.Version < tls.VersionTLS12 {
		out = append(out, op.Finding{
			Severity: op.Warn, Check: checkProtocol, Text: "the server speaks " + tls.VersionName(s.Version) + ", which is broken",
			Evidence: s.Cipher, Remedy: "set ssl_min_protocol_version to TLSv1.2 at the server",
		})
	}
	return append(out, s.judgeProvider(e)...)
}

// Root is the trusted certificate that the chain ends in; nil if it ends in none.
func (s *Seen) Root(e Expect, now time.Time) (*x509.Certificate, error) {
	chains, err := s.Chain[0].Verify(x509.VerifyOptions{
		Roots: pool(e.Roots), Intermediates: pool(s.Chain[1:]), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return nil, err
	}
	chain := chains[0]
	return chain[len(chain)-1], nil
}

// pool is nil, which means the system's, for nil.
func pool(certs []*x509.Certificate) *x509.CertPool {
	if certs == nil {
		return nil
	}
	p := x509.NewCertPool()
	for _, c := range certs {
		p.AddCert(c)
	}
	return p
}

func (s *Seen) judgeChain(e Expect, now time.Time) []op.Finding {
	_, err := s.Root(e, now)
	if err == nil {
		return nil
	}
	leaf := s.Chain[0]
	f := op.Finding{
		Severity: op.Warn, Check: checkChain, Evidence: "SHA-256 " + bundle.Fingerprint(leaf),
		Remedy: "if that CA is the right one, " + orText(e.Unknown, "trust it") + "; if not, somebody else answers in the server's place",
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		if invalid.Cert != nil && invalid.Cert.Equal(leaf) {
			return nil // the expiry says so
		}
		name, at := "a CA that is trusted", ""
		if invalid.Cert != nil {
			name, at = "the trusted CA "+bundle.Name(invalid.Cert), ", which is good until "+stamp(invalid.Cert.NotAfter)
		}
		f.Text, f.Remedy = fmt.Sprintf("%s signed the server's certificate and has expired%s", name, at), e.renew()
		return []op.Finding{f}
	}
	f.Text = fmt.Sprintf("the server's certificate is signed by %s, which is not among %s", issuer(leaf), trusted(e))
	return []op.Finding{f}
}

func (e Expect) renew() string { return orText(e.Renew, "give the server a new certificate") }

func issuer(c *x509.Certificate) string {
	if c.Issuer.CommonName == "" {
		return "an unnamed CA"
	}
	name := c.Issuer.CommonName
	if q := dnQualifier(c); q != "" {
		name += " " + q
	}
	return name
}

// dnQualifier is what tells the CAs of Cloud SQL's instances apart, which have the same name.
func dnQualifier(c *x509.Certificate) string {
	for _, a := range c.Issuer.Names {
		if a.Type.String() == "2.5.4.46" {
			if s, ok := a.Value.(string); ok {
				return s
			}
		}
	}
	return ""
}

func trusted(e Expect) string {
	if e.RootsFrom == "" {
		return "the CAs that are trusted"
	}
	return e.RootsFrom
}

func (s *Seen) judgeName(e Expect) []op.Finding {
	if len(e.Names) == 0 || s.bears(e) {
		return nil
	}
	leaf := s.Chain[0]
	return []op.Finding{{
		Severity: op.Warn, Check: checkName,
		Text:     fmt.Sprintf("the server's certificate is for %s, not for %s", strings.Join(namesOf(leaf), ", "), strings.Join(e.Names, " or ")),
		Evidence: "SHA-256 " + bundle.Fingerprint(leaf), Remedy: "if the address is right, another server answers at it",
	}}
}

// bears tells whether the certificate has one of the names.
func (s *Seen) bears(e Expect) bool {
	leaf := s.Chain[0]
	if e.CommonName && leaf.Subject.CommonName == e.Names[0] {
		return true
	}
	return slices.ContainsFunc(e.Names, func(name string) bool { return leaf.VerifyHostname(name) == nil })
}

// namesOf are all names that a certificate bears.
func namesOf(c *x509.Certificate) []string {
	names := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	if cn := c.Subject.CommonName; cn != "" && !slices.Contains(names, cn) {
		names = append(names, cn)
	}
	if len(names) == 0 {
		return []string{"nobody"}
	}
	return names
}

// judgeProvider compares with what the provider tells.
func (s *Seen) judgeProvider(e Expect) (out []op.Finding) {
	leaf := s.Chain[0]
	if e.Active != nil && !s.signedBy(e) {
		out = append(out, op.Finding{
			Severity: op.Warn, Check: checkProvider, Text: fmt.Sprintf("the provider says that its CA is %s, and the server's certificate is signed by %s", e.Active.ID, issuer(leaf)),
			Remedy: "a change of the CA may be under way, or wait for a restart: dbops status shows what is pending",
		})
	}
	if !e.Until.IsZero() && !leaf.NotAfter.Truncate(time.Second).Equal(e.Until.Truncate(time.Second)) {
		out = append(out, op.Finding{
			Severity: op.Info, Check: checkProvider,
			Text: fmt.Sprintf("the provider says that the server's certificate ends on %s, and it ends on %s", stamp(e.Until), stamp(leaf.NotAfter)),
		})
	}
	return out
}

// signedBy tells whether the CA that the provider names has signed.
func (s *Seen) signedBy(e Expect) bool {
	root, err := s.Root(e, s.Chain[0].NotAfter.Add(-time.Minute))
	if err != nil {
		return true // the chain's own finding says more
	}
	return is(root, *e.Active) || slices.ContainsFunc(s.Chain[1:], func(c *x509.Certificate) bool { return is(c, *e.Active) })
}

// is tells whether a certificate is that of a CA. Where the fingerprint does not decide, the name does: the CAs of RDS are identified as in
// rds-ca-rsa2048-g1, and called as in "Amazon RDS eu-west-1 Root CA RSA2048 G1".
func is(c *x509.Certificate, ca cloud.ServerCA) bool {
	if ca.Fingerprint != "" && SHA1(c) == ca.Fingerprint {
		return true
	}
	words, ok := strings.CutPrefix(ca.ID, "rds-ca-")
	return ok && strings.HasSuffix(strings.ToLower(c.Subject.CommonName), "ca "+strings.ReplaceAll(words, "-", " "))
}

// ending tells that something ends soon, has ended, or has not begun.
func ending(what string, from, until, now time.Time, within time.Duration, remedy string) []op.Finding {
	f := op.Finding{Severity: op.Warn, Check: checkExpiry, Evidence: "until " + stamp(until), Remedy: remedy}
	switch {
	case until.IsZero():
		return nil
	case now.Before(from):
		f.Text, f.Remedy = what+" is good only from "+stamp(from)+" on", "look whether this machine's clock is right"
	case now.After(until):
		f.Text = fmt.Sprintf("%s expired on %s", what, stamp(until))
	case until.Sub(now) <= within:
		f.Text = fmt.Sprintf("%s expires on %s, in %s", what, stamp(until), days(until.Sub(now)))
	default:
		return nil
	}
	return []op.Finding{f}
}

func days(d time.Duration) string {
	switch n := int(d.Hours() / 24); n {
	case 0:
		return "less than a day"
	case 1:
		return "a day"
	default:
		return fmt.Sprintf("%d days", n)
	}
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") + " UTC" }
