package drift

import (
	"strconv"

	"dbops/internal/cloud"
	"dbops/internal/config"
)

// destroys tells whether the provider throws away backups or logs when a setting goes from one value to another.
func destroys(name, from, to string) bool {
	switch name {
	case config.BackupsKeptDays, config.PITRDays:
		return less(to, from)
	case config.PITR:
		return from == "true" && to == "false"
	}
	return false
}

// weakens tells whether an instance is less safe with the second value.
func weakens(name, from, to string) bool {
	switch name {
	case config.BackupsKeptDays, config.PITRDays:
		return less(to, from)
	case config.PITR, config.TLSRequired, config.DeletionProtection:
		return to == "false" && from != to
	case config.PublicAccess:
		return to == "true" && from != to
	case config.Availability:
		return to == string(cloud.Zonal) && from != to
	}
	return false
}

func less(a, b string) bool {
	x, err1 := strconv.Atoi(a)
	y, err2 := strconv.Atoi(b)
	return err1 == nil && err2 == nil && x < y
}

// How long the databases may not be reached, in the words of [op.Downtime], from the least.
const (
	none = iota
	brief
	some
	unknown
)

func expected(n int) string { return [...]string{"none", "brief", "some", "unknown"}[n] }

// outage is what is known of the interruption that a change of a setting brings, and what else clients notice of it. The texts are
// those of the providers' documentation; numbers are never promised.
func outage(kind cloud.Kind, name, from, to string) (int, string) {
	switch {
	case name == config.Class && kind == cloud.RDS:
		return some, "RDS restarts the instance on another machine; with a standby it fails over"
	case name == config.Class:
		return some, "Cloud SQL restarts the instance on another machine"
	case name == config.Availability && kind == cloud.RDS:
		return none, "RDS documents no outage; writes are slower while a standby is filled"
	case name == config.Availability:
		return unknown, "Cloud SQL does not document an outage, and may restart the instance"
	case name == config.PITR && to == "true":
		return brief, "Cloud SQL restarts the database when point-in-time recovery is switched on"
	case name == config.BackupsKeptDays && kind == cloud.RDS && (from == "0") != (to == "0"):
		return brief, "RDS may suspend I/O for seconds when backups are switched on or off"
	case name == config.IAMLogin && kind == cloud.CloudSQL:
		return unknown, "Cloud SQL may restart the database for a database flag"
	}
	return none, ""
}

// price says which way the cost goes.
func price(name, from, to string) string {
	switch {
	case name == config.Availability && to == string(cloud.Regional):
		return "up: a standby is paid for like an instance"
	case name == config.Availability:
		return "down: without a standby"
	case name == config.Class:
		return "as the classes differ: " + from + " to " + to
	case (name == config.BackupsKeptDays || name == config.PITRDays) && less(from, to):
		return "up a little: more backups are kept"
	}
	return ""
}
