package sandbox

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"

	secretmanager "cloud.google.com/go/secretmanager/apiv1"
	"cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/option"

	"dbops/internal/sandbox/play"
	"dbops/internal/secret"
)

// passwords are those of the roles that the sandbox makes, kept so that a sandbox that comes back knows them.
type passwords struct {
	dir string

	mu  sync.Mutex
	all map[string]string
	err error // of the last save; reported once everything is made
}

const passwordsFile = "passwords.json"

func openPasswords(dir string) (*passwords, error) {
	p := &passwords{dir: dir, all: map[string]string{}}
	_, err := play.Load(dir, passwordsFile, &p.all)
	return p, err
}

// get returns the password of a role of an instance, and makes it when there is none.
func (p *passwords) get(i instance, role string) secret.Value {
	p.mu.Lock()
	defer p.mu.Unlock()
	name := i.env + "/" + i.name + "/" + role
	if pw, ok := p.all[name]; ok {
		return secret.New(pw)
	}
	b := make([]byte, 24)
	_, _ = rand.Read(b) // never fails
	p.all[name] = base64.RawURLEncoding.EncodeToString(b)
	p.err = play.Save(p.dir, passwordsFile, p.all)
	return secret.New(p.all[name])
}

// fillSecrets puts the passwords where dbops.yaml says they are: into the played secret managers, through their own APIs.
func (s *Sandbox) fillSecrets(ctx context.Context) error {
	for _, i := range instances {
		if err := errors.Join(s.fillLogins(ctx, i), s.deliver(ctx, i)); err != nil {
			return fmt.Errorf("secrets of %s/%s: %w", i.env, i.name, err)
		}
	}
	s.passwords.mu.Lock()
	defer s.passwords.mu.Unlock()
	return s.passwords.err
}

// fillLogins is for the logins of dbops itself.
func (s *Sandbox) fillLogins(ctx context.Context, i instance) error {
	password := func(access string) secret.Value { return s.passwords.get(i, "dbops_"+access) }
	switch i.provider {
	case playedRDS:
		text, err := json.Marshal(map[string]string{"username": "dbops_admin", "password": password("admin").Reveal()})
		if err != nil {
			return err
		}
		return s.createAWSSecret(ctx, i.env+"/"+i.name+"/dbops-admin", secret.New(string(text)))
	case playedCloud:
		return errors.Join(s.createGoogleSecret(ctx, i.project, "dbops-write", password("write")),
			s.createGoogleSecret(ctx, i.project, "dbops-admin", password("admin")))
	}
	var errs []error
	for _, access := range []string{"read", "write", "admin"} {
		errs = append(errs, writeSecret(filepath.Join(s.opts.Dir, secretsDir, i.env+"-"+access), password(access)))
	}
	return errors.Join(errs...)
}

// createAWSSecret makes a secret with its first version. One from an earlier run, which may have changed since, is left alone.
func (s *Sandbox) createAWSSecret(ctx context.Context, name string, text secret.Value) error {
	id, key, ok := s.keys.Credentials("user/dbops")
	if !ok {
		return errors.New("user/dbops has no access key")
	}
	client := secretsmanager.New(secretsmanager.Options{
		Region: awsRegion, BaseEndpoint: aws.String("http://" + s.meta.AWS),
		Credentials: credentials.NewStaticCredentialsProvider(id, key.Reveal(), ""),
	})
	_, err := client.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: &name, SecretString: aws.String(text.Reveal())})
	if _, ok := errors.AsType[*types.ResourceExistsException](err); ok {
		return nil
	}
	return err
}

// createGoogleSecret makes a secret with its first version. One from an earlier run, which may have changed since, is left alone.
func (s *Sandbox) createGoogleSecret(ctx context.Context, project, id string, text secret.Value) error {
	client, err := secretmanager.NewRESTClient(ctx, option.WithEndpoint("http://"+s.meta.Google),
		option.WithAuthCredentialsFile(option.ServiceAccount, filepath.Join(s.opts.Dir, googleKeyFile)))
	if err != nil {
		return err
	}
	defer client.Close()
	parent := "projects/" + project
	_, err = client.CreateSecret(ctx, &secretmanagerpb.CreateSecretRequest{
		Parent: parent, SecretId: id,
		Secret: &secretmanagerpb.Secret{Replication: &secretmanagerpb.Replication{
			Replication: &secretmanagerpb.Replication_Automatic_{Automatic: &secretmanagerpb.Replication_Automatic{}},
		}},
	})
	if api, ok := errors.AsType[*googleapi.Error](err); ok && api.Code == http.StatusConflict {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = client.AddSecretVersion(ctx, &secretmanagerpb.AddSecretVersionRequest{
		Parent: parent + "/secrets/" + id, Payload: &secretmanagerpb.SecretPayload{Data: []byte(text.Reveal())},
	})
	return err
}

func lastPart(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }
