package rds

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"

	"dbops/internal/cloud"
	"dbops/internal/cloud/awsclient"
	"dbops/internal/fault"
)

// most is how many parameters RDS takes at once.
const most = 20

// groupPlan is the parameter group of a new instance.
type groupPlan struct {
	name   string // empty: the default one of the family
	like   string // the source's
	family string
	set    map[string]string // what somebody set in the source's, and the new family knows
	lost   []string
}

// planGroup works out the parameter group of a new major. The source's own becomes one of the new family.
func (p *Provider) planGroup(ctx context.Context, source types.DBInstance, r cloud.Provision) (groupPlan, error) {
	g := groupPlan{family: engine + strconv.Itoa(r.Major), set: map[string]string{}}
	known, err := p.defaults(ctx, g.family)
	if err != nil {
		return g, err
	}
	if groups := source.DBParameterGroups; len(groups) > 0 {
		g.like = aws.ToString(groups[0].DBParameterGroupName)
	}
	if g.like != "" && !strings.HasPrefix(g.like, "default.") {
		g.name = groupName(r)
		user, err := p.userSet(ctx, g.like)
		if err != nil {
			return g, err
		}
		g.carry(user, known)
	}
	mode, _ := p.forceSSL(ctx, source, once)
	const insists = "rds.force_ssl"
	if d := aws.ToString(known[insists].ParameterValue); g.set[insists] == "" && mode != "" && d != "" && mode != insists+"="+d {
		g.lost = append(g.lost, fmt.Sprintf("parameter %s: %s, the default of %s, not %s", insists, d, g.family, strings.TrimPrefix(mode, insists+"=")))
	}
	return g, nil
}

// carry takes over what the new family knows.
func (g *groupPlan) carry(user []types.Parameter, known map[string]types.Parameter) {
	for _, p := range user {
		name, value := aws.ToString(p.ParameterName), aws.ToString(p.ParameterValue)
		k, there := known[name]
		kept := fit(p, k)
		if kept != "" {
			g.set[name] = kept
		}
		var why string
		switch {
		case kept == value:
			continue
		case !there:
			why = g.family + " does not know it"
		case !aws.ToBool(k.IsModifiable):
			why = g.family + " does not let it be set"
		case kept != "":
			why = "only " + kept + ", the rest is not allowed in " + g.family
		default:
			why = "not allowed in " + g.family
		}
		g.lost = append(g.lost, fmt.Sprintf("parameter %s=%s: %s", name, value, why))
	}
}

// fit is what of the value of a parameter the new family allows. What the old one allowed in the same words is good.
func fit(p, known types.Parameter) string {
	value, allowed := aws.ToString(p.ParameterValue), aws.ToString(known.AllowedValues)
	switch {
	case !aws.ToBool(known.IsModifiable):
		return ""
	case allowed == "", allowed == aws.ToString(p.AllowedValues), strings.Contains(value, "{"):
		return value
	case aws.ToString(known.DataType) != "list":
		if permits(allowed, value) {
			return value
		}
		return ""
	}
	words := strings.Split(value, ",")
	kept := slices.DeleteFunc(slices.Clone(words), func(w string) bool { return !permits(allowed, strings.TrimSpace(w)) })
	if len(kept) == len(words) {
		return value
	}
	return strings.Join(kept, ",")
}

// permits tells whether a value is among those that RDS writes as "on,off", "0-100" or "-1-2147483647". What is written in another way
// is left to RDS.
func permits(allowed, value string) bool {
	n, err := strconv.ParseFloat(value, 64)
	for item := range strings.SplitSeq(allowed, ",") {
		item = strings.TrimSpace(item)
		if item == value || strings.ContainsAny(item, `[]*^$\(`) {
			return true
		}
		i := strings.Index(item[min(1, len(item)):], "-")
		if err != nil || i < 0 {
			continue
		}
		low, lowErr := strconv.ParseFloat(item[:i+1], 64)
		high, highErr := strconv.ParseFloat(item[i+2:], 64)
		if lowErr == nil && highErr == nil && low <= n && n <= high {
			return true
		}
	}
	return false
}

// groupName is that of the parameter group which is made for a new instance: whoever asks again with the same labels finds it.
func groupName(r cloud.Provision) string {
	b, _ := json.Marshal(r.Labels) // in the order of the keys; texts always marshal
	sum := sha256.Sum256(append([]byte(r.Source+" "+r.Target+" "), b...))
	return fmt.Sprintf("%s-pg%d-%x", strings.ToLower(r.Target), r.Major, sum[:4])
}

// defaults are the parameters of a family, by name.
func (p *Provider) defaults(ctx context.Context, family string) (map[string]types.Parameter, error) {
	all := map[string]types.Parameter{}
	pages := sdk.NewDescribeEngineDefaultParametersPaginator(p.api, &sdk.DescribeEngineDefaultParametersInput{DBParameterGroupFamily: &family})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		if page.EngineDefaults == nil {
			break
		}
		for _, d := range page.EngineDefaults.Parameters {
			all[aws.ToString(d.ParameterName)] = d
		}
	}
	return all, nil
}

