package cloudsql

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	sqladmin "google.golang.org/api/sqladmin/v1"

	"dbops/internal/cloud"
	"dbops/internal/cloud/gcpclient"
	"dbops/internal/fault"
)

var _ cloud.Provisioner = (*Provider)(nil)

// admin is the login that Cloud SQL gives every new instance.
const admin = "postgres"

// defaultEdition is what an instance has whose description names none: the edition came later. A new instance of a major since 16 that
// is asked for without an edition would be ENTERPRISE_PLUS, which needs other machines.
const defaultEdition = "ENTERPRISE"

// Majors lists the majors that Cloud SQL has flags for, and those that it says this instance can be upgraded to.
func (p *Provider) Majors(ctx context.Context, name string) ([]cloud.Offer, error) {
	ask, r, err := p.begin(ctx, p.question(p.op("list the newer majors for", name), permissionGet), name)
	if err != nil {
		return nil, err
	}
	defer r.end()
	db, err := r.describe(ask, name)
	if err != nil {
		return nil, err
	}
	flags, err := r.flags(ask)
	if err != nil {
		return nil, err
	}
	return offers(db, flags), nil
}

// flags are the database flags of every version.
func (r *request) flags(ctx context.Context) (all []*sqladmin.Flag, err error) {
	err = gcpclient.Read(ctx, func(ctx context.Context) error {
		out, err := r.api.Flags.List().Context(ctx).Do()
		if err == nil {
			all = out.Items
		}
		return err
	})
	return all, r.fault(ctx, err)
}

// offers are the majors beyond that of db. Cloud SQL chooses their minor version.
func offers(db *sqladmin.DatabaseInstance, flags []*sqladmin.Flag) []cloud.Offer {
	all := map[int]cloud.Offer{}
	for _, f := range flags {
		for _, v := range f.AppliesTo {
			if m := cloud.Major(v); strings.HasPrefix(v, prefix) && m > cloud.Major(db.DatabaseVersion) {
				all[m] = cloud.Offer{Major: m, Version: version(m)}
			}
		}
	}
	for _, v := range db.UpgradableDatabaseVersions {
		if o, ok := all[cmp.Or(cloud.Major(v.MajorVersion), cloud.Major(v.Name))]; ok {
			o.InPlace = o.Version
			all[o.Major] = o
		}
	}
	return cloud.SortOffers(all)
}

// prefix begins the versions of PostgreSQL.
const prefix = "POSTGRES_"

func version(major int) string { return fmt.Sprintf("%s%d", prefix, major) }

// blueprint is the instance that is asked for, and what of the source it will not have.
type blueprint struct {
	in   *sqladmin.DatabaseInstance
	lost []string
}

