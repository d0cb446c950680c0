package state

import (
	"context"
	"time"

	"dbops/internal/state/db"
)

// Baseline is the value of a setting that dbops last applied or accepted.
type Baseline struct {
	Environment, Instance, Setting, Value, Run string
	At                                         time.Time
}

// PutBaseline stores or replaces one.
func (t *Tx) PutBaseline(ctx context.Context, b Baseline) error {
	return t.exec(ctx, `insert into baselines (environment, instance, setting, value, run, at_ms) values ($1, $2, $3, $4, $5, `+t.now()+`)
		on conflict (environment, instance, setting) do update set value = excluded.value, run = excluded.run, at_ms = excluded.at_ms`,
		b.Environment, b.Instance, b.Setting, b.Value, b.Run)
}

// Baselines are those of one instance.
func (t *Tx) Baselines(ctx context.Context, env, instance string) (all []Baseline, err error) {
	err = db.Each(ctx, t.q, func(rows db.Rows) error {
		b := Baseline{Environment: env, Instance: instance}
		var at int64
		if err := rows.Scan(&b.Setting, &b.Value, &b.Run, &at); err != nil {
			return err
		}
		b.At = fromMS(at)
		all = append(all, b)
		return nil
	}, `select setting, value, run, at_ms from baselines where environment = $1 and instance = $2 order by setting`, env, instance)
	return all, err
}
