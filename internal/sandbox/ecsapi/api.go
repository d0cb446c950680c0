// Package ecsapi plays Amazon ECS: services whose deployments replace the tasks of a workload, over its JSON protocol.
//
// A deployment takes its time, starts tasks, and ends the old ones when the new ones run; one whose tasks do not start is given up by the
// circuit breaker after three tries and rolled back. Clusters, services and task definitions are what [Config] says: they are not made or
// changed here, and what a request asks for beyond a deployment is refused, never ignored.
package ecsapi

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"dbops/internal/sandbox/awsid"
	"dbops/internal/sandbox/play"
)

const (
	service   = "ecs" // in signatures, permissions and faults
	target    = "AmazonEC2ContainerServiceV20141113."
	storeFile = "ecs.json"
)

// Workload is what runs as the tasks of a service.
type Workload interface {
	// Rollout starts new tasks and ends the old ones when the new ones work. If they do not, the old ones go on.
	Rollout(ctx context.Context) error
}

// Seed is one service that exists.
type Seed struct {
	Cluster, Name string
	Image         string
	Secret        string // ARN or name of the secret that its tasks read
	Workload      Workload
}

// Config is what an [API] stands on.
type Config struct {
	Keys   *awsid.Keys // also says account and region
	Dir    string      // where the services' history is kept
	Pace   play.Pace
	Faults *play.Faults // service "ecs"; nil: none
	Log    *slog.Logger // defaults to discarding
}

// API is the played ECS.
type API struct {
	cfg  Config
	ops  map[string]operation
	ctx  context.Context //nolint:containedctx // ends with Close: deployments outlive the request that starts them
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu       sync.Mutex
	services []*record
	saved    map[string]*record // by cluster/name, of an earlier run
}

// New brings back the history of cfg.Dir. The caller adds services and closes it.
func New(ctx context.Context, cfg Config) (*API, error) {
	if cfg.Faults == nil {
		cfg.Faults = &play.Faults{}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	a := &API{cfg: cfg, saved: map[string]*record{}}
	if _, err := play.Load(cfg.Dir, storeFile, &a.saved); err != nil {
		return nil, fmt.Errorf("open the played ECS: %w", err)
	}
	a.ctx, a.stop = context.WithCancel(context.WithoutCancel(ctx))
	a.ops = map[string]operation{
		"DescribeServices":       op(a.describeServices, func(in *describeInput) (string, string) { return in.Cluster, strings.Join(in.Services, ",") }),
		"UpdateService":          op(a.updateService, func(in *updateInput) (string, string) { return in.Cluster, in.Service }),
		"ListServices":           op(a.listServices, func(in *listInput) (string, string) { return in.Cluster, "*" }),
		"DescribeTaskDefinition": op(a.describeTaskDefinition, func(*taskDefinitionInput) (string, string) { return "", "" }),
		"TagResource":            op(a.tagResource, func(in *tagInput) (string, string) { return "", in.ResourceARN }),
		"UntagResource":          op(a.untagResource, func(in *untagInput) (string, string) { return "", in.ResourceARN }),
		"ListTagsForResource":    op(a.listTags, func(in *resourceInput) (string, string) { return "", in.ResourceARN }),
	}
	return a, nil
}

// Add makes a service that runs since now or, if it was there in an earlier run, since then.
func (a *API) Add(s Seed) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := a.saved[s.Cluster+"/"+s.Name]
	if r == nil {
		now := time.Now().UTC()
		d := newDeployment(now)
		d.State, d.Reason, d.Running, d.Pending = completed, "ECS deployment "+d.ID+" completed.", 1, 0
		r = &record{Cluster: s.Cluster, Name: s.Name, Created: now, Deployments: []*deployment{d}}
	}
	r.seed = s
	r.wake()
	a.services = append(a.services, r)
	return a.save()
}

// Close ends the deployments that are under way and waits for them.
func (a *API) Close() {
	a.stop()
	a.wg.Wait()
}

// operation is one action: decode makes its input, about names the cluster and the service it is about, do does it under the lock.
type operation struct {
	decode func([]byte) (any, error)
	about  func(any) (cluster, service string)
	do     func(any) (any, error)
}

func op[I, O any](do func(*I) (*O, error), about func(*I) (string, string)) operation {
	return operation{
		decode: func(body []byte) (any, error) {
			in := new(I)
			return in, awsid.DecodeJSON(body, in)
		},
		about: func(in any) (string, string) {
			i, _ := in.(*I)
			return about(i)
		},
		do: func(in any) (any, error) {
			i, ok := in.(*I)
			if !ok {
				return nil, fmt.Errorf("a %T is not a %T", in, i)
			}
			return do(i)
		},
	}
}

// ServeHTTP answers one request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	action := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), target)
	out, err := a.serve(r, action)
	if err != nil {
		a.cfg.Log.LogAttrs(r.Context(), slog.LevelDebug, "ecs request refused", slog.String("action", action), slog.Any("error", err))
	} else {
		a.cfg.Log.LogAttrs(r.Context(), slog.LevelDebug, "ecs request", slog.String("action", action))
	}
	awsid.WriteJSON(w, out, err)
}

func (a *API) serve(r *http.Request, action string) (any, error) {
	body, err := awsid.ReadBody(r)
	if err != nil {
		return nil, err
	}
	caller, err := a.cfg.Keys.Verify(r, body, service)
	if err != nil {
		return nil, err
	}
	o, ok := a.ops[action]
	if !ok {
		return nil, awsid.NotEmulated("ecs " + action)
	}
	in, err := o.decode(body)
	if err != nil {
		return nil, err
	}
	cluster, name := o.about(in)
	resource := a.resource(cluster, name)
	if err := caller.Authorize(service+":"+action, resource); err != nil {
		return nil, err
	}
	if err := awsid.Injected(a.cfg.Faults, caller, service, action, short(name), resource); err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return o.do(in)
}

// resource is the ARN that a permission is about.
func (a *API) resource(cluster, name string) string {
	switch {
	case strings.HasPrefix(name, "arn:"):
		return name
	case name == "":
		return "*"
	}
	return a.arn("service/" + short(or(cluster, "default")) + "/" + name)
}

func (a *API) arn(rest string) string {
	return "arn:aws:ecs:" + a.cfg.Keys.Region() + ":" + a.cfg.Keys.Account() + ":" + rest
}

// short is a name by itself or at the end of an ARN.
func short(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }

func or(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}

// save keeps the history. The caller holds the lock.
func (a *API) save() error {
	for _, r := range a.services {
		a.saved[r.Cluster+"/"+r.Name] = r
	}
	return play.Save(a.cfg.Dir, storeFile, a.saved)
}
