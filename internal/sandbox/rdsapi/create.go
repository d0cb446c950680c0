package rdsapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"
	"github.com/jackc/pgx/v5"

	"dbops/internal/sandbox/awsid"
	"dbops/internal/sandbox/world"
	"dbops/internal/secret"
)

// wanted is what a new instance should be, whether it is created or restored. What is nil gets RDS's default.
type wanted struct {
	id                                                   string
	major                                                int
	version, master, database                            string
	class, storageType, zone, ca                         *string
	backupWindow, maintenanceWindow, parameters, subnets *string
	storage, maxStorage, retention, port                 *int32
	multiAZ, protected, iam, copyTags, minor, public     *bool
	encrypted                                            *bool
	key                                                  *string // of the encryption
	tags                                                 []types.Tag
	groups                                               []string
}

func (w *wanted) check() error {
	return checks(
		checkClass(w.class), checkStorageType(w.storageType), checkBackupWindow(w.backupWindow), checkMaintenanceWindow(w.maintenanceWindow),
		checkRetention(w.retention), checkStorage(w.storage), checkTags(w.tags),
		w.onlyDefault("DBSubnetGroupName", w.subnets, "default"),
	)
}

func (w *wanted) onlyDefault(parameter string, p *string, want string) error {
	if p != nil && *p != want {
		return notEmulated(parameter + " other than " + want)
	}
	return nil
}

// describe makes the description of a new instance in status "creating". The caller holds the lock.
func (a *API) describe(w *wanted) (types.DBInstance, error) {
	if err := checks(w.check(), a.fits(w.parameters, w.major)); err != nil {
		return types.DBInstance{}, err
	}
	ca := or(w.ca, defaultCA)
	if _, err := a.authority(*ca); err != nil {
		return types.DBInstance{}, err
	}
	zone := or(w.zone, a.zones()[0])
	if !slices.Contains(a.zones(), *zone) {
		return types.DBInstance{}, invalid("Invalid availability zone %s", *zone)
	}
	if value(w.multiAZ) && w.zone != nil {
		return types.DBInstance{}, combination("Requesting a specific availability zone is not valid for Multi-AZ instances.")
	}
	groups := w.groups
	if len(groups) == 0 {
		groups = []string{securityGroup}
	}
	db := types.DBInstance{
		DBInstanceIdentifier: &w.id, DBInstanceArn: new(a.arn("db", w.id)), DbiResourceId: new("db-" + awsid.ID(26)),
		DBInstanceStatus: new("creating"), DBInstanceClass: or(w.class, "db.t4g.medium"),
		Engine: new("postgres"), EngineVersion: &w.version, LicenseModel: new("postgresql-license"),
		MasterUsername: &w.master, DbInstancePort: new(int32(0)),
		AllocatedStorage: or(w.storage, 20), MaxAllocatedStorage: w.maxStorage, StorageType: or(w.storageType, "gp3"),
		StorageEncrypted: or(w.encrypted, false), MultiAZ: or(w.multiAZ, false), AvailabilityZone: zone,
		BackupRetentionPeriod: or(w.retention, 1), PreferredBackupWindow: or(w.backupWindow, "03:00-03:30"),
		PreferredMaintenanceWindow: new(strings.ToLower(*or(w.maintenanceWindow, "sun:04:00-sun:04:30"))), BackupTarget: new("region"),
		DeletionProtection: or(w.protected, false), IAMDatabaseAuthenticationEnabled: or(w.iam, false),
		CopyTagsToSnapshot: or(w.copyTags, false), AutoMinorVersionUpgrade: or(w.minor, true), PubliclyAccessible: or(w.public, false),
		CACertificateIdentifier: ca, PendingModifiedValues: &types.PendingModifiedValues{}, TagList: sortTags(w.tags),
		DBSubnetGroup: new(a.subnetGroup()), VpcSecurityGroups: memberships(groups), DBSecurityGroups: []types.DBSecurityGroupMembership{},
		DBParameterGroups: []types.DBParameterGroupStatus{{
			DBParameterGroupName: new(fold(*or(w.parameters, "default.postgres"+strconv.Itoa(w.major)))), ParameterApplyStatus: new("in-sync"),
		}},
		NetworkType: new("IPV4"), MonitoringInterval: new(int32(0)), PerformanceInsightsEnabled: new(false),
		ReadReplicaDBInstanceIdentifiers: []string{}, AssociatedRoles: []types.DBInstanceRole{},
	}
	if w.database != "" {
		db.DBName = &w.database
	}
	if value(w.encrypted) {
		db.KmsKeyId = or(w.key, "arn:aws:kms:"+a.region+":"+a.keys.Account()+":key/aws-rds")
	}
	return db, nil
}

