package preflight

import (
	"maps"
	"slices"
	"strings"
)

// Target is what is known of the server that the source becomes.
type Target struct {
	Major int
	// Extensions it can install, by name, with the versions (pg_available_extension_versions); no versions: not known. nil: not known.
	Extensions map[string][]string
	// Settings it knows by name (pg_settings, as the same kind of role sees it); nil: those that PostgreSQL itself took away are found.
	Settings []string
	// FreeBytes of its disk, or what that may grow to; nil: not known.
	FreeBytes *int64
}

// given is what a check is judged by.
type given struct {
	target Target
	source Facts
	// runtime is what our own session was started with, which others are not.
	runtime map[string]string
}

// crossed tells whether an upgrade passes the major where something went.
func (g given) crossed(major int) bool { return g.source.Major() < major && g.target.Major >= major }

// extensionsGone are those that PostgreSQL itself took away.
var extensionsGone = map[string]int{
	"plpythonu": 15, "plpython2u": 15, "hstore_plpythonu": 15, "hstore_plpython2u": 15, "jsonb_plpythonu": 15, "jsonb_plpython2u": 15,
	"ltree_plpythonu": 15, "ltree_plpython2u": 15, "adminpack": 17, "old_snapshot": 17, "timetravel": 12, "chkpass": 11, "tsearch2": 10,
}

func missingExtensions(in given, rows []row) (bad []row, unknown string) {
	for _, r := range rows {
		_, there := in.target.Extensions[r.object]
		gone, known := extensionsGone[r.object]
		switch {
		case known && in.target.Major >= gone, in.target.Extensions != nil && !there:
			bad = append(bad, row{object: r.object, detail: "version " + r.detail})
		case in.target.Extensions == nil:
			unknown = "the target's extensions are not known; in use: " + names(rows)
		}
	}
	return bad, unknown
}

func otherVersions(in given, rows []row) (bad []row, unknown string) {
	for _, r := range rows {
		offers := in.target.Extensions[r.object]
		if len(offers) == 0 || slices.Contains(offers, r.detail) {
			continue // also where it is missing altogether, which is another check's finding
		}
		bad = append(bad, row{object: r.object, detail: "version " + r.detail + "; the target has " + strings.Join(slices.Sorted(slices.Values(offers)), ", ")})
	}
	return bad, ""
}

func names(rows []row) string {
	var list []string
	for _, r := range rows {
		list = append(list, r.object)
	}
	if len(list) > shown {
		list = append(list[:shown:shown], "…")
	}
	return strings.Join(list, ", ")
}

// settingsGone are those that PostgreSQL took away without a successor that answers to the old name.
var settingsGone = map[string]int{
	"operator_precedence_warning": 14, "vacuum_cleanup_index_scale_factor": 14, "stats_temp_directory": 15, "promote_trigger_file": 16,
	"vacuum_defer_cleanup_age": 16, "db_user_namespace": 17, "old_snapshot_threshold": 17, "trace_recovery_messages": 17,
}

// settingsKept are not in pg_settings, or not under this name, and accepted.
var settingsKept = []string{"role", "session_authorization", "seed", "force_parallel_mode", "ssl_ecdh_curve", "sort_mem", "vacuum_mem"}

func settings(in given, rows []row) (bad []row, unknown string) {
	for _, r := range rows {
		gone, known := settingsGone[r.detail]
		switch {
		case known && in.crossed(gone):
		case strings.Contains(r.detail, "."): // an extension's own, taken by any server
			continue
		case in.target.Settings == nil, slices.Contains(settingsKept, r.detail), containsFold(in.target.Settings, r.detail):
			continue
		}
		bad = append(bad, r)
	}
	return bad, ""
}

func containsFold(list []string, name string) bool {
	return slices.ContainsFunc(list, func(s string) bool { return strings.EqualFold(s, name) })
}

// ownTimeouts leaves out what our session alone was given.
func ownTimeouts(in given, rows []row) (bad []row, unknown string) {
	own := slices.Collect(maps.Keys(in.runtime))
	return slices.DeleteFunc(rows, func(r row) bool { return containsFold(own, r.object) }), ""
}

// passwords are lost where nobody reads their verifiers.
func passwords(in given, rows []row) (bad []row, unknown string) {
	if in.source.Passwords {
		return nil, ""
	}
	return rows, ""
}
