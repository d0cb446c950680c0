//go:build peers

package rdsapi_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"
)

// peer is the path of a foreign client.
func peer(t *testing.T, variable, hint string) string {
	t.Helper()
	path := os.Getenv(variable)
	if path == "" {
		t.Fatalf("%s is not set: %s", variable, hint)
	}
	return path
}

// shell runs foreign clients against a played AWS.
type shell struct {
	aws  string
	psql string
	env  []string
}

func (p *played) shell(t *testing.T) shell {
	t.Helper()
	id, sec, _ := p.keys.Credentials("user/dbops")
	home := t.TempDir()
	return shell{
		aws:  peer(t, "DBOPS_PEER_AWS", "it names the AWS CLI; apt-get install awscli, or pip install awscli"),
		psql: peer(t, "DBOPS_PEER_PSQL", "it names psql; apt-get install postgresql-client"),
		env: []string{
			"PATH=" + os.Getenv("PATH"), "HOME=" + home, "AWS_ACCESS_KEY_ID=" + id, "AWS_SECRET_ACCESS_KEY=" + sec.Reveal(), "AWS_DEFAULT_REGION=" + region,
			"AWS_ENDPOINT_URL=" + p.server.URL, "AWS_PAGER=", "AWS_EC2_METADATA_DISABLED=true", "AWS_MAX_ATTEMPTS=1", "PYENV_VERSION=" + os.Getenv("PYENV_VERSION"),
		},
	}
}

func (s shell) run(t *testing.T, env []string, name string, args ...string) (string, string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	var out, errs bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = slices.Concat(s.env, env), &out, &errs
	err := cmd.Run()
	return out.String(), errs.String(), err
}

// ask runs the AWS CLI and reads its JSON.
func (s shell) ask(t *testing.T, into any, args ...string) {
	t.Helper()
	out, errs, err := s.run(t, nil, s.aws, append(args, "--output", "json")...)
	if err != nil {
		t.Fatalf("aws %s: %v\n%s", strings.Join(args, " "), err, errs)
	}
	if into == nil {
		return
	}
	if err := json.Unmarshal([]byte(out), into); err != nil {
		t.Fatalf("aws %s: %v in %s", strings.Join(args, " "), err, out)
	}
}

// refused runs the AWS CLI, which must fail with code.
func (s shell) refused(t *testing.T, code string, args ...string) {
	t.Helper()
	_, errs, err := s.run(t, nil, s.aws, args...)
	if err == nil || !strings.Contains(errs, "("+code+")") {
		t.Errorf("aws %s: want %s, got %v %s", strings.Join(args, " "), code, err, errs)
	}
}

