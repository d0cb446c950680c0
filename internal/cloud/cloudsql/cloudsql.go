// Package cloudsql reads, measures and changes the PostgreSQL instances of one Google Cloud project, and knows as whom its credentials log in.
//
// Credentials are the Application Default Credentials; nothing is contacted before the first question. An answer is bounded in time,
// pages and retries included; what could only be learnt by a further question that failed is left empty rather than failing the whole.
// A change is sent once, for one revision of the settings; it has happened when its operation has ended and the instance shows it.
package cloudsql

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"cloud.google.com/go/auth"
	sqladmin "google.golang.org/api/sqladmin/v1"

	"dbops/internal/cloud"
	"dbops/internal/cloud/gcpclient"
	"dbops/internal/fault"
)

// asideTimeout bounds the questions beside the main one.
const asideTimeout = 3 * time.Second

// Options say which project.
type Options struct {
	Project  string
	Endpoint string // base URL of the Cloud SQL Admin API, for emulators; plain http is accepted
	// Monitoring is the base URL of Cloud Monitoring, for emulators. Defaults to Endpoint, and with neither to Google's.
	Monitoring string
	UserAgent  string
	// TokenInfo is the URL that tells whose an access token is, for emulators. Defaults to Google's.
	TokenInfo string
	// HTTPClient sends the requests as they are, without credentials. Nil: with the Application Default Credentials.
	HTTPClient *http.Client
}

// Provider is the Cloud SQL of one project.
type Provider struct {
	project string
	google  *gcpclient.Client

	mu    sync.Mutex
	api   *sqladmin.Service
	creds *auth.Credentials // that api holds

	watch watch
}

var _ cloud.Changer = (*Provider)(nil)

// New returns a provider that has contacted nobody yet. An empty project is a fault.Config.
func New(_ context.Context, o Options) (*Provider, error) {
	if o.Project == "" {
		return nil, fault.Newf(fault.Config, "reach Cloud SQL", "no project is named").Hint("set cloudsql.project in dbops.yaml")
	}
	return &Provider{
		project: o.Project,
		google: gcpclient.New(gcpclient.Options{
			Endpoint: base(o.Endpoint), UserAgent: o.UserAgent, TokenInfo: o.TokenInfo, HTTPClient: o.HTTPClient,
		}),
		watch: watch{endpoint: base(cmp.Or(o.Monitoring, o.Endpoint))},
	}, nil
}

// base is a base URL as the SDK takes it: it drops the last part of a path that does not end in a slash.
func base(endpoint string) string {
	if endpoint == "" {
		return ""
	}
	return strings.TrimRight(endpoint, "/") + "/"
}

// service returns the SDK's client, made anew when the credentials were.
func (p *Provider) service(ctx context.Context) (*sqladmin.Service, error) {
	opts, creds, err := p.google.Options()
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.api != nil && p.creds == creds {
		return p.api, nil
	}
	api, err := sqladmin.NewService(context.WithoutCancel(ctx), opts...) // it outlives this request
	if err != nil {
		return nil, err
	}
	p.api, p.creds = api, creds
	return api, nil
}

// The roles that hold the permissions.
const (
	viewerRole = "roles/cloudsql.viewer"
	editorRole = "roles/cloudsql.editor"
	adminRole  = "roles/cloudsql.admin"
)

func (p *Provider) question(op, permission string) gcpclient.Question {
	return gcpclient.Question{
		Op: op, Permission: permission, Role: viewerRole, API: "sqladmin.googleapis.com", Project: p.project,
	}
}

// Get describes one instance by its name, with the operation that runs on it and how far it can be restored. An instance of another
// engine is a fault.Invalid.
func (p *Provider) Get(ctx context.Context, name string) (*cloud.Instance, error) {
	q := p.question(p.op("describe", name), permissionGet)
	if err := named(q, name); err != nil {
		return nil, err
	}
	ask, cancel := context.WithTimeout(ctx, gcpclient.Timeout)
	defer cancel()
	api, err := p.service(ctx)
	if err != nil {
		return nil, p.google.Fault(ctx, q, err)
	}
	db, err := p.describe(ask, api, q, name)
	if err != nil {
		return nil, p.google.Fault(ctx, q, err)
	}
	live := instance(db, p.project)
	aside, stop := context.WithTimeout(ask, asideTimeout)
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { p.running(aside, api, once, name, map[string]*cloud.Instance{name: live}) })
	if live.Backups.PITR {
		wg.Go(func() {
			if r, err := api.Projects.Instances.GetLatestRecoveryTime(p.project, name).Context(aside).Do(); err == nil {
				live.Backups.EarliestRestorable, live.Backups.LatestRestorable = parseTime(r.EarliestRecoveryTime), parseTime(r.LatestRecoveryTime)
			}
		})
	}
	wg.Wait()
	return live, nil
}

const (
	// permissionGet is what every question about one instance and its operations needs.
	permissionGet  = "cloudsql.instances.get"
	permissionList = "cloudsql.instances.list"
	permissionCAs  = "cloudsql.instances.listServerCas"
)

// op is what is done to an instance, for an error.
func (p *Provider) op(verb, name string) string {
	return verb + " Cloud SQL instance " + p.project + "/" + name
}

// named refuses the empty name, which the API takes for a question about all instances.
func named(q gcpclient.Question, name string) error {
	if name == "" {
		return fault.Newf(fault.Invalid, q.Op, "its name is empty")
	}
	return nil
}

