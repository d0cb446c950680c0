// Package gcpsm reads secrets from GCP Secret Manager.
//
// Credentials are the Application Default Credentials; nothing is contacted before the first secret is asked for, and nothing is
// kept. It speaks the REST API, so that an emulator may be plain HTTP.
package gcpsm

import (
	"context"
	"hash/crc32"
	"net/http"
	"strings"
	"sync"

	"cloud.google.com/go/auth"
	sdk "cloud.google.com/go/secretmanager/apiv1"
	"cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"

	"dbops/internal/cloud/gcpclient"
	"dbops/internal/fault"
	"dbops/internal/secret"
)

// Options say how to reach Secret Manager.
type Options struct {
	Endpoint  string // base URL of the REST API, for emulators; plain http is accepted
	UserAgent string
	// HTTPClient sends the requests as they are, without credentials. Nil: with the Application Default Credentials.
	HTTPClient *http.Client
}

// Source is Secret Manager with one set of credentials; secrets of any project are read through it.
type Source struct {
	google *gcpclient.Client

	mu    sync.Mutex
	api   *sdk.Client
	creds *auth.Credentials // that api holds
}

var _ secret.Source = (*Source)(nil)

// New returns a source that has contacted nobody yet. Its error is always nil.
func New(_ context.Context, o Options) (*Source, error) {
	return &Source{google: gcpclient.New(gcpclient.Options{
		Endpoint: strings.TrimRight(o.Endpoint, "/"), UserAgent: o.UserAgent, HTTPClient: o.HTTPClient,
	})}, nil
}

// client returns the SDK's client, made anew when the credentials were.
func (s *Source) client(ctx context.Context) (*sdk.Client, error) {
	opts, creds, err := s.google.Options()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.api != nil && s.creds == creds {
		return s.api, nil
	}
	api, err := sdk.NewRESTClient(context.WithoutCancel(ctx), opts...) // it outlives this request
	if err != nil {
		return nil, err
	}
	s.api, s.creds = api, creds
	return api, nil
}

// Get returns the version of the secret that r names, "projects/P/secrets/S/versions/V", the latest without a version, with #KEY
// for one field of a JSON object. A version that is disabled or destroyed is a fault.Busy.
func (s *Source) Get(ctx context.Context, r secret.Ref) (secret.Value, error) {
	part := strings.Split(r.Name, "/")
	q := gcpclient.Question{
		Op: "read secret " + r.String(), API: "secretmanager.googleapis.com",
		Permission: "secretmanager.versions.access", Role: "roles/secretmanager.secretAccessor",
	}
	if len(part) != 4 && len(part) != 6 {
		return secret.Value{}, fault.Newf(fault.Config, q.Op, "its name is not complete").
			Hint("want gcp-sm:projects/PROJECT/secrets/NAME, or with /versions/VERSION")
	}
	q.Project = part[1]
	name := r.Name
	if len(part) == 4 {
		name += "/versions/latest"
	}
	ask, cancel := context.WithTimeout(ctx, gcpclient.Timeout)
	defer cancel()
	api, err := s.client(ctx)
	if err != nil {
		return secret.Value{}, s.google.Fault(ctx, q, err)
	}
	out, err := api.AccessSecretVersion(ask, &secretmanagerpb.AccessSecretVersionRequest{Name: name}, gcpclient.Retry())
	if err != nil {
		return secret.Value{}, s.google.Fault(ctx, q, err)
	}
	data := out.GetPayload().GetData()
	if p := out.GetPayload(); p != nil && p.DataCrc32C != nil && *p.DataCrc32C != int64(crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli))) {
		return secret.Value{}, fault.Newf(fault.Unavailable, q.Op, "it was damaged on its way").Hint("try again")
	}
	return secret.Field(r, data)
}
