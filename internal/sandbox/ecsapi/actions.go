package ecsapi

import (
	"maps"
	"slices"

	"dbops/internal/sandbox/awsid"
	"dbops/internal/sandbox/play"
)

type describeInput struct {
	Cluster  string   `json:"cluster"`
	Services []string `json:"services"`
	Include  []string `json:"include"`
}

type describeOutput struct {
	Services []serviceView `json:"services"`
	Failures []failure     `json:"failures"`
}

type failure struct {
	ARN    string `json:"arn"`
	Reason string `json:"reason"`
}

func (a *API) describeServices(in *describeInput) (*describeOutput, error) {
	if len(in.Services) == 0 || len(in.Services) > 10 {
		return nil, invalid("Services cannot be empty, and there may be ten.")
	}
	for _, what := range in.Include {
		if what != "TAGS" {
			return nil, invalid("Unknown include: %.50s", what)
		}
	}
	cluster, err := a.cluster(in.Cluster)
	if err != nil {
		return nil, err
	}
	out := &describeOutput{Services: []serviceView{}, Failures: []failure{}}
	for _, name := range in.Services {
		if r := a.find(cluster, name); r != nil {
			out.Services = append(out.Services, a.view(r, slices.Contains(in.Include, "TAGS")))
		} else {
			out.Failures = append(out.Failures, failure{a.resource(cluster, name), "MISSING"})
		}
	}
	return out, nil
}

type updateInput struct {
	Cluster            string `json:"cluster"`
	Service            string `json:"service"`
	ForceNewDeployment bool   `json:"forceNewDeployment"`
}

type serviceOutput struct {
	Service serviceView `json:"service"`
}

func (a *API) updateService(in *updateInput) (*serviceOutput, error) {
	cluster, err := a.cluster(in.Cluster)
	if err != nil {
		return nil, err
	}
	r := a.find(cluster, in.Service)
	if r == nil {
		return nil, awsid.Newf(400, "ServiceNotFoundException", "Service not found.")
	}
	if in.ForceNewDeployment {
		a.begin(r, a.cfg.Faults.Take(service, "UpdateService", r.Name, play.Fail, play.Hang))
		if err := a.save(); err != nil {
			return nil, err
		}
	}
	return &serviceOutput{a.view(r, false)}, nil
}

type listInput struct {
	Cluster string `json:"cluster"`
}

type listOutput struct {
	ServiceARNs []string `json:"serviceArns"`
}

func (a *API) listServices(in *listInput) (*listOutput, error) {
	cluster, err := a.cluster(in.Cluster)
	if err != nil {
		return nil, err
	}
	out := &listOutput{ServiceARNs: []string{}}
	for _, r := range a.services {
		if r.Cluster == cluster {
			out.ServiceARNs = append(out.ServiceARNs, a.serviceARN(r))
		}
	}
	return out, nil
}

type taskDefinitionInput struct {
	TaskDefinition string `json:"taskDefinition"`
}

type (
	taskDefinitionOutput struct {
		TaskDefinition taskDefinition `json:"taskDefinition"`
	}
	taskDefinition struct {
		ARN         string       `json:"taskDefinitionArn"`
		Family      string       `json:"family"`
		Revision    int          `json:"revision"`
		Status      string       `json:"status"`
		NetworkMode string       `json:"networkMode"`
		Containers  []definition `json:"containerDefinitions"`
	}
	definition struct {
		Name      string      `json:"name"`
		Image     string      `json:"image"`
		Essential bool        `json:"essential"`
		Secrets   []secretRef `json:"secrets"`
	}
	secretRef struct {
		Name      string `json:"name"`
		ValueFrom string `json:"valueFrom"`
	}
)

func (a *API) describeTaskDefinition(in *taskDefinitionInput) (*taskDefinitionOutput, error) {
	for _, r := range a.services {
		arn := a.taskDefinition(r)
		if in.TaskDefinition != arn && in.TaskDefinition != short(arn) && in.TaskDefinition != family(r) {
			continue
		}
		// The stage AWSCURRENT is what a reference without one means.
		return &taskDefinitionOutput{taskDefinition{
			ARN: arn, Family: family(r), Revision: 1, Status: "ACTIVE", NetworkMode: "awsvpc",
			Containers: []definition{{
				Name: r.Name, Image: r.seed.Image, Essential: true,
				Secrets: []secretRef{{Name: "DATABASE_CREDENTIAL", ValueFrom: r.seed.Secret}},
			}},
		}}, nil
	}
	return nil, awsid.Newf(400, "ClientException", "Unable to describe task definition.")
}

type tagInput struct {
	ResourceARN string `json:"resourceArn"`
	Tags        []tag  `json:"tags"`
}

type empty struct{}

func (a *API) tagResource(in *tagInput) (*empty, error) {
	r, err := a.byARN(in.ResourceARN)
	if err != nil {
		return nil, err
	}
	if r.Tags == nil {
		r.Tags = map[string]string{}
	}
	for _, t := range in.Tags {
		if t.Key == "" || len(t.Key) > 128 || len(t.Value) > 256 {
			return nil, invalid("A tag has a key of 1 to 128 and a value of up to 256 characters.")
		}
		r.Tags[t.Key] = t.Value
	}
	return &empty{}, a.save()
}

type untagInput struct {
	ResourceARN string   `json:"resourceArn"`
	TagKeys     []string `json:"tagKeys"`
}

func (a *API) untagResource(in *untagInput) (*empty, error) {
	r, err := a.byARN(in.ResourceARN)
	if err != nil {
		return nil, err
	}
	for _, k := range in.TagKeys {
		delete(r.Tags, k)
	}
	return &empty{}, a.save()
}

type resourceInput struct {
	ResourceARN string `json:"resourceArn"`
}

type tagsOutput struct {
	Tags []tag `json:"tags"`
}

func (a *API) listTags(in *resourceInput) (*tagsOutput, error) {
	r, err := a.byARN(in.ResourceARN)
	if err != nil {
		return nil, err
	}
	return &tagsOutput{r.tags()}, nil
}

func (r *record) tags() []tag {
	out := []tag{}
	for _, k := range slices.Sorted(maps.Keys(r.Tags)) {
		out = append(out, tag{k, r.Tags[k]})
	}
	return out
}

// cluster is the short name of a cluster that exists.
func (a *API) cluster(name string) (string, error) {
	name = short(or(name, "default"))
	for _, r := range a.services {
		if r.Cluster == name {
			return name, nil
		}
	}
	return "", awsid.Newf(400, "ClusterNotFoundException", "Cluster not found.")
}

func (a *API) find(cluster, name string) *record {
	for _, r := range a.services {
		if r.Cluster == cluster && (r.Name == name || a.serviceARN(r) == name) {
			return r
		}
	}
	return nil
}

func (a *API) byARN(arn string) (*record, error) {
	for _, r := range a.services {
		if a.serviceARN(r) == arn {
			return r, nil
		}
	}
	return nil, invalid("The specified resource cannot be found: %.200s", arn)
}

func invalid(format string, args ...any) error {
	return awsid.Newf(400, "InvalidParameterException", format, args...)
}
