// Package config reads dbops.yaml: environments, their instances, databases and containers.
//
// It decodes strictly (an unknown key, a duplicate, a dangling name is an error with file, line, column and the nearest right
// spelling), refuses secrets in the file, and explains each mistake; all mistakes of a file are reported at once.
package config

import "dbops/internal/cloud"

// Access is what a connection may do.
type Access string

// The accesses.
const (
	Read  Access = "read" // the default
	Write Access = "write"
	Admin Access = "admin"
)

// Config is one dbops.yaml.
type Config struct {
	// Version of the format. Must be 1.
	Version int `yaml:"version" json:"version"`
	// Endpoints point secret stores at an emulator. Unset means the real clouds.
	Endpoints Endpoints `yaml:"endpoints,omitempty" json:"endpoints,omitzero"`
	// Profiles are named sets of settings that instances should have. What is said of production changes the built-in one.
	Profiles map[string]*Settings `yaml:"profiles,omitempty" json:"profiles,omitempty"`
	// State is where plans, runs, approvals and the audit log of a team live, as in
	// postgres://dbops@db.example.com:5432/dbops?sslmode=verify-full. Defaults to a file of this user.
	State string `yaml:"state,omitempty" json:"state,omitempty"`
	// StateCAFile holds the CA certificates (PEM) to trust for it. Defaults to the system's. Relative to dbops.yaml.
	StateCAFile string `yaml:"state_ca_file,omitempty" json:"state_ca_file,omitempty"`
	// StateSecret names where its password lives, as in a login's secret. Defaults to the standard PG variables.
	StateSecret string `yaml:"state_secret,omitempty" json:"state_secret,omitempty"`
	// Approvals say who may approve, beside the identities that the clouds vouch for.
	Approvals Approvals `yaml:"approvals,omitempty" json:"approvals,omitzero"`
	// Notifications are webhooks that are told of gates, approvals, failures and finished runs, by name.
	Notifications map[string]*Webhook `yaml:"notifications,omitempty" json:"notifications,omitempty"`
	// Serve says what people may do at dbops serve.
	Serve Serve `yaml:"serve,omitempty" json:"serve,omitzero"`
	// Audit says whose signatures in the audit log count.
	Audit Audit `yaml:"audit,omitempty" json:"audit,omitzero"`
	// Scratch is a server on which migrations are rehearsed, as in postgres://dbops@scratch.example.com:5432/postgres?sslmode=verify-full. The
	// password comes from the standard PG variables. Defaults to a server that is started on this machine.
	Scratch string `yaml:"scratch,omitempty" json:"scratch,omitempty"`
	// Environments by name.
	Environments map[string]*Environment `yaml:"environments" json:"environments"`

	// Path is the file it was read from, absolute.
	Path string `yaml:"-" json:"-"`
}

// Approvals say who may approve what changes protected environments, beside the identities that the clouds vouch for.
type Approvals struct {
	// AllowedSigners is a file of OpenSSH's allowed signers format: whose SSH keys may sign approvals. Relative to dbops.yaml.
	AllowedSigners string `yaml:"allowed_signers,omitempty" json:"allowed_signers,omitempty"`
}

// Webhook is somebody who is told what happens: exactly one of URL and URLSecret is set, or neither for PagerDuty.
type Webhook struct {
	// URL that is posted to, if everybody may know it.
	URL string `yaml:"url,omitempty" json:"url,omitempty"`
	// URLSecret names where the URL lives, as in env:SLACK_URL: one that holds a token is a secret.
	URLSecret string `yaml:"url_secret,omitempty" json:"url_secret,omitempty"`
	// Format of what is posted: dbops (the default), slack, pagerduty.
	Format string `yaml:"format,omitempty" json:"format,omitempty"`
	// KeySecret names where a key lives: of dbops that which signs, of pagerduty the integration key.
	KeySecret string `yaml:"key_secret,omitempty" json:"key_secret,omitempty"`
	// Environments that it is told of. Defaults to all.
	Environments []string `yaml:"environments,omitempty" json:"environments,omitempty"`
	// On what it is told: gate, approval, failure, finished. Defaults to all of them.
	On []string `yaml:"on,omitempty" json:"on,omitempty"`
}

