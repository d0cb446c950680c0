package rdsapi

import (
	"context"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"

	"dbops/internal/sandbox/awsid"
)

// group is a parameter group that somebody made.
type group struct {
	DB   types.DBParameterGroup `json:"db"`
	Tags []types.Tag            `json:"tags"`
	Set  map[string]string      `json:"set"` // what somebody set
}

// maxModified is how many parameters one request may set.
const maxModified = 20

var groupForm = regexp.MustCompile(`^[a-z](?:-?[a-z0-9.])*$`)

// groupOperations are those on parameter groups.
func (a *API) groupOperations() []operation {
	of := func(name *string) about { return about{kind: "pg", id: value(name)} }
	return []operation{
		op(a.describeDBParameterGroups, func(in *rds.DescribeDBParameterGroupsInput) about { return of(in.DBParameterGroupName) },
			"DBParameterGroupName", "Marker", "MaxRecords"),
		op(a.describeDBParameters, func(in *rds.DescribeDBParametersInput) about { return of(in.DBParameterGroupName) },
			"DBParameterGroupName", "Source", "Filters", "Marker", "MaxRecords"),
		op(a.describeEngineDefaultParameters, func(*rds.DescribeEngineDefaultParametersInput) about { return about{} },
			"DBParameterGroupFamily", "Marker", "MaxRecords"),
		op(a.createDBParameterGroup, func(in *rds.CreateDBParameterGroupInput) about { return of(in.DBParameterGroupName) },
			"DBParameterGroupName", "DBParameterGroupFamily", "Description", "Tags"),
		op(a.modifyDBParameterGroup, func(in *rds.ModifyDBParameterGroupInput) about { return of(in.DBParameterGroupName) },
			"DBParameterGroupName", "Parameters"),
		op(a.deleteDBParameterGroup, func(in *rds.DeleteDBParameterGroupInput) about { return of(in.DBParameterGroupName) },
			"DBParameterGroupName"),
	}
}

func groupMissing(name string) error {
	return awsid.Newf(404, "DBParameterGroupNotFound", "DBParameterGroup not found: %s", name)
}

// groups are the parameter groups, the default ones and those that somebody made: all, or the one of that name. The caller holds the lock.
func (a *API) groups(name *string) ([]group, error) {
	all := make([]group, 0, len(a.versions)+len(a.state.Groups))
	for m := range a.versions {
		family := "postgres" + strconv.Itoa(m)
		all = append(all, group{DB: types.DBParameterGroup{
			DBParameterGroupName: new("default." + family), DBParameterGroupFamily: &family, DBParameterGroupArn: new(a.arn("pg", "default."+family)),
			Description: new("Default parameter group for " + family),
		}})
	}
	for _, g := range a.state.Groups {
		all = append(all, clone(*g))
	}
	if name == nil {
		return all, nil
	}
	all = slices.DeleteFunc(all, func(g group) bool { return *g.DB.DBParameterGroupName != fold(*name) })
	if len(all) == 0 {
		return nil, groupMissing(*name)
	}
	return all, nil
}

// major is that of the family of a group.
func (g group) major() int {
	return major(strings.TrimPrefix(value(g.DB.DBParameterGroupFamily), "postgres"))
}

// fits refuses a parameter group that is not there, or is of another family. The caller holds the lock.
func (a *API) fits(name *string, major int) error {
	if name == nil {
		return nil
	}
	all, err := a.groups(name)
	if err != nil {
		return err
	}
	if all[0].major() != major {
		return combination("The Parameter Group %s with DBParameterGroupFamily %s can't be used for this instance. Please use a Parameter Group "+
			"with DBParameterGroupFamily postgres%d", *name, *all[0].DB.DBParameterGroupFamily, major)
	}
	return nil
}

// users are the instances that have a group. The caller holds the lock.
func (a *API) users(name string) (ids []string) {
	for id, in := range a.state.Instances {
		if slices.ContainsFunc(in.DB.DBParameterGroups, func(s types.DBParameterGroupStatus) bool { return value(s.DBParameterGroupName) == name }) {
			ids = append(ids, id)
		}
	}
	return ids
}

