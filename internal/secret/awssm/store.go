package awssm

import (
	"cmp"
	"context"
	"errors"
	"regexp"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"dbops/internal/cloud"
	"dbops/internal/cloud/awsclient"
	"dbops/internal/fault"
	"dbops/internal/secret"
)

// The staging labels. AWSPREVIOUS moves by itself, to the version that AWSCURRENT leaves.
const (
	current  = "AWSCURRENT"
	pending  = "AWSPENDING"
	previous = "AWSPREVIOUS"
)

var (
	_ secret.Store  = (*Source)(nil)
	_ secret.Keeper = (*Source)(nil)
)

// Inspect tells which versions have the three labels. AWSPENDING on the current version, which a finished rotation of AWS leaves
// behind, is nothing pending. Without secretsmanager:ListSecretVersionIds the dates stay zero.
func (s *Source) Inspect(ctx context.Context, r secret.Ref) (secret.Holding, error) {
	c, err := s.call("inspect secret", r)
	if err != nil {
		return secret.Holding{}, err
	}
	d, err := c.describe(ctx)
	if err != nil {
		return secret.Holding{}, err
	}
	h := secret.Holding{Current: secret.Version{ID: holder(d, current)}, Previous: secret.Version{ID: holder(d, previous)}}
	if id := holder(d, pending); id != h.Current.ID {
		h.Pending.ID = id
	}
	if h == (secret.Holding{}) {
		return h, nil
	}
	created, err := c.created(ctx, false)
	for _, v := range []*secret.Version{&h.Current, &h.Pending, &h.Previous} {
		v.Created = created[v.ID]
	}
	return h, err
}

// tokenID is the id of a version that dbops staged: [secret.TokenID] of a token that AWS would not take. Those of others are UUIDs.
var tokenID = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Delivered implements [secret.Keeper], also for versions that have lost their label, for as long as AWS keeps them.
func (s *Source) Delivered(ctx context.Context, r secret.Ref) ([]string, error) {
	c, err := s.call("look for what was delivered to", r)
	if err != nil {
		return nil, err
	}
	d, err := c.describe(ctx)
	if err != nil {
		return nil, err
	}
	created, err := c.created(ctx, true)
	if err != nil {
		return nil, err
	}
	var all []string
	for id := range created {
		if tokenID.MatchString(id) && id != holder(d, current) && id != holder(d, pending) {
			all = append(all, id)
		}
	}
	slices.SortFunc(all, func(a, b string) int { return cmp.Or(created[b].Compare(created[a]), cmp.Compare(a, b)) })
	return all, nil
}

// Read returns a version, also one without a label for as long as AWS keeps it: about a day, then until newer ones need the room.
func (s *Source) Read(ctx context.Context, r secret.Ref, version string) (secret.Value, error) {
	c, err := s.call("read a version of secret", r)
	if err != nil {
		return secret.Value{}, err
	}
	if version == "" {
		return secret.Value{}, fault.Newf(fault.NotFound, c.op, "there is no such version")
	}
	out, err := ask(ctx, c, s.api.GetSecretValue, &secretsmanager.GetSecretValueInput{SecretId: &c.id, VersionId: &version})
	if err != nil {
		return secret.Value{}, c.fault(ctx, err)
	}
	if out.SecretString != nil {
		return secret.Whole(c.op, []byte(*out.SecretString))
	}
	return secret.Whole(c.op, out.SecretBinary)
}

// Create makes the secret, encrypted with the account's own key, aws/secretsmanager. A secret that is to have another key, or tags, is
// made by hand.
func (s *Source) Create(ctx context.Context, r secret.Ref) error {
	c, err := s.call("create secret", r)
	if err != nil {
		return err
	}
	if isARN(c.id) {
		_, err := c.describe(ctx)
		if fault.KindOf(err) != fault.NotFound {
			return err
		}
		return fault.Newf(fault.Config, c.op, "there is none, and AWS chooses the ARN of a new one").Hint("name it: aws-sm:NAME, or aws-sm:REGION/NAME")
	}
	_, err = ask(ctx, c, s.api.CreateSecret, &secretsmanager.CreateSecretInput{
		Name: &c.id, Description: aws.String("A database credential that dbops delivers"),
	})
	if _, exists := errors.AsType[*types.ResourceExistsException](err); exists {
		return nil
	}
	return c.fault(ctx, err)
}

// Stage puts a version whose id is the token, labelled AWSPENDING in the same call, so no kill comes between the two. A secret that AWS
// rotates, or that another service owns, is a fault.Blocked: two would change one password.
func (s *Source) Stage(ctx context.Context, r secret.Ref, token string, v secret.Value) (secret.Version, error) {
	c, err := s.call("write secret", r)
	if err != nil {
		return secret.Version{}, err
	}
	if _, err := secret.Whole(c.op, []byte(v.Reveal())); err != nil {
		return secret.Version{}, err
	}
	id := secret.TokenID(token)
	d, err := c.describe(ctx)
	if err != nil {
		return secret.Version{}, err
	}
	if err := c.ours(d); err != nil {
		return secret.Version{}, err
	}
	if labelled(d, id) {
		return secret.Version{ID: id}, nil
	}
	out, err := ask(ctx, c, s.api.PutSecretValue, &secretsmanager.PutSecretValueInput{
		SecretId: &c.id, ClientRequestToken: &id, SecretString: aws.String(v.Reveal()), VersionStages: []string{pending},
	})
	if _, exists := errors.AsType[*types.ResourceExistsException](err); err != nil && !exists {
		return secret.Version{}, c.fault(ctx, err)
	}
	if err == nil && slices.Contains(out.VersionStages, pending) {
		return secret.Version{ID: id}, nil
	}
	// The token has made a version before: by somebody at this very moment, or long ago.
	if d, err = c.describe(ctx); err != nil {
		return secret.Version{}, err
	}
	if labelled(d, id) {
		return secret.Version{ID: id}, nil
	}
	return secret.Version{}, fault.Newf(fault.Stale, c.op, "the version %s was retired, or another took its place", id).
		Hint("begin anew, with a new plan")
}

