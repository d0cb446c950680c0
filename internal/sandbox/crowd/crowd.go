// Package crowd plays many instances: two accounts of AWS with three regions between them, and two projects of Google Cloud.
//
// Only two servers are real, one of RDS and one of Cloud SQL. All other instances are played by the control planes only, and their addresses are
// those of the two: so a list of a thousand costs no more than the APIs do. What the APIs take is limited as in the clouds, and all that is asked
// of them is counted.
package crowd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/rds"

	"dbops/internal/config"
	"dbops/internal/sandbox/awsid"
	"dbops/internal/sandbox/cwapi"
	"dbops/internal/sandbox/gcpapi"
	"dbops/internal/sandbox/play"
	"dbops/internal/sandbox/rdsapi"
	"dbops/internal/sandbox/seed"
	"dbops/internal/sandbox/world"
	"dbops/internal/secret"
)

// Options say how large a crowd is, and what its clouds take.
type Options struct {
	Dir        string // absolute; reachable by the unprivileged user of the servers. What is in it from before is taken over.
	Instances  int    // at least 10
	Containers int    // each on an RDS instance of its own; at most a tenth of the instances
	// AWS is what RDS takes of an account in a region, Google what the Admin API takes of a user in a project. Zero: all.
	AWS, Google play.Rate
	Log         *slog.Logger // defaults to discarding
}

// Places are where the instances are, and how many of a hundred: an account and region, or a project.
var places = []struct {
	account, region string // of AWS
	project         string // of Google Cloud
	share           int
}{
	{account: "111111111111", region: "eu-west-1", share: 21},
	{account: "111111111111", region: "us-east-1", share: 15},
	{account: "222222222222", region: "eu-central-1", share: 12},
	{project: "crowd-one", share: 51},
	{project: "crowd-two", share: 1},
}

const (
	dbopsUser = "user/dbops"
	robot     = "dbops@crowd-one.iam.gserviceaccount.com"
	database  = "events" // of the containers
)

// Crowd is a running crowd.
type Crowd struct {
	o     Options
	world *world.World
	// Faults are the failures that a place was asked for, by its name: eu-west-1, crowd-one.
	Faults map[string]*play.Faults
	Counts Counts

	aws    map[string]*awsid.Keys // by region
	rds    map[string]*rdsapi.API
	urls   map[string]string // by place
	google *gcpapi.Server
	limits []*play.Limits
	names  map[string][]string // of the instances, by place
	server *world.Server       // of RDS
	http   []*http.Server
	wg     sync.WaitGroup
}

// Start plays a crowd, and writes dbops.yaml and credentials into its folder. The caller closes it.
func Start(ctx context.Context, o Options) (*Crowd, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Instances < 10 || o.Containers < 0 || o.Containers > o.Instances/10 {
		return nil, fmt.Errorf("play a crowd: %d instances with %d containers", o.Instances, o.Containers)
	}
	c := &Crowd{
		o: o, Faults: map[string]*play.Faults{}, aws: map[string]*awsid.Keys{}, rds: map[string]*rdsapi.API{}, urls: map[string]string{},
		names: map[string][]string{},
	}
	if err := c.start(ctx); err != nil {
		return nil, fmt.Errorf("play a crowd in %s: %w", o.Dir, errors.Join(err, c.Close()))
	}
	return c, nil
}

func (c *Crowd) start(ctx context.Context) (err error) {
	if err := os.MkdirAll(c.o.Dir, 0o755); err != nil { //nolint:gosec // the servers' user passes through
		return err
	}
	if c.world, err = world.Open(ctx, world.Options{Dir: filepath.Join(c.o.Dir, "world"), Log: c.o.Log}); err != nil {
		return err
	}
	left := c.o.Instances
	for i, p := range places {
		n := c.o.Instances * p.share / 100
		if i == len(places)-1 {
			n = left
		}
		left -= n
		for k := range n {
			c.names[p.region+p.project] = append(c.names[p.region+p.project], fmt.Sprintf("%s-%04d", p.region+p.project, k+1))
		}
	}
	if err := c.startAWS(ctx); err != nil {
		return err
	}
	if err := c.startGoogle(ctx); err != nil {
		return err
	}
	return c.writeFiles()
}

// Names are the names of the instances of a place, in dbops.yaml as at their provider.
func (c *Crowd) Names(place string) []string { return c.names[place] }

// Hold keeps the answers of a project back until release is called.
func (c *Crowd) Hold(project string) (release func()) { return c.Counts.hold(project) }

// Lift has the clouds take all that is asked of them from now on.
func (c *Crowd) Lift() {
	for _, l := range c.limits {
		l.Lift()
	}
}

// Refused is how many requests were answered with a throttle because of the rate of their caller.
func (c *Crowd) Refused() (n int) {
	for _, l := range c.limits {
		n += l.Refused()
	}
	return n
}

// Close stops everything and waits for it.
func (c *Crowd) Close() error {
	var errs []error
	for _, s := range c.http {
		errs = append(errs, s.Close())
	}
	c.wg.Wait()
	for _, a := range c.rds {
		a.Close()
	}
	if c.google != nil {
		errs = append(errs, c.google.Close())
	}
	if c.world != nil {
		errs = append(errs, c.world.Close())
	}
	return errors.Join(errs...)
}

