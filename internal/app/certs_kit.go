package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"dbops/internal/certs"
	"dbops/internal/certs/bundle"
	"dbops/internal/cloud"
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
			cas, err := a.rdsRoots("read the CAs for "+t.String(), inst)
			return cas.roots, err
		},
		Dial: func(t op.Target) certs.Dial { return a.wayTo(t.Environment, t.Instance) }, Host: thisHost(),
	})
}

// ClientRequest is a request for a client certificate, whose files go to a folder of this machine.
func (a *App) ClientRequest(ctx context.Context, env, instance, name, dir, database, user string) (certs.CreateRequest, error) {
	login, err := a.kitLogin(ctx, KitRequest{Environment: env, Instance: instance, Dir: dir, Database: database, User: user})
	if err != nil {
		return certs.CreateRequest{}, err
	}
	dir, err = filepath.Abs(dir)
	if err != nil {
		return certs.CreateRequest{}, fault.New(fault.Usage, "find the folder "+dir, err)
	}
	return certs.CreateRequest{Name: name, Dir: dir, Host: thisHost(), Database: login.database, User: login.user}, nil
}

// RevokeRequest is a request for the end of a client certificate. One that the instance does not have is a fault.Usage that names those it has.
func (a *App) RevokeRequest(ctx context.Context, env, instance, word string) (certs.RevokeRequest, error) {
	r := certs.RevokeRequest{Client: word}
	c, name, err := a.certifier(ctx, env, instance)
	if err != nil {
		return r, err
	}
	told, err := c.Certificates(ctx, name)
	if err != nil {
		return r, err
	}
	if told.Instance.Provider != cloud.CloudSQL || certs.FindClient(told.Clients, word) != nil { // elsewhere the plan says that there are none
		return r, nil
	}
	names := make([]string, len(told.Clients))
	for i := range told.Clients {
		names[i] = told.Clients[i].Name
	}
	f := fault.Newf(fault.Usage, "", "%s/%s has no client certificate %q", env, instance, word)
	if len(names) == 0 {
		return r, f.Hint("it has none")
	}
	return r, f.Hint("there are: %s", strings.Join(names, ", "))
}

// KitRequest is what the files for clients of an instance are asked for with.
type KitRequest struct {
	Environment, Instance string
	Dir                   string
	Database              string // as dbops.yaml or the server calls it; empty: that of the folder, else one is chosen
	User                  string // empty: that of the folder, else the read login's
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
	login, err := a.kitLogin(ctx, r)
	if err != nil {
		return nil, err
	}
	s, err := a.Subject(ctx, r.Environment, r.Instance, r.CAFile)
	if err != nil {
		return nil, err
	}
	out := &Kit{}
	if !r.Offline && !s.Socket {
		survey := certs.Observe(ctx, s, a.wayTo(r.Environment, r.Instance))
		out.Seen, out.Unseen = survey.Seen, survey.Unseen
		if err := refuses(survey); err != nil {
			return nil, err
		}
	}
	o := certs.KitOptions{Dir: r.Dir, Database: login.database, User: login.user, Notes: login.notes}
	if out.Kit, err = certs.NewKit(s, out.Seen, o, time.Now()); err != nil {
		return nil, err
	}
	if how := a.proof(s, out.Kit); how != "" {
		out.Notes = append(out.Notes, how)
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
	if at, err := url.Parse(u.URL); mirror != "" && (err != nil || at.Scheme != "https" || at.Host == "") {
		return nil, fault.Newf(fault.Usage, what, "--from %q is no address that begins with https://", mirror).Hint("CAs come over verified TLS only: --from https://HOST/PATH")
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

// Back says how to get back to the CAs from before an update, which was kept in a file.
func (u *Update) Back(file string) string {
	if u.Current != nil && u.Current.File != "" {
		return fmt.Sprintf("mv %[1]s %[2]s, which holds those of before", bundle.Previous(file), file)
	}
	return "rm " + file + ": then those that are part of dbops hold again"
}

// SaveUpdate makes what was downloaded this user's copy, which goes before the program's own. It returns the file.
func (a *App) SaveUpdate(u *Update) (string, error) {
	file, err := a.RDSCAs().Save(u.Region, u.Fetched.Certs)
	if err != nil {
		return "", fault.New(fault.Failed, "keep the CAs of RDS in "+u.Region, err).Hint("check the folder %s", a.RDSCAs().Dir)
	}
	return file, nil
}