// Promote moves AWSCURRENT, which AWS does only if the version that is to lose it has it. AWSPENDING is taken off afterwards; a kill
// between the two leaves it on the current version, where it says nothing.
func (s *Source) Promote(ctx context.Context, r secret.Ref, from, to string) error {
	c, err := s.call("promote a version of secret", r)
	if err != nil {
		return err
	}
	if to == "" {
		return fault.Newf(fault.NotFound, c.op, "there is no such version")
	}
	d, err := c.describe(ctx)
	if err != nil {
		return err
	}
	if now := holder(d, current); now != to {
		if now != from {
			return c.moved(from, now)
		}
		if err := c.swap(ctx, from, to); err != nil {
			return err
		}
	}
	if holder(d, pending) == to {
		return c.strip(ctx, pending, to)
	}
	return nil
}

// swap moves AWSCURRENT. It is no error if somebody has just moved it to the same version.
func (c *call) swap(ctx context.Context, from, to string) error {
	in := &secretsmanager.UpdateSecretVersionStageInput{SecretId: &c.id, VersionStage: aws.String(current), MoveToVersionId: &to}
	if from != "" {
		in.RemoveFromVersionId = &from
	}
	_, err := ask(ctx, c, c.source.api.UpdateSecretVersionStage, in)
	refused, ok := errors.AsType[*types.InvalidParameterException](err)
	if !ok {
		return c.fault(ctx, err)
	}
	d, err := c.describe(ctx)
	switch {
	case err != nil:
		return err
	case holder(d, current) == to:
		return nil
	case holder(d, current) == from: // what it shows lags behind what it knows
		return fault.New(fault.Stale, c.op, cloud.Because("AWS refused: "+refused.ErrorMessage(), refused)).
			Hint("somebody else changes it at this moment; look again, then make a new plan")
	}
	return c.moved(from, holder(d, current))
}

// Retire takes AWSPENDING and AWSPREVIOUS off a version. AWS cannot disable one: it stays readable by its id until AWS deletes it.
func (s *Source) Retire(ctx context.Context, r secret.Ref, version string) error {
	c, err := s.call("retire a version of secret", r)
	if err != nil {
		return err
	}
	d, err := c.describe(ctx)
	if err != nil {
		return err
	}
	if version != "" && holder(d, current) == version {
		return fault.Newf(fault.Blocked, c.op, "%s is the current version", version).Hint("promote another one first")
	}
	for _, label := range []string{pending, previous} {
		if version != "" && holder(d, label) == version {
			if err := c.strip(ctx, label, version); err != nil {
				return err
			}
		}
	}
	return nil
}

// strip takes a label off a version. If it is not there any more, somebody else did.
func (c *call) strip(ctx context.Context, label, version string) error {
	_, err := ask(ctx, c, c.source.api.UpdateSecretVersionStage, &secretsmanager.UpdateSecretVersionStageInput{
		SecretId: &c.id, VersionStage: &label, RemoveFromVersionId: &version,
	})
	_, gone := errors.AsType[*types.ResourceNotFoundException](err)
	if _, refused := errors.AsType[*types.InvalidParameterException](err); err == nil || !refused && !gone {
		return c.fault(ctx, err)
	}
	d, lookErr := c.describe(ctx)
	if lookErr != nil || holder(d, label) != version {
		return lookErr
	}
	return c.fault(ctx, err)
}

// created are the dates of the versions that have labels, or of all; none if they may not be seen.
func (c *call) created(ctx context.Context, all bool) (map[string]time.Time, error) {
	ask, cancel := context.WithTimeout(ctx, awsclient.Timeout)
	defer cancel()
	out := map[string]time.Time{}
	pages := secretsmanager.NewListSecretVersionIdsPaginator(c.source.api, &secretsmanager.ListSecretVersionIdsInput{SecretId: &c.id, IncludeDeprecated: &all})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ask, c.options)
		if err = c.fault(ctx, err); fault.KindOf(err) == fault.Denied {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		for _, v := range page.Versions {
			if v.VersionId != nil && v.CreatedDate != nil {
				out[*v.VersionId] = *v.CreatedDate
			}
		}
	}
	return out, nil
}

// holder is the version that has a label; empty if none has.
func holder(d *secretsmanager.DescribeSecretOutput, label string) string {
	for id, labels := range d.VersionIdsToStages {
		if slices.Contains(labels, label) {
			return id
		}
	}
	return ""
}

func labelled(d *secretsmanager.DescribeSecretOutput, id string) bool {
	return slices.ContainsFunc(d.VersionIdsToStages[id], func(l string) bool { return l == current || l == pending || l == previous })
}