// userSet are the parameters of a group that somebody set, by name.
func (p *Provider) userSet(ctx context.Context, group string) ([]types.Parameter, error) {
	var all []types.Parameter
	pages := sdk.NewDescribeDBParametersPaginator(p.api, &sdk.DescribeDBParametersInput{DBParameterGroupName: &group, Source: aws.String("user")})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, param := range page.Parameters {
			if param.ParameterValue != nil {
				all = append(all, param)
			}
		}
	}
	slices.SortFunc(all, func(a, b types.Parameter) int {
		return strings.Compare(aws.ToString(a.ParameterName), aws.ToString(b.ParameterName))
	})
	return all, nil
}

// makeGroup makes the parameter group, or goes on with the one of an earlier try. Nothing uses it yet.
func (p *Provider) makeGroup(ctx context.Context, op string, m *blueprint, r cloud.Provision) error {
	g := m.group
	if g.name == "" {
		return nil
	}
	_, err := p.api.CreateDBParameterGroup(ctx, &sdk.CreateDBParameterGroupInput{
		DBParameterGroupName: &g.name, DBParameterGroupFamily: &g.family, Tags: tags(m.source.TagList, r.Labels),
		Description: aws.String(g.like + " for " + strings.ToLower(r.Target)),
	})
	if err = p.aws.Fault(ctx, op, err); errors.Is(err, cloud.ErrExists) {
		_, err = p.ownGroup(ctx, op, r)
	}
	if err != nil {
		return err
	}
	for names := range slices.Chunk(slices.Sorted(maps.Keys(g.set)), most) {
		in := &sdk.ModifyDBParameterGroupInput{DBParameterGroupName: &g.name}
		for _, n := range names {
			in.Parameters = append(in.Parameters, types.Parameter{
				ParameterName: &n, ParameterValue: aws.String(g.set[n]), ApplyMethod: types.ApplyMethodPendingReboot, // the one that all take
			})
		}
		if _, err := p.api.ModifyDBParameterGroup(ctx, in); err != nil {
			return err
		}
	}
	return nil
}

// ownGroup returns whether the parameter group of a provision is there. One of its name that is not its own is an error.
func (p *Provider) ownGroup(ctx context.Context, op string, r cloud.Provision) (bool, error) {
	name := groupName(r)
	out, err := p.api.DescribeDBParameterGroups(ctx, &sdk.DescribeDBParameterGroupsInput{DBParameterGroupName: &name})
	switch {
	case p.isGone(ctx, err):
		return false, nil
	case err != nil:
		return false, err
	case len(out.DBParameterGroups) != 1:
		return false, nil
	}
	tagged, err := p.api.ListTagsForResource(ctx, &sdk.ListTagsForResourceInput{ResourceName: out.DBParameterGroups[0].DBParameterGroupArn})
	if err != nil {
		return false, err
	}
	live := instance(types.DBInstance{TagList: tagged.TagList}, p.aws.Config.Region)
	if !cloud.Labelled(live, r.Labels) || aws.ToString(out.DBParameterGroups[0].DBParameterGroupFamily) != engine+strconv.Itoa(r.Major) {
		why := "a parameter group " + name + " is there, and has not the labels or the family of the one that was asked for"
		return false, fault.New(fault.Invalid, op, cloud.Because(why, cloud.ErrExists)).Hint("look who made it; then remove it, or choose another name for the instance")
	}
	return true, nil
}

// missing tells what of its parameters a new instance has not.
func (p *Provider) missing(ctx context.Context, g groupPlan, target *cloud.Instance) ([]string, error) {
	if g.name == "" {
		return nil, nil
	}
	var lost []string
	if has := aspects(target)["parameter group"]; has != g.name {
		return append(lost, "parameter group: "+or(has)+", not "+g.name), nil
	}
	user, err := p.userSet(ctx, g.name)
	if err != nil {
		return nil, err
	}
	left := maps.Clone(g.set)
	for _, param := range user {
		if n := aws.ToString(param.ParameterName); left[n] == aws.ToString(param.ParameterValue) {
			delete(left, n)
		}
	}
	for _, n := range slices.Sorted(maps.Keys(left)) {
		lost = append(lost, "parameter "+n+"="+left[n]+": "+g.name+" has not got it")
	}
	for _, c := range target.Pending {
		if c.Setting == pendingGroup {
			lost = append(lost, "parameters that need a restart: "+c.To)
		}
	}
	return lost, nil
}

// encryption compares how the storage of two instances is encrypted.
func encryption(source, target *cloud.Instance) []string {
	key := func(live *cloud.Instance) string {
		var db struct {
			StorageEncrypted bool
			KmsKeyId         string
		}
		_ = json.Unmarshal(live.Raw, &db) // what cannot be read is not compared
		if !db.StorageEncrypted {
			return "none"
		}
		return db.KmsKeyId
	}
	if a, b := key(source), key(target); a != b {
		return []string{"encryption key: " + b + ", not " + a}
	}
	return nil
}

// Discard removes the parameter group that was made for a new instance.
func (p *Provider) Discard(ctx context.Context, r cloud.Provision) error {
	op := p.op("remove the parameter group of", r.Target)
	if err := p.check(op, r.Target); err != nil {
		return err
	}
	ask, cancel := context.WithTimeout(ctx, awsclient.Timeout)
	defer cancel()
	there, err := p.ownGroup(ask, op, r)
	if err != nil || !there {
		return p.aws.Fault(ctx, op, err)
	}
	name := groupName(r)
	_, err = p.api.DeleteDBParameterGroup(ask, &sdk.DeleteDBParameterGroupInput{DBParameterGroupName: &name})
	if p.isGone(ctx, err) {
		return nil
	}
	return p.aws.Fault(ctx, op, err)
}