func memberships(groups []string) []types.VpcSecurityGroupMembership {
	out := make([]types.VpcSecurityGroupMembership, 0, len(groups))
	for _, g := range groups {
		out = append(out, types.VpcSecurityGroupMembership{VpcSecurityGroupId: &g, Status: new("active")})
	}
	return out
}

// or is p, or a pointer to other for nil.
func or[T any](p *T, other T) *T {
	if p == nil {
		return &other
	}
	return p
}

// newInstance makes the record of an instance that has no server yet. The caller holds the lock.
func (a *API) newInstance(w *wanted) (*instance, error) {
	if a.taken(w.id) {
		return nil, errTaken()
	}
	db, err := a.describe(w)
	if err != nil {
		return nil, err
	}
	host, err := a.host(value(w.port))
	if err != nil {
		return nil, err
	}
	// A name may come back after its instance was deleted, while the backups of the old server are still there.
	in := &instance{
		DB: db, Major: w.major, ServerID: "rds-" + w.id + "-" + strings.ToLower(awsid.ID(6)),
		Listen: net.JoinHostPort(host, strconv.Itoa(int(value(w.port)))),
	}
	a.state.Instances[w.id] = in
	return in, nil
}

func (a *API) createDBInstance(_ context.Context, in *rds.CreateDBInstanceInput) (*rds.CreateDBInstanceOutput, error) {
	w, err := a.created(in)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	made, err := a.newInstance(w)
	if err != nil {
		return nil, err
	}
	made.password = secret.New(*in.MasterUserPassword)
	a.begin(made, "CreateDBInstance", work{Kind: kindCreate})
	return &rds.CreateDBInstanceOutput{DBInstance: described(made)}, nil
}

// created checks what CreateDBInstance alone takes.
func (a *API) created(in *rds.CreateDBInstanceInput) (*wanted, error) {
	id, err := identifier("DBInstanceIdentifier", in.DBInstanceIdentifier, 63)
	if err != nil {
		return nil, err
	}
	if value(in.Engine) != "postgres" {
		return nil, notEmulated("Engine " + value(in.Engine))
	}
	version, err := a.offered(in.EngineVersion)
	if err != nil {
		return nil, err
	}
	switch {
	case in.MasterUsername == nil || in.MasterUserPassword == nil:
		return nil, invalid("The parameters MasterUsername and MasterUserPassword must be provided and must not be blank.")
	case in.DBInstanceClass == nil:
		return nil, awsid.Newf(400, "MissingParameter", "The request must contain the parameter DBInstanceClass.")
	case in.KmsKeyId != nil && !value(in.StorageEncrypted):
		return nil, combination("Parameters KmsKeyId and StorageEncrypted=false cannot be used together.")
	case in.AllocatedStorage == nil:
		return nil, combination("Invalid storage size for engine name postgres and storage type gp3: null")
	}
	err = checks(
		form("master user name", in.MasterUsername, func(s string) bool { return userForm.MatchString(s) && !strings.HasPrefix(s, "rds") && s != "admin" }),
		form("database name", in.DBName, databaseForm.MatchString),
		checkPassword(in.MasterUserPassword),
	)
	return &wanted{
		id: id, major: major(version), version: version, master: value(in.MasterUsername), database: value(in.DBName),
		class: in.DBInstanceClass, storageType: in.StorageType, zone: in.AvailabilityZone, ca: in.CACertificateIdentifier,
		backupWindow: in.PreferredBackupWindow, maintenanceWindow: in.PreferredMaintenanceWindow, parameters: in.DBParameterGroupName, subnets: in.DBSubnetGroupName,
		storage: in.AllocatedStorage, maxStorage: in.MaxAllocatedStorage, retention: in.BackupRetentionPeriod, port: in.Port,
		multiAZ: in.MultiAZ, protected: in.DeletionProtection, iam: in.EnableIAMDatabaseAuthentication, copyTags: in.CopyTagsToSnapshot,
		minor: in.AutoMinorVersionUpgrade, public: in.PubliclyAccessible, encrypted: in.StorageEncrypted, key: in.KmsKeyId,
		tags: in.Tags, groups: in.VpcSecurityGroupIds,
	}, err
}

