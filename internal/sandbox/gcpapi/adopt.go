package gcpapi

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	sqladmin "google.golang.org/api/sqladmin/v1"

	"dbops/internal/sandbox/world"
	"dbops/internal/secret"
)

// Attributes are what an instance is at first. Empty fields mean the default written beside them.
type Attributes struct {
	Project string
	Region  string // defaults to europe-west1
	Name    string
	Major   int // of PostgreSQL, 14 to 18

	Tier         string // defaults to db-custom-2-7680
	Availability string // ZONAL (the default) or REGIONAL
	Zone         string // of the primary. Defaults to zone b of the region.
	DiskGB       int64  // defaults to 10
	Labels       map[string]string
	Flags        map[string]string // database flags: cloudsql.iam_authentication=on

	Password           secret.Value // of postgres. Empty: nobody can log in as postgres.
	NoBackups          bool         // neither backups nor point-in-time recovery, which are on otherwise
	DeletionProtection bool
	AllowPlaintext     bool // else connections without TLS are refused
}

// Adopt makes an instance at once, without an operation, and returns its server. If an instance of that name exists, it stays
// as it is and its server is returned: nil if it has none.
func (s *Server) Adopt(ctx context.Context, a Attributes) (*world.Server, error) {
	if srv, ok := s.adopted(a); ok {
		return srv, nil
	}
	if !slices.Contains(s.cfg.Projects, a.Project) {
		return nil, fmt.Errorf("adopt instance %s: there is no project %q", a.Name, a.Project)
	}
	db := a.instance()
	if err := validNew(db); err != nil {
		return nil, fmt.Errorf("adopt instance %s: %w", a.Name, err)
	}
	inst, err := newInstance(db)
	if err != nil {
		return nil, err
	}
	db.State, inst.Operation = statePendingCreate, "adoption" // nothing may begin before it is there
	if err := s.change(func() { s.state.Instances[inst.key()] = inst }); err != nil {
		return nil, err
	}
	if err := s.createServer(ctx, inst, a.Password); err != nil {
		_ = s.change(func() { delete(s.state.Instances, inst.key()) }) // the first error says what is wrong
		return nil, fmt.Errorf("adopt instance %s: %w", a.Name, err)
	}
	return inst.server, s.change(func() { db.State, inst.Operation = stateRunnable, "" })
}

func (s *Server) adopted(a Attributes) (*world.Server, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if inst := s.state.Instances[key(a.Project, a.Name)]; inst != nil {
		return inst.server, true
	}
	return nil, false
}

// instance is the API's view of the attributes.
func (a Attributes) instance() *sqladmin.DatabaseInstance {
	or := func(s, other string) string {
		if s == "" {
			return other
		}
		return s
	}
	region := or(a.Region, "europe-west1")
	db := emptyInstance(a.Project, a.Name, region, version(a.Major))
	set := db.Settings
	set.Tier = or(a.Tier, "db-custom-2-7680")
	if strings.HasPrefix(set.Tier, "db-perf-optimized-") {
		set.Edition = "ENTERPRISE_PLUS"
	}
	set.AvailabilityType = or(a.Availability, zonal)
	set.LocationPreference.Zone = or(a.Zone, region+"-b")
	set.DataDiskSizeGb = max(a.DiskGB, 10)
	set.DeletionProtectionEnabled = a.DeletionProtection
	set.UserLabels = maps.Clone(a.Labels)
	set.BackupConfiguration.Enabled, set.BackupConfiguration.PointInTimeRecoveryEnabled = !a.NoBackups, !a.NoBackups
	if !a.AllowPlaintext {
		set.IpConfiguration.SslMode = "ENCRYPTED_ONLY"
	}
	for _, name := range slices.Sorted(maps.Keys(a.Flags)) {
		set.DatabaseFlags = append(set.DatabaseFlags, &sqladmin.DatabaseFlags{Name: name, Value: a.Flags[name]})
	}
	return db
}

// Server is the real server of an instance, nil if there is none.
func (s *Server) Server(project, name string) *world.Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	if inst := s.state.Instances[key(project, name)]; inst != nil {
		return inst.server
	}
	return nil
}
