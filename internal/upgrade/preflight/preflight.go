// Package preflight looks at a server before its upgrade to another major: what forbids it, what would be lost, and what the plan
// needs to know. Its checks are a table of small values, each with one query that only reads and needs no superuser, and
// [Run] asks them in every database and makes one finding of each that has something to say. A check that could not look says so
// instead of passing.
package preflight

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

// Engine is the way the data goes.
type Engine string

// The engines.
const (
	Dump    Engine = "dump"    // pg_dump and pg_restore
	Stream  Engine = "stream"  // parallel COPY from one snapshot
	Logical Engine = "logical" // a copy, then catch-up by logical replication
)

// Source is the server to be upgraded.
type Source struct {
	// Connect opens a connection to a database, as the role that will run the upgrade. It is called from several goroutines, and
	// again for a database whose connection was lost. Run closes what it gets.
	Connect func(ctx context.Context, database string) (*pgx.Conn, error)
	// Databases to be upgraded, at least one. The first is also asked what concerns the whole server.
	Databases []string
}

// Options of a run. The zero value is usable.
type Options struct {
	Engine      Engine        // empty: Dump
	Concurrency int           // databases at once, and so connections; 0: 4
	Timeout     time.Duration // of each query; 0: 10 s
}

// Run asks every check that concerns the way from the source to the target. It fails only where nothing can be said: the arguments
// are incomplete, the first database cannot be reached, or ctx ended. It changes nothing and may be called at any time.
func Run(ctx context.Context, src Source, target Target, o Options) (*Report, error) {
	begun := time.Now()
	if src.Connect == nil || len(src.Databases) == 0 || target.Major == 0 {
		return nil, errors.New("preflight of an upgrade: a way to connect, a database and the target's major are needed")
	}
	if o.Engine == "" {
		o.Engine = Dump
	}
	if !slices.Contains([]Engine{Dump, Stream, Logical}, o.Engine) {
		return nil, fmt.Errorf("preflight of an upgrade: unknown engine %q", o.Engine)
	}
	if o.Concurrency <= 0 {
		o.Concurrency = 4
	}
	if o.Timeout <= 0 {
		o.Timeout = 10 * time.Second
	}
	report := &Report{Schema: Schema, Target: target.Major, Engine: o.Engine, Findings: []Finding{}}

	visits := make([]*visit, len(src.Databases))
	for i, name := range src.Databases {
		visits[i] = &visit{session: session{connect: src.Connect, database: name, timeout: o.Timeout}, options: o, in: given{target: target}}
	}
	first := visits[0]
	defer func() { first.session.close(ctx) }()
	if err := first.server(ctx, &report.Facts); err != nil {
		return nil, fmt.Errorf("preflight of an upgrade: %w", err)
	}
	report.Facts.Others = slices.DeleteFunc(report.Facts.Others, func(d string) bool { return slices.Contains(src.Databases, d) })

	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(o.Concurrency)
	for _, v := range visits {
		v.in.source = report.Facts
		group.Go(func() error {
			if v == first {
				v.ask(groupCtx, serverChecks, "")
			}
			defer v.session.close(groupCtx)
			v.database(groupCtx)
			return groupCtx.Err()
		})
	}
	if err := group.Wait(); err != nil {
		return nil, fmt.Errorf("preflight of an upgrade: %w", err)
	}
	report.Facts.Databases = []DatabaseFacts{}
	for _, v := range visits {
		report.Findings = append(report.Findings, v.findings...)
		report.Checks += v.checks
		if v.facts != nil {
			report.Facts.Databases = append(report.Facts.Databases, *v.facts)
		}
	}
	report.Findings = append(report.Findings, major(report.Facts, target)...)
	report.Findings = append(report.Findings, space(report.Facts.Databases, len(visits), target)...)
	report.Checks += 2
	order(report.Findings)
	report.Took = seconds(time.Since(begun))
	return report, nil
}

// major is the check that an upgrade goes up.
func major(f Facts, t Target) []Finding {
	if t.Major > f.Major() {
		return nil
	}
	return []Finding{{
		Check: "major", Severity: Block, Text: fmt.Sprintf("the source is PostgreSQL %d already, the target %d", f.Major(), t.Major),
		Evidence: []Evidence{{Object: "server", Detail: cut(f.Server)}}, Count: 1, Remedy: "choose a later major",
	}}
}

// space is the check of the target's disk. A copy leaves the source's dead rows behind, but while an index is built it is there
// twice, and WAL piles up: a tenth more than the source, and the largest table once again, has been enough.
func space(databases []DatabaseFacts, asked int, t Target) []Finding {
	out := Finding{
		Check: "disk-space", Severity: Block, Text: "the target's disk is too small", Evidence: []Evidence{},
		Why:    "a full disk stops the copy",
		Remedy: "give the target a larger disk, or let it grow by itself",
	}
	var need, largest int64
	unread := asked - len(databases)
	for _, d := range databases {
		if d.Bytes == nil {
			unread++
			continue
		}
		need += *d.Bytes + *d.Bytes/10
		out.Evidence = append(out.Evidence, Evidence{Object: pgx.Identifier{d.Name}.Sanitize(), Detail: size(*d.Bytes)})
		for _, table := range d.Largest {
			largest = max(largest, table.Bytes)
		}
	}
	need += largest
	out.Count = len(out.Evidence)
	out.Evidence = out.Evidence[:min(shown, len(out.Evidence))]
	switch {
	case t.FreeBytes != nil && need > *t.FreeBytes:
		out.Text += fmt.Sprintf(": it has %s, and about %s are needed", size(*t.FreeBytes), size(need))
	case t.FreeBytes != nil && unread == 0:
		return nil
	case t.FreeBytes == nil:
		out.Unknown = fmt.Sprintf("the target's free space is not known; about %s are needed", size(need))
	default:
		out.Unknown = fmt.Sprintf("the size of %d databases could not be read; the others need about %s", unread, size(need))
	}
	if out.Unknown != "" {
		out.Severity, out.Text = unblocked(out.Severity), "could not look whether: "+out.Text
	}
	return []Finding{out}
}

func size(n int64) string { return humanize.IBytes(uint64(max(0, n))) }
