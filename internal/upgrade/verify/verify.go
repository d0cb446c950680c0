// Package verify compares two databases that should be the same, on servers of different majors.
//
// [Compare] counts and sums the rows of every table on both sides, each side out of one snapshot, by a formula whose result is the same on
// PostgreSQL 14 to 18; it compares schemas, owners, sequences, large objects, extensions, and what is invalid. The [Report] says exactly what
// was compared and how, and is equal only if nothing differs.
package verify

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"dbops/internal/fault"
	"dbops/internal/pg/catalog"
)

// Connect opens a session. It is called many times, also at once.
type Connect func(ctx context.Context, tune func(*pgx.ConnConfig)) (*pgx.Conn, error)

// Job says what is compared, and how.
type Job struct {
	Source, Target Connect
	// SourceSnapshot names one that somebody exported and keeps: then the target is compared with what was copied, whatever was written since.
	SourceSnapshot string
	// TargetSnapshot is the same for the target.
	TargetSnapshot string
	// Part leaves some out. Defaults to PartAll.
	Part Part
	// Jobs is how many tables are read at once. Defaults to 2.
	Jobs int
	// Sample sums one row in so many of a large table, chosen by primary key, so that both sides choose the same. All are counted. 0 and 1 are all.
	Sample int
	// CountOnly leaves the sums out.
	CountOnly bool
	// Strong sums SHA-256 instead of the server's 64-bit hash: against somebody who wants two tables to look alike, at thrice the price.
	Strong bool
	// Progress is told of each table that is done, by one caller at a time.
	Progress func(Progress)
}

// Part is what is compared.
type Part string

// The parts.
const (
	PartAll Part = ""
	// PartRows leaves out where sequences stand, which no snapshot holds.
	PartRows Part = "rows"
)

// Progress is how a comparison goes.
type Progress struct {
	Table string `json:"table"`
	Done  int    `json:"done"`
	Of    int    `json:"of"`
}

// Side is one of the databases.
type Side struct {
	Database string    `json:"database"`
	Major    int       `json:"major"`
	Snapshot string    `json:"snapshot"` // as pg_current_snapshot says
	At       time.Time `json:"at"`
	Encoding string    `json:"encoding"`
}

// Report is the result.
type Report struct {
	Equal  bool `json:"equal"`
	Source Side `json:"source"`
	Target Side `json:"target"`
	// Compared says in sentences what was compared, and NotCompared what was not, and why.
	Compared    []string `json:"compared"`
	NotCompared []string `json:"not_compared"`
	Formula     string   `json:"formula,omitempty"` // of a row's sum, as SQL
	Tables      []Table  `json:"tables"`
	// Sequences, Schema, Owners, Extensions and Invalid hold only what differs.
	Sequences    []Difference     `json:"sequences"`
	Schema       []catalog.Change `json:"schema"`
	Owners       []Difference     `json:"owners"`
	Extensions   []Difference     `json:"extensions"`
	Invalid      []Difference     `json:"invalid"`
	LargeObjects Table            `json:"large_objects"`
	// Expected differs, and should: each with its reason.
	Expected []string      `json:"expected"`
	Took     time.Duration `json:"took_ns"`
}

// Table is the comparison of one.
type Table struct {
	Name       string `json:"name"`
	How        string `json:"how"` // all rows, one row in N by primary key, counted
	SourceRows int64  `json:"source_rows"`
	TargetRows int64  `json:"target_rows"`
	SourceSum  string `json:"source_sum,omitempty"`
	TargetSum  string `json:"target_sum,omitempty"`
	Equal      bool   `json:"equal"`
	Why        string `json:"why,omitempty"` // it is not
}

// Difference is a thing that is not the same on both sides; "" is not there.
type Difference struct {
	Name   string `json:"name"`
	Source string `json:"source"`
	Target string `json:"target"`
}

// Compare compares. That something differs is no error: [Report.Err] makes one of it.
func Compare(ctx context.Context, j Job) (*Report, error) {
	if j.Jobs <= 0 {
		j.Jobs = 2
	}
	began := time.Now()
	c := &comparison{Job: j, r: &Report{}}
	err := c.run(ctx)
	c.r.Took = time.Since(began)
	if err == nil {
		return c.r, nil
	}
	if cause := context.Cause(ctx); cause != nil {
		return c.r, fault.New(fault.Interrupted, "compare the databases", cause).Hint("run it again: it only reads")
	}
	return c.r, refused(err)
}

