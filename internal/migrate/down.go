package migrate

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/migrate/source"
	"dbops/internal/op"
)

// DownRequest asks for applied migrations of one set to be taken back. Exactly one of Steps, To and All is given.
type DownRequest struct {
	Set   string `json:"set"`
	Steps int    `json:"steps,omitempty"`
	To    *int64 `json:"to,omitempty"` // the version that the database has afterwards
	All   bool   `json:"all,omitempty"`
	Manner
	Rehearse bool `json:"rehearse,omitempty"`
}

// Loss is data that a file drops.
type Loss struct {
	File   string `json:"file"`
	What   string `json:"what"`   // table, column, schema, rows
	Object string `json:"object"` // public.orders, public.orders.note
	// Rows of the table, when it was looked at: counted up to a hundred thousand, estimated beyond; -1 if it could not be looked at.
	Rows  int64  `json:"rows"`
	About bool   `json:"about,omitempty"` // Rows is an estimate
	Size  string `json:"size,omitempty"`
	// Tables are those of a schema.
	Tables int64 `json:"tables,omitempty"`
}

// DownFacts are what a plan that goes down depends on.
type DownFacts struct {
	SetFacts
	At   bool   `json:"at"` // the version asked for is one that the database went through
	Loss []Loss `json:"loss,omitempty"`
	// Plain tells that no provider makes backups.
	Plain bool `json:"plain,omitempty"`
}

// Dropped is something that a file drops, as its text says.
type Dropped struct {
	What   string // table, column, schema, rows
	Schema string // "" if the file does not say it
	Name   string // of the table or schema
	Column string
}

func down(d Deps) op.Kind {
	return op.Operation[DownRequest, DownFacts]{
		Kind: DownKind, Words: words(),
		Observe: func(ctx context.Context, t op.Target, r DownRequest) (DownFacts, error) {
			return d.observeDown(ctx, t, r)
		},
		Derive: planDown,
		// Rows come and go; what matters is whether there are any.
		Same: func(planned, now DownFacts) bool {
			return slices.EqualFunc(planned.Loss, now.Loss, sameLoss) && equalFacts(planned.SetFacts, now.SetFacts)
		},
		Steps: func(t op.Target, r DownRequest, f DownFacts) []op.Step {
			facts := Facts{Sets: []SetFacts{f.SetFacts}}
			return []op.Step{{Name: "apply", Title: "take back " + countFiles(facts), Final: true, Do: runner{d, t, r.Manner, source.Down, facts, 1, false}.do}}
		},
	}.AsKind()
}

func sameLoss(a, b Loss) bool {
	return a.File == b.File && a.What == b.What && a.Object == b.Object && (a.Rows == 0) == (b.Rows == 0)
}

func (d Deps) observeDown(ctx context.Context, t op.Target, r DownRequest) (f DownFacts, err error) {
	s, err := d.find(t, r.Set)
	if err != nil {
		return f, err
	}
	ctx, cancel := context.WithTimeout(ctx, rehearseTimeout)
	defer cancel()
	l, err := d.look(ctx, t, s)
	if err != nil {
		return f, err
	}
	to := int64(-1)
	f.At = true
	if r.To != nil {
		to = *r.To
		f.At = to < 0 || slices.ContainsFunc(present(l.folder, l.state, l.judged), func(m *source.Migration) bool { return m.Version == to })
	}
	jobs := downward(l.folder, l.state, l.judged, to)
	if r.Steps > 0 {
		jobs = jobs[:min(r.Steps, len(jobs))]
	}
	f.SetFacts, f.Plain = l.facts(jobs), s.Plain
	f.Late = nil // they stay what they are
	if f.Loss, err = d.loss(ctx, t, s, f.Files, l.folder); err != nil {
		return f, err
	}
	if r.Rehearse {
		err = d.rehearse(ctx, t, l, jobs, &f.SetFacts)
	}
	return f, err
}

// loss looks at what the files drop.
func (d Deps) loss(ctx context.Context, t op.Target, s Set, files []FileFact, folder *source.Folder) (out []Loss, err error) {
	if d.Drops == nil || len(files) == 0 {
		return nil, nil
	}
	conn, err := d.Read(ctx, t, s)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for _, f := range files {
		m, _, ok := folder.Find(f.Version)
		if !ok || m.Down == nil {
			continue
		}
		dropped, err := d.Drops(ctx, m.Down.SQL)
		if err != nil {
			return nil, err
		}
		for _, one := range dropped {
			if l, there := look(ctx, conn, s, one); there {
				l.File = f.Name
				out = append(out, l)
			}
		}
	}
	return out, nil
}

const (
	countMost    = 100_000
	countTimeout = 5 * time.Second
)

