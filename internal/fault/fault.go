// Package fault is the error that a person sees: what was being done, to what, why it failed, and what to do next.
//
// Inside a room plain fmt.Errorf with %w is right. An [Error] is made once, where somebody can act on it; its [Kind] decides
// the exit status and lets a caller branch, its hint is one sentence or one command.
package fault

import (
	"context"
	"errors"
	"fmt"
)

// Kind says what sort of failure it is. The text is the "code" of an error under -o json.
type Kind string

// The kinds. Those of a provider's answer come first: every provider maps its errors to them.
const (
	NotFound    Kind = "not_found"   // the thing does not exist
	Denied      Kind = "denied"      // a permission, a credential or a login is missing or wrong
	Throttled   Kind = "throttled"   // too many requests; worth a retry after a pause
	Busy        Kind = "busy"        // another operation runs, or the thing is not in a state that allows it
	Stale       Kind = "stale"       // it changed since it was read
	Invalid     Kind = "invalid"     // the other side refused the request as wrong
	Unavailable Kind = "unavailable" // nobody answers: network, name, TLS, time-out, service down

	Usage       Kind = "usage"       // wrong flags or arguments
	Config      Kind = "config"      // dbops.yaml is wrong or missing
	Blocked     Kind = "blocked"     // a preflight finding forbids it
	Unapproved  Kind = "unapproved"  // an approval or a confirmation is missing
	Findings    Kind = "findings"    // it worked, and found something: drift, lint, a mismatch
	Failed      Kind = "failed"      // it was tried, and did not work: the error says how to go on
	Interrupted Kind = "interrupted" // stopped by a person; can be resumed
	Internal    Kind = "internal"    // a bug, or something nobody foresaw
)

// Error is a failure with what a person needs to act on it.
type Error struct {
	Kind Kind
	Op   string // what was being done, to what: "describe instance prod/main"
	Err  error  // why; never nil

	// Permission is the provider's name of the permission that was missing, such as "rds:DescribeDBInstances"; empty if unknown.
	Permission string

	hint string
}

// New returns an error of kind k for op, caused by err.
func New(k Kind, op string, err error) *Error {
	if err == nil {
		err = errors.New("unknown cause")
	}
	return &Error{Kind: k, Op: op, Err: err}
}

// Newf is [New] with a cause made from format and args, as fmt.Errorf makes it.
func Newf(k Kind, op, format string, args ...any) *Error {
	return New(k, op, fmt.Errorf(format, args...))
}

// Hint sets what to do next and returns e.
func (e *Error) Hint(format string, args ...any) *Error {
	e.hint = format
	if len(args) > 0 {
		e.hint = fmt.Sprintf(format, args...)
	}
	return e
}

// Missing names the permission that was missing and returns e.
func (e *Error) Missing(permission string) *Error {
	e.Permission = permission
	return e
}

// Error is the operation and the cause on one line, without the hint.
func (e *Error) Error() string {
	if e.Op == "" {
		return e.Err.Error()
	}
	return e.Op + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of the outermost [Error] in err's chain. Without one it is [Interrupted] for a cancelled context,
// [Unavailable] for an expired one, else [Internal].
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	switch {
	case errors.Is(err, context.Canceled):
		return Interrupted
	case errors.Is(err, context.DeadlineExceeded):
		return Unavailable
	}
	return Internal
}

// HintOf returns the hint of the outermost [Error] in err's chain that has one.
func HintOf(err error) string {
	for err != nil {
		e, ok := errors.AsType[*Error](err)
		if !ok {
			return ""
		}
		if e.hint != "" {
			return e.hint
		}
		err = e.Err
	}
	return ""
}

// Reason is why the outermost [Error] in err's chain failed, without what was being done, for who has said that already.
func Reason(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Err.Error()
	}
	return err.Error()
}

// PermissionOf returns the missing permission named by the outermost [Error] in err's chain that names one.
func PermissionOf(err error) string {
	for err != nil {
		e, ok := errors.AsType[*Error](err)
		if !ok {
			return ""
		}
		if e.Permission != "" {
			return e.Permission
		}
		err = e.Err
	}
	return ""
}

// ExitStatus is the process's exit status for err: 0 for nil.
func ExitStatus(err error) int {
	if err == nil {
		return 0
	}
	switch KindOf(err) {
	case Usage, Config:
		return 2
	case Blocked:
		return 3
	case Unapproved:
		return 4
	case Findings:
		return 5
	case Interrupted:
		return 130
	default:
		return 1
	}
}
