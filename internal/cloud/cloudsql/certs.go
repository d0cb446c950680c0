package cloudsql

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	sqladmin "google.golang.org/api/sqladmin/v1"

	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/secret"
)

// ownCA is the mode of an instance whose server certificate is signed by a CA of its own. The other modes have CAs that are shared.
const ownCA = "GOOGLE_MANAGED_INTERNAL_CA"

var _ cloud.Certifier = (*Provider)(nil)

// Certificates tells the server CAs of an instance and its client certificates.
func (p *Provider) Certificates(ctx context.Context, name string) (*cloud.Certificates, error) {
	q := p.question(p.op("read the certificates of", name), permissionCAs)
	ask, r, err := p.begin(ctx, q, name)
	if err != nil {
		return nil, err
	}
	defer r.end()
	db, err := r.describe(ask, name)
	if err != nil {
		return nil, err
	}
	out := &cloud.Certificates{Instance: instance(db, p.project)}
	out.Names, out.CommonName = serverNames(db, p.project)
	if out.CAs, err = r.serverCAs(ask, name, mode(db) == ownCA); err != nil {
		return nil, err
	}
	if out.Clients, err = r.clients(ask, name); err != nil {
		return nil, err
	}
	return out, nil
}

// serverNames are what the server's certificate is for. That of an instance's own CA bears the instance's name in its subject, and DNS
// names only where Cloud SQL tells one.
func serverNames(db *sqladmin.DatabaseInstance, project string) (names []string, common bool) {
	for _, n := range db.DnsNames {
		names = append(names, strings.TrimSuffix(n.Name, "."))
	}
	if db.DnsName != "" {
		names = append(names, strings.TrimSuffix(db.DnsName, "."))
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if mode(db) != ownCA {
		return names, false
	}
	return append([]string{cmp.Or(db.Project, project) + ":" + db.Name}, names...), true
}

// mode is which sort of CA an instance has. Older instances do not tell, and have one of their own.
func mode(db *sqladmin.DatabaseInstance) string {
	if ip := db.Settings.IpConfiguration; ip != nil && ip.ServerCaMode != "" && ip.ServerCaMode != "CA_MODE_UNSPECIFIED" {
		return ip.ServerCaMode
	}
	return ownCA
}

func (r *request) serverCAs(ctx context.Context, name string, own bool) ([]cloud.ServerCA, error) {
	if !own {
		return r.sharedCAs(ctx, name)
	}
	var found *sqladmin.InstancesListServerCasResponse
	err := r.read(ctx, func(ctx context.Context) (err error) {
		found, err = r.api.Instances.ListServerCas(r.p.project, name).Context(ctx).Do()
		return err
	})
	if err != nil {
		return nil, r.fault(ctx, err)
	}
	return authorities(found.Certs, found.ActiveVersion), nil
}

// sharedCAs are the CAs of Google's Certificate Authority Service, or of the customer's pool.
func (r *request) sharedCAs(ctx context.Context, name string) ([]cloud.ServerCA, error) {
	var found *sqladmin.InstancesListServerCertificatesResponse
	q := *r
	q.q.Permission = "cloudsql.instances.listServerCertificates"
	err := r.read(ctx, func(ctx context.Context) (err error) {
		found, err = r.api.Instances.ListServerCertificates(r.p.project, name).Context(ctx).Do()
		return err
	})
	if err != nil {
		return nil, q.fault(ctx, err)
	}
	all := make([]cloud.ServerCA, 0, len(found.CaCerts))
	for _, c := range found.CaCerts {
		all = append(all, serverCA(c, cloud.CAActive)) // whichever of them signed: each may
	}
	return all, nil
}

// authorities gives each CA its role: what was made after the active one comes next, what was made before it was there before.
func authorities(certs []*sqladmin.SslCert, active string) []cloud.ServerCA {
	made := ""
	for _, c := range certs {
		if c.Sha1Fingerprint == active {
			made = c.CreateTime
		}
	}
	all := make([]cloud.ServerCA, 0, len(certs))
	for _, c := range certs {
		role := cloud.CAPrevious
		switch {
		case c.Sha1Fingerprint == active:
			role = cloud.CAActive
		case parseTime(c.CreateTime).After(parseTime(made)):
			role = cloud.CANext
		}
		all = append(all, serverCA(c, role))
	}
	order := []cloud.CARole{cloud.CAActive, cloud.CANext, cloud.CAPrevious}
	slices.SortStableFunc(all, func(a, b cloud.ServerCA) int {
		return cmp.Compare(slices.Index(order, a.Role), slices.Index(order, b.Role))
	})
	return all
}

func serverCA(c *sqladmin.SslCert, role cloud.CARole) cloud.ServerCA {
	return cloud.ServerCA{
		ID: c.Sha1Fingerprint, Role: role, Fingerprint: strings.ToLower(c.Sha1Fingerprint), PEM: c.Cert,
		From: parseTime(c.CreateTime), Until: parseTime(c.ExpirationTime),
	}
}

func (r *request) clients(ctx context.Context, name string) ([]cloud.ClientCert, error) {
	var found *sqladmin.SslCertsListResponse
	q := *r
	q.q.Permission = "cloudsql.sslCerts.list"
	err := r.read(ctx, func(ctx context.Context) (err error) {
		found, err = r.api.SslCerts.List(r.p.project, name).Context(ctx).Do()
		return err
	})
	if err != nil {
		return nil, q.fault(ctx, err)
	}
	all := make([]cloud.ClientCert, 0, len(found.Items))
	for _, c := range found.Items {
		all = append(all, clientCert(c))
	}
	slices.SortFunc(all, func(a, b cloud.ClientCert) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

func clientCert(c *sqladmin.SslCert) cloud.ClientCert {
	return cloud.ClientCert{
		ID: c.Sha1Fingerprint, Name: c.CommonName, Serial: c.CertSerialNumber, PEM: c.Cert,
		Created: parseTime(c.CreateTime), Until: parseTime(c.ExpirationTime),
	}
}

// AddCA makes a CA of the instance's own that comes after the active one.
func (p *Provider) AddCA(ctx context.Context, name string) (cloud.Receipt, error) {
	ask, r, db, err := p.certified(ctx, "add a server CA to", name, "cloudsql.instances.addServerCa")
	if err != nil {
		return cloud.Receipt{}, err
	}
	defer r.end()
	cas, err := r.serverCAs(ask, name, mode(db) == ownCA)
	if err != nil {
		return cloud.Receipt{}, err
	}
	if next := (&cloud.Certificates{CAs: cas}).CA(cloud.CANext); next != nil { // the API would replace it
		return cloud.Receipt{}, fault.New(fault.Invalid, r.q.Op,
			cloud.Because("there is one already that it was not rotated to: "+next.ID, cloud.ErrExists)).Hint("rotate to it first")
	}
	o, err := r.api.Instances.AddServerCa(p.project, name).Context(ask).Do()
	if err != nil {
		return cloud.Receipt{}, r.refused(ask, err)
	}
	return receipt(changeAddCA, name, o, want{})
}

// RotateCA has the server show a certificate of another of its CAs, also of the previous one.
func (p *Provider) RotateCA(ctx context.Context, name, id string, when cloud.CAWhen) (cloud.Receipt, error) {
	ask, r, db, err := p.certified(ctx, "rotate the server CA of", name, "cloudsql.instances.rotateServerCa")
	if err != nil {
		return cloud.Receipt{}, err
	}
	defer r.end()
	if when != cloud.CANow {
		return cloud.Receipt{}, unsupported(r.q.Op, "Cloud SQL rotates at once, never in the maintenance window or at a restart", "ask for it now")
	}
	cas, err := r.serverCAs(ask, name, mode(db) == ownCA)
	if err != nil {
		return cloud.Receipt{}, err
	}
	i := slices.IndexFunc(cas, func(c cloud.ServerCA) bool { return c.ID == id })
	switch {
	case i < 0:
		return cloud.Receipt{}, fault.Newf(fault.Invalid, r.q.Op, "it has no server CA %s", id).Hint("dbops certs list shows those that it has")
	case cas[i].Role == cloud.CAActive:
		return receipt(changeCA, name, nil, want{Nothing: true})
	}
	o, err := r.api.Instances.RotateServerCa(p.project, name, &sqladmin.InstancesRotateServerCaRequest{
		RotateServerCaContext: &sqladmin.RotateServerCaContext{NextVersion: id},
	}).Context(ask).Do()
	if err != nil {
		return cloud.Receipt{}, r.refused(ask, err)
	}
	return receipt(changeCA, name, o, want{CA: id})
}

// certified begins a change of an instance's own CAs; shared ones are rotated otherwise.
func (p *Provider) certified(ctx context.Context, what, name, permission string) (context.Context, *request, *sqladmin.DatabaseInstance, error) {
	ask, r, err := p.begin(ctx, p.changing(p.op(what, name), permission, editorRole), name)
	if err != nil {
		return nil, nil, nil, err
	}
	db, err := r.describe(ask, name)
	if err == nil && mode(db) != ownCA {
		err = unsupported(r.q.Op, "its CA is "+mode(db)+", which it shares with others", "gcloud sql ssl server-certs rotates its certificate")
	}
	if err != nil {
		r.end()
		return nil, nil, nil, err
	}
	return ask, r, db, nil
}

// CreateClient makes a client certificate. Google makes the key, and tells it once.
func (p *Provider) CreateClient(ctx context.Context, name, client string) (cloud.ClientCert, secret.Value, cloud.Receipt, error) {
	fail := func(err error) (cloud.ClientCert, secret.Value, cloud.Receipt, error) {
		return cloud.ClientCert{}, secret.Value{}, cloud.Receipt{}, err
	}
	ask, r, err := p.begin(ctx, p.changing(p.op("make a client certificate for", name), "cloudsql.sslCerts.create", adminRole), name)
	if err != nil {
		return fail(err)
	}
	defer r.end()
	out, err := r.api.SslCerts.Insert(p.project, name, &sqladmin.SslCertsInsertRequest{CommonName: client}).Context(ask).Do()
	if err != nil {
		err = r.refused(ask, err)
		if errors.Is(err, cloud.ErrExists) {
			err = fault.New(fault.Invalid, r.q.Op, cloud.Because("there is a client certificate "+client+" already", err)).
				Hint("take another name, or revoke that one")
		}
		return fail(err)
	}
	if out.ClientCert == nil || out.ClientCert.CertInfo == nil || out.ClientCert.CertPrivateKey == "" {
		return fail(fault.Newf(fault.Internal, r.q.Op, "Cloud SQL answered without a certificate and its key").
			Hint("a certificate %s may be there now, without anybody who has its key: revoke it", client))
	}
	key := secret.New(out.ClientCert.CertPrivateKey)
	got, err := receipt(changeClient, name, out.Operation, want{})
	if err == nil && got.RequestID == "" {
		got.RequestID = requestID(out.Header, got.Operation)
	}
	return clientCert(out.ClientCert.CertInfo), key, got, err
}

// DeleteClient deletes a client certificate.
func (p *Provider) DeleteClient(ctx context.Context, name, id string) (cloud.Receipt, error) {
	ask, r, err := p.begin(ctx, p.changing(p.op("revoke a client certificate of", name), "cloudsql.sslCerts.delete", adminRole), name)
	if err != nil {
		return cloud.Receipt{}, err
	}
	defer r.end()
	if id == "" {
		return cloud.Receipt{}, fault.Newf(fault.Invalid, r.q.Op, "the certificate is not named")
	}
	o, err := r.api.SslCerts.Delete(p.project, name, id).Context(ask).Do()
	if err != nil {
		return cloud.Receipt{}, r.refused(ask, err)
	}
	return receipt(changeRevoke, name, o, want{})
}