// settings are what the parameter group of an instance sets on its server. The caller does not hold the lock.
func (a *API) settings(in *instance) map[string]string {
	a.mu.Lock()
	defer a.mu.Unlock()
	g := a.state.Groups[value(in.DB.DBParameterGroups[0].DBParameterGroupName)]
	if g == nil {
		return nil
	}
	out := map[string]string{}
	for _, p := range family(in.Major) {
		if v, ok := g.Set[p.name]; ok && !p.own {
			out[p.name] = v
		}
	}
	return out
}

func (a *API) describeDBParameterGroups(_ context.Context, in *rds.DescribeDBParameterGroupsInput) (*rds.DescribeDBParameterGroupsOutput, error) {
	a.mu.Lock()
	all, err := a.groups(in.DBParameterGroupName)
	a.mu.Unlock()
	if err != nil {
		return nil, err
	}
	found, marker, err := page(all, func(g group) string { return *g.DB.DBParameterGroupName }, in.Marker, in.MaxRecords)
	if err != nil {
		return nil, err
	}
	out := make([]types.DBParameterGroup, 0, len(found))
	for _, g := range found {
		out = append(out, g.DB)
	}
	return &rds.DescribeDBParameterGroupsOutput{DBParameterGroups: out, Marker: marker}, nil
}

// describeDBParameters tells of RDS's own what holds for every real server: TLS is required, and passwords are kept as SCRAM verifiers.
func (a *API) describeDBParameters(_ context.Context, in *rds.DescribeDBParametersInput) (*rds.DescribeDBParametersOutput, error) {
	if in.DBParameterGroupName == nil {
		return nil, awsid.Newf(400, "MissingParameter", "The request must contain the parameter DBParameterGroupName.")
	}
	a.mu.Lock()
	groups, err := a.groups(in.DBParameterGroupName)
	a.mu.Unlock()
	if err != nil {
		return nil, err
	}
	var all []types.Parameter
	for _, p := range family(groups[0].major()) {
		var set *string
		if v, ok := groups[0].Set[p.name]; ok {
			set = &v
		}
		if d := p.described(set); matches(in.Source, *d.Source) {
			all = append(all, d)
		}
	}
	all, err = filter(all, in.Filters, map[string]func(types.Parameter) []string{
		"parameter-name": func(p types.Parameter) []string { return []string{*p.ParameterName} },
	})
	if err != nil {
		return nil, err
	}
	out, marker, err := page(all, func(p types.Parameter) string { return *p.ParameterName }, in.Marker, in.MaxRecords)
	if err != nil {
		return nil, err
	}
	return &rds.DescribeDBParametersOutput{Parameters: out, Marker: marker}, nil
}

func (a *API) describeEngineDefaultParameters(
	_ context.Context, in *rds.DescribeEngineDefaultParametersInput,
) (*rds.DescribeEngineDefaultParametersOutput, error) {
	m, err := a.knownFamily(in.DBParameterGroupFamily)
	if err != nil {
		return nil, err
	}
	var all []types.Parameter
	for _, p := range family(m) {
		all = append(all, p.described(nil))
	}
	out, marker, err := page(all, func(p types.Parameter) string { return *p.ParameterName }, in.Marker, in.MaxRecords)
	if err != nil {
		return nil, err
	}
	return &rds.DescribeEngineDefaultParametersOutput{EngineDefaults: &types.EngineDefaults{
		DBParameterGroupFamily: in.DBParameterGroupFamily, Marker: marker, Parameters: out,
	}}, nil
}

// knownFamily is the major of a family.
func (a *API) knownFamily(name *string) (int, error) {
	for m := range a.versions {
		if value(name) == "postgres"+strconv.Itoa(m) {
			return m, nil
		}
	}
	return 0, invalid("ParameterGroupFamily %s is not a valid parameter group family", value(name))
}

