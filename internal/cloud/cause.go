package cloud

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// Causes that a caller branches on.
var (
	ErrExists      = errors.New("the name is taken")
	ErrUnsupported = errors.New("the provider cannot do this")
)

// maxText bounds what a provider's message may take of a person's screen.
const maxText = 400

// Because is err told in the words of text, on one line; err stays in the chain for errors.Is and errors.As.
func Because(text string, err error) error {
	text = strings.Join(strings.Fields(text), " ")
	if r := []rune(text); len(r) > maxText {
		text = string(r[:maxText]) + " ..."
	}
	if text == "" {
		text = "no reason was given"
	}
	return &because{text: text, err: err}
}

type because struct {
	text string
	err  error
}

func (b *because) Error() string { return b.text }
func (b *because) Unwrap() error { return b.err }

// Obstacle is what kept a request from its server.
type Obstacle string

// The obstacles.
const (
	NoSuchHost Obstacle = "no such host"
	NoLookup   Obstacle = "no lookup" // the name server did not answer
	Refused    Obstacle = "refused"
	NoRoute    Obstacle = "no route"
	TimedOut   Obstacle = "timed out"
	Cut        Obstacle = "cut"        // the connection ended before an answer
	WrongName  Obstacle = "wrong name" // the certificate is for somebody else
	WrongCA    Obstacle = "wrong CA"   // nobody trusted vouches for the certificate
	Expired    Obstacle = "expired"    // the certificate is too old, or this machine's clock is wrong
	TLSFailed  Obstacle = "TLS failed" // any other failure of the handshake
)

// Unreached says in words what kept a request from its server, with names and addresses. The obstacle is empty if err is
// something else.
func Unreached(err error) (what Obstacle, why string) {
	if what, why = unverified(err); what != "" {
		return what, why
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		if dns.IsNotFound {
			return NoSuchHost, "there is no host " + dns.Name
		}
		return NoLookup, "the address of " + dns.Name + " could not be looked up: " + dns.Err
	}
	at := ""
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Addr != nil {
		at = " at " + op.Addr.String()
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return Refused, "nobody listens" + at + " (connection refused)"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return NoRoute, "there is no route to the server" + at
	case timedOut(err):
		return TimedOut, "no answer in time" + at
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return Cut, "the connection was cut before an answer came"
	}
	return "", ""
}

func timedOut(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, syscall.ETIMEDOUT) {
		return true
	}
	t, ok := errors.AsType[net.Error](err)
	return ok && t.Timeout()
}

// unverified says what is wrong with the server's certificate or with the handshake.
func unverified(err error) (what Obstacle, why string) {
	if e, ok := errors.AsType[x509.HostnameError](err); ok {
		return WrongName, "the server's certificate is for " + namesOf(e.Certificate) + ", not for " + e.Host
	}
	if e, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		issuer := "an unknown CA"
		if e.Cert != nil && e.Cert.Issuer.CommonName != "" {
			issuer = "a CA called " + e.Cert.Issuer.CommonName
		}
		return WrongCA, "the server's certificate is signed by " + issuer + ", which is not trusted here"
	}
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		if e.Reason == x509.Expired && e.Cert != nil {
			return Expired, "the server's certificate is good from " + e.Cert.NotBefore.UTC().Format(time.RFC3339) +
				" to " + e.Cert.NotAfter.UTC().Format(time.RFC3339) + ", not now"
		}
		return TLSFailed, "the server's certificate is not acceptable: " + e.Error()
	}
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return TLSFailed, "the server's certificate is not acceptable: " + e.Err.Error()
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return TLSFailed, "the server does not speak TLS"
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" {
		return TLSFailed, "the server ended the TLS handshake: " + op.Err.Error()
	}
	return "", ""
}

func namesOf(c *x509.Certificate) string {
	if c == nil {
		return "somebody else"
	}
	names := append([]string(nil), c.DNSNames...)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		if c.Subject.CommonName == "" {
			return "nobody"
		}
		return c.Subject.CommonName
	}
	if len(names) > 4 {
		names = append(names[:4], "...")
	}
	return strings.Join(names, ", ")
}
