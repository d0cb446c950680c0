package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"dbops/internal/certs"
	"dbops/internal/certs/bundle"
	"dbops/internal/cloud"
	"dbops/internal/config"
	"dbops/internal/dial"
	"dbops/internal/fault"
	"dbops/internal/op"
)

// thisHost names this machine, on which files are.
func thisHost() string {
	name, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	return name
}

// certificates are the operations on certificates.
func (a *App) certificates() []op.Kind {
	return certs.New(certs.Deps{
		Cloud: func(ctx context.Context, t op.Target) (certs.Cloud, string, error) {
			return a.certifier(ctx, t.Environment, t.Instance)
		},
		Subject: func(ctx context.Context, t op.Target) (*certs.Subject, error) {
			return a.Subject(ctx, t.Environment, t.Instance, "")
		},
		Roots: func(_ context.Context, t op.Target) ([]*x509.Certificate, error) {
			inst, err := a.instance(t.Environment, t.Instance)
			if err != nil {
				return nil, err
			}
			roots, _, err := a.rdsRoots("read the CAs for "+t.String(), inst)
			return roots, err
		},
		Dial: dial.Direct(), Host: thisHost(),
	})
}

// ClientRequest is a request for a client certificate, whose files go to a folder of this machine.
func (a *App) ClientRequest(env, instance, name, dir, database, user string) (certs.CreateRequest, error) {
	r := KitRequest{Environment: env, Instance: instance, Database: database, User: user}
	if _, err := a.Target(env, instance); err != nil {
		return certs.CreateRequest{}, err
	}
	database, user, err := a.kitLogin(r)
	if err != nil {
		return certs.CreateRequest{}, err
	}
	dir, err = filepath.Abs(dir)
	if err != nil {
		return certs.CreateRequest{}, fault.New(fault.Usage, "find the folder "+dir, err)
	}
	return certs.CreateRequest{Name: name, Dir: dir, Host: thisHost(), Database: database, User: user}, nil
}

// KitRequest is what the files for clients of an instance are asked for with.
type KitRequest struct {
	Environment, Instance string
	Dir                   string
	Database              string // as dbops.yaml or the server calls it; empty: the instance's first
	User                  string // empty: the one of the read login, if it has a password
	CAFile                string
	Offline               bool // do not look at the server
}

// Kit is the files for clients, and how they were verified.
type Kit struct {
	*certs.Kit
	Files  []string
	Seen   *certs.Seen // nil: the server was not looked at
	Unseen error       // why not
}

// FetchKit writes the files that clients of an instance need. CAs that do not verify the live server are refused, and nothing is written;
// a server that cannot be reached is told in Unseen.
func (a *App) FetchKit(ctx context.Context, r KitRequest) (*Kit, error) {
	s, err := a.Subject(ctx, r.Environment, r.Instance, r.CAFile)
	if err != nil {
		return nil, err
	}
	out := &Kit{}
	if !r.Offline && !s.Socket {
		survey := certs.Observe(ctx, s, dial.Direct())
		out.Seen, out.Unseen = survey.Seen, survey.Unseen
		if err := refuses(survey); err != nil {
			return nil, err
		}
	}
	o := certs.KitOptions{Dir: r.Dir}
	if o.Database, o.User, err = a.kitLogin(r); err != nil {
		return nil, err
	}
	if out.Kit, err = certs.NewKit(s, out.Seen, o, time.Now()); err != nil {
		return nil, err
	}
	out.Files, err = out.Write()
	return out, err
}

// refuses is the error of a server that its clients would not believe.
func refuses(s *certs.Survey) error {
	if fault.KindOf(s.Unseen) == fault.Invalid { // it was reached, and has no TLS
		return s.Unseen
	}
	if s.Seen == nil {
		return nil
	}
	what := "verify the server of " + s.String() + " with the CAs that clients would get"
	for _, f := range s.Seen.Judge(s.Expect(), time.Now(), 0) {
		if f.Severity != op.Info {
			return fault.Newf(fault.Invalid, what, "%s", f.Text).Hint("%s; nothing was written", f.Remedy)
		}
	}
	return nil
}

// kitLogin is the database and the user that clients are told: the user only where a password goes with it.
func (a *App) kitLogin(r KitRequest) (database, user string, err error) {
	e, err := a.cfg.Environment(r.Environment)
	if err != nil {
		return "", "", err
	}
	database, user = r.Database, r.User
	names := e.DatabasesOf(r.Instance)
	if database == "" && len(names) > 0 {
		database = names[0]
	}
	if slices.Contains(names, database) {
		d, err := e.Database(database)
		if err != nil {
			return "", "", err
		}
		database = d.Name
	}
	if database == "" {
		database = "postgres"
	}
	if login := e.Instances[r.Instance].Login(config.Read); user == "" && login != nil {
		user = login.User
	}
	return database, user, nil
}

// Update is what the CAs of a region would change to.
type Update struct {
	Region  string
	URL     string
	Current *bundle.Bundle // nil: none was known
	Fetched *bundle.Download
	bundle.Difference
}

// RDSRegions are the regions of RDS that dbops.yaml names, in order.
func (a *App) RDSRegions() []string {
	var all []string
	for _, e := range a.cfg.Environments {
		for _, i := range e.Instances {
			if i.RDS != nil && !slices.Contains(all, i.RDS.Region) {
				all = append(all, i.RDS.Region)
			}
		}
	}
	slices.Sort(all)
	return all
}

// CheckUpdate downloads what Amazon publishes for a region, or a mirror that keeps Amazon's paths. Nothing is written.
func (a *App) CheckUpdate(ctx context.Context, region, mirror string) (*Update, error) {
	what := "download the CAs of RDS in " + region
	if !bundle.ValidRegion(region) {
		return nil, fault.Newf(fault.Usage, what, "this is no region of AWS").Hint("name one as in eu-west-1")
	}
	u := &Update{Region: region, URL: bundle.Published(region)}
	if mirror != "" {
		u.URL = bundle.Mirror(mirror, region)
	}
	if u.URL == "" {
		return nil, fault.Newf(fault.Usage, what, "where they are published for this region is not known here").
			Hint("name a place with --from, or put the file that AWS documents into rds.ca_file")
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}}
	defer transport.CloseIdleConnections()
	var err error
	if u.Fetched, err = bundle.Fetch(ctx, &http.Client{Transport: transport}, u.URL, time.Now()); err != nil {
		why := err
		if _, text := cloud.Unreached(err); text != "" {
			why = cloud.Because(text, err)
		}
		return nil, fault.New(fault.Unavailable, what+" from "+u.URL, why).Hint("nothing was changed; a mirror is named with --from")
	}
	u.Current, err = a.RDSCAs().Region(region)
	if err != nil && !errors.Is(err, bundle.ErrUnknown) {
		a.opts.Log.Warn("the copy that is there cannot be read", "region", region, "error", err)
	}
	var have []*x509.Certificate
	if u.Current != nil {
		have = u.Current.Certs
	}
	u.Difference = bundle.Compare(have, u.Fetched.Certs)
	return u, nil
}

// SaveUpdate makes what was downloaded this user's copy, which goes before the program's own. It returns the file.
func (a *App) SaveUpdate(u *Update) (string, error) {
	file, err := a.RDSCAs().Save(u.Region, u.Fetched.Certs)
	if err != nil {
		return "", fault.New(fault.Failed, "keep the CAs of RDS in "+u.Region, err).Hint("check the folder %s", a.RDSCAs().Dir)
	}
	return file, nil
}
