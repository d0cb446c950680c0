package certs

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"dbops/internal/certs/bundle"
	"dbops/internal/cloud"
	"dbops/internal/op"
)

// Check tells what is wrong, or will be within a time. Each certificate is told once.
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
		all = append(all, s.checkRoots(now, within)...)
		return append(all, op.Finding{Severity: op.Info, Check: checkProvider, Text: Unvouched})
	}
	for _, c := range s.Told.CAs {
		switch c.Role {
		case cloud.CAActive:
			if !s.shows(c) { // then that was judged
				all = append(all, ending("the CA "+c.ID, c.From, c.Until, now, within, s.otherCA())...)
			}
		case cloud.CANext:
			all = append(all, ending("the CA "+c.ID+" that is to come", time.Time{}, c.Until, now, within, "rotate to another")...)
			all = append(all, s.coming(c, now))
		case cloud.CAPrevious, cloud.CAOffered:
		}
	}
	all = append(all, s.checkRoots(now, within)...)
	for _, c := range s.Told.Clients {
		all = append(all, ending("the client certificate "+c.Name, time.Time{}, c.Until, now, within,
			fmt.Sprintf("make a new one under another name, deliver it, then: dbops certs revoke-client -e %s %s %s", s.Environment, s.Instance, c.Name))...)
	}
	if t := s.Told.Instance.TLS; t.Mode != "" && !t.Required {
		all = append(all, op.Finding{Severity: op.Info, Check: checkProtocol, Text: "the server also takes connections without TLS", Evidence: t.Mode})
	}
	return all
}

// Unvouched is what is to be known of a plain server.
const Unvouched = "no provider vouches for it: only what its server shows is known"

// shows tells whether a CA's certificate is in the chain that the server shows.
func (s *Survey) shows(ca cloud.ServerCA) bool {
	return s.Seen != nil && slices.ContainsFunc(s.Seen.Chain[1:], func(c *x509.Certificate) bool { return is(c, ca) })
}

// checkRoots tells which of the trusted CAs end that neither the provider told nor the server shows: one that the server's certificate depends
// on is a finding, another is worth a note.
func (s *Survey) checkRoots(now time.Time, within time.Duration) (all []op.Finding) {
	roots := slices.Clone(s.Roots)
	if s.Roots == nil && s.Seen != nil { // the system's
		if root, err := s.Seen.Root(s.Expect(), now); err == nil { // else that was judged
			roots = append(roots, root)
		}
	}
	for i, c := range roots {
		switch {
		case slices.ContainsFunc(roots[:i], c.Equal), s.Seen != nil && slices.ContainsFunc(s.Seen.Chain, c.Equal):
			continue
		case s.Told != nil && slices.ContainsFunc(s.Told.CAs, func(ca cloud.ServerCA) bool { return ca.Role != cloud.CAOffered && is(c, ca) }):
			continue
		case s.Seen.dependsOn(c):
			if now.After(c.NotAfter) { // the chain was judged
				continue
			}
			all = append(all, ending("the trusted CA "+bundle.Name(c)+", which signed the server's certificate,", c.NotBefore, c.NotAfter, now, within, s.otherCA())...)
			continue
		}
		for _, f := range ending("the trusted CA "+bundle.Name(c)+", which this server does not need,", time.Time{}, c.NotAfter, now, within, "") {
			f.Severity = op.Info
			all = append(all, f)
		}
	}
	return all
}

// dependsOn tells whether a CA signed the last certificate of the chain, whenever that was.
func (s *Seen) dependsOn(ca *x509.Certificate) bool {
	if s == nil {
		return false
	}
	last := s.Chain[len(s.Chain)-1]
	return bytes.Equal(last.RawIssuer, ca.RawSubject) && last.CheckSignatureFrom(ca) == nil
}

// coming tells of a CA that the server will change to.
func (s *Survey) coming(ca cloud.ServerCA, now time.Time) op.Finding {
	f := op.Finding{Severity: op.Info, Check: checkProvider, Text: "the CA " + ca.ID + " is added, and the server does not use it yet"}
	rotate := "dbops certs rotate-ca -e " + s.Environment + " " + s.Instance
	active := s.Told.CA(cloud.CAActive)
	switch {
	case s.Provider == cloud.RDS:
		f.Text = fmt.Sprintf("a rotation to the CA %s is pending: RDS makes it in %s, or when the instance restarts", ca.ID, windowText(s.Told.Instance.Maintenance.Window, now))
		f.Remedy = "until then nothing has to be done"
		if active != nil {
			f.Remedy += "; " + rotate + " --to " + active.ID + " --in-window takes it back"
		}
	case s.Gate != "":
		f.Text += ": run " + s.Gate + " waits until every client has it"
		f.Remedy = "dbops certs fetch -e " + s.Environment + " " + s.Instance + " writes both CAs; when every client has them: dbops runs decide " + s.Gate + " continue"
	default:
		f.Remedy = rotate + " goes on from there: it waits until every client has both CAs, and rotates"
	}
	return f
}

// renew says how a server gets another certificate.
func (s *Subject) renew() string {
	if s.Provider == cloud.RDS && s.Told != nil && s.Told.CA(cloud.CANext) == nil {
		return "RDS renews it by itself before; at once with another CA: " + s.otherCA()
	}
	return s.otherCA()
}

// otherCA says how a server gets a certificate of another CA.
func (s *Subject) otherCA() string {
	rotate := "dbops certs rotate-ca -e " + s.Environment + " " + s.Instance
	switch {
	case s.Told == nil:
		return "put another certificate into the server's ssl_cert_file, and reload it"
	case s.Provider == cloud.CloudSQL && !s.Told.CommonName:
		return "gcloud sql ssl server-certs add, then rotate"
	case s.Provider == cloud.CloudSQL:
		return rotate
	case s.Told.CA(cloud.CANext) != nil:
		return "the rotation to " + s.Told.CA(cloud.CANext).ID + " that is pending brings another"
	}
	for _, c := range s.Told.CAs {
		if c.Role == cloud.CAOffered && c.Until.After(time.Now().Add(year)) {
			return rotate + " --to " + c.ID
		}
	}
	return rotate
}

// Bad tells whether one of the findings is more than a note.
func Bad(all []op.Finding) bool {
	return slices.ContainsFunc(all, func(f op.Finding) bool { return f.Severity != op.Info })
}
