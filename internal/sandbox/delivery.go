package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	secretmanager "cloud.google.com/go/secretmanager/apiv1"
	"cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"golang.org/x/oauth2"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/option"

	"dbops/internal/sandbox/containers"
	"dbops/internal/sandbox/world"
	"dbops/internal/secret"
)

// delivered is the credential of a container's slot a, as its owner delivered it before dbops came.
func (s *Sandbox) delivered(a app, i instance, srv *world.Server) (secret.Value, error) {
	host, port, err := net.SplitHostPort(srv.Addr())
	if err != nil {
		return secret.Value{}, err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return secret.Value{}, err
	}
	sslmode := "verify-full"
	if i.provider == playedCloud {
		sslmode = "verify-ca" // its certificate has no name that libpq could compare
	}
	place := map[string]any{"host": host, "port": number, "dbname": i.database}
	text, err := json.Marshal(map[string]any{
		"engine": "postgres", "username": a.slot("a"), "password": s.passwords.get(i, a.slot("a")).Reveal(),
		"host": host, "port": number, "dbname": i.database, "sslmode": sslmode, "slot": "a",
		"databases": map[string]any{i.database: place},
	})
	return secret.New(string(text)), err
}

// deliver puts the first credentials of an instance's containers where dbops.yaml says. What is there is left alone.
func (s *Sandbox) deliver(ctx context.Context, i instance) error {
	srv := s.Server(i.env, i.name)
	if srv == nil {
		return nil
	}
	for _, a := range apps[i.database] {
		text, err := s.delivered(a, i, srv)
		if err != nil {
			return err
		}
		switch name := a.secretName(s.opts.Dir, i); a.platform {
		case onECS:
			err = s.createAWSSecret(ctx, name, text)
		case onCloudRun:
			err = s.createGoogleSecret(ctx, i.project, a.name, text)
		default:
			if _, err = os.Stat(name); errors.Is(err, fs.ErrNotExist) {
				err = writeSecret(name, text)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// source is how a container reads its credential.
func (s *Sandbox) source(a app, i instance) (containers.Source, error) {
	name := a.secretName(s.opts.Dir, i)
	switch a.platform {
	case onECS:
		return s.awsSource(name, a.task(i))
	case onCloudRun:
		who := a.account(i)
		return s.googleSource(name, who), s.google.Identity().Grant(who, "roles/secretmanager.secretAccessor")
	default:
		return fileSource(name), nil
	}
}

// direct is a transport that keeps nothing open: a container reads its credential once in a while.
func direct() *http.Transport { return &http.Transport{DisableKeepAlives: true} }

// awsSource reads the stage AWSCURRENT.
func (s *Sandbox) awsSource(name, who string) (containers.Source, error) {
	id, key, ok := s.keys.Credentials(who)
	if !ok {
		return nil, errors.New(who + " has no access key")
	}
	client := secretsmanager.New(secretsmanager.Options{
		Region: awsRegion, BaseEndpoint: aws.String("http://" + s.meta.AWS), HTTPClient: &http.Client{Transport: direct()},
		Credentials: credentials.NewStaticCredentialsProvider(id, key.Reveal(), ""),
	})
	return func(ctx context.Context) (secret.Value, string, error) {
		out, err := client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &name, VersionStage: aws.String("AWSCURRENT")})
		if err != nil {
			return secret.Value{}, "", err
		}
		return secret.New(aws.ToString(out.SecretString)), aws.ToString(out.VersionId), nil
	}, nil
}

// googleSource reads the version of the alias "current", and the latest one where nobody has made that alias yet.
func (s *Sandbox) googleSource(name, who string) containers.Source {
	return func(ctx context.Context) (secret.Value, string, error) {
		token, err := s.google.Identity().Token(who, time.Hour)
		if err != nil {
			return secret.Value{}, "", err
		}
		client, err := secretmanager.NewRESTClient(ctx, option.WithEndpoint("http://"+s.meta.Google), option.WithHTTPClient(&http.Client{
			Transport: &oauth2.Transport{
				Source: oauth2.StaticTokenSource(&oauth2.Token{AccessToken: token.Reveal()}), Base: direct(),
			},
		}))
		if err != nil {
			return secret.Value{}, "", err
		}
		defer client.Close()
		read := func(version string) (*secretmanagerpb.AccessSecretVersionResponse, error) {
			return client.AccessSecretVersion(ctx, &secretmanagerpb.AccessSecretVersionRequest{Name: name + "/versions/" + version})
		}
		out, err := read("current")
		if api, ok := errors.AsType[*googleapi.Error](err); ok && api.Code == http.StatusNotFound {
			out, err = read("latest")
		}
		if err != nil {
			return secret.Value{}, "", err
		}
		return secret.New(string(out.GetPayload().GetData())), lastPart(out.GetName()), nil
	}
}

// fileSource reads a file. Its version is when it was written.
func fileSource(path string) containers.Source {
	return func(context.Context) (secret.Value, string, error) {
		info, err := os.Stat(path)
		if err != nil {
			return secret.Value{}, "", err
		}
		text, err := os.ReadFile(path)
		return secret.New(string(text)), info.ModTime().UTC().Format(time.RFC3339Nano), err
	}
}