// Serve says what people may do at dbops serve.
type Serve struct {
	// Users by their names in the allowed signers: read, change (plan and run), or approve (that, and vote on what others ask for). Who is
	// among the allowed signers and not here may read.
	Users map[string]Right `yaml:"users,omitempty" json:"users,omitempty"`
}

// Audit says whose signatures in the audit log count.
type Audit struct {
	// Keys are verifier keys, as "dbops audit key" prints them. Without any, every key that is registered in the store counts.
	Keys []string `yaml:"keys,omitempty" json:"keys,omitempty"`
}

// Endpoints are addresses of emulated services.
type Endpoints struct {
	// AWSSecretsManager is the base URL of AWS Secrets Manager.
	AWSSecretsManager string `yaml:"aws_secrets_manager,omitempty" json:"aws_secrets_manager,omitempty"`
	// GCPSecretManager is the base URL of the GCP Secret Manager REST API.
	GCPSecretManager string `yaml:"gcp_secret_manager,omitempty" json:"gcp_secret_manager,omitempty"`
}

// Environment is a named set of instances and databases.
type Environment struct {
	// Protected environments ask for the instance's name, and an approval, before anything changes.
	Protected bool `yaml:"protected,omitempty" json:"protected,omitempty"`
	// Approvals is how many others must approve a change. Defaults to 1 if the environment is protected, else to 0.
	Approvals *int `yaml:"approvals,omitempty" json:"approvals,omitempty"`
	// Listen is where the proxy of this environment listens. Defaults to a free port of 127.0.0.1.
	Listen string `yaml:"listen,omitempty" json:"listen,omitempty"`
	// Profile that its instances should have. Defaults to production if it is protected, else to none.
	Profile string `yaml:"profile,omitempty" json:"profile,omitempty"`
	// Targets that a restore drill of its instances is measured by. Unset means that drills measure and do not judge.
	Targets Targets `yaml:"targets,omitempty" json:"targets,omitzero"`
	// CredentialMaxAge is how old a container's credential may get before it needs attention. Defaults to 90d.
	CredentialMaxAge Age `yaml:"credential_max_age,omitempty" json:"credential_max_age,omitempty"`
	// Via is how connections get to its instances. Defaults to directly.
	Via *Via `yaml:"via,omitempty" json:"via,omitempty"`
	// Instances by name.
	Instances map[string]*Instance `yaml:"instances" json:"instances"`
	// Databases by the name that clients ask the proxy for.
	Databases map[string]*Database `yaml:"databases,omitempty" json:"databases,omitempty"`
	// Containers by name.
	Containers map[string]*Container `yaml:"containers,omitempty" json:"containers,omitempty"`

	// Name is its key in dbops.yaml, for messages.
	Name string `yaml:"-" json:"-"`
}

// Instance is one PostgreSQL server: exactly one of RDS, CloudSQL and Postgres is set.
type Instance struct {
	// RDS says which instance of Amazon RDS it is.
	RDS *RDS `yaml:"rds,omitempty" json:"rds,omitempty"`
	// CloudSQL says which instance of Google Cloud SQL it is.
	CloudSQL *CloudSQL `yaml:"cloudsql,omitempty" json:"cloudsql,omitempty"`
	// Postgres says how to reach any other server.
	Postgres *Postgres `yaml:"postgres,omitempty" json:"postgres,omitempty"`
	// Logins say how dbops logs in, by access. An access without one takes the standard PG variables (PGUSER, PGPASSWORD,
	// PGPASSFILE).
	Logins map[Access]*Login `yaml:"logins,omitempty" json:"logins,omitempty"`
	// Via is how connections get to it. Defaults to the environment's.
	Via *Via `yaml:"via,omitempty" json:"via,omitempty"`
	// Profile that it should have. Defaults to the environment's.
	Profile string `yaml:"profile,omitempty" json:"profile,omitempty"`
	// Declare says what it should have instead of, or besides, what its profile says.
	Declare *Settings `yaml:"declare,omitempty" json:"declare,omitempty"`
	// Targets that a restore drill is measured by. A key that is not here is the environment's.
	Targets Targets `yaml:"targets,omitempty" json:"targets,omitzero"`
}

