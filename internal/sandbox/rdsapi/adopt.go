package rdsapi

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"

	"dbops/internal/sandbox/awsid"
	"dbops/internal/sandbox/world"
	"dbops/internal/secret"
)

// Seed is an instance that is there from the start, as if it had been created some time ago.
type Seed struct {
	// Create describes it. What is honoured, checked and defaulted is the same as for CreateDBInstance, but Port and
	// MasterUserPassword are below, class and storage have defaults, and EngineVersion may be a major.
	Create   rds.CreateDBInstanceInput
	Password secret.Value
	// Listen is host:port of its endpoint. Defaults to the API's address and a free port, which it keeps.
	Listen string
}

// Adopt makes the real server of a seed and its first backup at once, without the delays of a creation, and returns the server.
// An instance that exists, from an earlier process, is left as it is.
func (a *API) Adopt(ctx context.Context, seed Seed) (*world.Server, error) {
	in := seed.Create
	in.Engine, in.MasterUserPassword = or(in.Engine, "postgres"), new(seed.Password.Reveal())
	in.DBInstanceClass, in.AllocatedStorage = or(in.DBInstanceClass, "db.t4g.medium"), or(in.AllocatedStorage, 100)
	if err := a.ops["CreateDBInstance"].refuse(&in); err != nil {
		return nil, err
	}
	w, err := a.created(&in)
	if err != nil {
		return nil, fmt.Errorf("adopt %s: %w", value(in.DBInstanceIdentifier), err)
	}
	if s := a.Server(w.id); s != nil {
		return s, nil
	}
	a.mu.Lock()
	made, err := a.newInstance(w)
	a.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("adopt %s: %w", w.id, err)
	}
	s, err := a.furnish(ctx, made, seed)
	if err != nil {
		a.mu.Lock()
		delete(a.state.Instances, w.id)
		a.mu.Unlock()
		return nil, fmt.Errorf("adopt %s: %w", w.id, errors.Join(err, a.world.Remove(ctx, made.ServerID)))
	}
	return s, nil
}

// furnish does for a seed what the steps of a creation do.
func (a *API) furnish(ctx context.Context, in *instance, seed Seed) (*world.Server, error) {
	in.password = seed.Password
	if seed.Listen != "" {
		if _, _, err := net.SplitHostPort(seed.Listen); err != nil {
			return nil, err
		}
		in.Listen = seed.Listen
	}
	s, err := a.createServer(ctx, in)
	if err != nil {
		return nil, err
	}
	if err := a.settle(in, s); err != nil {
		return nil, err
	}
	if value(in.DB.BackupRetentionPeriod) > 0 {
		backup := a.automatedBackup(in)
		if err := backup.do(ctx); err != nil {
			return nil, err
		}
		a.mu.Lock()
		backup.done()
		a.mu.Unlock()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	in.DB.DBInstanceStatus = new("available")
	a.notes(in, []note{{category: "creation", message: "DB instance created"}})
	a.save()
	return s, nil
}

// Announce makes an action show up as pending maintenance of an instance.
func (a *API) Announce(identifier string, action types.PendingMaintenanceAction) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	in, ok := a.state.Instances[fold(identifier)]
	if !ok {
		return awsid.Newf(404, "DBInstanceNotFound", "DBInstance %s not found.", identifier)
	}
	in.Actions = append(in.Actions, action)
	a.save()
	return nil
}
