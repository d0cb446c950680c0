package cloudsql

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	sqladmin "google.golang.org/api/sqladmin/v1"

	"dbops/internal/cloud"
	"dbops/internal/cloud/gcpclient"
	"dbops/internal/fault"
)

// done is the status of an operation that has ended, well or not.
const done = "DONE"

// forgotten stands for the type of an operation that Cloud SQL does not know any more.
const forgotten = "(forgotten operation)"

// grace is how long an instance may take to show what an operation that has ended did.
const grace = 5 * time.Minute

// Progress tells how far a change is: its operation must have ended, and the instance be at rest and as it was wished. A restore
// from a backup is two operations, and the second one is begun here, by whoever looks first.
func (p *Provider) Progress(ctx context.Context, receipt cloud.Receipt) (cloud.Progress, error) {
	ask, r, err := p.begin(ctx, p.question(p.op("follow the "+receipt.Change+" of", receipt.Instance), permissionGet), receipt.Instance)
	if err != nil {
		return cloud.Progress{}, err
	}
	defer r.end()
	f := follow{request: r, receipt: receipt}
	if len(receipt.Want) > 0 {
		if err := json.Unmarshal(receipt.Want, &f.want); err != nil {
			return cloud.Progress{}, fault.New(fault.Invalid, r.q.Op, cloud.Because("the receipt cannot be read", err))
		}
	}
	progress, err := f.look(ask)
	if err != nil {
		return cloud.Progress{}, r.fault(ask, err)
	}
	return progress, nil
}

// follow is one look at a change.
type follow struct {
	*request
	receipt cloud.Receipt
	want    want
	o       *sqladmin.Operation
	ca      string // that the instance had when it was last looked at
}

func (f *follow) look(ctx context.Context) (cloud.Progress, error) {
	switch f.receipt.Change {
	case changeModify, changeFailover, changeBackup, changeRestore, cloud.ChangeProvision, cloud.ChangeUpgrade, changeDelete, changeAddCA, changeCA, changeClient,
		changeRevoke:
	default:
		return cloud.Progress{}, fault.Newf(fault.Invalid, f.q.Op, "the receipt is not one of Cloud SQL's: it is for the change %q", f.receipt.Change)
	}
	if f.want.Nothing {
		live, err := f.live(ctx)
		if err != nil {
			return cloud.Progress{}, err
		}
		return cloud.Progress{Done: true, Status: live.RawState}, nil
	}
	if f.receipt.Operation == "" {
		return cloud.Progress{}, fault.Newf(fault.Invalid, f.q.Op, "the receipt names no operation")
	}
	if err := f.operation(ctx); err != nil {
		return cloud.Progress{}, err
	}
	if f.o.Status != done {
		return cloud.Progress{Status: status(f.o)}, nil
	}
	if err := f.failure(f.o); err != nil {
		return cloud.Progress{}, err
	}
	switch {
	case f.receipt.Change == changeDelete:
		return f.deleted(ctx)
	case f.receipt.Change == changeBackup:
		return f.backedUp(ctx)
	case f.want.Run != 0:
		return f.fill(ctx)
	}
	return f.settled(ctx)
}

// operation reads the operation of the receipt. One that Cloud SQL has forgotten has ended, and the instance says how.
func (f *follow) operation(ctx context.Context) error {
	err := gcpclient.Read(ctx, func(ctx context.Context) (err error) {
		f.o, err = f.api.Operations.Get(f.p.project, f.receipt.Operation).Context(ctx).Do()
		return err
	})
	if err = f.fault(ctx, err); err != nil && fault.KindOf(err) == fault.NotFound {
		f.o = &sqladmin.Operation{Name: f.receipt.Operation, OperationType: forgotten, Status: done, InsertTime: f.receipt.At.Format(time.RFC3339Nano)}
		return nil
	}
	return err
}

// deleted tells whether the instance is gone. The end of its operation says so; a name may be in use again.
func (f *follow) deleted(ctx context.Context) (cloud.Progress, error) {
	if f.o.OperationType != forgotten {
		return cloud.Progress{Done: true, Status: status(f.o)}, nil
	}
	live, err := f.live(ctx)
	switch {
	case fault.KindOf(err) == fault.NotFound:
		return cloud.Progress{Done: true, Status: status(f.o)}, nil
	case err != nil:
		return cloud.Progress{}, err
	}
	return cloud.Progress{}, fault.Newf(fault.Internal, f.q.Op, "Cloud SQL has forgotten the operation, and the instance is there: %s", live.RawState)
}

// failure is that Cloud SQL gave an operation up; nil if it did not.
func (f *follow) failure(o *sqladmin.Operation) error {
	why := reason(o)
	if why == "" {
		return nil
	}
	return fault.New(fault.Internal, f.q.Op, cloud.Because(o.OperationType+" failed: "+why, errors.New(why))).
		Hint("look at the instance, then ask again")
}

// live is the instance with what runs on it.
func (f *follow) live(ctx context.Context) (*cloud.Instance, error) {
	db, err := f.describe(ctx, f.receipt.Instance)
	if err != nil {
		return nil, err
	}
	live := instance(db, f.p.project)
	f.ca = ""
	if db.ServerCaCert != nil {
		f.ca = db.ServerCaCert.Sha1Fingerprint
	}
	f.p.running(ctx, f.api, once, live.Name, map[string]*cloud.Instance{live.Name: live})
	return live, nil
}

// settled tells whether the instance shows the change, and is at rest.
func (f *follow) settled(ctx context.Context) (cloud.Progress, error) {
	live, err := f.live(ctx)
	if err != nil {
		return cloud.Progress{}, err
	}
	progress := cloud.Progress{Status: live.RawState, Detail: event(f.o).Text}
	if live.State == cloud.Failed {
		return cloud.Progress{}, fault.Newf(fault.Internal, f.q.Op, "the instance is %s", live.RawState)
	}
	late := time.Since(parseTime(f.o.EndTime)) > grace
	lacks := f.lacks(live)
	if lacks != "" && late {
		return cloud.Progress{}, fault.Newf(fault.Internal, f.q.Op, "%s has ended, and the instance does not show it: %s", f.o.OperationType, lacks).
			Hint("somebody may have changed it since: look at its operations")
	}
	alone := live.Availability == cloud.Regional && live.SecondaryZone == ""
	progress.Done = lacks == "" && (!alone || late) && (live.State == cloud.Available || live.State == cloud.Stopped)
	return progress, nil
}

// lacks says what of the change an instance does not show.
func (f *follow) lacks(live *cloud.Instance) string {
	var all []string
	if f.want.Settings != nil {
		for _, c := range f.want.Settings.Missing(live) {
			all = append(all, fmt.Sprintf("%s is %q, not %q", c.Setting, c.From, c.To))
		}
	}
	if v := f.want.Version; v != "" && live.Major < cloud.Major(v) {
		all = append(all, fmt.Sprintf("it has PostgreSQL %d, not %d", live.Major, cloud.Major(v)))
	}
	if f.want.CA != "" && f.ca != f.want.CA {
		all = append(all, "its server CA is "+f.ca+", not "+f.want.CA)
	}
	if f.want.Zone != "" && live.Zone != f.want.Zone {
		all = append(all, "the primary is in zone "+live.Zone+", not "+f.want.Zone)
	}
	return strings.Join(all, ", ")
}
