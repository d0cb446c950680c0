package sandbox

import (
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/google/renameio/v2"

	"dbops/internal/fault"
	"dbops/internal/sandbox/play"
	"dbops/internal/sandbox/seed"
	"dbops/internal/secret"
)

// The files and folders that a sandbox writes for its clients.
const (
	configFile    = "dbops.yaml"
	awsConfigFile = "aws.conf"
	awsKeysFile   = "aws-credentials"
	googleKeyFile = "google.json"
	aliceKeyFile  = "google-alice.json"
	stateDir      = "state"
	caDir         = "ca"
	secretsDir    = "secrets"
	migrationsDir = "migrations"
	rdsBundle     = "rds.pem"
	rolloutFile   = "rollout"
)

//go:embed dbops.yaml.tmpl
var configTemplate string

// Environment is what a shell needs to point dbops and other clients at a sandbox.
type Environment struct {
	Set   map[string]string
	Unset []string // would lead back to a real cloud
}

// Alice is the sandbox's second person, who approves what the first one asks for.
const Alice = "alice"

// DirVariable names the folder of the sandbox that a shell is pointed at.
const DirVariable = "DBOPS_SANDBOX_DIR"

// Environ returns the environment of the sandbox in dir for its robot, or as [Alice]. One that was never brought up is a fault.Usage.
func Environ(dir, as string) (Environment, error) {
	var m meta
	ok, err := play.Load(dir, markerFile, &m)
	if err != nil {
		return Environment{}, fault.New(fault.Internal, "read the sandbox in "+dir, err)
	}
	if !ok || m.AWS == "" {
		return Environment{}, fault.Newf(fault.Usage, "read the sandbox in "+dir, "there is none").Hint("dbops sandbox up --dir %s", dir)
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	key, profile := in(googleKeyFile), "default"
	switch as {
	case "":
	case Alice:
		key, profile = in(aliceKeyFile), Alice
	default:
		return Environment{}, fault.Newf(fault.Usage, "read the sandbox in "+dir, "nobody in it is called %q", as).Hint("want --as alice, or leave it out")
	}
	awsURL := "http://" + m.AWS
	return Environment{
		Set: map[string]string{
			"DBOPS_CONFIG":                               in(configFile),
			"DBOPS_STATE_DIR":                            in(stateDir),
			DirVariable:                                  dir,
			"AWS_PROFILE":                                profile,
			"AWS_CONFIG_FILE":                            in(awsConfigFile),
			"AWS_SHARED_CREDENTIALS_FILE":                in(awsKeysFile),
			"AWS_REGION":                                 awsRegion,
			"AWS_DEFAULT_REGION":                         awsRegion,
			"AWS_ENDPOINT_URL_RDS":                       awsURL,
			"AWS_ENDPOINT_URL_STS":                       awsURL,
			"AWS_ENDPOINT_URL_SECRETS_MANAGER":           awsURL,
			"AWS_ENDPOINT_URL_ECS":                       awsURL,
			"AWS_ENDPOINT_URL_CLOUDWATCH":                awsURL,
			"AWS_EC2_METADATA_DISABLED":                  "true",
			"GOOGLE_APPLICATION_CREDENTIALS":             key,
			"GOOGLE_CLOUD_PROJECT":                       projects[0],
			"CLOUDSDK_API_ENDPOINT_OVERRIDES_SQL":        "http://" + m.Google + "/",
			"CLOUDSDK_API_ENDPOINT_OVERRIDES_MONITORING": "http://" + m.Google + "/",
		},
		Unset: []string{
			"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL",
			"AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE", "PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE", "PGSERVICE",
		},
	}, nil
}

// writeGoogleKeys makes the service accounts' keys once; they stay good.
func (s *Sandbox) writeGoogleKeys() error {
	for who, name := range map[string]string{robot: googleKeyFile, alice: aliceKeyFile} {
		path := filepath.Join(s.opts.Dir, name)
		if _, err := os.Stat(path); err == nil {
			continue
		}
		if err := s.google.Identity().WriteKey(who, path, "http://"+s.meta.Google+"/token"); err != nil {
			return err
		}
	}
	return nil
}

// writeFiles writes what clients need. What a person may have edited is left as it is.
func (s *Sandbox) writeFiles() error {
	dir := s.opts.Dir
	if err := os.MkdirAll(filepath.Join(dir, caDir), 0o755); err != nil { //nolint:gosec // certificates
		return err
	}
	id, key, ok := s.keys.Credentials("user/dbops")
	aliceID, aliceKey, okAlice := s.keys.Credentials("user/alice")
	if !ok || !okAlice {
		return errors.New("the access keys of the played AWS are missing")
	}
	program, err := s.program()
	if err != nil {
		return err
	}
	url := "http://" + s.meta.AWS
	services := fmt.Sprintf("[services sandbox]\nrds =\n  endpoint_url = %[1]s\nsts =\n  endpoint_url = %[1]s\nsecrets_manager =\n  endpoint_url = %[1]s\necs =\n  endpoint_url = %[1]s\ncloudwatch =\n  endpoint_url = %[1]s\n", url)
	return errors.Join(
		renameio.WriteFile(filepath.Join(dir, awsConfigFile), []byte("[default]\nregion = "+awsRegion+"\nservices = sandbox\n\n"+
			"[profile alice]\nregion = "+awsRegion+"\nservices = sandbox\n\n"+services), 0o600),
		renameio.WriteFile(filepath.Join(dir, awsKeysFile), fmt.Appendf(nil,
			"[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n\n[alice]\naws_access_key_id = %s\naws_secret_access_key = %s\n",
			id, key.Reveal(), aliceID, aliceKey.Reveal()), 0o600),
		renameio.WriteFile(filepath.Join(dir, caDir, rdsBundle), s.rds.CABundle(), 0o644),
		renameio.WriteFile(filepath.Join(dir, rolloutFile), fmt.Appendf(nil,
			"#!/bin/sh\n# deploys a container anew: rollout ENVIRONMENT/CONTAINER\nexec %s sandbox rollout --dir %s \"$@\"\n",
			shellQuote(program), shellQuote(dir)), 0o755),
		s.writeMigrations(),
		s.writeConfig(),
	)
}

// program is dbops itself, for the scripts of the folder.
func (s *Sandbox) program() (string, error) {
	if s.opts.Program != "" {
		return s.opts.Program, nil
	}
	return os.Executable()
}

func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func (s *Sandbox) writeMigrations() error {
	for _, name := range seed.Names() {
		to := filepath.Join(s.opts.Dir, migrationsDir, name)
		if _, err := os.Stat(to); err == nil {
			continue
		}
		draft := to + ".new"
		if err := os.RemoveAll(draft); err != nil {
			return err
		}
		if err := os.CopyFS(draft, seed.Migrations(name)); err != nil {
			return err
		}
		if err := os.Rename(draft, to); err != nil {
			return err
		}
	}
	return nil
}

func (s *Sandbox) writeConfig() error {
	path := filepath.Join(s.opts.Dir, configFile)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	t, err := template.New(configFile).Option("missingkey=error").Parse(configTemplate)
	if err != nil {
		return err
	}
	local := s.world.Server("local-main")
	if local == nil {
		return errors.New("the local server is missing")
	}
	var b strings.Builder
	err = t.Execute(&b, map[string]string{
		"AWS": "http://" + s.meta.AWS, "Google": "http://" + s.meta.Google, "Local": local.Addr(),
	})
	if err != nil {
		return err
	}
	return renameio.WriteFile(path, []byte(b.String()), 0o644)
}

// writeSecret writes a password for its owner's eyes only.
func writeSecret(path string, v secret.Value) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return renameio.WriteFile(path, []byte(v.Reveal()+"\n"), 0o600, renameio.WithTempDir(filepath.Dir(path)))
}
