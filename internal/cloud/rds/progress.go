package rds

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"

	"dbops/internal/cloud"
	"dbops/internal/cloud/awsclient"
	"dbops/internal/fault"
)

// grace is how long RDS may take to show that it has begun; and how far the clocks here and there may differ.
const grace = 5 * time.Minute

// Progress tells how far a change is. Neither a status nor an event alone says that it has happened: RDS shows "available" before
// it begins, too. What was wished must be there, nothing of it be pending, and the status be that of an instance at rest.
func (p *Provider) Progress(ctx context.Context, r cloud.Receipt) (cloud.Progress, error) {
	op := p.op("follow the "+r.Change+" of", r.Instance)
	if err := p.check(op, r.Instance); err != nil {
		return cloud.Progress{}, err
	}
	var w want
	if len(r.Want) > 0 {
		if err := json.Unmarshal(r.Want, &w); err != nil {
			return cloud.Progress{}, fault.New(fault.Invalid, op, cloud.Because("the receipt cannot be read", err))
		}
	}
	ask, cancel := context.WithTimeout(ctx, awsclient.Timeout)
	defer cancel()
	f := follow{p: p, op: op, r: r, want: w}
	progress, err := f.look(ask)
	if err != nil {
		return cloud.Progress{}, p.aws.Fault(ctx, op, err)
	}
	return progress, nil
}

// follow is one look at a change.
type follow struct {
	p    *Provider
	op   string
	r    cloud.Receipt
	want want

	live   *cloud.Instance
	signer string        // the CA of the certificate that the server has
	events []cloud.Event // since the change was asked for, and a little before
}

func (f *follow) look(ctx context.Context) (cloud.Progress, error) {
	switch f.r.Change {
	case changeModify:
		return f.judge(ctx, f.modified)
	case changeFailover:
		return f.judge(ctx, f.failedOver)
	case changeCA:
		return f.judge(ctx, f.rotated)
	case changeRestore:
		return f.judge(ctx, f.restored)
	case cloud.ChangeProvision:
		return f.judge(ctx, f.provisioned)
	case cloud.ChangeUpgrade:
		return f.judge(ctx, func() (cloud.Progress, error) { return f.upgraded(ctx) })
	case cloud.ChangeGreen, cloud.ChangeSwitchover, cloud.ChangeRemoveGreen:
		return f.green(ctx)
	case changeBackup:
		return f.backedUp(ctx)
	case changeRename:
		return f.renamed(ctx)
	case changeDelete:
		return f.deleted(ctx)
	}
	return cloud.Progress{}, fault.Newf(fault.Invalid, f.op, "the receipt is not one of RDS's: it is for the change %q", f.r.Change)
}

// judge describes the instance and asks whether the change is there.
func (f *follow) judge(ctx context.Context, there func() (cloud.Progress, error)) (cloud.Progress, error) {
	db, err := f.p.describe(ctx, f.r.Instance)
	if err != nil {
		return cloud.Progress{}, err
	}
	return f.judgeOf(ctx, db, there)
}

func (f *follow) judgeOf(ctx context.Context, db types.DBInstance, there func() (cloud.Progress, error)) (cloud.Progress, error) {
	f.live = instance(db, f.p.aws.Config.Region)
	if c := db.CertificateDetails; c != nil {
		f.signer = aws.ToString(c.CAIdentifier)
	}
	f.events = f.p.recent(ctx, f.live.Name, f.r.At.Add(-grace))
	progress, err := there()
	if err != nil {
		return cloud.Progress{}, err
	}
	if progress.Status == "" {
		progress.Status = f.live.RawState
	}
	for _, e := range f.events {
		if e.At.After(f.r.At.Add(-10 * time.Second)) {
			progress.Detail = e.Text
		}
	}
	return progress, nil
}

// modified tells whether the wished settings are there, or wait for the window if that was the wish.
func (f *follow) modified() (cloud.Progress, error) {
	if f.want.Nothing || f.want.Settings == nil {
		return cloud.Progress{Done: true}, nil
	}
	missing := f.want.Settings.Missing(f.live)
	waiting := 0
	f.want.Settings.Part(func(setting string) bool {
		if waits(f.live, setting) {
			waiting++
		}
		return false
	})
	if f.want.When == cloud.InWindow && waiting > 0 {
		if soon := afterWindow(f.live); len(f.want.Settings.Missing(&soon)) == 0 {
			return cloud.Progress{Done: true, Status: f.live.RawState + ", accepted for the window " + f.live.Maintenance.Window}, nil
		}
	}
	settled := len(missing) == 0 && waiting == 0 && zoned(f.live)
	switch f.live.State {
	case cloud.Failed:
		if !settled { // else it is as wished, and failed of something else
			return cloud.Progress{}, f.gaveUp()
		}
	case cloud.Available, cloud.Stopped:
		if len(missing) > 0 && waiting == 0 && (f.failure() != "" || f.quiet() > grace) {
			return cloud.Progress{}, f.gaveUp()
		}
	default:
		settled = false
	}
	return cloud.Progress{Done: settled}, nil
}

// quiet is how long RDS has said nothing about the instance, since the change was asked for.
func (f *follow) quiet() time.Duration {
	last := f.r.At
	if n := len(f.events); n > 0 && f.events[n-1].At.After(last) {
		last = f.events[n-1].At
	}
	return time.Since(last)
}

// zoned tells whether the standby is there, or gone, as the availability says.
func zoned(live *cloud.Instance) bool {
	return live.Availability == "" || (live.Availability == cloud.Regional) == (live.SecondaryZone != "")
}

func (f *follow) failedOver() (cloud.Progress, error) {
	done, abandoned := failedOver(f.live, f.want, f.events)
	if abandoned != "" {
		return cloud.Progress{}, fault.New(fault.Internal, f.op, errors.New(strings.TrimRight(abandoned, "."))).
			Hint("wait some minutes after a failover before the next")
	}
	progress, err := f.unlessFailed()
	progress.Done = done && f.live.State == cloud.Available
	return progress, err
}

// unlessFailed is that the change is not there yet, or never will be.
func (f *follow) unlessFailed() (cloud.Progress, error) {
	if f.live.State == cloud.Failed {
		return cloud.Progress{}, f.gaveUp()
	}
	return cloud.Progress{}, nil
}

// gaveUp is that RDS does not go on with the change.
func (f *follow) gaveUp() error {
	why := "RDS gave it up: the instance is " + f.live.RawState
	if text := f.failure(); text != "" {
		why += "; " + strings.TrimRight(text, ".")
	} else if f.live.State != cloud.Failed {
		why += ", the change is neither there nor pending, and no event says why"
	}
	return fault.New(fault.Internal, f.op, cloud.Because(why, errors.New(why))).
		Hint("look at the instance and its events, then ask again")
}

// failure is the latest event since the change was asked for that tells of something that went wrong.
func (f *follow) failure() (text string) {
	for _, e := range f.events {
		t := strings.ToLower(e.Text)
		if e.At.Before(f.r.At.Add(-time.Second)) {
			continue
		}
		for _, word := range []string{"unable", "failed", "insufficient", "incompatible", "could not", "error"} {
			if strings.Contains(t, word) {
				text = e.Text
			}
		}
	}
	return text
}
