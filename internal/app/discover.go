package app

import (
	"cmp"
	"context"
	"slices"

	"dbops/internal/cloud"
	"dbops/internal/cloud/cloudsql"
	"dbops/internal/cloud/rds"
	"dbops/internal/config"
)

// DiscoverOptions say where to look for instances. What is empty is not looked at.
type DiscoverOptions struct {
	Regions          []string // AWS regions
	Profile          string   // of the AWS configuration
	Projects         []string // Google Cloud projects
	CloudSQLEndpoint string   // of an emulator

	// Label keeps only the instances that bear this tag (rds) or label (cloudsql). Empty keeps all.
	LabelKey, LabelValue string
}

// Discover lists the PostgreSQL instances that the credentials in use may see, ready to be put into a new dbops.yaml. It returns
// what it found together with the error of each place that could not be asked, or not wholly.
func Discover(ctx context.Context, o DiscoverOptions) ([]config.Discovered, []error) {
	var found []config.Discovered
	var errs []error
	look := func(p cloud.Provider, err error, entry func(*cloud.Instance) config.Instance) {
		if err != nil {
			errs = append(errs, err)
			return
		}
		all, err := p.List(ctx)
		if err != nil { // what it found beside counts all the same
			errs = append(errs, err)
		}
		for _, live := range all {
			found = o.add(found, live, entry(live))
		}
	}
	for _, region := range o.Regions {
		p, err := rds.New(ctx, rds.Options{Region: region, Profile: o.Profile})
		look(p, err, func(live *cloud.Instance) config.Instance {
			return config.Instance{RDS: &config.RDS{Region: region, Identifier: live.Name, Profile: o.Profile}}
		})
	}
	for _, project := range o.Projects {
		p, err := cloudsql.New(ctx, cloudsql.Options{Project: project, Endpoint: o.CloudSQLEndpoint})
		look(p, err, func(live *cloud.Instance) config.Instance {
			return config.Instance{CloudSQL: &config.CloudSQL{
				Project: project, Region: live.Region, Instance: live.Name, Endpoint: o.CloudSQLEndpoint,
			}}
		})
	}
	slices.SortStableFunc(found, func(a, b config.Discovered) int {
		return cmp.Or(cmp.Compare(a.Environment, b.Environment), cmp.Compare(a.Name, b.Name))
	})
	return found, errs
}

func (o DiscoverOptions) add(found []config.Discovered, live *cloud.Instance, inst config.Instance) []config.Discovered {
	if o.LabelKey != "" {
		if v, ok := live.Labels[o.LabelKey]; !ok || (o.LabelValue != "" && v != o.LabelValue) {
			return found
		}
	}
	return append(found, config.Discovered{Environment: config.GuessEnvironment(live.Labels, live.Name), Name: live.Name, Instance: inst})
}