// describe returns an instance as Cloud SQL describes it. Another engine is a fault.Invalid.
func (p *Provider) describe(ctx context.Context, api *sqladmin.Service, q gcpclient.Question, name string) (*sqladmin.DatabaseInstance, error) {
	var db *sqladmin.DatabaseInstance
	err := gcpclient.Read(ctx, func(ctx context.Context) (err error) {
		db, err = api.Instances.Get(p.project, name).Context(ctx).Do()
		return err
	})
	if err != nil {
		q.Permission, q.Role = permissionGet, viewerRole
		return nil, p.google.Fault(ctx, q, err)
	}
	if !isPostgres(db) {
		return nil, fault.Newf(fault.Invalid, q.Op, "it is %s, not a PostgreSQL instance of Cloud SQL", strings.ToLower(db.DatabaseVersion+" "+db.InstanceType))
	}
	if db.Settings == nil {
		db.Settings = &sqladmin.Settings{}
	}
	return db, nil
}

// List describes every PostgreSQL instance of the project, by name. Regions that Cloud SQL itself could not reach are a
// fault.Unavailable that comes together with the instances of the others. How far Backups can be restored is not asked for.
func (p *Provider) List(ctx context.Context) ([]*cloud.Instance, error) {
	q := p.question("list the Cloud SQL instances of "+p.project, permissionList)
	ask, cancel := context.WithTimeout(ctx, gcpclient.Timeout)
	defer cancel()
	api, err := p.service(ctx)
	if err != nil {
		return nil, p.google.Fault(ctx, q, err)
	}
	var all []*cloud.Instance
	byName := map[string]*cloud.Instance{}
	dark, err := p.pages(ask, api, gcpclient.Read, func(db *sqladmin.DatabaseInstance) {
		live := instance(db, p.project)
		all, byName[live.Name] = append(all, live), live
	})
	if err != nil {
		return nil, p.google.Fault(ctx, q, err)
	}
	aside, stop := context.WithTimeout(ask, asideTimeout)
	defer stop()
	p.running(aside, api, once, "", byName)
	slices.SortFunc(all, func(a, b *cloud.Instance) int { return cmp.Compare(a.Name, b.Name) })
	if len(dark) > 0 {
		return all, unreached(q, dark)
	}
	return all, nil
}

// once is for what may be left out.
func once(ctx context.Context, read func(context.Context) error) error { return read(ctx) }

// reading is how a question that changes nothing is asked, and asked again.
type reading func(ctx context.Context, read func(context.Context) error) error

// pages tells each of the PostgreSQL instances of the project, and returns the regions that Cloud SQL itself could not reach.
func (p *Provider) pages(ctx context.Context, api *sqladmin.Service, read reading, tell func(*sqladmin.DatabaseInstance)) (dark []string, err error) {
	for token, more := "", true; more; more = token != "" {
		var page *sqladmin.InstancesListResponse
		err := read(ctx, func(ctx context.Context) (err error) {
			call := api.Instances.List(p.project).Context(ctx)
			if token != "" {
				call = call.PageToken(token)
			}
			page, err = call.Do()
			return err
		})
		if err != nil {
			return nil, err
		}
		for _, db := range page.Items {
			if !isPostgres(db) {
				continue
			}
			if db.Settings == nil {
				db.Settings = &sqladmin.Settings{}
			}
			tell(db)
		}
		for _, w := range page.Warnings {
			if w.Code == "REGION_UNREACHABLE" {
				dark = append(dark, w.Region)
			}
		}
		token = page.NextPageToken
	}
	slices.Sort(dark)
	return slices.Compact(dark), nil
}

// unreached is why instances of some regions are missing from a list.
func unreached(q gcpclient.Question, dark []string) error {
	return fault.Newf(fault.Unavailable, q.Op, "Cloud SQL cannot reach %s; what is there is missing from the list", strings.Join(dark, ", ")).
		Hint("see https://status.cloud.google.com")
}

// isPostgres leaves out other engines, and the stand-ins that Database Migration Service makes for servers elsewhere.
func isPostgres(db *sqladmin.DatabaseInstance) bool {
	return strings.HasPrefix(db.DatabaseVersion, "POSTGRES_") && db.InstanceType != "ON_PREMISES_INSTANCE"
}

// running sets the state of the instances on which an operation runs: a RUNNABLE instance does not tell otherwise. The newest
// operations come first, so one page of them is enough.
func (p *Provider) running(ctx context.Context, api *sqladmin.Service, read reading, name string, instances map[string]*cloud.Instance) {
	call := api.Operations.List(p.project).MaxResults(100).Context(ctx)
	if name != "" {
		call = call.Instance(name).MaxResults(10)
	}
	var page *sqladmin.OperationsListResponse
	if read(ctx, func(context.Context) (err error) { page, err = call.Do(); return err }) != nil {
		return
	}
	for _, o := range page.Items {
		live := instances[o.TargetId]
		if live == nil || o.Status == "DONE" || o.Status == "" || live.State != cloud.Available {
			continue
		}
		live.State = operationState(o.OperationType)
		live.RawState += ", " + o.OperationType + " " + o.Status
	}
}

// Principal is the database user of the identity whose credentials are in use, for a login with IAM: the e-mail address in lower
// case, a service account's without ".gserviceaccount.com". Where it cannot be known, a fault.Config says to name the user.
func (p *Provider) Principal(ctx context.Context) (string, error) {
	ask, cancel := context.WithTimeout(ctx, gcpclient.Timeout)
	defer cancel()
	email, err := p.google.Principal(ask, p.question("find the database user of the Google identity in use", ""))
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(email, ".gserviceaccount.com"), nil
}
