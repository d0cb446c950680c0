package gcpapi

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"time"

	sqladmin "google.golang.org/api/sqladmin/v1"

	"dbops/internal/secret"
)

// How long the real service takes, as far as a person notices.
const (
	takesCreate   = 5 * time.Minute
	takesClone    = 7 * time.Minute
	takesRestore  = 5 * time.Minute
	takesDelete   = time.Minute
	takesRestart  = 20 * time.Second // before and after the restart itself
	takesFailover = 30 * time.Second // before and after the outage
	takesOutage   = 60 * time.Second // of a failover
	takesSettings = 10 * time.Second
	takesStandby  = 3 * time.Minute
	takesBackup   = 90 * time.Second
	takesSmall    = 2 * time.Second // a user, a database, a certificate
)

func (s *Server) listInstances(c *call) (any, error) {
	keep, err := parseFilter(c.URL.Query().Get("filter"))
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	all := slices.DeleteFunc(s.sorted(c.project), func(i *instance) bool { return !keep(i.DB) })
	cut, next, err := page(c, all, 500, 1000, func(i *instance) string { return i.DB.Name })
	if err != nil {
		return nil, err
	}
	out := &sqladmin.InstancesListResponse{Kind: "sql#instancesList", NextPageToken: next}
	for _, i := range cut {
		out.Items = append(out.Items, i.shown())
	}
	return out, nil
}

// parseFilter understands name:x, name=x, settings.userLabels.key:value and the like, joined by spaces or AND.
func parseFilter(filter string) (func(*sqladmin.DatabaseInstance) bool, error) {
	type term struct{ field, value string }
	var terms []term
	for word := range strings.FieldsSeq(filter) {
		if word == "AND" {
			continue
		}
		i := strings.IndexAny(word, ":=")
		if i < 0 || strings.ContainsAny(word, "()*<>!|") {
			return nil, notEmulated("filter %s", filter)
		}
		t := term{word[:i], strings.Trim(word[i+1:], `"`)}
		switch {
		case t.field == "name", t.field == "region", t.field == "state", t.field == "databaseVersion":
		case strings.HasPrefix(t.field, "settings.userLabels."):
		default:
			return nil, notEmulated("filter by %s", t.field)
		}
		terms = append(terms, t)
	}
	return func(db *sqladmin.DatabaseInstance) bool {
		for _, t := range terms {
			var got string
			switch t.field {
			case "name":
				got = db.Name
			case "region":
				got = db.Region
			case "state":
				got = db.State
			case "databaseVersion":
				got = db.DatabaseVersion
			default:
				got = db.Settings.UserLabels[strings.TrimPrefix(t.field, "settings.userLabels.")]
			}
			if got != t.value {
				return false
			}
		}
		return true
	}, nil
}

func (s *Server) getInstance(c *call) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	inst, err := s.instance(c)
	if err != nil {
		return nil, err
	}
	return inst.shown(), nil
}

func (s *Server) insertInstance(c *call) (any, error) {
	f := instanceFields()
	f.in = append(f.in, "rootPassword")
	in := &sqladmin.DatabaseInstance{}
	raw, err := f.decode(c.body, in)
	if err != nil {
		return nil, err
	}
	password := secret.New(in.RootPassword)
	db := emptyInstance(c.project, in.Name, in.Region, in.DatabaseVersion)
	db.Settings.Edition = defaultEdition(in.DatabaseVersion)
	if err := overlay(db.Settings, raw["settings"]); err != nil {
		return nil, err
	}
	if err := validNew(db); err != nil {
		return nil, err
	}
	c.instance = db.Name
	db.Settings.SettingsVersion = 1
	inst, err := newInstance(db)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state.Instances[inst.key()] != nil {
		return nil, exists("instanceAlreadyExists", "The Cloud SQL instance already exists. When you delete an instance, you can't "+
			"reuse the name of the deleted instance until one week from the deletion date.")
	}
	db.State = statePendingCreate
	s.state.Instances[inst.key()] = inst
	return s.begin(c, inst, &operation{}, "CREATE", []step{
		{takesCreate, func(ctx context.Context) error { return s.createServer(ctx, inst, password) }},
	}, settleNew(inst))
}

// settleNew decides what becomes of an instance after the operation that made it.
func settleNew(inst *instance) func(error) {
	return func(err error) {
		inst.DB.State = stateRunnable
		if err != nil {
			inst.DB.State = stateFailed
		}
	}
}

