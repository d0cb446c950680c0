package preflight

import (
	"context"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// visit is what is asked in one database, and what came of it.
type visit struct {
	session  session
	options  Options
	in       given
	findings []Finding
	checks   int
	facts    *DatabaseFacts
}

// server reads the facts that decide which checks concern this source.
func (v *visit) server(ctx context.Context, f *Facts) error {
	sql, err := readSQL("facts.server")
	if err != nil {
		return err
	}
	got, err := query(ctx, &v.session, sql, 0, func(r pgx.CollectableRow) (f Facts, err error) {
		err = r.Scan(&f.Version, &f.Server, &f.Kind, &f.Standby, &f.Role, &f.Superuser, &f.Stats, &f.Others)
		return f, err
	})
	if err != nil {
		return err
	}
	*f = got[0]
	err = v.read(ctx, "facts.passwords", func(pgx.CollectableRow) (struct{}, error) { return struct{}{}, nil })
	if _, refused := errors.AsType[*pgconn.PgError](err); refused {
		return nil
	}
	f.Passwords = err == nil
	return err
}

// database asks everything about one database.
func (v *visit) database(ctx context.Context) {
	if err := v.session.open(ctx); err != nil {
		why, _ := reason(err, v.options.Timeout, v.in.source.Role)
		v.findings = append(v.findings, Finding{
			Check: "connect", Severity: Block, Database: v.session.database, Count: 1,
			Text:     "cannot connect to the database: " + cut(why),
			Why:      "it can be neither checked nor copied",
			Evidence: []Evidence{{Object: pgx.Identifier{v.session.database}.Sanitize(), Detail: cut(why)}},
			Remedy:   "leave it out, or GRANT CONNECT ON DATABASE " + pgx.Identifier{v.session.database}.Sanitize() + " TO " + pgx.Identifier{v.in.source.Role}.Sanitize() + ";",
		})
		return
	}
	v.ask(ctx, databaseChecks, v.session.database)
	v.ask(ctx, schemaChecks, v.session.database)
	v.measure(ctx)
}

// ask asks the checks that concern this upgrade. where is the database in their findings, empty for the whole server.
func (v *visit) ask(ctx context.Context, checks []check, where string) {
	for _, c := range checks {
		if ctx.Err() != nil {
			return
		}
		if !c.applies(v.in.source.Major(), v.in.target, v.options.Engine) {
			continue
		}
		v.checks++
		if c.needs == stats && !v.in.source.Stats {
			v.findings = append(v.findings, c.unknown(where, "other sessions' activity is hidden from "+v.in.source.Role,
				"GRANT pg_read_all_stats TO "+pgx.Identifier{v.in.source.Role}.Sanitize()+";"))
			continue
		}
		v.one(ctx, c, where)
	}
}

func (v *visit) one(ctx context.Context, c check, where string) {
	fail := func(err error) {
		why, remedy := reason(err, v.options.Timeout, v.in.source.Role)
		v.findings = append(v.findings, c.unknown(where, cut(why), remedy))
	}
	sql, err := c.sql()
	if err != nil {
		fail(err)
		return
	}
	limit := shown
	if c.judge != nil {
		limit = judged
	}
	rows, err := query(ctx, &v.session, bounded(sql, limit), v.in.target.Major, scanRow)
	if err != nil {
		fail(err)
		return
	}
	if c.judge != nil {
		v.in.runtime = v.session.conn.Config().RuntimeParams
		var unknown string
		rows, unknown = c.judge(v.in, rows)
		if unknown != "" {
			v.findings = append(v.findings, c.unknown(where, unknown, ""))
		}
		rows = slices.Clone(rows)
		for i := range rows {
			rows[i].total = len(rows)
		}
	}
	if len(rows) > 0 {
		v.findings = append(v.findings, c.finding(where, v.in.source, rows))
	}
	if hidden := c.hidden(); hidden != "" {
		rows, err := query(ctx, &v.session, bounded(hidden, shown), v.in.target.Major, scanRow)
		if err != nil {
			fail(err)
		} else if len(rows) > 0 {
			v.findings = append(v.findings, c.blind(where, rows))
		}
	}
}

// measure reads the database's facts.
func (v *visit) measure(ctx context.Context) {
	f := &DatabaseFacts{Name: v.session.database, Largest: []TableFact{}}
	err := v.read(ctx, "facts.database", func(r pgx.CollectableRow) (struct{}, error) {
		return struct{}{}, r.Scan(&f.Encoding, &f.Provider, &f.Collate, &f.Ctype, &f.Locale, &f.Bytes, &f.Rows, &f.Objects.Tables,
			&f.Objects.Indexes, &f.Objects.Views, &f.Objects.MatViews, &f.Objects.Sequences, &f.Objects.Functions, &f.Objects.LargeObjects)
	})
	if err == nil {
		v.facts = f
		err = v.read(ctx, "facts.largest", func(r pgx.CollectableRow) (struct{}, error) {
			var t TableFact
			err := r.Scan(&t.Name, &t.Bytes, &t.Rows)
			f.Largest = append(f.Largest, t)
			return struct{}{}, err
		})
	}
	if err != nil {
		c := check{name: "facts", severity: Warn, what: "how large the database is", why: "the plan's times and disk are worked out from it"}
		why, remedy := reason(err, v.options.Timeout, v.in.source.Role)
		v.findings = append(v.findings, c.unknown(v.session.database, cut(why), remedy))
	}
}

func (v *visit) read(ctx context.Context, name string, scan pgx.RowToFunc[struct{}]) error {
	sql, err := readSQL(name)
	if err != nil {
		return err
	}
	_, err = query(ctx, &v.session, sql, 0, scan)
	return err
}