// look counts the rows that something dropped has. there is false for what does not exist.
func look(ctx context.Context, conn *pgx.Conn, s Set, d Dropped) (l Loss, there bool) {
	if d.What == "schema" {
		return lookSchema(ctx, conn, d.Name)
	}
	name := pgx.Identifier{d.Name}
	switch {
	case d.Schema != "":
		name = pgx.Identifier{d.Schema, d.Name}
	case s.Table.Schema != "":
		name = pgx.Identifier{s.Table.Schema, d.Name}
	}
	l = Loss{What: d.What, Rows: -1}
	var full, kind string
	var estimate float64
	var size int64
	err := conn.QueryRow(ctx, `select n.nspname || '.' || c.relname, c.relkind::text, c.reltuples, pg_total_relation_size(c.oid)
 from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = to_regclass($1)`, name.Sanitize()).Scan(&full, &kind, &estimate, &size)
	if err != nil || (kind != "r" && kind != "p" && kind != "m") {
		return l, false
	}
	l.Object, l.Size = full, sizeText(size)
	if d.Column != "" {
		l.Object += "." + d.Column
	}
	if estimate > countMost {
		l.Rows, l.About = int64(estimate), true
		return l, true
	}
	count, cancel := context.WithTimeout(ctx, countTimeout)
	defer cancel()
	var n int64
	if err := conn.QueryRow(count, fmt.Sprintf("select count(*) from (select 1 from %s limit %d) x", name.Sanitize(), countMost+1)).Scan(&n); err == nil {
		l.Rows, l.About = n, n > countMost
	}
	return l, true
}

// lookSchema counts the tables of a schema; their rows are those of the server's statistics.
func lookSchema(ctx context.Context, conn *pgx.Conn, name string) (l Loss, there bool) {
	l = Loss{What: "schema", Object: name, About: true}
	var size int64
	err := conn.QueryRow(ctx, `select count(*), coalesce(sum(greatest(c.reltuples, 0)), 0)::bigint, coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint
 from pg_namespace n left join pg_class c on c.relnamespace = n.oid and c.relkind in ('r', 'm') where n.nspname = $1 group by n.oid`, name).Scan(&l.Tables, &l.Rows, &size)
	if err != nil {
		return l, false
	}
	l.Size = sizeText(size)
	return l, true
}

func sizeText(n int64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%d GB", n>>30)
	case n >= 10<<20:
		return fmt.Sprintf("%d MB", n>>20)
	default:
		return fmt.Sprintf("%d kB", n>>10)
	}
}

func (l Loss) String() string {
	what := l.What + " " + l.Object
	if l.What == "rows" {
		what = "rows of " + l.Object
	}
	switch {
	case l.What == "schema" && l.Tables == 0:
		return what + ", which has no table"
	case l.What == "schema":
		return fmt.Sprintf("%s with %d tables, about %d rows, %s", what, l.Tables, l.Rows, l.Size)
	case l.Rows < 0:
		return what + ", whose rows could not be counted"
	case l.Rows == 0:
		return what + ", which is empty"
	case l.About:
		return fmt.Sprintf("%s, about %d rows, %s", what, l.Rows, l.Size)
	case l.Rows == 1:
		return fmt.Sprintf("%s, 1 row", what)
	default:
		return fmt.Sprintf("%s, %d rows, %s", what, l.Rows, l.Size)
	}
}

func planDown(t op.Target, r DownRequest, f DownFacts) op.Draft {
	d := draft{op.Draft{
		Title:    fmt.Sprintf("migrate %s on %s down", f.Name, t),
		Downtime: op.Downtime{Expected: "unknown", Text: "what uses the parts that go fails from then on"},
		Findings: f.findings(t),
	}}
	block := func(check, text, remedy string) {
		d.Findings = append(d.Findings, op.Finding{Severity: op.Block, Check: check, Text: f.Name + ": " + text, Remedy: remedy})
	}
	if !f.At && r.To != nil {
		block("version", fmt.Sprintf("it did not go through version %d", *r.To), "dbops migrate status -e "+t.Environment+" "+f.Name)
	}
	for _, one := range f.Files {
		if one.Missing {
			block("missing-file", one.Name, "write it, or go forward with a new migration")
		} else if one.Statements == 0 {
			d.Findings = append(d.Findings, op.Finding{Severity: op.Warn, Check: "empty-file", Text: f.Name + ": " + one.Name + " has no statement: only the version changes"})
		}
	}
	for _, l := range f.Loss {
		severity := op.Warn
		if l.Rows == 0 && l.Tables == 0 {
			severity = op.Info
		}
		d.Findings = append(d.Findings, op.Finding{Severity: severity, Check: "loss", Text: f.Name + ": " + l.File + " drops " + l.String(), Remedy: lossRemedy(t, l, f.Plain)})
	}
	d.Findings = append(d.Findings, f.modes()...)
	d.Findings = append(d.Findings, f.rehearsed(t, false)...)
	if len(f.Files) == 0 {
		d.Downtime = op.Downtime{Expected: "none", Text: "nothing changes"}
		return d.Draft
	}
	d.Changes = []op.Change{{Target: f.Name, Setting: "version", From: versionText(f.Version), To: versionText(f.after())}}
	d.Notes = f.notes()
	d.Back = "dbops migrate up -e " + t.Environment + " " + f.Name
	if f.Version != nil {
		d.Back = fmt.Sprintf("dbops migrate goto -e %s %s %d", t.Environment, f.Name, *f.Version)
	}
	if slices.ContainsFunc(f.Loss, func(l Loss) bool { return l.Rows != 0 }) {
		d.Back += "; the data that is dropped comes back from a backup only"
	}
	d.addManner(r.Manner)
	return d.Draft
}

func lossRemedy(t op.Target, l Loss, plain bool) string {
	switch {
	case l.Rows == 0 && l.Tables == 0:
		return ""
	case plain:
		return "pg_dump keeps it"
	}
	return strings.TrimSpace(fmt.Sprintf("dbops backup create -e %s %s keeps it", t.Environment, t.Instance))
}

func equalFacts(a, b SetFacts) bool { return encode(a) == encode(b) }
