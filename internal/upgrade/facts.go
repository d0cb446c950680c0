package upgrade

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/upgrade/follow"
	"dbops/internal/upgrade/preflight"
)

// facts are what the plan of an upgrade is made from.
type facts struct {
	Source    source        `json:"source"`
	Databases []database    `json:"databases"`
	Left      []string      `json:"left,omitempty"` // databases that are not moved
	Target    targetFacts   `json:"target"`
	Offers    []cloud.Offer `json:"offers,omitempty"` // of the cloud
	Found     []found       `json:"found,omitempty"`  // by the preflight
	Preflight summary       `json:"preflight"`
	Clients   Switched      `json:"clients,omitzero"`
	Rehearsed *forecast     `json:"rehearsed,omitempty"`
}

// source is what of an instance does not change by itself.
type source struct {
	Provider   cloud.Kind       `json:"provider"`
	Server     Server           `json:"server"`
	Major      int              `json:"major"`
	Version    string           `json:"version"` // in full
	State      cloud.State      `json:"state"`
	Created    time.Time        `json:"created,omitzero"`
	Protected  bool             `json:"deletion_protection"`
	PITR       bool             `json:"pitr"`
	Backups    bool             `json:"backups"`
	Statement  string           `json:"log_statement,omitempty"`
	Pending    []cloud.Change   `json:"pending,omitempty"`
	Networking []cloud.Endpoint `json:"-"`
}

// database is one that is moved.
type database struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	Tables int64  `json:"tables"`
	Rows   int64  `json:"rows_estimate"`
}

type targetFacts struct {
	Server Server `json:"server"`
	Taken  bool   `json:"taken,omitempty"` // there is an instance of the new one's name
	Major  int    `json:"major,omitempty"` // of one that is there
	Holds  string `json:"holds,omitempty"` // something already
	Same   bool   `json:"same,omitempty"`  // it is the source
	// NoAdmin says why nobody could log in to a new instance; Lost are settings that it would lack.
	NoAdmin string   `json:"no_admin,omitempty"`
	Lost    []string `json:"lost,omitempty"`
}

// found is a finding of the preflight, or of another look at what is there.
type found struct {
	Severity op.Severity `json:"severity"`
	Check    string      `json:"check"`
	Database string      `json:"database,omitempty"`
	Text     string      `json:"text"`
	Evidence string      `json:"evidence,omitempty"`
	Remedy   string      `json:"remedy,omitempty"`
}

type summary struct {
	Checks int     `json:"checks"`
	Took   float64 `json:"took_seconds"`
}

// same tells whether facts mean the same plan: numbers grow, and what only warns may come and go.
func same(planned, now facts) bool {
	return reflect.DeepEqual(planned.essence(), now.essence())
}

func (f facts) essence() facts {
	var names []database
	for _, d := range f.Databases {
		names = append(names, database{Name: d.Name})
	}
	var blocks []found
	for _, x := range f.Found {
		if x.Severity == op.Block {
			blocks = append(blocks, found{Check: x.Check, Database: x.Database})
		}
	}
	src := f.Source
	src.Networking, src.Created = nil, src.Created.UTC()
	return facts{Source: src, Databases: names, Left: f.Left, Target: f.Target, Found: blocks, Clients: f.Clients}
}

// observe reads what an upgrade to a new instance is made from.
func (r *Room) observe(ctx context.Context, t op.Target, q Request) (f facts, err error) {
	if err := q.Check(); err != nil {
		return f, err
	}
	c, src, err := r.source(ctx, t)
	if err != nil {
		return f, err
	}
	f.Source = src
	q = q.normal(src.Server.Name)
	if err := named(src.Provider, cmp.Or(q.Name, q.Into)); q.Into == "" && err != nil {
		return f, err
	}
	if err := r.observeTarget(ctx, t, c, q, &f); err != nil {
		return f, err
	}
	all, err := r.databases(ctx, t, src.Server, nil)
	if err != nil {
		return f, err
	}
	names := all
	if len(q.Databases) > 0 {
		if names, err = r.databases(ctx, t, src.Server, q.Databases); err != nil {
			return f, err
		}
	}
	f.Left = slices.DeleteFunc(slices.Clone(all), func(name string) bool { return slices.Contains(names, name) })
	if err := r.preflight(ctx, t, q, names, &f); err != nil {
		return f, err
	}
	if err := r.observeTokens(ctx, t, q, &f); err != nil {
		return f, err
	}
	if q.CatchUp {
		if err := r.observeCatchUp(ctx, t, q, &f); err != nil {
			return f, err
		}
	}
	if r.d.Clients != nil {
		if f.Clients, err = r.d.Clients.Look(ctx, t); err != nil {
			return f, err
		}
	}
	if r.d.Rehearsed != nil {
		report, err := r.d.Rehearsed(ctx, t, q.To)
		if err != nil {
			return f, err
		}
		if report != nil && report.Source.Major == f.Source.Major {
			f.Rehearsed = report.forecast()
		}
	}
	return f, nil
}

