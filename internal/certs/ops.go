package certs

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/secret"
)

// The kinds of operation.
const (
	CreateClientKind = "certs.create-client"
	RevokeClientKind = "certs.revoke-client"
	RotateKind       = "certs.rotate-ca"
)

// Cloud is what the operations need of a provider: [cloud.Certifier] has it.
type Cloud interface {
	// Certificates tells what an instance proves itself by. It may be called at any time.
	Certificates(ctx context.Context, name string) (*cloud.Certificates, error)
	// AddCA makes the CA to rotate to (cloudsql). One that was added before is a fault.Invalid wrapping cloud.ErrExists.
	AddCA(ctx context.Context, name string) (cloud.Receipt, error)
	// RotateCA has the server show a certificate of another CA. Asking for the active one changes nothing.
	RotateCA(ctx context.Context, name, id string, when cloud.CAWhen) (cloud.Receipt, error)
	// CreateClient makes a client certificate; its key is in this answer and nowhere else. It is asked for once.
	CreateClient(ctx context.Context, name, client string) (cloud.ClientCert, secret.Value, cloud.Receipt, error)
	// DeleteClient makes a client certificate worthless. One that is gone is a fault.NotFound.
	DeleteClient(ctx context.Context, name, id string) (cloud.Receipt, error)
	// Progress tells how far a change is. It may be called at any time, from any process.
	Progress(ctx context.Context, r cloud.Receipt) (cloud.Progress, error)
}

// Deps are what the operations stand on.
type Deps struct {
	// Cloud is who manages an instance, and what it is called there.
	Cloud func(ctx context.Context, t op.Target) (Cloud, string, error)
	// Subject is an instance, read anew, to be looked at.
	Subject func(ctx context.Context, t op.Target) (*Subject, error)
	// Dial is the way to an instance.
	Dial func(t op.Target) Dial
	// Host is this machine, on which files are written.
	Host string
	// Roots are the CAs that dbops verifies an instance of RDS with.
	Roots func(ctx context.Context, t op.Target) ([]*x509.Certificate, error)

	Pace op.Pace // of looking how far a change is. Defaults to op.CloudPace()
	// Settle is how long a server may take to show a certificate that its provider says it has. Defaults to 2 min.
	Settle time.Duration
}

// New returns the operations.
func New(d Deps) []op.Kind {
	if d.Pace == (op.Pace{}) {
		d.Pace = op.CloudPace()
	}
	if d.Settle <= 0 {
		d.Settle = 2 * time.Minute
	}
	return []op.Kind{createClient(d), revokeClient(d), rotate(d)}
}

func command(verb string, t op.Target) string {
	return "dbops " + verb + " -e " + t.Environment + " " + t.Instance
}

func block(check, text, evidence, remedy string) op.Finding {
	return op.Finding{Severity: op.Block, Check: check, Text: text, Evidence: evidence, Remedy: remedy}
}

func warn(check, text, evidence, remedy string) op.Finding {
	return op.Finding{Severity: op.Warn, Check: check, Text: text, Evidence: evidence, Remedy: remedy}
}

// atRest is the finding about an instance that takes no change now.
func atRest(t op.Target, f Facts) []op.Finding {
	if f.State == cloud.Available {
		return nil
	}
	return []op.Finding{block("state", fmt.Sprintf("%s is %s: it takes the change only when it is available", t, f.State), "state "+string(f.State),
		"wait until it is available: "+command("status", t))}
}

// cloudSQLOnly is the finding about client certificates elsewhere.
func cloudSQLOnly(t op.Target, f Facts) []op.Finding {
	if f.Provider == cloud.CloudSQL {
		return nil
	}
	return []op.Finding{block("provider", fmt.Sprintf("%s is on %s, where there are no client certificates", t, f.Provider), "",
		"clients of RDS prove themselves with a password or an IAM token: see logins in dbops.yaml")}
}

// follow waits until a change has truly happened.
func (d Deps) follow(ctx context.Context, s *op.Session, c Cloud, what string, r cloud.Receipt) error {
	return s.Poll(ctx, d.Pace, what, func(ctx context.Context) (bool, string, error) {
		p, err := c.Progress(ctx, r)
		status := p.Status
		if p.Detail != "" {
			status += ": " + p.Detail
		}
		if err != nil && fault.KindOf(err) == fault.Internal {
			err = fault.New(fault.Internal, what, err).Hint("end this run (dbops runs undo %s, or abandon) and plan again", s.Run)
		}
		return p.Done, status, err
	})
}

// shows waits until the server shows a certificate that good accepts, and says how it was seen. A server that this machine cannot reach is
// told, not an error: the provider has said that the change has happened.
func (d Deps) shows(ctx context.Context, t op.Target, s *op.Session, what string, good func(*Seen, Expect) (text string, ok bool)) (string, error) {
	var text, unseen string
	since := time.Now()
	pace := op.Pace{First: d.Pace.First, Most: d.Pace.Most, Patience: d.Settle}
	err := s.Poll(ctx, pace, what, func(ctx context.Context) (bool, string, error) {
		subject, err := d.Subject(ctx, t)
		if err != nil {
			return false, "", err
		}
		seen, err := Look(ctx, what, subject.Addresses, d.Dial(t))
		if err != nil {
			if fault.KindOf(err) != fault.Unavailable {
				return false, "", err
			}
			unseen = err.Error()
			return time.Since(since) > min(d.Settle, 20*time.Second), err.Error(), nil
		}
		unseen = ""
		expect := subject.Expect()
		said, ok := good(seen, expect)
		if text = said; !ok {
			return false, text, nil
		}
		for _, f := range seen.Judge(expect, time.Now(), 0) {
			if f.Severity != op.Info {
				return false, f.Text, nil
			}
		}
		return true, "", nil
	})
	if unseen != "" {
		text = "NOT SEEN from here: " + unseen
	}
	return text, err
}

// has tells whether a chain has a certificate with that fingerprint, or ends in one.
func (s *Seen) has(e Expect, sha1 string) bool {
	all := slices.Clone(s.Chain[1:])
	if root, err := s.Root(e, time.Now()); err == nil {
		all = append(all, root)
	}
	return slices.ContainsFunc(all, func(c *x509.Certificate) bool { return SHA1(c) == sha1 })
}
