// Package reading asks the providers for the state of instances, and hands the answers to a page as they come.
//
// [Many] takes answers one by one, [One] a single one. A reading that takes longer than [Limit] is given up.
package reading

import (
	"context"
	"time"

	"dbops/internal/app"
	"dbops/internal/tui/core"
	"dbops/internal/tui/work"
)

// Limit bounds one reading.
const Limit = 45 * time.Second

// Status reads the status of an environment, of one instance, or of everything: empty env and instance mean all.
func Status(c core.Core, scope work.Scope, env, instance string) Many[app.Status] {
	return NewMany(scope, func(ctx context.Context) (<-chan app.Status, error) { return c.Status(ctx, env, instance) },
		func(st app.Status) error { return st.Err })
}

// Loads reads what the providers measure of everything.
func Loads(c core.Core, scope work.Scope) Many[app.InstanceLoad] {
	return NewMany(scope, func(ctx context.Context) (<-chan app.InstanceLoad, error) { return c.Loads(ctx, "", "") },
		func(l app.InstanceLoad) error { return l.Err })
}