// source is the target of an operation as it is: the instance that is to be moved.
func (r *Room) source(ctx context.Context, t op.Target) (Cloud, source, error) {
	c, name, err := r.d.Cloud(ctx, t)
	var out source
	switch {
	case errors.Is(err, cloud.ErrUnsupported):
		if out.Server, err = r.d.Plain(t); err != nil {
			return nil, out, err
		}
		out.Provider, out.State, c = cloud.Postgres, cloud.Available, nil
	case err != nil:
		return nil, out, err
	default:
		live, err := c.Get(ctx, name)
		if err != nil {
			return nil, out, err
		}
		out = source{
			Provider: live.Provider, Server: Server{Name: live.Name}, State: live.State, Created: live.Created, Protected: live.DeletionProtection,
			PITR: live.Backups.PITR, Backups: live.Backups.Enabled, Pending: live.Pending,
		}
		if out.State == cloud.Modifying || out.State == cloud.Restarting {
			out.State = cloud.Available // it will be
		}
		if live.State == cloud.Stopped || live.State == cloud.Failed || live.State == cloud.Deleting {
			out.Major, out.Version = live.Major, live.EngineVersion
			return c, out, nil
		}
	}
	conn, err := r.d.Connect(ctx, t, out.Server, maintenance, nil)
	if err != nil {
		return nil, out, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	err = conn.QueryRow(ctx, `select current_setting('server_version_num')::int / 10000, current_setting('server_version'), current_setting('log_statement')`).
		Scan(&out.Major, &out.Version, &out.Statement)
	if err != nil {
		return nil, out, fault.New(fault.Unavailable, "look at "+t.String(), err)
	}
	return c, out, nil
}

// maintenance is the database that every server has.
const maintenance = "postgres"

// databases are those of a server that are moved, in order: the ones asked for, or all, and postgres only if somebody uses it.
func (r *Room) databases(ctx context.Context, t op.Target, s Server, asked []string) (names []string, err error) {
	conn, err := r.d.Connect(ctx, t, s, maintenance, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	rows, err := conn.Query(ctx, `select datname::text from pg_catalog.pg_database where not datistemplate and datallowconn
 and datname not in ('postgres', 'rdsadmin', 'cloudsqladmin') order by datname`)
	if err == nil {
		names, err = pgx.CollectRows(rows, pgx.RowTo[string])
	}
	if err != nil {
		return nil, fault.New(fault.Unavailable, "list the databases of "+t.String(), err)
	}
	holds, err := holds(ctx, conn)
	if err != nil {
		return nil, err
	}
	if holds != "" {
		names = append(names, maintenance)
	}
	if len(asked) > 0 {
		for _, want := range asked {
			if !slices.Contains(names, want) && want != maintenance {
				return nil, fault.Newf(fault.Usage, "choose the databases of "+t.String(), "it has none that is called %s", want).
					Hint("it has: %s", strings.Join(names, ", "))
			}
		}
		names = slices.Clone(asked)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// holds names the first things of users that a database holds; "" if there are none.
func holds(ctx context.Context, conn *pgx.Conn) (string, error) {
	var first *string
	err := conn.QueryRow(ctx, `select string_agg(name, ', ') from (select c.oid::regclass::text as name from pg_catalog.pg_class c
 join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where n.nspname !~ '^pg_' and n.nspname <> 'information_schema' and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
 and not exists (select 1 from pg_catalog.pg_depend d where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
 order by 1 limit 5) x`).Scan(&first)
	if err != nil {
		return "", fault.New(fault.Unavailable, "look what a database holds", err)
	}
	if first == nil {
		return "", nil
	}
	return *first, nil
}

// observeTarget looks at where the instance moves to.
func (r *Room) observeTarget(ctx context.Context, t op.Target, c Cloud, q Request, f *facts) error {
	if q.Into == "" {
		f.Target.Server = Server{Name: q.Name}
		if c == nil {
			return nil // the plan says that it needs one
		}
		var err error
		if f.Offers, err = c.Majors(ctx, f.Source.Server.Name); err != nil {
			return err
		}
		_, err = c.Get(ctx, q.Name)
		f.Target.Taken = err == nil
		if is(err, fault.NotFound, fault.Invalid) {
			err = nil
		}
		if err != nil || q.To <= f.Source.Major {
			return err
		}
		return r.observeAdmin(ctx, t, q, c, f)
	}
	f.Target.Server = Server{Name: q.Into, Declared: true}
	if f.Target.Same = q.Into == t.Instance; f.Target.Same {
		return nil
	}
	conn, err := r.d.Connect(ctx, t, f.Target.Server, maintenance, nil)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var others []string
	err = conn.QueryRow(ctx, `select current_setting('server_version_num')::int / 10000, array(select datname::text from pg_catalog.pg_database
 where not datistemplate and datname not in ('postgres', 'rdsadmin', 'cloudsqladmin') order by datname)`).Scan(&f.Target.Major, &others)
	if err != nil {
		return fault.New(fault.Unavailable, "look at "+t.Environment+"/"+q.Into, err)
	}
	var what []string
	if len(others) > 0 {
		what = append(what, "the databases "+strings.Join(others, ", "))
	}
	inside, err := holds(ctx, conn)
	if inside != "" {
		what = append(what, inside+" in the database postgres")
	}
	f.Target.Holds = strings.Join(what, ", and ")
	return err
}

func (q Request) preflightEngine() preflight.Engine {
	switch {
	case q.CatchUp:
		return preflight.Logical
	case q.Engine == EngineDump:
		return preflight.Dump
	}
	return preflight.Stream
}

// preflight asks every check of the source, and of the target what is known of it.
func (r *Room) preflight(ctx context.Context, t op.Target, q Request, names []string, f *facts) error {
	if len(names) == 0 {
		return nil // the plan says so
	}
	target := preflight.Target{Major: q.To}
	if q.Into != "" && !f.Target.Same {
		var err error
		if target, err = r.learn(ctx, t, f.Target.Server, q.To); err != nil {
			return err
		}
	}
	report, err := r.look(ctx, t, f.Source.Server, names, target, q.preflightEngine())
	if err != nil {
		return err
	}
	f.Preflight = summary{report.Checks, report.Took}
	for _, d := range report.Facts.Databases {
		one := database{Name: d.Name, Tables: d.Objects.Tables, Rows: d.Rows}
		if d.Bytes != nil {
			one.Bytes = *d.Bytes
		}
		f.Databases = append(f.Databases, one)
	}
	// Of identities the check of the replication says more.
	f.Found = slices.DeleteFunc(foundBy(report), func(x found) bool { return q.CatchUp && x.Check == "replica-identity" })
	return nil
}

// look runs the preflight over a server.
func (r *Room) look(ctx context.Context, t op.Target, s Server, names []string, target preflight.Target, engine preflight.Engine) (*preflight.Report, error) {
	report, err := preflight.Run(ctx, preflight.Source{
		Connect: func(ctx context.Context, database string) (*pgx.Conn, error) {
			return r.d.Connect(ctx, t, s, database, nil)
		},
		Databases: names,
	}, target, preflight.Options{Engine: engine})
	if err != nil && ctx.Err() == nil && fault.KindOf(err) == fault.Internal {
		err = fault.New(fault.Unavailable, "look whether "+s.Name+" can be upgraded", err).Hint("see whether it can be reached: dbops psql")
	}
	return report, err
}

// learn asks a server what the preflight wants to know of a target.
func (r *Room) learn(ctx context.Context, t op.Target, s Server, major int) (preflight.Target, error) {
	out := preflight.Target{Major: major, Extensions: map[string][]string{}}
	conn, err := r.d.Connect(ctx, t, s, maintenance, nil)
	if err != nil {
		return out, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	rows, err := conn.Query(ctx, `select name::text, version from pg_catalog.pg_available_extension_versions`)
	if err == nil {
		var name, version string
		_, err = pgx.ForEachRow(rows, []any{&name, &version}, func() error {
			out.Extensions[name] = append(out.Extensions[name], version)
			return nil
		})
	}
	if err == nil {
		rows, err = conn.Query(ctx, `select name::text from pg_catalog.pg_settings`)
	}
	if err == nil {
		out.Settings, err = pgx.CollectRows(rows, pgx.RowTo[string])
	}
	if err != nil {
		return out, fault.New(fault.Unavailable, "look at what "+s.Name+" offers", err)
	}
	return out, nil
}

func foundBy(report *preflight.Report) (out []found) {
	for _, x := range report.Findings {
		var evidence []string
		for _, e := range x.Evidence {
			evidence = append(evidence, strings.TrimSpace(e.Object+" "+e.Detail))
		}
		if n := x.Count - len(x.Evidence); n > 0 {
			evidence = append(evidence, fmt.Sprintf("%d more", n))
		}
		if x.Unknown != "" {
			evidence = append([]string{x.Unknown}, evidence...)
		}
		out = append(out, found{
			Severity: op.Severity(x.Severity), Check: x.Check, Database: x.Database, Text: x.Text, Evidence: strings.Join(evidence, "; "),
			Remedy: cmp.Or(x.Remedy, x.Why),
		})
	}
	return out
}

// observeCatchUp asks for what replication needs: of the target, too, if it is there.
func (r *Room) observeCatchUp(ctx context.Context, t op.Target, q Request, f *facts) error {
	for _, d := range f.Databases {
		j := follow.Job{Name: "plan", Source: (&moving{r: r, t: t}).in(f.Source.Server, d.Name), FullIdentity: q.FullIdentity}
		j.From.Database = d.Name
		if q.Into != "" {
			var err error
			if j, err = r.catchUp(ctx, t, q, "plan", f.Source.Server, f.Target.Server, d.Name); err != nil {
				return err
			}
		}
		problems, err := follow.Check(ctx, j)
		if err != nil {
			return err
		}
		for _, p := range problems {
			f.Found = append(f.Found, found{
				Severity: p.Severity, Check: p.Check, Database: d.Name, Text: p.Text, Evidence: p.Evidence, Remedy: p.Remedy,
			})
		}
	}
	return nil
}
