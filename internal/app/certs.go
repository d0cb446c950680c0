package app

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"

	"github.com/adrg/xdg"

	"dbops/internal/certs"
	"dbops/internal/certs/bundle"
	"dbops/internal/cloud"
	"dbops/internal/config"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/state"
)

// DefaultDataDir is where this user keeps what was downloaded.
func DefaultDataDir(getenv func(string) string) string {
	if d := getenv("XDG_DATA_HOME"); d != "" {
		return filepath.Join(d, "dbops")
	}
	return filepath.Join(xdg.DataHome, "dbops")
}

// RDSCAs is where the CAs of RDS are found: this user's copies before the program's own.
func (a *App) RDSCAs() bundle.Store {
	return bundle.Store{Dir: filepath.Join(DefaultDataDir(a.opts.Getenv), "rds-ca")}
}

// regionCAs are the CAs of a region of RDS, shared among connections.
func (a *App) regionCAs(op, region string) (*x509.CertPool, error) {
	store := a.RDSCAs()
	file := filepath.Join(store.Dir, region+".pem")
	if _, err := os.Stat(file); err == nil {
		pool, err := a.cas.load(file)
		if err != nil {
			return nil, fault.New(fault.Config, op, err).Hint("bring it anew with dbops certs update --region %s, or remove it", region)
		}
		return pool, nil
	}
	return a.cas.region(op, region)
}

// unknownRegion says what to do about a region whose CAs nobody here has.
func unknownRegion(op, region string, err error) error {
	f := fault.New(fault.Config, op, err)
	if bundle.Published(region) == "" {
		return f.Hint("download the bundle of %s, which AWS documents under \"Using SSL/TLS with Amazon RDS\", and name it: rds.ca_file", region)
	}
	return f.Hint("dbops certs update --region %s downloads them; or name a file with them: rds.ca_file", region)
}

// Subject is an instance as the room of certificates sees it. A CA file, if not empty, is trusted in place of what dbops.yaml or the
// provider say.
func (a *App) Subject(ctx context.Context, env, instance, caFile string) (*certs.Subject, error) {
	inst, err := a.instance(env, instance)
	if err != nil {
		return nil, err
	}
	told := func(ctx context.Context) (*cloud.Certificates, error) { return a.certificatesOf(ctx, env, instance) }
	each := func(_ string, read func() (trusted, error)) (trusted, error) { return read() }
	return a.subjectOf(ctx, op.Target{Environment: env, Instance: instance}, inst, told, each, caFile)
}

// trusted are CAs to trust, and who they are.
type trusted struct {
	roots []*x509.Certificate
	from  string
}

// reads reads CAs, or has them from an earlier reading about the same.
type reads = func(about string, read func() (trusted, error)) (trusted, error)