// makingSteps make the real server, then the first automated backup.
func (a *API) makingSteps(in *instance) []step {
	do, long, what := a.createServer, 4*time.Minute, note{category: "creation", message: "DB instance created"}
	if w := in.Work; w.Kind == kindRestore {
		do, long = a.restoreServer, 7*time.Minute
		what = note{category: "restoration", message: "Restored from snapshot " + w.Source.Name}
		if !w.Source.At.IsZero() {
			what.message = "Restored from DB instance " + w.Source.Name + " to " + w.Source.At.UTC().Format(time.RFC3339)
		}
	}
	steps := []step{{
		status: "creating", real: long,
		do: func(ctx context.Context) error {
			s, err := do(ctx, in)
			if err != nil {
				return err
			}
			return a.settle(in, s)
		},
		end: []note{what},
	}}
	if value(in.DB.BackupRetentionPeriod) > 0 {
		steps = append(steps, a.automatedBackup(in))
	}
	return steps
}

// settle writes down what is known once the real server runs.
func (a *API) settle(in *instance, s *world.Server) error {
	host, port, err := net.SplitHostPort(s.Addr())
	if err != nil {
		return err
	}
	n, err := strconv.ParseInt(port, 10, 32)
	if err != nil {
		return err
	}
	a.guard(in, s)
	a.mu.Lock()
	defer a.mu.Unlock()
	in.Made, in.Listen, in.Major, in.password = true, s.Addr(), major(s.Version()), secret.Value{}
	in.DB.Endpoint = &types.Endpoint{Address: &host, Port: new(int32(n)), HostedZoneId: new("Z" + awsid.ID(12))}
	in.DB.EngineVersion = new(s.Version())
	in.DB.InstanceCreateTime = new(a.now().UTC())
	if value(in.DB.MultiAZ) {
		in.DB.SecondaryAvailabilityZone = new(a.otherZone(value(in.DB.AvailabilityZone)))
	}
	return nil
}

// certify gives a new instance its first certificate.
func (a *API) certify(in *instance) error {
	host, _, err := net.SplitHostPort(in.Listen)
	if err != nil {
		return err
	}
	l, _, details, err := a.issue(value(in.DB.CACertificateIdentifier), in.id(), host)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	in.Leaf, in.DB.CertificateDetails = l, details
	return nil
}

func (a *API) createServer(ctx context.Context, in *instance) (*world.Server, error) {
	if in.password.IsZero() {
		return nil, errors.New("the sandbox ended before the server was made, and does not keep passwords: delete the instance and create it again")
	}
	if err := a.certify(in); err != nil {
		return nil, err
	}
	cert, err := in.Leaf.pair()
	if err != nil {
		return nil, err
	}
	spec := a.spec(in)
	spec.MasterPassword = in.password
	s, err := a.world.Create(ctx, spec, cert)
	if err != nil {
		return nil, err
	}
	return s, createDatabase(ctx, s, value(in.DB.DBName), spec.Master)
}

// createDatabase makes the initial database, unless it is there.
func createDatabase(ctx context.Context, s *world.Server, name, owner string) error {
	if name == "" {
		return nil
	}
	conn, err := s.DB(ctx, "postgres")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	var there bool
	if err := conn.QueryRow(ctx, "select exists (select from pg_database where datname = $1)", name).Scan(&there); err != nil || there {
		return err
	}
	if _, err := conn.Exec(ctx, "create database "+pgx.Identifier{name}.Sanitize()+" owner "+pgx.Identifier{owner}.Sanitize()); err != nil {
		return fmt.Errorf("create database %s: %w", name, err)
	}
	return nil
}