// TestTheAWSCLI drives everything with botocore, whose encoding, signatures and waiters are not those of the Go SDK.
func TestTheAWSCLI(t *testing.T) {
	t.Parallel()
	p := start(t, newDir(t))
	s := p.shell(t)
	server := p.adopt(t, "orders", 15, func(in *rds.CreateDBInstanceInput) {
		in.MultiAZ, in.BackupRetentionPeriod, in.EnableIAMDatabaseAuthentication = new(true), new(int32(7)), new(true)
	})
	run(t, server, "postgres", "create role app login; grant rds_iam to app", "create table item (id int)")

	var who struct{ Arn string }
	if s.ask(t, &who, "sts", "get-caller-identity"); !strings.HasSuffix(who.Arn, ":user/dbops") {
		t.Errorf("caller: %s", who.Arn)
	}
	var list struct{ DBInstances []types.DBInstance }
	s.ask(t, &list, "rds", "describe-db-instances")
	if db := list.DBInstances[0]; *db.DBInstanceStatus != "available" || !*db.MultiAZ || len(db.DBSubnetGroup.Subnets) != 3 || *db.VpcSecurityGroups[0].Status != "active" ||
		*db.DBParameterGroups[0].DBParameterGroupName != "default.postgres15" {
		t.Errorf("description: %+v", db)
	}
	var changed struct{ DBInstance types.DBInstance }
	s.ask(t, &changed, "rds", "modify-db-instance", "--db-instance-identifier", "orders", "--no-multi-az", "--deletion-protection", "--backup-retention-period", "3")
	if v := changed.DBInstance.PendingModifiedValues; v.MultiAZ == nil || *v.MultiAZ || !*changed.DBInstance.DeletionProtection {
		t.Errorf("pending: %+v", v)
	}
	c := p.client(t, "user/dbops")
	until(t, c, "orders", func(db types.DBInstance) bool {
		return *db.BackupRetentionPeriod == 3 && *db.DBInstanceStatus == "available"
	})
	s.ask(t, nil, "rds", "modify-db-instance", "--db-instance-identifier", "orders", "--multi-az")
	s.refused(t, "InvalidParameterCombination", "rds", "delete-db-instance", "--db-instance-identifier", "orders", "--skip-final-snapshot")
	s.ask(t, nil, "rds", "modify-db-instance", "--db-instance-identifier", "orders", "--no-deletion-protection")
	s.refused(t, "InvalidParameterValue", "rds", "modify-db-instance", "--db-instance-identifier", "orders", "--new-db-instance-identifier", "9x", "--apply-immediately")

	t.Run("a token logs in through psql", func(t *testing.T) {
		db := describe(t, c, "orders")
		host, port := *db.Endpoint.Address, endpoint(db)[len(*db.Endpoint.Address)+1:]
		bundle := filepath.Join(t.TempDir(), "bundle.pem")
		if err := os.WriteFile(bundle, p.api.CABundle(), 0o600); err != nil {
			t.Fatal(err)
		}
		token, errs, err := s.run(t, nil, s.aws, "rds", "generate-db-auth-token", "--hostname", host, "--port", port, "--username", "app", "--region", region)
		if err != nil {
			t.Fatal(errs)
		}
		dsn := "host=" + host + " port=" + port + " user=app dbname=postgres sslmode=verify-full sslrootcert=" + bundle
		out, errs, err := s.run(t, []string{"PGPASSWORD=" + strings.TrimSpace(token)}, s.psql, dsn, "-Atc", "select current_user")
		if err != nil || strings.TrimSpace(out) != "app" {
			t.Errorf("psql: %v %s %s", err, out, errs)
		}
		if _, _, err = s.run(t, []string{"PGPASSWORD=wrong"}, s.psql, dsn, "-Atc", "select 1"); err == nil {
			t.Error("psql logged in with a wrong token")
		}
	})

	s.ask(t, nil, "rds", "reboot-db-instance", "--db-instance-identifier", "orders", "--force-failover")
	until(t, c, "orders", settled)
	s.ask(t, nil, "rds", "create-db-snapshot", "--db-instance-identifier", "orders", "--db-snapshot-identifier", "before")
	s.ask(t, nil, "rds", "wait", "db-snapshot-available", "--db-snapshot-identifier", "before")
	until(t, c, "orders", settled)
	s.ask(t, nil, "rds", "restore-db-instance-to-point-in-time", "--source-db-instance-identifier", "orders", "--target-db-instance-identifier", "copy", "--use-latest-restorable-time")
	s.ask(t, nil, "rds", "create-db-instance", "--db-instance-identifier", "fresh", "--engine", "postgres", "--engine-version", "15", "--db-instance-class", "db.t4g.micro",
		"--allocated-storage", "20", "--master-username", master, "--master-user-password", hidden, "--vpc-security-group-ids", "sg-1", "sg-2", "--tags", "Key=a,Value=b")
	for _, id := range []string{"copy", "fresh"} {
		until(t, c, id, settled)
		s.ask(t, nil, "rds", "wait", "db-instance-available", "--db-instance-identifier", id)
	}
	run(t, p.api.Server("copy"), "postgres", "select from item")
	s.refused(t, "DBInstanceAlreadyExists", "rds", "modify-db-instance", "--db-instance-identifier", "copy", "--new-db-instance-identifier", "orders", "--apply-immediately")
	s.ask(t, nil, "rds", "modify-db-instance", "--db-instance-identifier", "copy", "--new-db-instance-identifier", "moved", "--apply-immediately")
	s.ask(t, nil, "rds", "wait", "db-instance-deleted", "--db-instance-identifier", "copy") // no name's instance: the CLI has no wait for a rename
	until(t, c, "moved", settled)
	run(t, p.api.Server("moved"), "postgres", "select from item")
	s.ask(t, nil, "rds", "delete-db-instance", "--db-instance-identifier", "fresh", "--skip-final-snapshot")
	deadline := time.Now().Add(time.Minute)
	for p.api.Server("fresh") != nil && time.Now().Before(deadline) {
		pause(t, 20*time.Millisecond)
	}
	s.ask(t, nil, "rds", "wait", "db-instance-deleted", "--db-instance-identifier", "fresh")
	s.refused(t, "DBInstanceNotFound", "rds", "describe-db-instances", "--db-instance-identifier", "fresh")

	var events struct{ Events []types.Event }
	s.ask(t, &events, "rds", "describe-events", "--source-type", "db-instance", "--source-identifier", "orders", "--duration", "60")
	if !slices.ContainsFunc(events.Events, func(e types.Event) bool {
		return *e.Message == "Multi-AZ instance failover completed" && e.EventCategories[0] == "failover"
	}) {
		t.Errorf("events: %+v", events.Events)
	}
	var versions struct{ DBEngineVersions []types.DBEngineVersion }
	s.ask(t, &versions, "rds", "describe-db-engine-versions", "--engine", "postgres")
	if len(versions.DBEngineVersions) < 5 || len(versions.DBEngineVersions[0].ValidUpgradeTarget) < 4 {
		t.Errorf("versions: %+v", versions)
	}
	var cas struct{ Certificates []types.Certificate }
	if s.ask(t, &cas, "rds", "describe-certificates"); len(cas.Certificates) != 3 {
		t.Errorf("certificates: %+v", cas)
	}
}

