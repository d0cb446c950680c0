package rdsapi

import (
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/rds/types"
)

// parameter is one parameter of the families that is played. All but those of RDS's own are settings of the real servers.
type parameter struct {
	name    string
	kind    string // boolean, integer, float, string, list
	allowed string // as RDS writes it: "0,1", "0-100", words
	static  bool   // in force after a restart only
	since   int    // the first major that has it; 0: all
	until   int    // the last one; 0: all
	fixed   string // what RDS sets itself
	own     bool   // RDS's, unknown to PostgreSQL
}

// libraries are those that shared_preload_libraries may name.
const libraries = "auto_explain,pg_prewarm,pg_stat_statements"

// parameters are what is played, by name.
func parameters() []parameter {
	const flag, number = "0,1", "0-2147483647"
	boolean := func(name string) parameter { return parameter{name: name, kind: "boolean", allowed: flag} }
	integer := func(name, allowed string) parameter { return parameter{name: name, kind: "integer", allowed: allowed} }
	static := func(p parameter) parameter { p.static = true; return p }
	until := func(last int, p parameter) parameter { p.until = last; return p }
	since := func(first int, p parameter) parameter { p.since = first; return p }
	return []parameter{
		boolean("autovacuum"),
		integer("deadlock_timeout", number),
		until(15, parameter{name: "force_parallel_mode", kind: "string", allowed: "on,off,regress"}),
		integer("idle_in_transaction_session_timeout", number),
		integer("lock_timeout", number),
		until(17, boolean("log_connections")),
		since(18, parameter{name: "log_connections", kind: "string"}),
		boolean("log_disconnections"),
		boolean("log_lock_waits"),
		integer("log_min_duration_statement", "-1-2147483647"),
		{name: "log_statement", kind: "string", allowed: "none,ddl,mod,all"},
		integer("maintenance_work_mem", "1024-2147483647"),
		static(integer("max_connections", "6-8388607")),
		static(integer("max_wal_senders", "5-100")),
		static(integer("max_worker_processes", "0-262143")),
		until(16, static(integer("old_snapshot_threshold", "-1-86400"))),
		{name: "password_encryption", kind: "string", fixed: "scram-sha-256"},
		{name: "random_page_cost", kind: "float", allowed: "0-1.79769e+308"},
		static(parameter{name: "rds.logical_replication", kind: "boolean", allowed: flag, own: true}),
		{name: "rds.force_ssl", kind: "boolean", fixed: "1", own: true},
		static(parameter{name: "shared_preload_libraries", kind: "list", allowed: libraries}),
		integer("statement_timeout", number),
		boolean("track_io_timing"),
		since(17, integer("transaction_timeout", number)),
		until(15, integer("vacuum_defer_cleanup_age", "0-1000000")),
		integer("work_mem", "64-2147483647"),
	}
}

// family is the parameters that a major has.
func family(major int) []parameter {
	return slices.DeleteFunc(parameters(), func(p parameter) bool { return p.since > major || p.until != 0 && p.until < major })
}

// described is the parameter with the value that somebody set; nil: nobody.
func (p parameter) described(set *string) types.Parameter {
	out := types.Parameter{
		ParameterName: &p.name, DataType: &p.kind, Description: new("Sets " + p.name + "."), Source: new("engine-default"),
		ApplyType: new("dynamic"), ApplyMethod: types.ApplyMethodImmediate, IsModifiable: new(p.fixed == ""),
	}
	if p.allowed != "" {
		out.AllowedValues = &p.allowed
	}
	if p.static {
		out.ApplyType, out.ApplyMethod = new("static"), types.ApplyMethodPendingReboot
	}
	if p.fixed != "" {
		out.ParameterValue, out.Source = &p.fixed, new("system")
	}
	if set != nil {
		out.ParameterValue, out.Source = new(*set), new("user")
	}
	return out
}

// allows tells whether the parameter can have a value. Formulas of the class are not played.
func (p parameter) allows(value string) bool {
	switch p.kind {
	case "boolean":
		return value == "0" || value == "1"
	case "integer", "float":
		low, high, _ := strings.Cut(p.allowed[1:], "-") // a first minus is a sign
		n, err := strconv.ParseFloat(value, 64)
		least, lowErr := strconv.ParseFloat(p.allowed[:1]+low, 64)
		most, highErr := strconv.ParseFloat(high, 64)
		whole := p.kind == "float" || !strings.ContainsAny(value, ".eE")
		return err == nil && lowErr == nil && highErr == nil && whole && least <= n && n <= most
	}
	if p.allowed == "" {
		return true
	}
	for word := range strings.SplitSeq(value, ",") {
		if !slices.Contains(strings.Split(p.allowed, ","), strings.TrimSpace(word)) || word != value && p.kind != "list" {
			return false
		}
	}
	return true
}
