package cloudsql

import (
	"cmp"
	"context"
	"slices"
	"time"

	sqladmin "google.golang.org/api/sqladmin/v1"

	"dbops/internal/cloud"
	"dbops/internal/cloud/gcpclient"
)

// longest is how long an operation may run and still be found by the time at which it ended.
const longest = 48 * time.Hour

// Events are the operations on an instance that began or ended since a moment. Cloud SQL knows no others.
func (p *Provider) Events(ctx context.Context, name string, since time.Time) ([]cloud.Event, error) {
	ask, r, err := p.begin(ctx, p.question(p.op("list the operations of", name), permissionGet), name)
	if err != nil {
		return nil, err
	}
	defer r.end()
	var all []cloud.Event
	err = r.operations(ask, name, func(o *sqladmin.Operation) bool {
		if e := event(o); !e.At.Before(since) {
			all = append(all, e)
		}
		return !parseTime(o.InsertTime).Before(since.Add(-longest))
	})
	if err != nil {
		return nil, r.fault(ask, err)
	}
	slices.SortStableFunc(all, func(a, b cloud.Event) int { return cmp.Compare(a.At.UnixNano(), b.At.UnixNano()) })
	return all, nil
}

// operations shows the operations on an instance, the newest first, as long as next wants more.
func (r *request) operations(ctx context.Context, name string, next func(*sqladmin.Operation) bool) error {
	for token, more := "", true; more; more = token != "" {
		var page *sqladmin.OperationsListResponse
		err := gcpclient.Read(ctx, func(ctx context.Context) (err error) {
			call := r.api.Operations.List(r.p.project).Instance(name).Context(ctx)
			if token != "" {
				call = call.PageToken(token)
			}
			page, err = call.Do()
			return err
		})
		if err != nil {
			return err
		}
		for _, o := range page.Items {
			if !next(o) {
				return nil
			}
		}
		token = page.NextPageToken
	}
	return nil
}

// event is an operation at its latest known moment.
func event(o *sqladmin.Operation) cloud.Event {
	text := status(o)
	if o.User != "" {
		text += ", asked for by " + o.User
	}
	if why := reason(o); why != "" {
		text += ": " + why
	}
	return cloud.Event{At: parseTime(cmp.Or(o.EndTime, o.StartTime, o.InsertTime)), ID: o.Name, Text: text}
}

// status is an operation in the words of Cloud SQL: "UPDATE RUNNING".
func status(o *sqladmin.Operation) string { return o.OperationType + " " + o.Status }

// reason is why an operation failed; empty if it did not.
func reason(o *sqladmin.Operation) string {
	if o.Error == nil {
		return ""
	}
	var text string
	for _, e := range o.Error.Errors {
		if text != "" {
			text += "; "
		}
		text += e.Code + ": " + e.Message
	}
	return cmp.Or(text, "Cloud SQL gives no reason")
}
