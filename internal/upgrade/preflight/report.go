package preflight

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Schema names the shape of a [Report] in JSON.
const Schema = "dbops/upgrade-preflight/v1"

// Severity says what a finding means for the upgrade.
type Severity string

// The severities, worst first.
const (
	Block Severity = "block" // it cannot work before this is mended
	Warn  Severity = "warn"  // it works, and something will be missing, other or slow unless somebody acts
	Info  Severity = "info"  // to know
)

// Report is what preflight saw. The same source gives the same report, but for the times and what moves by itself.
type Report struct {
	Schema   string    `json:"schema"`
	Target   int       `json:"target"` // major
	Engine   Engine    `json:"engine"`
	Findings []Finding `json:"findings"` // worst first, then by check and database
	Facts    Facts     `json:"facts"`
	Checks   int       `json:"checks"` // how many were asked, each database's for itself
	Took     float64   `json:"took_seconds"`
}

// Blocked tells whether anything forbids the upgrade.
func (r *Report) Blocked() bool {
	return slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Severity == Block })
}

// Finding is what one check saw in one place.
type Finding struct {
	Check    string   `json:"check"` // its name, which does not change between releases
	Severity Severity `json:"severity"`
	Database string   `json:"database,omitempty"` // empty: the whole server
	Text     string   `json:"text"`
	Why      string   `json:"why,omitempty"`
	// Evidence is the first few of Count objects.
	Evidence []Evidence `json:"evidence"`
	Count    int        `json:"count"`
	Remedy   string     `json:"remedy,omitempty"` // a command, or a sentence
	// Unknown says why the check could not look, or not at everything. Such a finding never blocks: a rehearsal meets what was missed.
	Unknown string `json:"unknown,omitempty"`
}

// Evidence is an object that a check saw, named as SQL names it where it can.
type Evidence struct {
	Object string `json:"object"`
	Detail string `json:"detail,omitempty"` // never a value, nor a statement's text: both may hold secrets
}

// Facts are what the plan of an upgrade is made from. A size that could not be read is null.
type Facts struct {
	Version   int    `json:"version"` // as in server_version_num: 160004
	Server    string `json:"server"`  // version(), in full
	Kind      string `json:"kind"`    // rds, aurora, cloudsql, or postgres
	Standby   bool   `json:"standby"`
	Role      string `json:"role"` // that looked
	Superuser bool   `json:"superuser"`
	Stats     bool   `json:"reads_all_stats"` // the role sees what other sessions do
	// Passwords: the role reads password verifiers, so that passwords stay valid on the target.
	Passwords bool            `json:"reads_passwords"`
	Databases []DatabaseFacts `json:"databases"`
	Others    []string        `json:"other_databases"` // those that were not asked about, and would stay behind
}

// Major of the server.
func (f Facts) Major() int { return f.Version / 10000 }

// DatabaseFacts are those of one database.
type DatabaseFacts struct {
	Name     string      `json:"name"`
	Encoding string      `json:"encoding"`
	Provider string      `json:"locale_provider"` // libc, icu, builtin
	Collate  string      `json:"collate"`
	Ctype    string      `json:"ctype"`
	Locale   string      `json:"locale,omitempty"` // of icu and builtin
	Bytes    *int64      `json:"bytes"`
	Rows     int64       `json:"rows_estimate"`
	Objects  Objects     `json:"objects"`
	Largest  []TableFact `json:"largest_tables"` // the ten largest, largest first
}

// Objects counts the user's objects of a database.
type Objects struct {
	Tables       int64 `json:"tables"` // partitions too
	Indexes      int64 `json:"indexes"`
	Views        int64 `json:"views"`
	MatViews     int64 `json:"materialized_views"`
	Sequences    int64 `json:"sequences"`
	Functions    int64 `json:"functions"` // their bodies are not checked by a restore
	LargeObjects int64 `json:"large_objects"`
}

// TableFact is the size of one table.
type TableFact struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"` // with indexes and TOAST
	Rows  int64  `json:"rows_estimate"`
}

func order(findings []Finding) {
	rank := map[Severity]int{Block: 0, Warn: 1, Info: 2}
	slices.SortStableFunc(findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(rank[a.Severity], rank[b.Severity]), strings.Compare(a.Check, b.Check),
			strings.Compare(a.Database, b.Database), strings.Compare(a.Unknown, b.Unknown))
	})
}

func seconds(d time.Duration) float64 {
	return float64(d.Round(time.Millisecond).Milliseconds()) / 1000
}
