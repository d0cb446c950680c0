package gcpapi

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	sqladmin "google.golang.org/api/sqladmin/v1"

	"dbops/internal/sandbox/pki"
	"dbops/internal/sandbox/play"
	"dbops/internal/sandbox/world"
)

const stateFile = "cloudsql.json"

// state is what is kept on disk.
type state struct {
	Instances  map[string]*instance `json:"instances"` // by project/name
	Operations []*operation         `json:"operations"`
}

// instance is one played instance. What the API shows of it is DB; the rest is the sandbox's.
type instance struct {
	DB *sqladmin.DatabaseInstance `json:"db"`

	Server string `json:"server"` // world's id; "" before there is a server, and when it was lost
	IP     string `json:"ip"`     // a loopback address of its own

	ServerCA    *authority          `json:"server_ca"` // signs the server's certificate
	UpcomingCA  *authority          `json:"upcoming_ca,omitempty"`
	PreviousCA  *authority          `json:"previous_ca,omitempty"`
	ClientCA    *authority          `json:"client_ca"`
	ClientCerts []*sqladmin.SslCert `json:"client_certs,omitempty"`

	Backups []*backup `json:"backups,omitempty"`
	// RecoverableSince is the end of the first backup of the present server since recovery was enabled: the earliest moment
	// that a clone can be made of.
	RecoverableSince time.Time `json:"recoverable_since,omitzero"`

	Operation string `json:"operation,omitempty"` // the one that is not done yet
	Hollow    bool   `json:"hollow,omitempty"`    // see [Hollow]

	server *world.Server
	port   *connector
	cert   tls.Certificate // of server and port

	offersData bool // through the SQL Data API
}

// authority is a CA and when it was made.
type authority struct {
	CA      *pki.CA   `json:"ca"`
	Created time.Time `json:"created"`
}

// backup is a backup run and the world's backup behind it.
type backup struct {
	Run   *sqladmin.BackupRun `json:"run"`
	World string              `json:"world"` // "" until it is there
}

func (i *instance) key() string { return key(i.DB.Project, i.DB.Name) }

func key(project, name string) string { return project + "/" + name }

// running tells whether the server takes connections, as far as the settings say.
func (i *instance) running() bool {
	return i.server != nil && i.DB.State != stateFailed && i.DB.Settings.ActivationPolicy != "NEVER"
}

// flag is the value of a database flag, "" if it is not set.
func (i *instance) flag(name string) string {
	for _, f := range i.DB.Settings.DatabaseFlags {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}

// shown is the instance as the API shows it: a copy, with its etag and with the booleans that matter when they are false.
func (i *instance) shown() *sqladmin.DatabaseInstance {
	db := clone(i.DB)
	db.Etag, db.UpgradableDatabaseVersions = i.etag(), upgradable(db.DatabaseVersion)
	b, ip := db.Settings.BackupConfiguration, db.Settings.IpConfiguration
	db.Settings.ForceSendFields = []string{"DeletionProtectionEnabled"}
	b.ForceSendFields = []string{"Enabled", "PointInTimeRecoveryEnabled"}
	ip.ForceSendFields = []string{"Ipv4Enabled"}
	if i.ServerCA != nil {
		db.ServerCaCert = i.caCert(i.ServerCA)
	}
	return db
}

// etag changes with the settings.
func (i *instance) etag() string {
	b, err := json.Marshal(i.DB.Settings)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// clone copies one of the API's values. They marshal always: their fields are texts, numbers and lists of those.
func clone[T any](v *T) *T {
	out := new(T)
	b, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(b, out)
	}
	if err != nil {
		panic(fmt.Sprintf("copy %T: %v", v, err))
	}
	return out
}

// find is the instance that the call names. The caller holds the lock.
func (s *Server) instance(c *call) (*instance, error) {
	if i := s.state.Instances[key(c.project, c.instance)]; i != nil {
		return i, nil
	}
	return nil, missing("instanceDoesNotExist", "instance")
}

// sorted are the instances of a project by name. The caller holds the lock.
func (s *Server) sorted(project string) []*instance {
	var out []*instance
	for _, k := range slices.Sorted(maps.Keys(s.state.Instances)) {
		if i := s.state.Instances[k]; i.DB.Project == project {
			out = append(out, i)
		}
	}
	return out
}

// save keeps the state. The caller holds the lock.
func (s *Server) save() error { return play.Save(s.cfg.Dir, stateFile, s.state) }

// change changes the state and keeps it.
func (s *Server) change(f func()) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	return s.save()
}

func timestamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }
