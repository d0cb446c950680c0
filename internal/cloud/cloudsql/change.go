package cloudsql

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	sqladmin "google.golang.org/api/sqladmin/v1"

	"dbops/internal/cloud"
	"dbops/internal/cloud/gcpclient"
	"dbops/internal/fault"
)

// The changes, as a receipt names them.
const (
	changeModify   = "modify"
	changeFailover = "failover"
	changeBackup   = "backup"
	changeRestore  = "restore"
	changeDelete   = "delete"
	changeAddCA    = "add-ca"
	changeCA       = "rotate-ca"
	changeClient   = "create-client"
	changeRevoke   = "revoke-client"
)

// want is how [Provider.Progress] knows that a change has happened, beside the end of its operation.
type want struct {
	Nothing  bool            `json:"nothing,omitempty"`  // it was so already
	Settings *cloud.Settings `json:"settings,omitempty"` // of a modification
	Zone     string          `json:"zone,omitempty"`     // of a failover: the one that becomes the primary's

	Version string `json:"version,omitempty"` // of an upgrade

	CA string `json:"ca,omitempty"` // of a rotation: the one that becomes active

	// Of a restore from a backup, what comes when the instance is made: filling it.
	Source string `json:"source,omitempty"`
	Run    int64  `json:"run,omitempty"`
}

// request is one method's way to the API.
type request struct {
	p    *Provider
	q    gcpclient.Question
	api  *sqladmin.Service
	end  context.CancelFunc
	read reading
}

// begin readies a request about the instances called names, and the time that it has. The caller calls end.
func (p *Provider) begin(ctx context.Context, q gcpclient.Question, names ...string) (context.Context, *request, error) {
	for _, n := range names {
		if err := named(q, n); err != nil {
			return nil, nil, err
		}
	}
	api, err := p.service(ctx)
	if err != nil {
		return nil, nil, p.google.Fault(ctx, q, err)
	}
	ask, cancel := context.WithTimeout(ctx, gcpclient.Timeout)
	return ask, &request{p: p, q: q, api: api, end: cancel, read: gcpclient.Read}, nil
}

// changing is the question of a method that changes something.
func (p *Provider) changing(op, permission, role string) gcpclient.Question {
	q := p.question(op, permission)
	q.Role = role
	return q
}

func (r *request) describe(ctx context.Context, name string) (*sqladmin.DatabaseInstance, error) {
	return r.p.describe(ctx, r.api, r.q, name)
}

// fault is the error that a question ended in.
func (r *request) fault(ctx context.Context, err error) error { return r.p.google.Fault(ctx, r.q, err) }

// refused is the error that a request for a change ended in.
func (r *request) refused(ctx context.Context, err error) error {
	return cloud.LeftOpen(r.fault(ctx, err))
}

// receipt is for a change that Cloud SQL has just accepted as an operation.
func receipt(change, instance string, o *sqladmin.Operation, w want) (cloud.Receipt, error) {
	b, err := json.Marshal(w)
	if err != nil {
		return cloud.Receipt{}, err
	}
	out := cloud.Receipt{Change: change, Instance: instance, At: time.Now().UTC(), Want: b}
	if o != nil {
		out.Operation, out.RequestID = o.Name, requestID(o.Header, o.Name)
	}
	return out, nil
}

// requestID is what an answer is called: by its header, or else by its operation, which Cloud Audit Logs know.
func requestID(h http.Header, operation string) string {
	if id := h.Get("X-Goog-Request-Id"); id != "" {
		return id
	}
	return operation
}

// unsupported refuses what Cloud SQL has nothing for.
func unsupported(op, why, hint string) error {
	return fault.New(fault.Invalid, op, cloud.Because(why, errors.Join(errors.New(why), cloud.ErrUnsupported))).Hint("%s", hint)
}
