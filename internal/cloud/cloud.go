// Package cloud is the one model of a PostgreSQL instance for every provider, and the interfaces through which it is read
// ([Provider]) and changed ([Changer]).
//
// What both clouds have has one name here; what only one of them has stays reachable in [Instance.Raw]. Nothing is invented: a
// field that a provider does not tell is zero, and the doc comment says what zero means.
package cloud

import (
	"context"
	"encoding/json"
	"time"
)

// Kind names a provider.
type Kind string

// The providers.
const (
	RDS      Kind = "rds"
	CloudSQL Kind = "cloudsql"
	Postgres Kind = "postgres" // any server reachable by a connection string: self-hosted, Docker, Neon
)

// State is what an instance is doing, in words both clouds share.
type State string

// The states.
const (
	Available   State = "available"
	Creating    State = "creating"
	Modifying   State = "modifying" // any change that the provider is working on, backups included
	Restarting  State = "restarting"
	Stopped     State = "stopped"
	Deleting    State = "deleting"
	Failed      State = "failed"      // the provider gave up: storage full, incompatible settings, failed creation
	Unreachable State = "unreachable" // postgres only: the server did not answer
	Unknown     State = "unknown"
)

// Availability is how an instance survives the loss of a zone.
type Availability string

// The availabilities.
const (
	Zonal    Availability = "zonal"    // one zone: RDS single-AZ, Cloud SQL ZONAL
	Regional Availability = "regional" // a standby in a second zone: RDS Multi-AZ, Cloud SQL REGIONAL
)

// Instance is one PostgreSQL server that a provider manages, as the provider described it at one moment.
type Instance struct {
	Provider Kind   `json:"provider"`
	Name     string `json:"name"`              // the provider's identifier; host:port for postgres
	Project  string `json:"project,omitempty"` // cloudsql: the project; rds: the account
	Region   string `json:"region,omitempty"`

	EngineVersion string `json:"engine_version"`  // "14.23", "15.18", "16.4 (Debian …)"; the provider's own spelling is in Raw
	Major         int    `json:"major,omitempty"` // 0: unknown
	Class         string `json:"class,omitempty"` // db.r6g.large, db-custom-2-7680

	State    State  `json:"state"`
	RawState string `json:"raw_state,omitempty"` // the provider's own word

	Availability  Availability `json:"availability,omitempty"`
	Zone          string       `json:"zone,omitempty"`           // of the primary
	SecondaryZone string       `json:"secondary_zone,omitempty"` // of the standby; empty without one

	Endpoints []Endpoint `json:"endpoints,omitempty"`

	Storage            Storage     `json:"storage"`
	Backups            Backups     `json:"backups"`
	DeletionProtection bool        `json:"deletion_protection"`
	TLS                TLS         `json:"tls"`
	MaxConnections     int         `json:"max_connections,omitempty"` // as it is set; 0: not told (rds, and a cloudsql instance that has the default)
	Connections        int         `json:"connections,omitempty"`     // of now, postgres only: the clouds measure them, see [Load]
	IAMLogin           bool        `json:"iam_login"`                 // roles may log in with a cloud identity
	PublicAccess       bool        `json:"public_access"`             // it has an address that the internet can reach
	NetworkZones       []string    `json:"network_zones,omitempty"`   // rds: the zones its subnet group covers; empty: any of the region
	Revision           string      `json:"revision,omitempty"`        // cloudsql: settingsVersion; changes with every change of settings
	Maintenance        Maintenance `json:"maintenance"`

	Pending []Change          `json:"pending,omitempty"` // accepted by the provider and not in effect yet
	Labels  map[string]string `json:"labels,omitempty"`
	Created time.Time         `json:"created,omitzero"`

	// Raw is the provider's own description as JSON, with the field names of its API. Secrets are never in it.
	Raw json.RawMessage `json:"raw,omitempty"`
}

// EndpointKind says from where an endpoint can be reached.
type EndpointKind string

// The kinds of endpoint.
const (
	EndpointPublic  EndpointKind = "public"
	EndpointPrivate EndpointKind = "private"
	EndpointPSC     EndpointKind = "psc" // Private Service Connect: Host is a DNS name
)

// Endpoint is one address of an instance.
type Endpoint struct {
	Kind EndpointKind `json:"kind,omitempty"` // empty: not known, for a postgres server called by a name
	Host string       `json:"host"`           // a name or an address
	Port int          `json:"port"`
}

// Storage is the size of an instance's disk.
type Storage struct {
	Type     string `json:"type,omitempty"` // gp3, PD_SSD
	GiB      int64  `json:"gib,omitempty"`
	AutoGrow bool   `json:"auto_grow"`
	MaxGiB   int64  `json:"max_gib,omitempty"` // 0: no limit is set
}

// Backups are the automatic backups and the point-in-time recovery of an instance.
type Backups struct {
	Enabled            bool      `json:"enabled"`
	RetentionDays      int       `json:"retention_days,omitempty"` // rds: days; cloudsql: days of transaction logs
	Retained           int       `json:"retained,omitempty"`       // cloudsql: number of backups kept
	Window             string    `json:"window,omitempty"`         // UTC, "03:00-04:00" (rds) or "03:00" (cloudsql)
	PITR               bool      `json:"pitr"`
	EarliestRestorable time.Time `json:"earliest_restorable,omitzero"` // zero: not told (rds); see [Instance.RestorableFrom]
	LatestRestorable   time.Time `json:"latest_restorable,omitzero"`
}

// TLS is how an instance proves itself and whether it insists on encryption.
type TLS struct {
	Mode     string    `json:"mode,omitempty"`   // the provider's setting: ENCRYPTED_ONLY; rds.force_ssl=1; sslmode of the connection
	Required bool      `json:"required"`         // means nothing without a Mode
	CA       string    `json:"ca,omitempty"`     // the CA's identifier: rds-ca-rsa2048-g1, GOOGLE_MANAGED_INTERNAL_CA
	CACert   string    `json:"-"`                // PEM of the server CA certificates, where the provider hands them out (cloudsql)
	Expires  time.Time `json:"expires,omitzero"` // of the server certificate (rds) or of the server CA (cloudsql)
}

// Maintenance is when the provider may touch an instance, and what it wants to do.
type Maintenance struct {
	Window  string   `json:"window,omitempty"`  // "sun:03:00-sun:04:00" UTC
	Pending []string `json:"pending,omitempty"` // "system-update by 2026-12-01"
}

// Change is one setting that will change or has changed.
type Change struct {
	Setting string `json:"setting"` // its path in the JSON of [Instance] if it is there: "backups.retention_days"
	From    string `json:"from,omitempty"`
	To      string `json:"to"`
}

// Provider reads the instances of one account and region (rds), one project (cloudsql), or one server (postgres). Every method
// may be called at any time, from any goroutine, and as often as wanted; it ends within half a minute, whatever ctx says. Errors are
// *fault.Error of the kinds NotFound, Denied (naming the missing permission), Throttled, Busy, Stale, Invalid or Unavailable, with
// the SDK's error in the chain; Config when the credentials' own configuration is wrong; Interrupted when ctx was cancelled.
type Provider interface {
	// Get describes one instance by the provider's identifier.
	Get(ctx context.Context, name string) (*Instance, error)

	// List describes every PostgreSQL instance it may see, following the provider's pages. Where the provider could not see all of
	// its regions, the rest comes together with an error of kind Unavailable. List may leave empty what Get asks for separately.
	List(ctx context.Context) ([]*Instance, error)
}