// Targets are what a restore may cost.
type Targets struct {
	// RPO is how much may be lost: of the time before a disaster, as in 5m.
	RPO Span `yaml:"rpo,omitempty" json:"rpo,omitempty"`
	// RTO is how long it may take until the restored instance answers, as in 1h30m.
	RTO Span `yaml:"rto,omitempty" json:"rto,omitempty"`
}

// Kind is the provider of i.
func (i *Instance) Kind() cloud.Kind {
	switch {
	case i.RDS != nil:
		return cloud.RDS
	case i.CloudSQL != nil:
		return cloud.CloudSQL
	default:
		return cloud.Postgres
	}
}

// RDS names an instance of Amazon RDS.
type RDS struct {
	// Region of the instance, as in eu-west-1.
	Region string `yaml:"region" json:"region"`
	// Identifier is the DB instance identifier.
	Identifier string `yaml:"identifier" json:"identifier"`
	// Profile of the AWS configuration to use. Defaults to the standard credential chain.
	Profile string `yaml:"profile,omitempty" json:"profile,omitempty"`
	// CAFile holds the CA certificates (PEM) to trust. Defaults to the CAs of RDS in the region, of which dbops has a copy. Relative to
	// dbops.yaml.
	CAFile string `yaml:"ca_file,omitempty" json:"ca_file,omitempty"`
	// Endpoint is the base URL of the RDS API, for emulators.
	Endpoint string `yaml:"endpoint,omitempty" json:"endpoint,omitempty"`
}

// CloudSQL names an instance of Google Cloud SQL.
type CloudSQL struct {
	// Project is the ID of the project.
	Project string `yaml:"project" json:"project"`
	// Region of the instance, as in europe-west1.
	Region string `yaml:"region" json:"region"`
	// Instance is the name of the instance, without project and region.
	Instance string `yaml:"instance" json:"instance"`
	// Address to connect to: public (the default), private or psc; or sql_data, which needs no network path and goes through Google's API.
	Address string `yaml:"address,omitempty" json:"address,omitempty" jsonschema:"enum=public,enum=private,enum=psc,enum=sql_data"`
	// Endpoint is the base URL of the Cloud SQL Admin API, for emulators.
	Endpoint string `yaml:"endpoint,omitempty" json:"endpoint,omitempty"`
}

// Postgres is any server reachable by a connection string.
type Postgres struct {
	// URL without a password, as in postgres://db.example.com:5432/?sslmode=verify-full. sslmode must be said: verify-full or
	// verify-ca; disable and require are for servers on this machine.
	URL string `yaml:"url" json:"url"`
	// CAFile holds the CA certificates (PEM) to trust. Defaults to the system's. Relative to dbops.yaml.
	CAFile string `yaml:"ca_file,omitempty" json:"ca_file,omitempty"`
}

// Login is how dbops logs in for one access: with a cloud identity (IAM), or with a password kept elsewhere (Secret), or, with
// neither, with the password the standard PG variables give.
type Login struct {
	// User is the login role. With IAM on Cloud SQL it may be left out: it is the identity's own name.
	User string `yaml:"user,omitempty" json:"user,omitempty"`
	// IAM logs in with a token of the cloud identity in place of a password.
	IAM bool `yaml:"iam,omitempty" json:"iam,omitempty"`
	// Secret names where the password lives: aws-sm:NAME, gcp-sm:projects/P/secrets/S, file:PATH, env:NAME.
	Secret string `yaml:"secret,omitempty" json:"secret,omitempty"`
	// Role to take after login (SET ROLE), where the login role itself may do more or less than the access.
	Role string `yaml:"role,omitempty" json:"role,omitempty"`
}