func TestTheAWSCLIKeepsSecrets(t *testing.T) {
	t.Parallel()
	p := start(t, newDir(t))
	s := p.shell(t)
	var made struct{ ARN, VersionId string }
	s.ask(t, &made, "secretsmanager", "create-secret", "--name", "app/db", "--secret-string", `{"password":"one"}`)
	s.ask(t, nil, "secretsmanager", "put-secret-value", "--secret-id", "app/db", "--secret-string", "two", "--version-stages", "AWSPENDING")
	var d struct{ VersionIdsToStages map[string][]string }
	s.ask(t, &d, "secretsmanager", "describe-secret", "--secret-id", made.ARN)
	pending := ""
	for id, stages := range d.VersionIdsToStages {
		if slices.Contains(stages, "AWSPENDING") {
			pending = id
		}
	}
	s.refused(t, "InvalidParameterException", "secretsmanager", "update-secret-version-stage", "--secret-id", "app/db", "--version-stage", "AWSCURRENT", "--move-to-version-id", pending)
	s.ask(t, nil, "secretsmanager", "update-secret-version-stage", "--secret-id", "app/db", "--version-stage", "AWSCURRENT", "--move-to-version-id", pending, "--remove-from-version-id", made.VersionId)
	var got struct{ SecretString string }
	if s.ask(t, &got, "secretsmanager", "get-secret-value", "--secret-id", "app/db"); got.SecretString != "two" {
		t.Errorf("current: %q", got.SecretString)
	}
	if s.ask(t, &got, "secretsmanager", "get-secret-value", "--secret-id", "app/db", "--version-stage", "AWSPREVIOUS"); got.SecretString != `{"password":"one"}` {
		t.Errorf("previous: %q", got.SecretString)
	}
	s.refused(t, "ResourceNotFoundException", "secretsmanager", "get-secret-value", "--secret-id", "none")
}
