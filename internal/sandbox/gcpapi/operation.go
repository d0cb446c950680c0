package gcpapi

import (
	"context"
	"encoding/base64"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
	sqladmin "google.golang.org/api/sqladmin/v1"

	"dbops/internal/sandbox/play"
)

// The states of an operation.
const (
	pending = "PENDING"
	running = "RUNNING"
	done    = "DONE"
)

const (
	// maxOperations are kept; the oldest ones that are done go first.
	maxOperations = 500
	// takesPending is how long the real service leaves an operation pending.
	takesPending = time.Second
)

// operation is a change that takes time: what the API shows of it, and what a restarted sandbox needs to go on.
type operation struct {
	Op       *sqladmin.Operation `json:"op"`
	Instance string              `json:"instance"` // its key
	Hung     bool                `json:"hung,omitempty"`

	Target *sqladmin.Settings `json:"target,omitempty"` // UPDATE: the settings that it leads to
	Backup int64              `json:"backup,omitempty"` // BACKUP_VOLUME, DELETE_BACKUP: the run

	Version string `json:"version,omitempty"` // MAJOR_VERSION_UPGRADE and its check: the database version that it leads to
}

// step is one part of an operation. It waits as long as the real service takes, then does its work.
type step struct {
	takes time.Duration
	do    func(context.Context) error // nil: only the wait
}

// begin starts op on inst, unless another one is not done yet, and returns a copy for the answer. After the steps, settle (may
// be nil) puts the instance into the state that the outcome leaves it in. The caller holds the lock.
func (s *Server) begin(c *call, inst *instance, op *operation, kind string, steps []step, settle func(error)) (*sqladmin.Operation, error) {
	if inst.Operation != "" {
		return nil, busy()
	}
	base := "http://" + c.Host + "/v1/projects/" + inst.DB.Project
	name := uuid.NewString()
	op.Instance = inst.key()
	op.Op = &sqladmin.Operation{
		Kind: "sql#operation", Name: name, OperationType: kind, Status: pending, InsertTime: timestamp(time.Now()), User: c.email,
		TargetProject: inst.DB.Project, TargetId: inst.DB.Name, TargetLink: base + "/instances/" + inst.DB.Name,
		SelfLink: base + "/operations/" + name,
	}
	switch s.cfg.Faults.Take(faultService, c.action, inst.DB.Name, play.Fail, play.Hang) {
	case play.Fail:
		steps = []step{{5 * time.Second, func(context.Context) error { return errFault }}}
	case play.Hang:
		op.Hung = true
		steps = []step{{0, func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}}}
	default:
	}
	inst.Operation = name
	s.state.Operations = append(s.state.Operations, op)
	s.trim()
	if err := s.save(); err != nil {
		return nil, err
	}
	s.start(inst, op, steps, settle)
	return clone(op.Op), nil
}

// start runs an operation in a goroutine that Close waits for. The caller holds the lock.
func (s *Server) start(inst *instance, op *operation, steps []step, settle func(error)) {
	s.wg.Go(func() {
		err := s.perform(op, steps)
		if err != nil && s.ctx.Err() != nil {
			return // the next start of the sandbox resumes or ends it
		}
		log := s.cfg.Log.With("type", op.Op.OperationType, "instance", op.Instance)
		if err != nil {
			log.Warn("operation failed", "error", err)
		}
		if err := s.change(func() { s.finish(inst, op, err, settle) }); err != nil {
			log.Error("keep the end of an operation", "error", err)
		}
	})
}

// perform takes the steps one after the other.
func (s *Server) perform(op *operation, steps []step) error {
	if err := s.cfg.Pace.Sleep(s.ctx, takesPending); err != nil {
		return err
	}
	err := s.change(func() { op.Op.Status, op.Op.StartTime = running, timestamp(time.Now()) })
	for _, st := range steps {
		if err == nil {
			err = s.cfg.Pace.Sleep(s.ctx, st.takes)
		}
		if err == nil && st.do != nil {
			err = st.do(s.ctx)
		}
	}
	return err
}

// finish ends an operation. The caller holds the lock.
func (*Server) finish(inst *instance, op *operation, err error, settle func(error)) {
	if op.Op.StartTime == "" {
		op.Op.StartTime = timestamp(time.Now())
	}
	op.Op.Status, op.Op.EndTime = done, timestamp(time.Now())
	if err != nil {
		op.Op.Error = operationError(err)
	}
	if settle != nil {
		settle(err)
	}
	if inst.Operation == op.Op.Name {
		inst.Operation = ""
	}
}

// trim forgets the oldest operations that are done. The caller holds the lock.
func (s *Server) trim() {
	over := len(s.state.Operations) - maxOperations
	s.state.Operations = slices.DeleteFunc(s.state.Operations, func(op *operation) bool {
		if over <= 0 || op.Op.Status != done {
			return false
		}
		over--
		return true
	})
}

// opError is an error inside of an operation, with the code that the API shows.
type opError struct{ code, message string }

func (e *opError) Error() string { return e.message }

func operationError(err error) *sqladmin.OperationErrors {
	e, ok := err.(*opError) //nolint:errorlint // a step returns it unwrapped
	if !ok {
		e = &opError{"INTERNAL_ERROR", "sandbox: " + err.Error()}
	}
	return &sqladmin.OperationErrors{
		Kind:   "sql#operationErrors",
		Errors: []*sqladmin.OperationError{{Kind: "sql#operationError", Code: e.code, Message: e.message}},
	}
}

func (s *Server) getOperation(c *call) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, op := range s.state.Operations {
		if op.Op.Name == c.params["operation"] && op.Op.TargetProject == c.project {
			return clone(op.Op), nil
		}
	}
	return nil, missing("operationDoesNotExist", "operation")
}

// listOperations lists newest first, as the real service does.
func (s *Server) listOperations(c *call) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*sqladmin.Operation
	name := c.URL.Query().Get("instance")
	for _, op := range slices.Backward(s.state.Operations) {
		if op.Op.TargetProject == c.project && (name == "" || op.Op.TargetId == name) {
			all = append(all, clone(op.Op))
		}
	}
	cut, next, err := page(c, all, 100, 100, func(o *sqladmin.Operation) string { return o.Name })
	if err != nil {
		return nil, err
	}
	return &sqladmin.OperationsListResponse{Kind: "sql#operationsList", Items: cut, NextPageToken: next}, nil
}

// page cuts a list into pages of some items, or as many as the call asks for, which is most at most. The token names the last item of the page before.
func page[T any](c *call, all []T, some, most int, name func(T) string) ([]T, string, error) {
	q := c.URL.Query()
	size := some
	if v := q.Get("maxResults"); v != "" && v != "0" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 {
			return nil, "", invalid("maxResults must be a positive number.")
		}
		size = min(n, most)
	}
	if token := q.Get("pageToken"); token != "" {
		last, err := base64.RawURLEncoding.DecodeString(token)
		i := slices.IndexFunc(all, func(v T) bool { return name(v) == string(last) })
		if err != nil || i < 0 {
			return nil, "", &apiError{code: http.StatusBadRequest, reason: "invalid", message: "Invalid page token."}
		}
		all = all[i+1:]
	}
	if len(all) <= size {
		return all, "", nil
	}
	return all[:size], base64.RawURLEncoding.EncodeToString([]byte(name(all[size-1]))), nil
}