// Database is one database on an instance.
type Database struct {
	// Instance that holds it; a name under instances.
	Instance string `yaml:"instance" json:"instance"`
	// Name on the server. Defaults to the name it has here.
	Name string `yaml:"name,omitempty" json:"name,omitempty"`
	// Migrations is the folder of its migrations. Relative to dbops.yaml.
	Migrations string `yaml:"migrations,omitempty" json:"migrations,omitempty"`
	// MigrationSets are further folders of migrations of the same database, by name, each with a version of its own.
	MigrationSets map[string]*MigrationSet `yaml:"migration_sets,omitempty" json:"migration_sets,omitempty"`
	// Owner is the group role that owns its objects.
	Owner string `yaml:"owner,omitempty" json:"owner,omitempty"`
}

// MigrationSet is a folder of migrations with a table of versions of its own.
type MigrationSet struct {
	// Folder of the migrations. Relative to dbops.yaml.
	Folder string `yaml:"folder" json:"folder"`
	// Schema that holds the table of versions, and that comes first in the search path. Defaults to the login's search path. It is made if it
	// is missing.
	Schema string `yaml:"schema,omitempty" json:"schema,omitempty"`
	// Table of the versions. Defaults to schema_migrations.
	Table string `yaml:"table,omitempty" json:"table,omitempty"`
}

// Container is a deployed process with a database credential of its own.
type Container struct {
	// Databases it uses; names under databases.
	Databases []string `yaml:"databases" json:"databases"`
	// Access it needs. Defaults to read.
	Access Access `yaml:"access,omitempty" json:"access,omitempty" jsonschema:"enum=read,enum=write,enum=admin"`
	// Delivery is where its credential is put: aws-sm:NAME, gcp-sm:projects/P/secrets/S, file:PATH. The first place decides which
	// credential is current.
	Delivery []string `yaml:"delivery,omitempty" json:"delivery,omitempty"`
	// Rollout makes the container read its credential anew after a rotation.
	Rollout *Rollout `yaml:"rollout,omitempty" json:"rollout,omitempty"`
}

// Rollout is how a container is made to read its credential anew. Exactly one of its fields is set.
type Rollout struct {
	// ECS starts a new deployment of a service of Amazon ECS.
	ECS *ECS `yaml:"ecs,omitempty" json:"ecs,omitempty"`
	// CloudRun makes a new revision of a service of Google Cloud Run.
	CloudRun *CloudRun `yaml:"cloud_run,omitempty" json:"cloud_run,omitempty"`
	// Command is run in the folder of dbops.yaml, without a shell; its exit status decides. Its environment says which container and which
	// version: DBOPS_CONTAINER, DBOPS_ENVIRONMENT, DBOPS_INSTANCE, DBOPS_VERSION. Never the secret.
	Command []string `yaml:"command,omitempty" json:"command,omitempty"`
}

// ECS is a service of Amazon ECS.
type ECS struct {
	// Region as in eu-west-1.
	Region string `yaml:"region" json:"region"`
	// Cluster is its name or ARN.
	Cluster string `yaml:"cluster" json:"cluster"`
	// Service is its name.
	Service string `yaml:"service" json:"service"`
	// Profile of the AWS configuration. Defaults to the standard credential chain.
	Profile string `yaml:"profile,omitempty" json:"profile,omitempty"`
	// Endpoint is the base URL of the ECS API, for emulators.
	Endpoint string `yaml:"endpoint,omitempty" json:"endpoint,omitempty"`
}

// CloudRun is a service of Google Cloud Run.
type CloudRun struct {
	// Project is the project's ID.
	Project string `yaml:"project" json:"project"`
	// Region as in europe-west1.
	Region string `yaml:"region" json:"region"`
	// Service is its name.
	Service string `yaml:"service" json:"service"`
	// Endpoint is the base URL of the Cloud Run Admin API, for emulators.
	Endpoint string `yaml:"endpoint,omitempty" json:"endpoint,omitempty"`
}
