package gcpapi

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	sqladmin "google.golang.org/api/sqladmin/v1"
)

// The words of the API that the code branches on.
const (
	zonal    = "ZONAL"
	regional = "REGIONAL"

	plaintextToo = "ALLOW_UNENCRYPTED_AND_ENCRYPTED"
	// certificateToo refuses clients on the open port that show no certificate. Connectors bring their own.
	certificateToo = "TRUSTED_CLIENT_CERTIFICATE_REQUIRED"

	stateRunnable      = "RUNNABLE"
	statePendingCreate = "PENDING_CREATE"
	statePendingDelete = "PENDING_DELETE"
	stateMaintenance   = "MAINTENANCE"
	stateFailed        = "FAILED"
)

// outputFields are what only the service sets on an instance.
func outputFields() []string {
	return []string{
		"kind", "selfLink", "etag", "state", "project", "connectionName", "createTime", "backendType", "instanceType",
		"ipAddresses.*", "serverCaCert.*", "gceZone", "secondaryGceZone",
		"databaseInstalledVersion", "upgradableDatabaseVersions.*", "settings.kind", "settings.pricingPlan", "settings.replicationType",
		"settings.backupConfiguration.kind", "settings.backupConfiguration.transactionalLogStorageState",
		"settings.locationPreference.kind", "settings.maintenanceWindow.kind",
	}
}

// instanceFields are what is honoured when an instance is made or changed.
func instanceFields() fields {
	in := []string{"name", "region", "databaseVersion"}
	for _, f := range []string{
		"settingsVersion", "tier", "edition", "availabilityType", "activationPolicy", "deletionProtectionEnabled", "userLabels.*",
		"dataDiskSizeGb", "dataDiskType", "storageAutoResize", "storageAutoResizeLimit", "retainBackupsOnDelete",
		"backupConfiguration.enabled", "backupConfiguration.startTime", "backupConfiguration.pointInTimeRecoveryEnabled",
		"backupConfiguration.transactionLogRetentionDays", "backupConfiguration.backupRetentionSettings.retainedBackups",
		"backupConfiguration.backupRetentionSettings.retentionUnit", "databaseFlags", "databaseFlags[].name", "databaseFlags[].value",
		"ipConfiguration.ipv4Enabled", "ipConfiguration.sslMode", "ipConfiguration.serverCaMode",
		"locationPreference.zone", "locationPreference.secondaryZone",
		"maintenanceWindow.day", "maintenanceWindow.hour", "maintenanceWindow.updateTrack",
	} {
		in = append(in, "settings."+f)
	}
	return fields{in: in, out: outputFields()}
}

// defaults are the settings of an instance whose maker says nothing.
func defaults(region string) *sqladmin.Settings {
	resize := true
	return &sqladmin.Settings{
		Kind: "sql#settings", Edition: "ENTERPRISE", AvailabilityType: zonal, ActivationPolicy: "ALWAYS",
		PricingPlan: "PER_USE", ReplicationType: "SYNCHRONOUS", SettingsVersion: 1,
		DataDiskSizeGb: 10, DataDiskType: "PD_SSD", StorageAutoResize: &resize,
		BackupConfiguration: &sqladmin.BackupConfiguration{
			Kind: "sql#backupConfiguration", StartTime: "03:00", TransactionLogRetentionDays: 7,
			BackupRetentionSettings: &sqladmin.BackupRetentionSettings{RetainedBackups: 7, RetentionUnit: "COUNT"},
		},
		IpConfiguration: &sqladmin.IpConfiguration{
			Ipv4Enabled: true, SslMode: plaintextToo, ServerCaMode: "GOOGLE_MANAGED_INTERNAL_CA",
		},
		LocationPreference: &sqladmin.LocationPreference{Kind: "sql#locationPreference", Zone: region + "-b"},
	}
}

// validate refuses settings that the real service refuses, and those that the sandbox cannot play.
func validate(db *sqladmin.DatabaseInstance) error {
	set := db.Settings
	// A merge may have removed a whole object. Its parts are then unset, not absent.
	if set.BackupConfiguration == nil {
		set.BackupConfiguration = &sqladmin.BackupConfiguration{Kind: "sql#backupConfiguration"}
	}
	if set.IpConfiguration == nil {
		set.IpConfiguration = &sqladmin.IpConfiguration{SslMode: plaintextToo}
	}
	if set.LocationPreference == nil {
		set.LocationPreference = &sqladmin.LocationPreference{Kind: "sql#locationPreference", Zone: db.GceZone}
	}
	for _, check := range []func(*sqladmin.DatabaseInstance) error{
		validMachine, validBackups, validNetwork, validLabels, validFlags,
	} {
		if err := check(db); err != nil {
			return err
		}
	}
	return nil
}

