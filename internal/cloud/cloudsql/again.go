package cloudsql

import (
	"context"
	"errors"
	"strconv"
	"time"

	sqladmin "google.golang.org/api/sqladmin/v1"

	"dbops/internal/cloud"
	"dbops/internal/fault"
)

// skew is how far the clocks here and there may differ.
const skew = 5 * time.Minute

// Restoring is the receipt of a restore whose answer was lost. What is made from a backup has the labels of r from the start. A clone
// has none, and is that of r if this identity asked for it since.
func (p *Provider) Restoring(ctx context.Context, r cloud.Restore, since time.Time) (cloud.Receipt, error) {
	ask, req, err := p.begin(ctx, p.question(p.op("look for the restored", r.Target), permissionGet), r.Target)
	if err != nil {
		return cloud.Receipt{}, err
	}
	defer req.end()
	db, err := req.describe(ask, r.Target)
	if err != nil {
		return cloud.Receipt{}, err
	}
	live := instance(db, p.project)
	kind, w := "CLONE", want{}
	if r.Backup != "" {
		kind, w.Source = "CREATE", r.Source
		if w.Run, err = strconv.ParseInt(r.Backup, 10, 64); err != nil {
			return cloud.Receipt{}, fault.Newf(fault.NotFound, req.q.Op, "%q is not the number of a backup", r.Backup)
		}
	}
	var made *sqladmin.Operation
	err = req.operations(ask, live.Name, func(o *sqladmin.Operation) bool {
		if o.OperationType == kind && !parseTime(o.InsertTime).Before(since.Add(-skew)) {
			made = o
		}
		return made == nil && !parseTime(o.InsertTime).Before(since.Add(-skew))
	})
	if err != nil {
		return cloud.Receipt{}, req.fault(ask, err)
	}
	mine := made != nil && cloud.Labelled(live, r.Labels)
	if made != nil && !mine && r.Backup == "" {
		who, err := p.Identity(ask)
		if err != nil {
			return cloud.Receipt{}, err
		}
		mine = made.User == who
	}
	if !mine {
		why := "an instance of that name is there, and is not of this restore"
		return cloud.Receipt{}, fault.New(fault.Invalid, req.q.Op, cloud.Because(why, errors.Join(errors.New(why), cloud.ErrExists)))
	}
	receipt, err := receipt(changeRestore, live.Name, made, w)
	receipt.At = parseTime(made.InsertTime)
	return receipt, err
}
