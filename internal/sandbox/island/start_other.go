//go:build !linux

package island

import (
	"errors"
	"testing"
)

// Start fails: network namespaces are Linux's.
func Start(t testing.TB, _ Spec) *Island {
	t.Helper()
	t.Fatal("islands are made of Linux's network namespaces")
	return nil
}

func (s *Spec) live() error { return errors.New("islands are made of Linux's network namespaces") }
