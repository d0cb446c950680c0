package cloudsql

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	sqladmin "google.golang.org/api/sqladmin/v1"

	"dbops/internal/cloud"
)

// flagIAM is the database flag that lets cloud identities log in.
const flagIAM = "cloudsql.iam_authentication"

// port is where every Cloud SQL instance serves PostgreSQL.
const port = 5432

// instance is db in the words of the model.
func instance(db *sqladmin.DatabaseInstance, project string) *cloud.Instance {
	s := db.Settings
	if s == nil {
		s = &sqladmin.Settings{}
	}
	version := db.DatabaseVersion
	if strings.HasPrefix(db.DatabaseInstalledVersion, version) { // POSTGRES_15_7: the same with its minor version
		version = db.DatabaseInstalledVersion
	}
	live := &cloud.Instance{
		Provider: cloud.CloudSQL,
		Name:     db.Name,
		Project:  project,
		Region:   db.Region,

		EngineVersion: strings.ReplaceAll(strings.TrimPrefix(version, "POSTGRES_"), "_", "."),
		Major:         cloud.Major(db.DatabaseVersion),
		Class:         s.Tier,

		State:    state(db.State, s.ActivationPolicy),
		RawState: rawState(db, s),

		Availability:  availability(s.AvailabilityType),
		Zone:          db.GceZone,
		SecondaryZone: db.SecondaryGceZone,
		Endpoints:     endpoints(db),

		Storage: cloud.Storage{
			Type: s.DataDiskType, GiB: s.DataDiskSizeGb,
			AutoGrow: s.StorageAutoResize != nil && *s.StorageAutoResize, MaxGiB: s.StorageAutoResizeLimit,
		},
		Backups:            backups(s.BackupConfiguration),
		DeletionProtection: s.DeletionProtectionEnabled,
		TLS:                tls(db.ServerCaCert, s.IpConfiguration),
		MaxConnections:     number(flag(s.DatabaseFlags, "max_connections")),
		IAMLogin:           flag(s.DatabaseFlags, flagIAM) == "on",
		PublicAccess:       s.IpConfiguration != nil && s.IpConfiguration.Ipv4Enabled,
		Revision:           revision(s.SettingsVersion),
		Maintenance:        maintenance(db, s.MaintenanceWindow),

		Labels:  maps.Clone(s.UserLabels),
		Created: parseTime(db.CreateTime),
		Raw:     cloud.Raw(db),
	}
	if db.Project != "" {
		live.Project = db.Project
	}
	return live
}

// number is that of a flag; 0 where it is not set.
func number(flag string) int {
	n, _ := strconv.Atoi(flag)
	return n
}

// revision is a settingsVersion; empty if there is none.
func revision(version int64) string {
	if version == 0 {
		return ""
	}
	return strconv.FormatInt(version, 10)
}

// state is the state that the words of Cloud SQL mean. A stopped instance is RUNNABLE with the policy never to run.
func state(word, policy string) cloud.State {
	switch word {
	case "RUNNABLE":
		if policy == "NEVER" {
			return cloud.Stopped
		}
		return cloud.Available
	case "PENDING_CREATE":
		return cloud.Creating
	case "PENDING_DELETE":
		return cloud.Deleting
	case "MAINTENANCE", "ONLINE_MAINTENANCE", "REPAIRING":
		return cloud.Modifying
	case "SUSPENDED", "FAILED":
		return cloud.Failed
	}
	return cloud.Unknown
}

func rawState(db *sqladmin.DatabaseInstance, s *sqladmin.Settings) string {
	words := []string{db.State}
	if db.State == "RUNNABLE" && s.ActivationPolicy == "NEVER" {
		words = append(words, "activation policy NEVER")
	}
	return strings.Join(append(words, db.SuspensionReason...), ", ")
}

// operationState is what an instance does while an operation of that type runs on it.
func operationState(kind string) cloud.State {
	switch kind {
	case "RESTART", "AUTO_RESTART", "FAILOVER", "SWITCHOVER":
		return cloud.Restarting
	case "CREATE":
		return cloud.Creating
	case "DELETE":
		return cloud.Deleting
	}
	return cloud.Modifying
}

