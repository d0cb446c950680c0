package fault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
)

func TestKindDecidesTheExitStatus(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		err    error
		kind   Kind
		status int
	}{
		{"nothing went wrong", nil, "", 0},
		{"flags are wrong", Newf(Usage, "status", "unknown flag"), Usage, 2},
		{"the configuration is wrong", Newf(Config, "read", "no"), Config, 2},
		{"a finding forbids it", Newf(Blocked, "apply", "no"), Blocked, 3},
		{"an approval is missing", Newf(Unapproved, "apply", "no"), Unapproved, 4},
		{"findings were found", Newf(Findings, "lint", "no"), Findings, 5},
		{"a person stopped it", Newf(Interrupted, "apply", "no"), Interrupted, 130},
		{"a person stopped it and nobody said so", fmt.Errorf("wait: %w", context.Canceled), Interrupted, 130},
		{"time ran out and nobody said so", fmt.Errorf("wait: %w", context.DeadlineExceeded), Unavailable, 1},
		{"a provider's answer", Newf(Denied, "describe", "no"), Denied, 1},
		{"a plain error", io.EOF, Internal, 1},
		{"the outermost fault counts", New(Blocked, "plan", Newf(Denied, "describe", "no")), Blocked, 3},
		{"a fault inside plain errors counts", fmt.Errorf("a: %w", fmt.Errorf("b: %w", Newf(Usage, "", "no"))), Usage, 2},
		{"a fault among joined errors counts", errors.Join(io.EOF, Newf(Findings, "lint", "no")), Findings, 5},
		{"a fault outweighs the cancellation it wraps", New(Internal, "write", context.Canceled), Internal, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if c.err != nil && KindOf(c.err) != c.kind {
				t.Errorf("kind %s, want %s", KindOf(c.err), c.kind)
			}
			if got := ExitStatus(c.err); got != c.status {
				t.Errorf("exit status %d, want %d", got, c.status)
			}
		})
	}
}

func TestAnErrorIsOneLineAndItsHintIsNotInIt(t *testing.T) {
	t.Parallel()
	err := New(Denied, "describe prod/main", io.ErrUnexpectedEOF).Hint("run %s", "aws sso login").Missing("rds:DescribeDBInstances")
	if got, want := err.Error(), "describe prod/main: unexpected EOF"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error("the cause is not in the chain")
	}
	if got := New(Denied, "", io.EOF).Error(); got != "EOF" {
		t.Errorf("without an operation: %q", got)
	}
	if got := New(Denied, "op", nil).Error(); got != "op: unknown cause" {
		t.Errorf("without a cause: %q", got)
	}
}

func TestHintsAndPermissionsAreFoundThroughTheChain(t *testing.T) {
	t.Parallel()
	inner := Newf(Denied, "describe", "no").Hint("inner").Missing("rds:DescribeDBInstances")
	for _, c := range []struct {
		name             string
		err              error
		hint, permission string
	}{
		{"of the error itself", inner, "inner", "rds:DescribeDBInstances"},
		{"of one below a fault without", New(Internal, "plan", fmt.Errorf("x: %w", inner)), "inner", "rds:DescribeDBInstances"},
		{"the outermost wins", New(Internal, "plan", inner).Hint("outer").Missing("rds:*"), "outer", "rds:*"},
		{"none at all", io.EOF, "", ""},
		{"none for nil", nil, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := HintOf(c.err); got != c.hint {
				t.Errorf("hint %q, want %q", got, c.hint)
			}
			if got := PermissionOf(c.err); got != c.permission {
				t.Errorf("permission %q, want %q", got, c.permission)
			}
		})
	}
}