func validMachine(db *sqladmin.DatabaseInstance) error {
	set := db.Settings
	if !knownTier(set.Tier) || strings.HasPrefix(set.Tier, "db-perf-optimized-") != (set.Edition == "ENTERPRISE_PLUS") {
		return invalid("Invalid Tier (%s) for (%s) Edition.", set.Tier, set.Edition)
	}
	if set.StorageAutoResizeLimit < 0 || set.DataDiskSizeGb < 10 || set.DataDiskSizeGb > 65536 {
		return invalid("Disk size must be between 10 GB and 65536 GB.")
	}
	if m := set.MaintenanceWindow; m != nil && (m.Day < 0 || m.Day > 7 || m.Hour < 0 || m.Hour > 23) {
		return invalid("Invalid maintenance window: day is 1 to 7, hour is 0 to 23.")
	}
	at := set.LocationPreference
	for _, zone := range []string{at.Zone, at.SecondaryZone} {
		if zone != "" && !strings.HasPrefix(zone, db.Region+"-") {
			return invalid("Invalid value for zone: %s is not in %s.", zone, db.Region)
		}
	}
	if at.Zone != "" && at.Zone == at.SecondaryZone {
		return invalid("The secondary zone must not be the primary zone.")
	}
	return oneOf(map[string][]string{
		"edition:" + set.Edition:                   {"ENTERPRISE", "ENTERPRISE_PLUS"},
		"availabilityType:" + set.AvailabilityType: {zonal, regional},
		"activationPolicy:" + set.ActivationPolicy: {"ALWAYS", "NEVER"},
		"dataDiskType:" + set.DataDiskType:         {"PD_SSD", "PD_HDD", "HYPERDISK_BALANCED"},
	})
}

func validBackups(db *sqladmin.DatabaseInstance) error {
	b := db.Settings.BackupConfiguration
	most := int64(7)
	if db.Settings.Edition == "ENTERPRISE_PLUS" {
		most = 35
	}
	switch {
	case b.PointInTimeRecoveryEnabled && !b.Enabled:
		return invalid("Point-in-time recovery requires automated backups to be enabled.")
	case db.Settings.AvailabilityType == regional && (!b.Enabled || !b.PointInTimeRecoveryEnabled):
		return invalid("Regional (high availability) instances require automated backups and point-in-time recovery to be enabled.")
	case b.TransactionLogRetentionDays < 0 || b.TransactionLogRetentionDays > most:
		return invalid("transactionLogRetentionDays must be between 1 and %d.", most)
	case b.StartTime != "" && !regexp.MustCompile(`^([01]\d|2[0-3]):[0-5]\d$`).MatchString(b.StartTime):
		return invalid("startTime must be a time in UTC, HH:MM.")
	}
	if r := b.BackupRetentionSettings; r != nil && (r.RetainedBackups < 0 || r.RetainedBackups > 365) {
		return invalid("retainedBackups must be between 1 and 365.")
	}
	return nil
}

func validNetwork(db *sqladmin.DatabaseInstance) error {
	ip := db.Settings.IpConfiguration
	switch {
	case !ip.Ipv4Enabled:
		return notEmulated("instances without a public address (ipv4Enabled false)")
	case ip.ServerCaMode != "" && ip.ServerCaMode != "GOOGLE_MANAGED_INTERNAL_CA":
		return notEmulated("serverCaMode %s", ip.ServerCaMode)
	}
	return oneOf(map[string][]string{"sslMode:" + ip.SslMode: {plaintextToo, "ENCRYPTED_ONLY", certificateToo}})
}

func validLabels(db *sqladmin.DatabaseInstance) error {
	key, value := regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`), regexp.MustCompile(`^[a-z0-9_-]{0,63}$`)
	for k, v := range db.Settings.UserLabels {
		if !key.MatchString(k) || !value.MatchString(v) {
			return invalid("Invalid label: %q: %q.", k, v)
		}
	}
	return nil
}

// oneOf checks words of the API: the key is the field and its value, divided by a colon.
func oneOf(values map[string][]string) error {
	for field, allowed := range values {
		name, value, _ := strings.Cut(field, ":")
		if !slices.Contains(allowed, value) {
			return invalid("Invalid value for %s: %q.", name, value)
		}
	}
	return nil
}

// major is the PostgreSQL major of a database version such as POSTGRES_16.
func major(version string) (int, error) {
	text, ok := strings.CutPrefix(version, "POSTGRES_")
	n, err := strconv.Atoi(text)
	if !ok || err != nil || n < oldest || n > newest {
		return 0, notEmulated("databaseVersion %s", version)
	}
	return n, nil
}

// tiers are the machine types that the sandbox knows by name: virtual processors and MiB.
func tiers() map[string][2]int64 {
	return map[string][2]int64{
		"db-f1-micro": {1, 614}, "db-g1-small": {1, 1740},
		"db-perf-optimized-N-2": {2, 16384}, "db-perf-optimized-N-4": {4, 32768}, "db-perf-optimized-N-8": {8, 65536},
		"db-custom-1-3840": {1, 3840}, "db-custom-2-7680": {2, 7680}, "db-custom-4-15360": {4, 15360}, "db-custom-8-30720": {8, 30720},
	}
}

func knownTier(tier string) bool {
	if _, ok := tiers()[tier]; ok {
		return true
	}
	var cpus, mib int64
	n, err := fmt.Sscanf(tier, "db-custom-%d-%d", &cpus, &mib)
	return err == nil && n == 2 && cpus >= 1 && cpus <= 96 && mib >= 3840 && mib%256 == 0 &&
		tier == fmt.Sprintf("db-custom-%d-%d", cpus, mib)
}
