package app

import (
	"errors"

	"dbops/internal/fault"
)

// guarded runs f. A panic in it is an error for whoever asked, and in the log: it must not end a process that serves others.
func (a *App) guarded(op string, f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fault.Recovered(op, v)
			if p, ok := errors.AsType[*fault.Panic](err); ok {
				a.opts.Log.Error("a bug in dbops", "op", op, "panic", v, "stack", string(p.Stack))
			}
		}
	}()
	return f()
}