func availability(kind string) cloud.Availability {
	switch kind {
	case "ZONAL":
		return cloud.Zonal
	case "REGIONAL":
		return cloud.Regional
	}
	return ""
}

// endpoints are the public address, the private one, and the name for Private Service Connect, those of them that there are.
func endpoints(db *sqladmin.DatabaseInstance) []cloud.Endpoint {
	var all []cloud.Endpoint
	add := func(kind cloud.EndpointKind, host string) {
		e := cloud.Endpoint{Kind: kind, Host: strings.TrimSuffix(host, "."), Port: port}
		if e.Host != "" && !slices.Contains(all, e) {
			all = append(all, e)
		}
	}
	for _, want := range []struct {
		word string
		kind cloud.EndpointKind
	}{{"PRIMARY", cloud.EndpointPublic}, {"PRIVATE", cloud.EndpointPrivate}} {
		for _, ip := range db.IpAddresses {
			if ip.Type == want.word {
				add(want.kind, ip.IpAddress)
			}
		}
	}
	for _, n := range db.DnsNames {
		if n.ConnectionType == "PRIVATE_SERVICE_CONNECT" {
			add(cloud.EndpointPSC, n.Name)
		}
	}
	if s := db.Settings; s != nil && s.IpConfiguration != nil && s.IpConfiguration.PscConfig != nil && s.IpConfiguration.PscConfig.PscEnabled {
		add(cloud.EndpointPSC, db.DnsName)
	}
	return all
}

func backups(c *sqladmin.BackupConfiguration) cloud.Backups {
	if c == nil {
		return cloud.Backups{}
	}
	b := cloud.Backups{
		Enabled: c.Enabled, RetentionDays: int(c.TransactionLogRetentionDays),
		Window: c.StartTime, PITR: c.PointInTimeRecoveryEnabled,
	}
	if r := c.BackupRetentionSettings; r != nil {
		b.Retained = int(r.RetainedBackups)
	}
	return b
}

func tls(ca *sqladmin.SslCert, ip *sqladmin.IpConfiguration) cloud.TLS {
	var t cloud.TLS
	if ip != nil {
		t.Mode, t.CA = ip.SslMode, ip.ServerCaMode
		switch ip.SslMode {
		case "ENCRYPTED_ONLY", "TRUSTED_CLIENT_CERTIFICATE_REQUIRED":
			t.Required = true
		case "", "SSL_MODE_UNSPECIFIED":
			if ip.RequireSsl { // the older setting, which sslMode overrules
				t.Mode, t.Required = "requireSsl", true
			}
		}
	}
	if ca != nil {
		t.CACert, t.Expires = ca.Cert, parseTime(ca.ExpirationTime)
	}
	return t
}

func maintenance(db *sqladmin.DatabaseInstance, w *sqladmin.MaintenanceWindow) cloud.Maintenance {
	var m cloud.Maintenance
	if w != nil && w.Day >= 1 && w.Day <= 7 {
		m.Window = window(w.Day, w.Hour)
	}
	if s := db.ScheduledMaintenance; s != nil {
		if at := parseTime(s.StartTime); !at.IsZero() {
			m.Pending = append(m.Pending, "maintenance on "+at.Format("2006-01-02 15:04")+" UTC")
		}
	}
	if n := len(db.AvailableMaintenanceVersions); n > 0 {
		m.Pending = append(m.Pending, "maintenance version "+db.AvailableMaintenanceVersions[n-1]+" is available")
	}
	return m
}

// window is the hour of maintenance as RDS writes it: day 1 is Monday.
func window(day, hour int64) string {
	days := [...]string{"mon", "tue", "wed", "thu", "fri", "sat", "sun"}
	end := (day-1)*24 + hour + 1
	return fmt.Sprintf("%s:%02d:00-%s:%02d:00", days[day-1], hour, days[end/24%7], end%24)
}

func flag(flags []*sqladmin.DatabaseFlags, name string) string {
	for _, f := range flags {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}

// parseTime reads a time of the API; zero if there is none.
func parseTime(s string) time.Time {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}
