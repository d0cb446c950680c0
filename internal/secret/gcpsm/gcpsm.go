// Package gcpsm reads and writes secrets of GCP Secret Manager.
//
// Credentials are the Application Default Credentials; nothing is contacted before the first secret is asked for, and nothing is
// kept. It speaks the REST API, so that an emulator may be plain HTTP. What is current, pending and previous are aliases of these names on
// the secret: "latest" is Google's word for the newest version, also one that is only pending, so whoever reads the secret without
// dbops must read the alias current, or a number.
package gcpsm

import (
	"context"
	"hash/crc32"
	"net/http"
	"strings"
	"sync"

	"cloud.google.com/go/auth"
	sdk "cloud.google.com/go/secretmanager/apiv1"

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

// Get returns the version of the secret that r names, "projects/P/secrets/S/versions/V", with #KEY for one field of a JSON object.
// Without a version it is the one with the alias current, because the latest may be pending; in a secret without that alias, the latest.
// A version that is disabled or destroyed is a fault.Busy.
func (s *Source) Get(ctx context.Context, r secret.Ref) (secret.Value, error) {
	part := strings.Split(r.Name, "/")
	if len(part) != 4 && len(part) != 6 {
		return secret.Value{}, fault.Newf(fault.Config, "read secret "+r.String(), "its name is not complete").
			Hint("want gcp-sm:projects/PROJECT/secrets/NAME, or with /versions/VERSION")
	}
	p, err := s.place(ctx, "read secret", secret.Ref{Scheme: r.Scheme, Name: strings.Join(part[:4], "/")})
	if err != nil {
		return secret.Value{}, err
	}
	p.op = "read secret " + r.String()
	var data []byte
	if len(part) == 6 {
		data, err = p.access(ctx, part[5])
	} else if data, err = p.access(ctx, current); noAlias(err) {
		data, err = p.access(ctx, "latest")
	}
	if err != nil {
		return secret.Value{}, err
	}
	return secret.Field(r, data)
}

// noAlias tells whether a version was asked for by an alias that is not there.
func noAlias(err error) bool {
	return fault.KindOf(err) == fault.NotFound || fault.KindOf(err) == fault.Invalid
}

func checksum(data []byte) int64 {
	return int64(crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)))
}
