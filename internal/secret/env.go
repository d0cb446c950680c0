package secret

import (
	"context"
	"os"

	"dbops/internal/fault"
)

// Env reads secrets from environment variables, as they are.
type Env struct {
	// Lookup defaults to os.LookupEnv.
	Lookup func(string) (string, bool)
}

var _ Source = Env{}

// Get returns the variable that r names. One that is unset or empty is a fault.NotFound.
func (e Env) Get(_ context.Context, r Ref) (Value, error) {
	lookup := e.Lookup
	if lookup == nil {
		lookup = os.LookupEnv
	}
	s, ok := lookup(r.Name)
	if !ok || s == "" {
		return Value{}, fault.Newf(fault.NotFound, "read secret "+r.String(), "the variable is not set").Hint("export %s", r.Name)
	}
	return New(s), nil
}
