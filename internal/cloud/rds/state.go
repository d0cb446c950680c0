package rds

import (
	"strings"

	"dbops/internal/cloud"
)

// states are the statuses of a DB instance that RDS documents.
var states = map[string]cloud.State{
	"available": cloud.Available,

	"backing-up":                      cloud.Modifying,
	"backtracking":                    cloud.Modifying,
	"configuring-enhanced-monitoring": cloud.Modifying,
	"configuring-iam-database-auth":   cloud.Modifying,
	"configuring-log-exports":         cloud.Modifying,
	"converting-to-vpc":               cloud.Modifying,
	"maintenance":                     cloud.Modifying,
	"modifying":                       cloud.Modifying,
	"moving-to-vpc":                   cloud.Modifying,
	"renaming":                        cloud.Modifying,
	"resetting-master-credentials":    cloud.Modifying,
	"stopping":                        cloud.Modifying,
	"storage-config-upgrade":          cloud.Modifying,
	"storage-initialization":          cloud.Modifying,
	"storage-optimization":            cloud.Modifying,
	"upgrading":                       cloud.Modifying,

	"creating": cloud.Creating,

	"rebooting": cloud.Restarting,
	"starting":  cloud.Restarting,

	"stopped": cloud.Stopped,

	"delete-precheck": cloud.Deleting,
	"deleting":        cloud.Deleting,

	"failed":                              cloud.Failed,
	"inaccessible-encryption-credentials": cloud.Failed,
	"inaccessible-encryption-credentials-recoverable": cloud.Failed,
	"incompatible-create":                             cloud.Failed,
	"incompatible-network":                            cloud.Failed,
	"incompatible-option-group":                       cloud.Failed,
	"incompatible-parameters":                         cloud.Failed,
	"incompatible-restore":                            cloud.Failed,
	"insufficient-capacity":                           cloud.Failed,
	"restore-error":                                   cloud.Failed,
	"storage-full":                                    cloud.Failed,
}

// state is the state that a status of RDS means. RDS adds statuses to two families without notice.
func state(status string) cloud.State {
	s, ok := states[status]
	switch {
	case ok:
		return s
	case strings.HasPrefix(status, "configuring-"):
		return cloud.Modifying
	case strings.HasPrefix(status, "incompatible-"):
		return cloud.Failed
	}
	return cloud.Unknown
}