// blueprint reads what p is about.
func (r *request) blueprint(ctx context.Context, p cloud.Provision) (*blueprint, error) {
	source, err := r.describe(ctx, p.Source)
	if err != nil {
		return nil, err
	}
	if source.MasterInstanceName != "" {
		return nil, unsupported(r.q.Op, p.Source+" is a read replica", "upgrade what it is a replica of: "+source.MasterInstanceName)
	}
	flags, err := r.flags(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := p.Check(r.q.Op, cloud.Major(source.DatabaseVersion), offers(source, flags)); err != nil {
		return nil, err
	}
	if err := p.CheckAdmin(r.q.Op, admin); err != nil {
		return nil, err
	}
	b, err := newer(source, flags, p)
	if err != nil {
		return nil, fault.New(fault.Internal, r.q.Op, err)
	}
	return b, nil
}

// newer asks for an empty instance like the source, in all that the new version takes.
func newer(source *sqladmin.DatabaseInstance, flags []*sqladmin.Flag, p cloud.Provision) (b *blueprint, err error) {
	b = &blueprint{}
	if b.in, err = like(source, p.Restore()); err != nil {
		return nil, err
	}
	b.in.DatabaseVersion = version(p.Major)
	if b.in.Settings.Edition == "" || b.in.Settings.Edition == "EDITION_UNSPECIFIED" {
		b.in.Settings.Edition = defaultEdition
	}
	b.flags(flags)
	if len(source.ReplicaNames) > 0 {
		b.lost = append(b.lost, "read replicas: none, not "+strings.Join(source.ReplicaNames, " "))
	}
	if source.Settings.ActivationPolicy == "NEVER" {
		b.lost = append(b.lost, "activation policy: the new instance runs, the source is stopped")
	}
	return b, nil
}

// flags leaves out what the new version does not take.
func (b *blueprint) flags(known []*sqladmin.Flag) {
	var kept []*sqladmin.DatabaseFlags
	for _, f := range b.in.Settings.DatabaseFlags {
		if why := unfit(f, known, b.in.DatabaseVersion); why != "" {
			b.lost = append(b.lost, fmt.Sprintf("database flag %s=%s: %s", f.Name, f.Value, why))
			continue
		}
		kept = append(kept, f)
	}
	b.in.Settings.DatabaseFlags = kept
}

// unfit says why a version does not take a flag; empty if it does. One name may be listed more than once, each for some versions.
func unfit(f *sqladmin.DatabaseFlags, known []*sqladmin.Flag, version string) string {
	i := slices.IndexFunc(known, func(k *sqladmin.Flag) bool { return k.Name == f.Name && slices.Contains(k.AppliesTo, version) })
	if i < 0 {
		return version + " does not know it"
	}
	k := known[i]
	if n := len(k.AllowedStringValues); n > 0 && k.Type == "STRING" && !slices.Contains(k.AllowedStringValues, f.Value) {
		return version + " allows only " + strings.Join(k.AllowedStringValues, ", ")
	}
	var value int64
	if _, err := fmt.Sscanf(f.Value, "%d", &value); err != nil || k.Type != "INTEGER" {
		return ""
	}
	if len(k.AllowedIntValues) > 0 && !slices.Contains(k.AllowedIntValues, value) {
		return version + " does not allow the value"
	}
	if k.MinValue < k.MaxValue && (value < k.MinValue || value > k.MaxValue) {
		return fmt.Sprintf("%s allows only %d to %d", version, k.MinValue, k.MaxValue)
	}
	return ""
}

// Prospect tells version, flags and losses of a new instance.
func (p *Provider) Prospect(ctx context.Context, r cloud.Provision) (cloud.Prospect, error) {
	ask, req, err := p.begin(ctx, p.question(p.op("look at a newer major of", r.Source), permissionGet), r.Source)
	if err != nil {
		return cloud.Prospect{}, err
	}
	defer req.end()
	b, err := req.blueprint(ask, r)
	if err != nil {
		return cloud.Prospect{}, err
	}
	out := cloud.Prospect{Version: b.in.DatabaseVersion, Admin: admin, Lost: b.lost, Parameters: map[string]string{}}
	for _, f := range b.in.Settings.DatabaseFlags {
		out.Parameters[f.Name] = f.Value
	}
	return out, nil
}

// Provision makes the instance. The request holds the password.
func (p *Provider) Provision(ctx context.Context, r cloud.Provision) (cloud.Receipt, error) {
	q := p.changing(p.op("make from "+r.Source+" the new", r.Target), "cloudsql.instances.create", adminRole)
	if err := r.CheckPassword(q.Op); err != nil {
		return cloud.Receipt{}, err
	}
	ask, req, err := p.begin(ctx, q, r.Source, r.Target)
	if err != nil {
		return cloud.Receipt{}, err
	}
	defer req.end()
	b, err := req.blueprint(ask, r)
	if err != nil {
		return cloud.Receipt{}, err
	}
	b.in.RootPassword = r.Password.Reveal()
	o, err := req.api.Instances.Insert(p.project, b.in).Context(ask).Do()
	if err != nil {
		return cloud.Receipt{}, req.refused(ask, err)
	}
	return receipt(cloud.ChangeProvision, r.Target, o, want{})
}

// Provisioning is the receipt of a provision whose answer was lost: an instance has its labels from the start.
func (p *Provider) Provisioning(ctx context.Context, r cloud.Provision, since time.Time) (cloud.Receipt, error) {
	ask, req, err := p.begin(ctx, p.question(p.op("look for the new", r.Target), permissionGet), r.Target)
	if err != nil {
		return cloud.Receipt{}, err
	}
	defer req.end()
	db, err := req.describe(ask, r.Target)
	if err != nil {
		return cloud.Receipt{}, err
	}
	live := instance(db, p.project)
	var made *sqladmin.Operation
	err = req.operations(ask, live.Name, func(o *sqladmin.Operation) bool {
		recent := !parseTime(o.InsertTime).Before(since.Add(-skew))
		if recent && o.OperationType == "CREATE" {
			made = o
		}
		return made == nil && recent
	})
	if err != nil {
		return cloud.Receipt{}, req.fault(ask, err)
	}
	if made == nil || live.Major != r.Major || !cloud.Labelled(live, r.Labels) {
		why := "an instance of that name is there, and is not the one that was asked for"
		return cloud.Receipt{}, fault.New(fault.Invalid, req.q.Op, cloud.Because(why, errors.Join(errors.New(why), cloud.ErrExists)))
	}
	out, err := receipt(cloud.ChangeProvision, live.Name, made, want{})
	out.At = parseTime(made.InsertTime)
	return out, err
}

// Provisioned compares the new instance to its source, and its flags to those that were to go along.
func (p *Provider) Provisioned(ctx context.Context, r cloud.Provision) (left cloud.Settings, ok bool, lost []string, err error) {
	ask, req, err := p.begin(ctx, p.question(p.op("compare with "+r.Source+" the new", r.Target), permissionGet), r.Source, r.Target)
	if err != nil {
		return left, false, nil, err
	}
	defer req.end()
	b, err := req.blueprint(ask, r)
	if err != nil {
		return left, false, nil, err
	}
	source, err := req.describe(ask, r.Source)
	if err != nil {
		return left, false, nil, err
	}
	target, err := req.describe(ask, r.Target)
	if err != nil {
		return left, false, nil, err
	}
	lost = b.lost
	for _, f := range b.in.Settings.DatabaseFlags {
		if has := flag(target.Settings.DatabaseFlags, f.Name); has != f.Value && f.Name != flagIAM {
			lost = append(lost, fmt.Sprintf("database flag %s: %q, not %q", f.Name, has, f.Value))
		}
	}
	source.Settings.Edition = b.in.Settings.Edition
	left, ok, differs := p.Conform(ctx, instance(source, p.project), instance(target, p.project), r.Restore())
	for _, text := range differs {
		if !strings.HasPrefix(text, "database flags:") { // told above, one by one
			lost = append(lost, text)
		}
	}
	return left, ok, lost, nil
}

// Discard has nothing to remove: what Cloud SQL is asked for is in the instance.
func (p *Provider) Discard(_ context.Context, r cloud.Provision) error {
	return named(p.question(p.op("discard what was made for", r.Target), ""), r.Target)
}
