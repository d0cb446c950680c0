package sandbox

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"

	"dbops/internal/config"
	"dbops/internal/sandbox/gcpapi"
	"dbops/internal/sandbox/gcpapi/googleid"
	"dbops/internal/sandbox/pki"
	"dbops/internal/sandbox/play"
	"dbops/internal/sandbox/rdsapi"
	"dbops/internal/sandbox/seed"
	"dbops/internal/sandbox/world"
)

// Who and where the sandbox's customer is.
const (
	account      = "123456789012"
	awsRegion    = "eu-west-1"
	googleRegion = "europe-west1"
	robot        = "dbops@shop-prod.iam.gserviceaccount.com"
	alice        = "alice@shop-prod.iam.gserviceaccount.com"
)

var projects = []string{"shop-prod", "shop-staging"}

// The providers an instance is played as.
const (
	playedRDS   = "rds"
	playedCloud = "cloudsql"
	playedPlain = "postgres"
)

// instance is one instance of the sandbox, as its dbops.yaml names it.
type instance struct {
	env, name string
	provider  string
	id        string // the provider's name
	project   string // cloudsql
	major     int
	regional  bool
	database  string
	bench     bool // has a database for pgbench
	labels    map[string]string
}

// instances are all of them. Every supported major is among them.
var instances = []instance{
	{env: "prod", name: "main", provider: playedCloud, project: "shop-prod", id: "shop-main", major: 15, regional: true, database: "shop", bench: true, labels: map[string]string{"environment": "prod", "team": "shop"}},
	{env: "prod", name: "billing", provider: playedRDS, id: "billing-prod", major: 14, regional: true, database: "billing", bench: true, labels: map[string]string{"environment": "prod", "team": "billing"}},
	{env: "staging", name: "main", provider: playedCloud, project: "shop-staging", id: "shop-main", major: 16, database: "shop", labels: map[string]string{"environment": "staging", "team": "shop"}},
	{env: "staging", name: "billing", provider: playedRDS, id: "billing-staging", major: 17, database: "billing", labels: map[string]string{"environment": "staging", "team": "billing"}},
	{env: "local", name: "main", provider: playedPlain, id: "local-main", major: 18, database: "events"},
}

// furnish makes one instance with its server, its roles and its database, as far as they are not there yet.
func (s *Sandbox) furnish(ctx context.Context, i instance) error {
	var srv *world.Server
	var err error
	switch i.provider {
	case playedRDS:
		srv, err = s.adoptRDS(ctx, i)
	case playedCloud:
		srv, err = s.adoptCloudSQL(ctx, i)
	default:
		srv, err = s.createPlain(ctx, i)
	}
	if err != nil {
		return fmt.Errorf("%s/%s: %w", i.env, i.name, err)
	}
	if srv == nil { // stopped, or deleted by somebody who plays with it: not ours to bring back
		return nil
	}
	if err := seed.Apply(ctx, srv.DB, s.database(i)); err != nil {
		return fmt.Errorf("%s/%s: %w", i.env, i.name, err)
	}
	if i.bench {
		if err := fillBench(ctx, srv, i); err != nil {
			return fmt.Errorf("%s/%s: %w", i.env, i.name, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.servers[i.env+"/"+i.name] = srv
	return nil
}

// database is what to fill an instance with.
func (s *Sandbox) database(i instance) seed.Database {
	d := seed.Database{Name: i.database, Owner: i.database + "_owner", Master: "postgres"}
	read := seed.Role{Name: "dbops_read", Access: config.Read, Password: s.passwords.get(i, "dbops_read")}
	write := seed.Role{Name: "dbops_write", Access: config.Write, Password: s.passwords.get(i, "dbops_write")}
	switch i.provider {
	case playedRDS:
		d.IAMGroup, read.IAM, write.IAM = "rds_iam", true, true
	case playedCloud:
		d.IAMGroup = "cloudsqliamuser"
		d.Roles = append(d.Roles, seed.Role{Name: googleid.DatabaseUser(robot), Access: config.Read, IAM: true})
	}
	d.Roles = append(d.Roles, read, write,
		seed.Role{Name: "dbops_admin", Access: config.Admin, Password: s.passwords.get(i, "dbops_admin")})
	for _, a := range apps[i.database] {
		d.Containers = append(d.Containers, seed.Container{Name: a.name, Access: a.access, Password: s.passwords.get(i, a.slot("a"))})
	}
	return d
}

func (s *Sandbox) adoptRDS(ctx context.Context, i instance) (*world.Server, error) {
	var tags []types.Tag
	for k, v := range i.labels {
		tags = append(tags, types.Tag{Key: aws.String(k), Value: aws.String(v)})
	}
	return s.rds.Adopt(ctx, rdsapi.Seed{
		Create: rds.CreateDBInstanceInput{
			DBInstanceIdentifier: aws.String(i.id), EngineVersion: aws.String(strconv.Itoa(i.major)),
			DBInstanceClass: aws.String("db.m7g.large"), AllocatedStorage: aws.Int32(100), MasterUsername: aws.String("postgres"),
			MultiAZ: aws.Bool(i.regional), BackupRetentionPeriod: aws.Int32(7), DeletionProtection: aws.Bool(i.regional),
			EnableIAMDatabaseAuthentication: aws.Bool(true), Tags: tags,
		},
		Password: s.passwords.get(i, "postgres"),
	})
}

func (s *Sandbox) adoptCloudSQL(ctx context.Context, i instance) (*world.Server, error) {
	a := gcpapi.Attributes{
		Project: i.project, Region: googleRegion, Name: i.id, Major: i.major, DiskGB: 50, Labels: i.labels,
		Flags: map[string]string{"cloudsql.iam_authentication": "on"}, Password: s.passwords.get(i, "postgres"),
		DeletionProtection: i.regional,
	}
	if i.regional {
		a.Availability = "REGIONAL"
	}
	return s.google.Adopt(ctx, a)
}

// createPlain makes a server that no cloud manages.
func (s *Sandbox) createPlain(ctx context.Context, i instance) (*world.Server, error) {
	ca, err := s.plainCA()
	if err != nil {
		return nil, err
	}
	leaf, err := ca.Issue(365*24*time.Hour, func(c *x509.Certificate) {
		c.Subject = pkix.Name{CommonName: i.id}
		c.IPAddresses, c.DNSNames = []net.IP{net.IPv4(127, 0, 0, 1)}, []string{"localhost"}
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	})
	if err != nil {
		return nil, err
	}
	return s.world.Create(ctx, world.Spec{
		ID: i.id, Major: i.major, Master: "postgres", MasterPassword: s.passwords.get(i, "postgres"), Listen: "127.0.0.1:0",
	}, leaf.TLS)
}

// plainCA is the authority of servers that no cloud manages. Its certificate is in ca/local.pem.
func (s *Sandbox) plainCA() (*pki.CA, error) {
	var ca pki.CA
	ok, err := play.Load(s.opts.Dir, "local-ca.json", &ca)
	if err != nil {
		return nil, err
	}
	if ok {
		return &ca, ca.Open()
	}
	made, err := pki.NewCA(pkix.Name{CommonName: "sandbox local CA", Organization: []string{"dbops sandbox"}}, 10*365*24*time.Hour)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(s.opts.Dir, caDir), 0o755); err != nil { //nolint:gosec // certificates
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(s.opts.Dir, caDir, "local.pem"), made.CertPEM, 0o644); err != nil { //nolint:gosec // a certificate
		return nil, err
	}
	return made, play.Save(s.opts.Dir, "local-ca.json", made)
}
