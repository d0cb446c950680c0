package gcpapi

import (
	"fmt"

	sqladmin "google.golang.org/api/sqladmin/v1"
)

// The majors that are played.
const (
	oldest = 14
	newest = 18
)

// version is the database version of a major.
func version(major int) string { return fmt.Sprintf("POSTGRES_%d", major) }

// versions are the database versions that an instance can be made of.
func versions() (all []string) {
	for m := oldest; m <= newest; m++ {
		all = append(all, version(m))
	}
	return all
}

// upgradable are the database versions that an instance of one can be upgraded to.
func upgradable(from string) (all []*sqladmin.AvailableDatabaseVersion) {
	n, err := major(from)
	if err != nil {
		return nil
	}
	for m := n + 1; m <= newest; m++ {
		all = append(all, &sqladmin.AvailableDatabaseVersion{
			MajorVersion: version(m), Name: version(m), DisplayName: fmt.Sprintf("PostgreSQL %d", m),
		})
	}
	return all
}

// defaultEdition is the edition of a new instance whose maker names none.
func defaultEdition(version string) string {
	if n, err := major(version); err == nil && n >= 16 {
		return "ENTERPRISE_PLUS"
	}
	return "ENTERPRISE"
}
