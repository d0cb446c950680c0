package rdsapi

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"

	"dbops/internal/sandbox/awsid"
)

const maxTags = 50

func checkTags(tags []types.Tag) error {
	if len(tags) > maxTags {
		return awsid.Newf(400, "TagQuotaExceeded", "a resource has at most %d tags", maxTags)
	}
	for _, t := range tags {
		if k := value(t.Key); k == "" || len(k) > 128 || len(value(t.Value)) > 256 || strings.HasPrefix(k, "aws:") {
			return invalid("Invalid tag key: %q", k)
		}
	}
	return nil
}

// sortTags is a copy of tags by key, the last of each key.
func sortTags(tags []types.Tag) []types.Tag {
	out := []types.Tag{}
	for _, t := range tags {
		k := value(t.Key)
		out = slices.DeleteFunc(out, func(x types.Tag) bool { return *x.Key == k })
		out = append(out, types.Tag{Key: &k, Value: new(value(t.Value))})
	}
	slices.SortFunc(out, func(x, y types.Tag) int { return strings.Compare(*x.Key, *y.Key) })
	return out
}

// tagged returns the tags of the instance, snapshot or parameter group with that ARN. The caller holds the lock.
func (a *API) tagged(arn *string) (*[]types.Tag, error) {
	if id, ok := strings.CutPrefix(value(arn), a.arn("db", "")); ok {
		in, err := a.find(&id)
		if err != nil {
			return nil, err
		}
		return &in.DB.TagList, nil
	}
	if id, ok := strings.CutPrefix(value(arn), a.arn("snapshot", "")); ok {
		s, ok := a.state.Snapshots[id]
		if !ok {
			return nil, snapshotMissing(id)
		}
		return &s.DB.TagList, nil
	}
	if name, ok := strings.CutPrefix(value(arn), a.arn("pg", "")); ok {
		g, ok := a.state.Groups[name]
		if !ok {
			return nil, groupMissing(name)
		}
		return &g.Tags, nil
	}
	return nil, invalid("Invalid resource name: %s", value(arn))
}

func (a *API) listTagsForResource(_ context.Context, in *rds.ListTagsForResourceInput) (*rds.ListTagsForResourceOutput, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	tags, err := a.tagged(in.ResourceName)
	if err != nil {
		return nil, err
	}
	return &rds.ListTagsForResourceOutput{TagList: clone(*tags)}, nil
}

func (a *API) addTagsToResource(_ context.Context, in *rds.AddTagsToResourceInput) (*rds.AddTagsToResourceOutput, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	tags, err := a.tagged(in.ResourceName)
	if err != nil {
		return nil, err
	}
	all := sortTags(slices.Concat(*tags, in.Tags))
	if err := checkTags(all); err != nil {
		return nil, err
	}
	*tags = all
	a.save()
	return &rds.AddTagsToResourceOutput{}, nil
}

func (a *API) removeTagsFromResource(_ context.Context, in *rds.RemoveTagsFromResourceInput) (*rds.RemoveTagsFromResourceOutput, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	tags, err := a.tagged(in.ResourceName)
	if err != nil {
		return nil, err
	}
	*tags = slices.DeleteFunc(*tags, func(t types.Tag) bool { return slices.Contains(in.TagKeys, *t.Key) })
	a.save()
	return &rds.RemoveTagsFromResourceOutput{}, nil
}
