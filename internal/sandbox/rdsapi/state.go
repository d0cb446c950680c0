package rdsapi

import (
	"crypto/tls"
	"encoding/json"
	"log/slog"
	"net"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/rds/types"

	"dbops/internal/sandbox/awsid"
	"dbops/internal/sandbox/play"
	"dbops/internal/secret"
)

// state is everything that outlives the process.
type state struct {
	Instances map[string]*instance `json:"instances"`
	Snapshots map[string]*snapshot `json:"snapshots"`
	Groups    map[string]*group    `json:"groups,omitempty"` // of parameters, that somebody made
	Events    []event              `json:"events"`

	Deployments map[string]*deployment `json:"deployments,omitempty"` // blue/green, by identifier

	Sequence int64 `json:"sequence"` // of the last event
}

// instance is a DB instance: its description, and what only the sandbox knows.
type instance struct {
	DB       types.DBInstance                 `json:"db"`
	ServerID string                           `json:"server_id"` // of the real server
	Major    int                              `json:"major"`
	Listen   string                           `json:"listen"` // host:port; port 0 until the server was made
	Made     bool                             `json:"made"`   // the real server exists
	Leaf     leaf                             `json:"leaf"`
	Work     *work                            `json:"work,omitempty"`
	Actions  []types.PendingMaintenanceAction `json:"actions,omitempty"`

	// RotateAtReboot says that the pending certificate waits for the next reboot.
	RotateAtReboot bool `json:"rotate_at_reboot,omitempty"`

	// NextGroup is the parameter group that comes with a pending major version; empty: the default one.
	NextGroup string    `json:"next_group,omitempty"`
	Logs      []logFile `json:"logs,omitempty"`

	// password is a master password that was asked for and is not set yet. It is not kept: a crash before it is set loses it.
	password secret.Value
}

// snapshot is a DB snapshot and the physical backup behind it.
type snapshot struct {
	DB       types.DBSnapshot `json:"db"`
	BackupID string           `json:"backup_id"`
	ServerID string           `json:"server_id"` // of the source
	Major    int              `json:"major"`
}

// event is what happened, with its place in the order.
type event struct {
	types.Event
	Sequence int64 `json:"sequence"`
}

// leaf is the server certificate of an instance, as PEM.
type leaf struct {
	Cert []byte `json:"cert"`
	Key  []byte `json:"key"`
}

func (l leaf) pair() (tls.Certificate, error) { return tls.X509KeyPair(l.Cert, l.Key) }

const (
	stateFile = "rds.json"
	maxEvents = 5000
	eventLife = 14 * 24 * time.Hour
)

func (s *state) load(dir string) error {
	if _, err := play.Load(dir, stateFile, s); err != nil {
		return err
	}
	if s.Instances == nil {
		s.Instances = map[string]*instance{}
	}
	if s.Snapshots == nil {
		s.Snapshots = map[string]*snapshot{}
	}
	if s.Deployments == nil {
		s.Deployments = map[string]*deployment{}
	}
	s.settleGreens()
	if s.Groups == nil {
		s.Groups = map[string]*group{}
	}
	for id, snap := range s.Snapshots {
		if value(snap.DB.SnapshotType) == automated && value(snap.DB.Status) == "creating" {
			delete(s.Snapshots, id) // interrupted; the step that made it makes another
		}
	}
	return nil
}

// save keeps the state. The caller holds the lock.
func (a *API) save() {
	if err := play.Save(a.dir, stateFile, a.state); err != nil {
		a.log.Error("the state of the played RDS was not kept", slog.Any("error", err))
	}
}

func (in *instance) id() string     { return value(in.DB.DBInstanceIdentifier) }
func (in *instance) status() string { return value(in.DB.DBInstanceStatus) }

// endpoint is host:port as the description says it.
func (in *instance) endpoint() string {
	if in.DB.Endpoint == nil {
		return ""
	}
	return net.JoinHostPort(value(in.DB.Endpoint.Address), strconv.Itoa(int(value(in.DB.Endpoint.Port))))
}

// find returns an instance. The caller holds the lock.
func (a *API) find(identifier *string) (*instance, error) {
	id := fold(value(identifier))
	if id == "" {
		return nil, awsid.Newf(400, "MissingParameter", "The request must contain the parameter DBInstanceIdentifier.")
	}
	in, ok := a.state.Instances[id]
	if !ok {
		return nil, awsid.Newf(404, "DBInstanceNotFound", "DBInstance %s not found.", id)
	}
	return in, nil
}

// record notes that something happened to an instance or snapshot. The caller holds the lock and saves.
func (a *API) record(kind types.SourceType, id, message string, categories ...string) {
	now := a.now().UTC()
	arnKind := "db"
	if kind == types.SourceTypeDbSnapshot {
		arnKind = "snapshot"
	}
	a.state.Sequence++
	a.state.Events = append(a.state.Events, event{
		Event: types.Event{
			Date: &now, Message: &message, EventCategories: categories, SourceType: kind, SourceIdentifier: &id, SourceArn: new(a.arn(arnKind, id)),
		},
		Sequence: a.state.Sequence,
	})
	events, old := a.state.Events, 0
	for old < len(events) && (now.Sub(value(events[old].Date)) > eventLife || len(events)-old > maxEvents) {
		old++
	}
	a.state.Events = events[old:]
}

// clone is a deep copy, so that no answer shares memory with the state.
func clone[T any](v T) T {
	var out T
	b, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(b, &out)
	}
	if err != nil {
		panic("rdsapi: " + err.Error()) // the types are ours and the SDK's; a test clones each
	}
	return out
}