// emptyInstance is an instance with default settings.
func emptyInstance(project, name, region, databaseVersion string) *sqladmin.DatabaseInstance {
	return &sqladmin.DatabaseInstance{
		Kind: "sql#instance", Project: project, Name: name, Region: region, DatabaseVersion: databaseVersion,
		BackendType: "SECOND_GEN", InstanceType: "CLOUD_SQL_INSTANCE", ConnectionName: project + ":" + region + ":" + name,
		CreateTime: timestamp(time.Now()), Settings: defaults(region),
		SelfLink: "https://sqladmin.googleapis.com/v1/projects/" + project + "/instances/" + name,
	}
}

// validNew checks an instance that is to be made and fills in what follows from its settings.
func validNew(db *sqladmin.DatabaseInstance) error {
	if err := validName(db.Name); err != nil {
		return err
	}
	if !regexp.MustCompile(`^[a-z]+-[a-z]+\d+$`).MatchString(db.Region) {
		return invalid("Invalid value for region: %q.", db.Region)
	}
	if _, err := major(db.DatabaseVersion); err != nil {
		return err
	}
	if err := validate(db); err != nil {
		return err
	}
	placeIn(db)
	return nil
}

func validName(name string) error {
	if len(name) > 98 || !regexp.MustCompile(`^[a-z][a-z0-9-]*[a-z0-9]$`).MatchString(name) {
		return invalid("Invalid instance name (%s): lower-case letters, digits and hyphens, starting with a letter.", name)
	}
	return nil
}

// placeIn puts an instance into the zones that its settings ask for.
func placeIn(db *sqladmin.DatabaseInstance) {
	at := db.Settings.LocationPreference
	if at.Zone == "" {
		at.Zone = db.Region + "-b"
	}
	db.GceZone = at.Zone
	db.SecondaryGceZone = ""
	if db.Settings.AvailabilityType == regional {
		db.SecondaryGceZone = at.SecondaryZone
		if db.SecondaryGceZone == "" {
			db.SecondaryGceZone = otherZone(db.Region, db.GceZone)
		}
	}
}

func otherZone(region, zone string) string {
	if zone == region+"-c" {
		return region + "-b"
	}
	return region + "-c"
}

func (s *Server) deleteInstance(c *call) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	inst, err := s.instance(c)
	if err != nil {
		return nil, err
	}
	if inst.DB.Settings.DeletionProtectionEnabled {
		return nil, invalid("The instance is protected. Please disable the deletion protection and try again. To disable deletion " +
			"protection, update the instance settings with deletionProtectionEnabled set to false.")
	}
	was := inst.DB.State
	if inst.Operation == "" {
		inst.DB.State = statePendingDelete
	}
	return s.begin(c, inst, &operation{}, "DELETE", s.deleteSteps(inst), func(err error) {
		if err != nil {
			inst.DB.State = was
		}
	})
}

func (s *Server) deleteSteps(inst *instance) []step {
	return []step{{takesDelete, func(ctx context.Context) error { return s.removeServer(ctx, inst) }}}
}

// restartInstance and failoverInstance cut the sessions for real.
func (s *Server) restartInstance(c *call) (any, error) {
	if err := noBody(c); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	inst, err := s.instance(c)
	if err != nil {
		return nil, err
	}
	if !inst.running() {
		return nil, notRunning()
	}
	return s.begin(c, inst, &operation{}, "RESTART", []step{
		{takesRestart, func(ctx context.Context) error { return inst.server.Restart(ctx, nil) }},
		{takesRestart, nil},
	}, nil)
}

func (s *Server) failoverInstance(c *call) (any, error) {
	var in sqladmin.InstancesFailoverRequest
	f := fields{in: []string{"failoverContext.settingsVersion"}, out: []string{"failoverContext.kind"}}
	if _, err := f.decode(c.body, &in); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	inst, err := s.instance(c)
	if err != nil {
		return nil, err
	}
	set := inst.DB.Settings
	switch {
	case !inst.running():
		return nil, notRunning()
	case set.AvailabilityType != regional:
		return nil, invalid("Failover is only possible for instances with availability type REGIONAL.")
	case in.FailoverContext != nil && in.FailoverContext.SettingsVersion != 0 && in.FailoverContext.SettingsVersion != set.SettingsVersion:
		return nil, stale()
	}
	return s.begin(c, inst, &operation{}, "FAILOVER", s.failoverSteps(inst), nil)
}

func (s *Server) failoverSteps(inst *instance) []step {
	return []step{
		{takesFailover, func(ctx context.Context) error { return inst.server.Failover(ctx, s.outage()) }},
		{takesFailover, func(context.Context) error {
			return s.change(func() {
				inst.DB.GceZone, inst.DB.SecondaryGceZone = inst.DB.SecondaryGceZone, inst.DB.GceZone
			})
		}},
	}
}

// outage is how long nobody answers during a failover. Even the quickest sandbox shows one.
func (s *Server) outage() time.Duration {
	return max(s.cfg.Pace.Of(takesOutage), 200*time.Millisecond)
}
