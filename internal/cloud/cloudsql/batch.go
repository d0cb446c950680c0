package cloudsql

import (
	"context"

	sqladmin "google.golang.org/api/sqladmin/v1"

	"dbops/internal/cloud"
	"dbops/internal/cloud/gcpclient"
	"dbops/internal/fault"
)

var _ cloud.Batcher = (*Provider)(nil)

// batch is a look at many instances. Their descriptions come with the pages of the project's list; the CAs and client certificates of an
// instance are in no list, and cost two requests each.
type batch struct {
	p      *Provider
	ctx    context.Context //nolint:containedctx // of the look
	wanted map[string]bool

	list cloud.Once[*listing]
}

// listing is what the list told.
type listing struct {
	found map[string]*listed
	dark  error // some regions could not be reached by Cloud SQL itself
}

// listed is an instance of the list, and what further questions about it need.
type listed struct {
	live   *cloud.Instance
	names  []string // of the server's certificate
	common bool
	own    bool // it has CAs of its own
}

// Batch implements [cloud.Batcher].
func (p *Provider) Batch(ctx context.Context, names ...string) cloud.Batch {
	b := &batch{p: p, ctx: ctx, wanted: map[string]bool{}}
	for _, name := range names {
		b.wanted[name] = true
	}
	return b
}

// find is an instance of the list; nil if it is not among those that Cloud SQL lists, or nobody here may list.
func (b *batch) find(ctx context.Context, name string) (*listed, error) {
	q := b.p.question("list the Cloud SQL instances of "+b.p.project, permissionList)
	l, err := b.list.Get(ctx, func() (*listing, error) {
		l, err := b.read(q)
		return l, b.p.google.Fault(b.ctx, q, err)
	})
	switch {
	case err == nil && l.found[name] == nil && l.dark != nil:
		return nil, l.dark
	case err == nil:
		return l.found[name], nil
	case fault.PermissionOf(err) == permissionList: // a condition of a role may allow to see some
		return nil, nil
	}
	return nil, b.p.google.Fault(ctx, q, err)
}

// read reads the list, and keeps what is wanted of it.
func (b *batch) read(q gcpclient.Question) (*listing, error) {
	ask, cancel := context.WithTimeout(b.ctx, gcpclient.BatchTimeout)
	defer cancel()
	api, err := b.p.service(b.ctx)
	if err != nil {
		return nil, err
	}
	out, byName := &listing{found: map[string]*listed{}}, map[string]*cloud.Instance{}
	dark, err := b.p.pages(ask, api, gcpclient.ReadPatiently, func(db *sqladmin.DatabaseInstance) {
		if !b.wanted[db.Name] {
			return
		}
		l := &listed{live: instance(db, b.p.project), own: mode(db) == ownCA}
		l.names, l.common = serverNames(db, b.p.project)
		out.found[db.Name], byName[db.Name] = l, l.live
	})
	if err != nil {
		return nil, err
	}
	if len(dark) > 0 {
		out.dark = unreached(q, dark)
	}
	b.p.running(ask, api, gcpclient.ReadPatiently, "", byName)
	return out, nil
}

// Get implements [cloud.Batch].
func (b *batch) Get(ctx context.Context, name string) (*cloud.Instance, error) {
	l, err := b.find(ctx, name)
	switch {
	case err != nil:
		return nil, err
	case l == nil: // it says why
		return b.p.Get(ctx, name)
	}
	return l.live.Own(), nil
}

// Certificates implements [cloud.Batch].
func (b *batch) Certificates(ctx context.Context, name string) (*cloud.Certificates, error) {
	l, err := b.find(ctx, name)
	switch {
	case err != nil:
		return nil, err
	case l == nil:
		return b.p.Certificates(ctx, name)
	}
	q := b.p.question(b.p.op("read the certificates of", name), permissionCAs)
	api, err := b.p.service(ctx)
	if err != nil {
		return nil, b.p.google.Fault(ctx, q, err)
	}
	ask, cancel := context.WithTimeout(ctx, gcpclient.BatchTimeout)
	defer cancel()
	r := &request{p: b.p, q: q, api: api, end: cancel, read: gcpclient.ReadPatiently}
	out := &cloud.Certificates{Instance: l.live.Own(), Names: l.names, CommonName: l.common}
	if out.CAs, err = r.serverCAs(ask, name, l.own); err != nil {
		return nil, err
	}
	out.Clients, err = r.clients(ask, name)
	return out, err
}