// Err is a fault.Findings that names what differs first; nil if nothing does.
func (r *Report) Err() error {
	if r.Equal {
		return nil
	}
	var all []string
	note := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	for _, t := range append(slices.Clone(r.Tables), r.LargeObjects) {
		if !t.Equal {
			note("%s: %s", t.Name, t.Why)
		}
	}
	for _, of := range []struct {
		what string
		all  []Difference
	}{{"sequence", r.Sequences}, {"owner of", r.Owners}, {"extension", r.Extensions}, {"invalid", r.Invalid}} {
		for _, d := range of.all {
			note("%s %s: %q on the source, %q on the target", of.what, d.Name, d.Source, d.Target)
		}
	}
	for _, c := range r.Schema {
		note("%s", c)
	}
	const shown = 5
	return fault.Newf(fault.Findings, "compare the databases", "%d things differ, the first: %s", len(all), strings.Join(all[:min(shown, len(all))], "; ")).
		Hint("do not switch to the target; copy it again, or mend what differs, and compare again")
}

type comparison struct {
	Job
	r        *Report
	from, to *side
	mu       sync.Mutex
}

func (c *comparison) run(ctx context.Context) (err error) {
	if c.from, err = openSide(ctx, "source", c.Source, c.SourceSnapshot); err != nil {
		return err
	}
	defer c.from.close(ctx)
	if c.to, err = openSide(ctx, "target", c.Target, c.TargetSnapshot); err != nil {
		return err
	}
	defer c.to.close(ctx)
	c.r.Source, c.r.Target = c.from.Side, c.to.Side
	steps := []func(context.Context) error{c.schema, c.owners, c.extensions, c.invalid, c.objects, c.tables}
	if c.Part == PartAll {
		steps = append(steps, c.sequences)
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	c.judge()
	return nil
}

func (c *comparison) judge() {
	r := c.r
	r.Equal = r.LargeObjects.Equal && len(r.Sequences)+len(r.Schema)+len(r.Owners)+len(r.Extensions)+len(r.Invalid) == 0
	for _, t := range r.Tables {
		r.Equal = r.Equal && t.Equal
	}
	sums := fmt.Sprintf("the number of rows and the sum of all rows of %d tables", len(r.Tables))
	switch {
	case c.CountOnly:
		sums = fmt.Sprintf("the number of rows of %d tables", len(r.Tables))
		r.NotCompared = append(r.NotCompared, "what rows hold, as asked")
	case c.Sample > 1:
		sums = fmt.Sprintf("the number of rows of %d tables, and the sum of one row in %d of the large ones with a primary key, of all rows of the others", len(r.Tables), c.Sample)
		r.NotCompared = append(r.NotCompared, "what the rows hold that were not chosen, as asked")
	}
	seen := "each side as one snapshot shows it"
	if c.SourceSnapshot != "" {
		seen = "the source as the snapshot that was copied shows it"
	}
	r.Compared = []string{
		sums + ", " + seen,
		"the schema: every object's definition and privileges", "who owns what",
		fmt.Sprintf("%d large objects: number, owner and contents", r.LargeObjects.SourceRows),
		"which extensions there are", "which indexes and constraints are not valid, and which materialised views not filled",
	}
	if c.Part == PartAll {
		r.Compared = append(r.Compared, "where sequences stand")
	} else {
		r.NotCompared = append(r.NotCompared, "where sequences stand, as asked")
	}
	r.NotCompared = append(r.NotCompared, "rows of materialised views: they were computed anew", "rows of foreign tables: they are elsewhere",
		"roles, settings of roles and databases: they do not belong to the database", "security labels")
}

// both runs a query for pairs of texts on both sides, and returns what differs.
func (c *comparison) both(ctx context.Context, sql string, expected func(Difference) string) ([]Difference, error) {
	var a, b map[string]string
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) { a, err = c.from.pairs(gctx, sql); return err })
	g.Go(func() (err error) { b, err = c.to.pairs(gctx, sql); return err })
	if err := g.Wait(); err != nil {
		return nil, err
	}
	out := []Difference{}
	for _, d := range differ(a, b) {
		if why := expected(d); why != "" {
			c.r.Expected = append(c.r.Expected, why)
			continue
		}
		out = append(out, d)
	}
	return out, nil
}