// subjectOf is Subject of an instance that was looked up before, by what its provider told.
func (a *App) subjectOf(
	ctx context.Context, t op.Target, inst *config.Instance, told func(context.Context) (*cloud.Certificates, error), cas reads, caFile string,
) (s *certs.Subject, err error) {
	s = &certs.Subject{Environment: t.Environment, Instance: t.Instance, Provider: inst.Kind()}
	if s.Provider != cloud.Postgres {
		if s.Told, err = told(ctx); err != nil {
			return nil, err
		}
	}
	switch s.Provider {
	case cloud.RDS:
		err = a.rdsSubject(inst, s, cas)
	case cloud.CloudSQL:
		err = a.cloudsqlSubject(inst, s)
	default:
		err = plainSubject(inst, s, cas)
	}
	if err == nil && caFile != "" {
		var t trusted
		t, err = cas(caFile, func() (trusted, error) { return readCAs("read the CAs for "+s.String(), caFile, "check --ca-file") })
		s.Roots, s.RootsFrom = t.roots, t.from
		s.RootsHint = "name a file that holds it with --ca-file"
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (a *App) certifier(ctx context.Context, env, instance string) (cloud.Certifier, string, error) {
	p, name, err := a.managed(ctx, env, instance)
	if err != nil {
		return nil, "", err
	}
	c, ok := p.(cloud.Certifier)
	if !ok {
		return nil, "", fault.New(fault.Usage, "manage the certificates of "+env+"/"+instance, cloud.ErrUnsupported).
			Hint("it is a plain PostgreSQL server: its certificates are in its own configuration, ssl_cert_file and ssl_ca_file")
	}
	return c, name, nil
}

func (a *App) certificatesOf(ctx context.Context, env, instance string) (*cloud.Certificates, error) {
	c, name, err := a.certifier(ctx, env, instance)
	if err != nil {
		return nil, err
	}
	return c.Certificates(ctx, name)
}

func (a *App) rdsSubject(inst *config.Instance, s *certs.Subject, cas reads) error {
	s.Names = s.Told.Names
	for _, e := range s.Told.Instance.Endpoints {
		s.Addresses = append(s.Addresses, certs.Address{HostPort: net.JoinHostPort(e.Host, strconv.Itoa(e.Port))})
	}
	s.RootsHint = "bring what Amazon publishes now: dbops certs update --region " + inst.RDS.Region
	if inst.RDS.CAFile != "" {
		s.RootsHint = "put it into rds.ca_file, or leave that out for the CAs that Amazon publishes"
	}
	t, err := cas("rds "+inst.RDS.Region+" "+inst.RDS.CAFile, func() (trusted, error) { return a.rdsRoots("read the CAs for "+s.String(), inst) })
	s.Roots, s.RootsFrom = t.roots, t.from
	return err
}

// rdsRoots are the CAs that an instance of RDS is verified with: its ca_file, else this user's copy of the region's, else the program's.
func (a *App) rdsRoots(what string, inst *config.Instance) (trusted, error) {
	if inst.RDS == nil {
		return trusted{}, fault.Newf(fault.Invalid, what, "it is not an instance of RDS")
	}
	if inst.RDS.CAFile != "" {
		return readCAs(what, inst.RDS.CAFile, "check rds.ca_file of the instance")
	}
	b, err := a.RDSCAs().Region(inst.RDS.Region)
	switch {
	case errors.Is(err, bundle.ErrUnknown):
		return trusted{}, unknownRegion(what, inst.RDS.Region, err)
	case err != nil:
		return trusted{}, fault.New(fault.Config, what, err).Hint("bring it anew with dbops certs update --region %s, or remove it", inst.RDS.Region)
	}
	return trusted{b.Certs, b.From()}, nil
}

// connectorPort is where the connectors of Cloud SQL are served.
const connectorPort = "3307"

func (*App) cloudsqlSubject(inst *config.Instance, s *certs.Subject) (err error) {
	if s.Roots, err = certs.CAs(s.Told); err != nil {
		return fault.New(fault.Internal, "read the CAs of "+s.String(), err)
	}
	s.RootsFrom = "the CAs that Cloud SQL tells of this instance"
	s.RootsHint = "look again in a minute, for Cloud SQL tells its CAs itself"
	s.Names, s.CommonName = s.Told.Names, s.Told.CommonName
	want := cloud.EndpointKind(inst.CloudSQL.Address)
	if want == "" {
		want = cloud.EndpointPublic
	}
	for _, e := range s.Told.Instance.Endpoints {
		if e.Kind != want {
			continue
		}
		s.Addresses = append(s.Addresses,
			certs.Address{HostPort: net.JoinHostPort(e.Host, strconv.Itoa(e.Port))},
			certs.Address{HostPort: net.JoinHostPort(e.Host, connectorPort), Connector: true})
	}
	return nil
}

func plainSubject(inst *config.Instance, s *certs.Subject, cas reads) error {
	server := inst.Postgres.Server()
	if server.Socket() {
		s.Socket = true
		return nil
	}
	s.Addresses = []certs.Address{{HostPort: net.JoinHostPort(server.Host, strconv.Itoa(int(server.Port)))}}
	if server.SSLMode == "verify-full" {
		s.Names = []string{server.Host}
	}
	s.RootsFrom, s.RootsHint = "the CAs of this machine", "name a file that holds it with postgres.ca_file"
	if inst.Postgres.CAFile == "" {
		return nil
	}
	s.RootsHint = "put it into postgres.ca_file"
	t, err := cas(inst.Postgres.CAFile, func() (trusted, error) {
		return readCAs("read the CAs for "+s.String(), inst.Postgres.CAFile, "check postgres.ca_file of the instance")
	})
	s.Roots, s.RootsFrom = t.roots, t.from
	return err
}

func readCAs(what, file, hint string) (trusted, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return trusted{}, fault.New(fault.Config, what, err).Hint("%s", hint)
	}
	all, err := bundle.Parse(text)
	if err != nil {
		return trusted{}, fault.Newf(fault.Config, what, "%s: %w", file, err).Hint("%s", hint)
	}
	return trusted{all, "the CAs in " + file}, nil
}

// Certs is one instance with its certificates: exactly one of Survey and Err is set.
type Certs struct {
	Instance
	Survey  *certs.Survey
	Folders []certs.Folder // with files for its clients
	Err     error
}

// foldersOf refuses folders that were named and hold no files for clients of the instances.
func foldersOf(r CertsRequest, all []Instance) error {
	for _, dir := range r.Folders {
		if !slices.ContainsFunc(all, func(i Instance) bool { return len(certs.Folders("", []string{dir}, i.Environment, i.Name)) > 0 }) {
			return fault.Newf(fault.Usage, "look at the files in "+dir, "dbops certs fetch has written none there for an instance that is looked at").
				Hint("check --dir, and the environment and the instance")
		}
	}
	return nil
}

// gate is the run that waits until every client has an instance's CA to come; empty if there is none, or the runs cannot be read.
func (a *App) gate(ctx context.Context, s *certs.Subject) string {
	if s.Provider != cloud.CloudSQL || s.Told.CA(cloud.CANext) == nil {
		return ""
	}
	engine, err := a.Engine(ctx, EngineOptions{})
	if err != nil {
		a.opts.Log.Warn("the runs cannot be read", "instance", s.String(), "error", err)
		return ""
	}
	runs, err := engine.Runs(ctx, state.RunFilter{Environment: s.Environment, Instance: s.Instance, Active: true})
	if err != nil {
		a.opts.Log.Warn("the runs cannot be read", "instance", s.String(), "error", err)
		return ""
	}
	for _, r := range runs {
		if r.Kind == certs.RotateKind && r.State == state.Gate {
			return r.ID
		}
	}
	return ""
}

// CertsRequest asks for the certificates of instances.
type CertsRequest struct {
	Environment, Instance string // empty: all
	CAFile                string // trusted in place of what dbops.yaml or the providers name
	Offline               bool   // ask the providers only
	// Folders with files for clients are looked at: the given ones, and those below Below.
	Folders []string
	Below   string
}

// Certificates looks at the certificates of instances, all at once, and returns them in the order of dbops.yaml. If ctx ends before, what is known
// comes together with a fault.Interrupted. Folders with no files for clients
// of one of them are a fault.Usage.
func (a *App) Certificates(ctx context.Context, r CertsRequest) ([]Certs, error) {
	all, err := a.Instances(r.Environment)
	if err != nil {
		return nil, err
	}
	if r.Instance != "" {
		if all, err = a.pick(all, r.Environment, r.Instance); err != nil {
			return nil, err
		}
	}
	if r.CAFile != "" { // once, before anybody is asked
		if _, err := readCAs("read the CAs to trust", r.CAFile, "check --ca-file"); err != nil {
			return nil, err
		}
	}
	if err := foldersOf(r, all); err != nil {
		return nil, err
	}
	out := make([]Certs, len(all))
	m := a.many(ctx, all)
	var wg sync.WaitGroup
	for n, i := range all {
		wg.Go(func() {
			out[n].Instance = i
			out[n].Err = a.guarded("look at the certificates of "+i.Environment+"/"+i.Name, func() error { return a.survey(ctx, m, r, &out[n]) })
			m.said()
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return out, fault.New(fault.Interrupted, "look at certificates", err)
	}
	return out, nil
}

// survey looks at the certificates of one instance.
func (a *App) survey(ctx context.Context, m *many, r CertsRequest, to *Certs) error {
	i := to.Instance
	s, err := m.subject(ctx, i.target(), r.CAFile)
	if err != nil {
		return err
	}
	if s.Told != nil {
		s.Told.Instance.Raw = nil // of a thousand instances nobody keeps what nobody reads
	}
	to.Survey = &certs.Survey{Subject: s}
	if !r.Offline && !s.Socket {
		if err := m.server(ctx, i.target(), statusTimeout, func(ctx context.Context) { to.Survey = certs.Observe(ctx, s, a.wayTo(i.Environment, i.Name)) }); err != nil {
			to.Survey.Unseen = fault.New(fault.KindOf(err), "look at the certificate of "+s.String(), err)
		}
	}
	to.Survey.Gate = a.gate(ctx, s)
	to.Folders = certs.Folders(r.Below, r.Folders, i.Environment, i.Name)
	return nil
}