func (a *API) createDBParameterGroup(_ context.Context, in *rds.CreateDBParameterGroupInput) (*rds.CreateDBParameterGroupOutput, error) {
	name := fold(value(in.DBParameterGroupName))
	if _, err := a.knownFamily(in.DBParameterGroupFamily); err != nil {
		return nil, err
	}
	switch {
	case len(name) > 255 || !groupForm.MatchString(name) || strings.HasPrefix(name, "default."):
		return nil, invalid("The parameter DBParameterGroupName is not a valid identifier: %s", name)
	case value(in.Description) == "":
		return nil, awsid.Newf(400, "MissingParameter", "The request must contain the parameter Description.")
	}
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.state.Groups[name] != nil {
		return nil, awsid.Newf(400, "DBParameterGroupAlreadyExists", "Parameter group %s already exists", name)
	}
	g := &group{Tags: sortTags(in.Tags), Set: map[string]string{}, DB: types.DBParameterGroup{
		DBParameterGroupName: &name, DBParameterGroupFamily: in.DBParameterGroupFamily, DBParameterGroupArn: new(a.arn("pg", name)), Description: in.Description,
	}}
	a.state.Groups[name] = g
	a.save()
	return &rds.CreateDBParameterGroupOutput{DBParameterGroup: new(clone(g.DB))}, nil
}

// ownGroup is a group that may be changed: one that somebody made. The caller holds the lock.
func (a *API) ownGroup(name *string) (*group, error) {
	if g := a.state.Groups[fold(value(name))]; g != nil {
		return g, nil
	}
	if _, err := a.groups(new(value(name))); err != nil {
		return nil, err
	}
	return nil, invalid("The parameter DBParameterGroupName is not a valid name: a default parameter group cannot be changed")
}

// modifyDBParameterGroup sets parameters before an instance has the group. What happens to servers that run is not played.
func (a *API) modifyDBParameterGroup(_ context.Context, in *rds.ModifyDBParameterGroupInput) (*rds.ModifyDBParameterGroupOutput, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	g, err := a.ownGroup(in.DBParameterGroupName)
	if err != nil {
		return nil, err
	}
	name := *g.DB.DBParameterGroupName
	switch n := len(in.Parameters); {
	case n == 0 || n > maxModified:
		return nil, invalid("The request must contain 1 to %d parameters, not %d", maxModified, n)
	case len(a.users(name)) > 0:
		return nil, notEmulated("a change of parameter group " + name + ", which instances have")
	}
	known := family(g.major())
	for _, p := range in.Parameters {
		i := slices.IndexFunc(known, func(k parameter) bool { return k.name == value(p.ParameterName) })
		switch {
		case i < 0:
			return nil, invalid("Could not find parameter with name: %s", value(p.ParameterName))
		case known[i].fixed != "":
			return nil, invalid("The parameter %s cannot be modified.", known[i].name)
		case !known[i].allows(value(p.ParameterValue)):
			return nil, invalid("Invalid parameter value: %s for: %s allowed values are: %s", value(p.ParameterValue), known[i].name, known[i].allowed)
		case known[i].static && p.ApplyMethod != types.ApplyMethodPendingReboot:
			return nil, combination("cannot use immediate apply method for static parameter")
		case p.ApplyMethod == "":
			return nil, awsid.Newf(400, "MissingParameter", "The request must contain the parameter ApplyMethod.")
		}
	}
	for _, p := range in.Parameters {
		g.Set[*p.ParameterName] = value(p.ParameterValue)
	}
	a.save()
	return &rds.ModifyDBParameterGroupOutput{DBParameterGroupName: &name}, nil
}

func (a *API) deleteDBParameterGroup(_ context.Context, in *rds.DeleteDBParameterGroupInput) (*rds.DeleteDBParameterGroupOutput, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	g, err := a.ownGroup(in.DBParameterGroupName)
	if err != nil {
		return nil, err
	}
	name := *g.DB.DBParameterGroupName
	if ids := a.users(name); len(ids) > 0 {
		return nil, awsid.Newf(400, "InvalidDBParameterGroupState", "One or more database instances are still members of this parameter group %s, "+
			"so the group cannot be deleted", name)
	}
	delete(a.state.Groups, name)
	a.save()
	return &rds.DeleteDBParameterGroupOutput{}, nil
}
