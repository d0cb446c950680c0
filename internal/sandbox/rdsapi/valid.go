package rdsapi

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"dbops/internal/sandbox/awsid"
)

// What a client may write.
var (
	identifierForm  = regexp.MustCompile(`^[a-z](?:-?[a-z0-9])*$`)
	userForm        = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_]{0,62}$`)
	databaseForm    = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]{0,62}$`)
	classForm       = regexp.MustCompile(`^db\.[a-z0-9]+\.[a-z0-9]+$`)
	backupForm      = regexp.MustCompile(`^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$`)
	maintenanceForm = regexp.MustCompile(`^(mon|tue|wed|thu|fri|sat|sun):([01]\d|2[0-3]):[0-5]\d-(mon|tue|wed|thu|fri|sat|sun):([01]\d|2[0-3]):[0-5]\d$`)
)

func invalid(format string, args ...any) error {
	return awsid.Newf(400, "InvalidParameterValue", format, args...)
}

func combination(format string, args ...any) error {
	return awsid.Newf(400, "InvalidParameterCombination", format, args...)
}

// identifier checks the name of an instance or snapshot, and returns it as RDS keeps it.
func identifier(parameter string, p *string, longest int) (string, error) {
	id := fold(value(p))
	if len(id) > longest || !identifierForm.MatchString(id) {
		return "", invalid("The parameter %s is not a valid identifier. Identifiers must begin with a letter; must contain only ASCII letters, "+
			"digits, and hyphens; and must not end with a hyphen or contain two consecutive hyphens.", parameter)
	}
	return id, nil
}

// checks runs each check whose parameter was given, and returns the first error.
func checks(all ...error) error {
	for _, err := range all {
		if err != nil {
			return err
		}
	}
	return nil
}

func form(what string, p *string, ok func(string) bool) error {
	if p != nil && !ok(*p) {
		return invalid("Invalid %s: %s", what, *p)
	}
	return nil
}

func checkClass(p *string) error { return form("DB Instance class", p, classForm.MatchString) }
func checkBackupWindow(p *string) error {
	return form("backup window", p, backupForm.MatchString)
}

func checkMaintenanceWindow(p *string) error {
	return form("maintenance window", p, func(s string) bool { return maintenanceForm.MatchString(strings.ToLower(s)) })
}

func checkStorageType(p *string) error {
	return form("storage type", p, func(s string) bool { return slices.Contains([]string{"gp2", "gp3"}, s) })
}

func checkRetention(days *int32) error {
	if days != nil && (*days < 0 || *days > 35) {
		return invalid("Invalid backup retention period: %d. Must be between 0 and 35.", *days)
	}
	return nil
}

func checkPassword(p *string) error {
	switch {
	case p == nil:
		return nil
	case len(*p) < 8:
		return invalid("The parameter MasterUserPassword is not a valid password because it is shorter than 8 characters.")
	case len(*p) > 128:
		return invalid("The parameter MasterUserPassword is not a valid password because it is longer than 128 characters.")
	case strings.ContainsFunc(*p, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`/"@`, r) }):
		return invalid("The parameter MasterUserPassword is not a valid password. Only printable ASCII characters besides '/', '@', '\"', ' ' may be used.")
	}
	return nil
}

func checkStorage(gib *int32) error {
	if gib != nil && (*gib < 20 || *gib > 65536) {
		return invalid("Invalid storage size for engine name postgres and storage type gp3: %d", *gib)
	}
	return nil
}

// major is the first part of a version.
func major(version string) int {
	m, _, _ := strings.Cut(version, ".")
	n, err := strconv.Atoi(m)
	if err != nil {
		return 0
	}
	return n
}
