package rdsapi

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"
)

// target is the version that an instance is to have: all of it, or a major. The caller holds the lock.
func (a *API) target(db *instance, wish *string) (string, error) {
	runs := value(db.DB.EngineVersion)
	if wish == nil || *wish == runs || *wish == strconv.Itoa(db.Major) {
		return runs, nil
	}
	for m, v := range a.versions {
		if (*wish == v || *wish == strconv.Itoa(m)) && olderVersion(runs, v) < 0 {
			return v, nil
		}
	}
	return "", combination("Cannot upgrade postgres from %s to %s", runs, *wish)
}

// checkVersion refuses another version that the instance cannot have, or not with its parameter group. The caller holds the lock.
func (a *API) checkVersion(db *instance, in *rds.ModifyDBInstanceInput) error {
	version, err := a.target(db, in.EngineVersion)
	if err != nil {
		return err
	}
	has, wish := value(db.DB.DBParameterGroups[0].DBParameterGroupName), in.DBParameterGroupName
	switch to := major(version); {
	case to == db.Major && version != value(db.DB.EngineVersion):
		return notEmulated("EngineVersion " + version + " on an instance of " + value(db.DB.EngineVersion))
	case to == db.Major && wish != nil && fold(*wish) != has:
		return notEmulated("DBParameterGroupName " + *wish)
	case to == db.Major:
		return nil
	case !value(in.AllowMajorVersionUpgrade):
		return combination("The AllowMajorVersionUpgrade flag must be present when upgrading to a new major version.")
	case wish == nil && !strings.HasPrefix(has, "default."):
		return combination("Current Parameter Group (%s) is non-default. You need to explicitly specify a new Parameter Group in this case "+
			"(default or custom) for the Engine Version Upgrade.", has)
	default:
		return a.fits(wish, to)
	}
}

// refusal is what the checks before an upgrade found: nothing was changed.
type refusal struct{ found []string }

func (r *refusal) Error() string { return strings.Join(r.found, "; ") }

// upgradeSteps bring an instance to another major: checks while it serves, a snapshot, the upgrade itself, and a first backup. There are
// backups only where there are automated ones, too.
func (a *API) upgradeSteps(in *instance, version string) []step {
	check := step{status: "upgrading", real: 2 * time.Minute, do: func(ctx context.Context) error {
		s, err := a.server(in)
		if err != nil || s.Spec().Major == major(version) { // an earlier try got that far
			return err
		}
		found, err := s.Obstacles(ctx, major(version))
		if err == nil && len(found) > 0 {
			err = &refusal{found}
		}
		return err
	}}
	change := step{
		status: "upgrading", real: 6 * time.Minute,
		begin: []note{{category: "availability", message: "DB instance shutdown"}},
		do:    func(ctx context.Context) error { return a.upgradeServer(ctx, in, version) },
		end: []note{
			{category: "availability", message: "DB instance restarted"},
			{category: "maintenance", message: "Database instance was upgraded from " + in.Work.Version + " to " + version},
		},
	}
	if in.Work.Retention == 0 {
		return []step{check, change}
	}
	return []step{check, a.upgradeSnapshot(in, version), change, a.automatedBackup(in)}
}

// upgradeSnapshot is the step that makes the snapshot to go back to.
func (a *API) upgradeSnapshot(in *instance, version string) step {
	var id string
	return step{
		status: "upgrading", real: 2 * time.Minute,
		begin: []note{{category: "backup", message: "Backing up DB instance"}},
		do: func(ctx context.Context) error {
			a.mu.Lock()
			dashed := strings.NewReplacer(".", "-")
			id = fmt.Sprintf("preupgrade-%s-%s-to-%s-%s", in.id(), dashed.Replace(in.Work.Version), dashed.Replace(version), a.now().UTC().Format("2006-01-02-15-04-05"))
			delete(a.state.Snapshots, id) // of an earlier try
			_, err := a.newSnapshot(in, id, manual, nil)
			a.mu.Unlock()
			if err != nil {
				return err
			}
			return a.back(ctx, in, id)
		},
		done: func() { a.backedUp(id) },
		end:  []note{{category: "backup", message: "Finished DB Instance backup"}},
	}
}

// upgradeServer makes the real server one of the new major, with the parameters of the group that comes with it.
func (a *API) upgradeServer(ctx context.Context, in *instance, version string) error {
	s, err := a.server(in)
	if err != nil {
		return err
	}
	to := major(version)
	a.mu.Lock()
	next := types.DBParameterGroupStatus{DBParameterGroupName: new(in.NextGroup), ParameterApplyStatus: new("in-sync")}
	a.mu.Unlock()
	if *next.DBParameterGroupName == "" {
		next.DBParameterGroupName = new("default.postgres" + strconv.Itoa(to))
	}
	if s.Spec().Major != to {
		like := &instance{Major: to, DB: types.DBInstance{DBParameterGroups: []types.DBParameterGroupStatus{next}}}
		if s, err = a.world.Upgrade(ctx, in.ServerID, to, a.settings(like)); err != nil {
			return err
		}
	}
	a.guard(in, s)
	a.mu.Lock()
	defer a.mu.Unlock()
	in.Major, in.NextGroup = to, ""
	in.DB.EngineVersion, in.DB.DBParameterGroups = new(s.Version()), []types.DBParameterGroupStatus{next}
	return nil
}

// unupgraded is what RDS says of an upgrade that did not happen: the instance is as before. What was in its way is in a log, too. The
// caller holds the lock.
func (a *API) unupgraded(in *instance, w *work, err error) string {
	in.NextGroup = ""
	what := fmt.Sprintf("Database instance could not be upgraded from %s to %s: ", w.Version, *w.Apply.EngineVersion)
	found, ok := errors.AsType[*refusal](err)
	if !ok {
		return what + "the upgrade failed and was rolled back. " + err.Error()
	}
	ruler := strings.Repeat("-", 72) + "\n"
	name := a.logged(in, "pg_upgrade_precheck.log", ruler+"Upgrade could not be run on "+a.now().UTC().Format(time.ANSIC)+"\n"+ruler+
		fmt.Sprintf("The instance could not be upgraded from %s to %s because of following reasons.\n", w.Version, *w.Apply.EngineVersion)+
		"\n* "+strings.Join(found.found, "\n* ")+"\n"+ruler)
	return what + "its prechecks failed. See " + name
}
