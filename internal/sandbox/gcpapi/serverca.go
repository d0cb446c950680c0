package gcpapi

import (
	"context"
	"time"

	sqladmin "google.golang.org/api/sqladmin/v1"

	"dbops/internal/sandbox/pki"
)

// fingerprint names an authority, "" for none.
func (a *authority) fingerprint() string {
	if a == nil {
		return ""
	}
	return pki.Fingerprint(a.CA.Certificate())
}

// CABundle is the PEM of every server authority of an instance, for clients to trust; nil without such an instance.
func (s *Server) CABundle(project, name string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	inst := s.state.Instances[key(project, name)]
	if inst == nil {
		return nil
	}
	var pems []byte
	for _, a := range []*authority{inst.PreviousCA, inst.ServerCA, inst.UpcomingCA} {
		if a != nil {
			pems = append(pems, a.CA.CertPEM...)
		}
	}
	return pems
}

// At names the instance of a project that listens on an address; "" if none does.
func (s *Server) At(project, address string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, inst := range s.state.Instances {
		if inst.DB.Project == project && inst.IP == address {
			return inst.DB.Name
		}
	}
	return ""
}

func (s *Server) listServerCas(c *call) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	inst, err := s.instance(c)
	if err != nil {
		return nil, err
	}
	out := &sqladmin.InstancesListServerCasResponse{Kind: "sql#instancesListServerCas", ActiveVersion: inst.ServerCA.fingerprint()}
	for _, a := range []*authority{inst.PreviousCA, inst.ServerCA, inst.UpcomingCA} {
		if a != nil {
			out.Certs = append(out.Certs, inst.caCert(a))
		}
	}
	return out, nil
}

// addServerCa makes the authority that a later rotation goes to. Nothing uses it before.
func (s *Server) addServerCa(c *call) (any, error) {
	if err := noBody(c); err != nil {
		return nil, err
	}
	return s.alterCA(c, func(inst *instance) error {
		if inst.UpcomingCA != nil {
			return invalid("There is already an upcoming server CA certificate: rotate to it first.")
		}
		return nil
	}, func(_ context.Context, inst *instance) error {
		ca, err := newAuthority("Google Cloud SQL Server CA")
		if err != nil {
			return err
		}
		return s.change(func() { inst.UpcomingCA = ca })
	})
}

// rotateServerCa switches to the upcoming authority, or, if nextVersion names the previous one, back to that.
func (s *Server) rotateServerCa(c *call) (any, error) {
	var in sqladmin.InstancesRotateServerCaRequest
	f := fields{in: []string{"rotateServerCaContext.nextVersion"}, out: []string{"rotateServerCaContext.kind"}}
	if _, err := f.decode(c.body, &in); err != nil {
		return nil, err
	}
	next := ""
	if in.RotateServerCaContext != nil {
		next = in.RotateServerCaContext.NextVersion
	}
	back := false
	return s.alterCA(c, func(inst *instance) error {
		back = next != "" && next == inst.PreviousCA.fingerprint()
		switch {
		case back:
		case inst.UpcomingCA == nil:
			return invalid("There is no upcoming server CA certificate to rotate to.")
		case next != "" && next != inst.UpcomingCA.fingerprint():
			return invalid("nextVersion is neither the upcoming nor the previous server CA certificate.")
		}
		return nil
	}, func(_ context.Context, inst *instance) error {
		if back {
			return s.switchCA(inst, inst.PreviousCA, func() {
				inst.UpcomingCA, inst.ServerCA, inst.PreviousCA = inst.ServerCA, inst.PreviousCA, nil
			})
		}
		return s.switchCA(inst, inst.UpcomingCA, func() {
			inst.PreviousCA, inst.ServerCA, inst.UpcomingCA = inst.ServerCA, inst.UpcomingCA, nil
		})
	})
}

// switchCA gives server and connector port a certificate of another authority, then has the state say so.
func (s *Server) switchCA(inst *instance, to *authority, then func()) error {
	leaf, err := inst.leaf(to)
	if err != nil {
		return err
	}
	if err := inst.server.SetCertificate(leaf.TLS); err != nil {
		return err
	}
	return s.change(func() {
		inst.cert = leaf.TLS
		then()
	})
}

func (s *Server) alterCA(c *call, check func(*instance) error, do func(context.Context, *instance) error) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	inst, err := s.instance(c)
	if err != nil {
		return nil, err
	}
	if !inst.running() {
		return nil, notRunning()
	}
	if err := check(inst); err != nil {
		return nil, err
	}
	return s.begin(c, inst, &operation{}, "UPDATE", []step{
		{10 * time.Second, func(ctx context.Context) error { return do(ctx, inst) }},
	}, nil)
}