func (c *Crowd) faults(place string) *play.Faults {
	c.Faults[place] = &play.Faults{}
	return c.Faults[place]
}

func (c *Crowd) limit(r play.Rate) *play.Limits {
	l := play.NewLimits(r)
	c.limits = append(c.limits, l)
	return l
}

func (c *Crowd) startAWS(ctx context.Context) error {
	for _, p := range places {
		if p.region == "" {
			continue
		}
		keysDir, dir := filepath.Join(c.o.Dir, "aws", p.account), filepath.Join(c.o.Dir, "aws", p.region)
		if err := errors.Join(os.MkdirAll(keysDir, 0o700), os.MkdirAll(dir, 0o700)); err != nil {
			return err
		}
		keys, err := awsid.Open(awsid.Config{
			Account: p.account, Region: p.region, Dir: keysDir, Principals: []awsid.Principal{{Name: dbopsUser, Allow: awsid.Actions("*")}},
		})
		if err != nil {
			return err
		}
		faults := c.faults(p.region)
		api, err := rdsapi.New(ctx, rdsapi.Config{World: c.world, Keys: keys, Dir: dir, Faults: faults, Limits: c.limit(c.o.AWS), Log: c.o.Log})
		if err != nil {
			return err
		}
		c.aws[p.region], c.rds[p.region] = keys, api
		if err := c.fillRDS(ctx, p.region); err != nil {
			return err
		}
		watch := cwapi.New(cwapi.Config{Keys: keys, Series: map[string]cwapi.Series{rdsapi.MetricNamespace: api.Metric}, Faults: faults, Log: c.o.Log})
		front := awsid.Front(map[string]http.Handler{"rds": api, "sts": keys.STS(faults), cwapi.Scope: watch})
		if err := c.serve(ctx, p.region, c.Counts.aws(p.region, front)); err != nil {
			return err
		}
	}
	return nil
}

// fillRDS makes the instances of a region. The first one of the first region has the server.
func (c *Crowd) fillRDS(ctx context.Context, region string) error {
	names := c.names[region]
	create := func(i int) rds.CreateDBInstanceInput {
		return rds.CreateDBInstanceInput{
			DBInstanceIdentifier: &names[i], EngineVersion: new(strconv.Itoa(14 + i%4)), MasterUsername: new("postgres"),
			BackupRetentionPeriod: new(int32(7)), MultiAZ: new(i%2 == 0), DeletionProtection: new(i%10 != 9),
		}
	}
	first := 0
	if c.server == nil {
		password := secret.New(adminPassword)
		server, err := c.rds[region].Adopt(ctx, rdsapi.Seed{Create: create(0), Password: password})
		if err != nil {
			return err
		}
		c.server, first = server, 1
		d := seed.Database{Name: database, Owner: database + "_owner", Master: "postgres", Roles: seed.DBOps(password, password, password)}
		for i := range c.o.Containers {
			d.Containers = append(d.Containers, seed.Container{Name: container(i), Access: config.Write, Password: secret.New(containerPassword)})
		}
		if err := seed.Apply(ctx, server.DB, d); err != nil {
			return err
		}
	}
	var all []rdsapi.Hollow
	for i := first; i < len(names); i++ {
		all = append(all, rdsapi.Hollow{Create: create(i), At: c.server.Addr()})
	}
	return c.rds[region].AdoptHollow(all)
}

func (c *Crowd) startGoogle(ctx context.Context) (err error) {
	var projects []string
	for _, p := range places {
		if p.project != "" {
			projects = append(projects, p.project)
		}
	}
	faults := c.faults("google")
	c.google, err = gcpapi.New(ctx, gcpapi.Config{
		World: c.world, Dir: filepath.Join(c.o.Dir, "google"), Projects: projects, Faults: faults, Limits: c.limit(c.o.Google), Log: c.o.Log,
	})
	if err != nil {
		return err
	}
	if err := c.google.Identity().Grant(robot, "roles/owner"); err != nil {
		return err
	}
	at := ""
	var all []gcpapi.Hollow
	for _, project := range projects {
		c.Faults[project] = faults
		for i, name := range c.names[project] {
			a := gcpapi.Attributes{Project: project, Name: name, Major: 14 + i%4, DeletionProtection: i%10 != 9, Password: secret.New(adminPassword)}
			if i%2 == 0 {
				a.Availability = "REGIONAL"
			}
			if at != "" {
				all = append(all, gcpapi.Hollow{Attributes: a, IP: at})
				continue
			}
			server, err := c.google.Adopt(ctx, a)
			if err != nil {
				return err
			}
			if at, _, err = net.SplitHostPort(server.Addr()); err != nil {
				return err
			}
		}
	}
	if err := c.google.AdoptHollow(all); err != nil {
		return err
	}
	return c.serve(ctx, "google", c.Counts.google(c.google))
}

func (c *Crowd) serve(ctx context.Context, place string, h http.Handler) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	c.urls[place] = "http://" + l.Addr().String()
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(c.o.Log.Handler(), slog.LevelDebug)}
	c.http = append(c.http, s)
	c.wg.Go(func() {
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			c.o.Log.Error("an API stopped", "address", l.Addr(), "error", err)
		}
	})
	return nil
}
