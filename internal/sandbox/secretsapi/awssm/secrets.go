package awssm

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
	"time"

	"dbops/internal/sandbox/awsid"
)

type tag struct {
	Key   string
	Value string
}

type createInput struct {
	Name               string
	ClientRequestToken string
	Description        string
	SecretString       *string
	SecretBinary       []byte
	Tags               []tag
}

type secretInput struct {
	SecretID string `json:"SecretId"`
}

type tagInput struct {
	SecretID string `json:"SecretId"`
	Tags     []tag
}

type untagInput struct {
	SecretID string `json:"SecretId"`
	TagKeys  []string
}

type deleteInput struct {
	SecretID                   string `json:"SecretId"`
	RecoveryWindowInDays       *int64
	ForceDeleteWithoutRecovery bool
}

type listInput struct {
	Filters []struct {
		Key    string
		Values []string
	}
	IncludePlannedDeletion bool
	MaxResults             *int32
	NextToken              *string
	SortOrder              string
}

// named is what most answers are made of.
type named struct {
	ARN           string
	Name          string
	VersionID     string       `json:"VersionId,omitempty"`
	VersionStages []string     `json:",omitempty"`
	DeletionDate  *awsid.Epoch `json:",omitempty"`
}

type description struct {
	ARN                    string
	Name                   string
	Description            string `json:",omitempty"`
	CreatedDate            *awsid.Epoch
	LastChangedDate        *awsid.Epoch
	LastAccessedDate       *awsid.Epoch        `json:",omitempty"`
	DeletedDate            *awsid.Epoch        `json:",omitempty"`
	Tags                   []tag               `json:",omitempty"`
	VersionIdsToStages     map[string][]string `json:",omitempty"` // of DescribeSecret
	SecretVersionsToStages map[string][]string `json:",omitempty"` // of ListSecrets
}

type listOutput struct {
	SecretList []description
	NextToken  *string `json:",omitempty"`
}

type empty struct{}

var nameForm = regexp.MustCompile(`^[A-Za-z0-9/_+=.@-]{1,512}$`)

const maxTags = 50

func (a *API) createSecret(in *createInput) (*named, error) {
	if !nameForm.MatchString(in.Name) {
		return nil, invalidParameter("Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!")
	}
	if in.SecretString != nil || in.SecretBinary != nil {
		if err := checkValue(in.ClientRequestToken, in.SecretString, in.SecretBinary); err != nil {
			return nil, err
		}
	}
	if s := a.secrets[in.Name]; s != nil {
		v := s.Versions[in.ClientRequestToken]
		switch {
		case !s.Deleted.IsZero():
			return nil, invalidRequest("You can't create this secret because a secret with this name is already scheduled for deletion.")
		case v == nil || !v.same(in.SecretString, in.SecretBinary):
			return nil, fail("ResourceExistsException", "The operation failed because the secret %s already exists.", in.Name)
		}
		return &named{ARN: s.ARN, Name: s.Name, VersionID: in.ClientRequestToken}, nil
	}
	now := a.now()
	s := &record{
		Name: in.Name, ARN: a.newARN(in.Name), Description: in.Description, Created: now, Changed: now,
		Tags: map[string]string{}, Versions: map[string]*version{},
	}
	if err := s.addTags(in.Tags); err != nil {
		return nil, err
	}
	out := &named{ARN: s.ARN, Name: s.Name}
	if in.SecretString != nil || in.SecretBinary != nil {
		s.Versions[in.ClientRequestToken] = &version{String: in.SecretString, Binary: in.SecretBinary, Created: now}
		s.label(current, in.ClientRequestToken)
		out.VersionID = in.ClientRequestToken
	}
	a.secrets[in.Name] = s
	a.save()
	return out, nil
}

func (a *API) describeSecret(in *secretInput) (*description, error) {
	s, err := a.get(in.SecretID, false)
	if err != nil {
		return nil, err
	}
	d := s.describe()
	d.VersionIdsToStages = s.stages()
	return &d, nil
}

func (s *record) describe() description {
	return description{
		ARN: s.ARN, Name: s.Name, Description: s.Description, CreatedDate: seconds(s.Created), LastChangedDate: seconds(s.Changed),
		LastAccessedDate: seconds(s.Accessed), DeletedDate: seconds(s.Deleted), Tags: s.tags(),
	}
}

func (a *API) listSecrets(in *listInput) (*listOutput, error) {
	all := make([]*record, 0, len(a.secrets))
	for _, s := range a.secrets {
		keep := in.IncludePlannedDeletion || s.Deleted.IsZero()
		for _, f := range in.Filters {
			ok, err := s.matches(f.Key, f.Values)
			if err != nil {
				return nil, err
			}
			keep = keep && ok
		}
		if keep {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(x, y *record) int { return cmp.Or(x.Created.Compare(y.Created), cmp.Compare(x.Name, y.Name)) })
	switch in.SortOrder {
	case "", "asc":
	case "desc":
		slices.Reverse(all)
	default:
		return nil, invalidParameter("SortOrder must be asc or desc.")
	}
	part, next, err := page(all, func(s *record) string { return s.Name }, in.NextToken, in.MaxResults)
	if err != nil {
		return nil, err
	}
	out := &listOutput{SecretList: make([]description, 0, len(part)), NextToken: next}
	for _, s := range part {
		d := s.describe()
		d.SecretVersionsToStages = s.stages()
		out.SecretList = append(out.SecretList, d)
	}
	return out, nil
}

// matches tells whether a secret passes one filter of ListSecrets.
func (s *record) matches(key string, values []string) (bool, error) {
	switch key {
	case "name":
		return prefixed(s.Name, values), nil
	case "description":
		return prefixed(s.Description, values), nil
	case "tag-key":
		return slices.ContainsFunc(s.tags(), func(t tag) bool { return prefixed(t.Key, values) }), nil
	case "tag-value":
		return slices.ContainsFunc(s.tags(), func(t tag) bool { return prefixed(t.Value, values) }), nil
	default:
		return false, invalidParameter("sandbox: not emulated: filter %s", key)
	}
}

func (a *API) deleteSecret(in *deleteInput) (*named, error) {
	days := int64(30)
	if in.RecoveryWindowInDays != nil {
		days = *in.RecoveryWindowInDays
		switch {
		case in.ForceDeleteWithoutRecovery:
			return nil, invalidParameter("You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.")
		case days < 7 || days > 30:
			return nil, invalidParameter("The RecoveryWindowInDays value must be between 7 and 30 days (inclusive).")
		}
	}
	now := a.now()
	if in.ForceDeleteWithoutRecovery {
		s := a.find(in.SecretID)
		if s == nil { // as in the real one, deleting what does not exist works
			return &named{ARN: a.arn(in.SecretID), Name: in.SecretID, DeletionDate: seconds(now)}, nil
		}
		delete(a.secrets, s.Name)
		a.save()
		return &named{ARN: s.ARN, Name: s.Name, DeletionDate: seconds(now)}, nil
	}
	s, err := a.get(in.SecretID, true)
	if err != nil {
		return nil, err
	}
	s.Deleted, s.Gone = now, now.Add(time.Duration(days)*24*time.Hour)
	a.save()
	return &named{ARN: s.ARN, Name: s.Name, DeletionDate: seconds(s.Gone)}, nil
}

func (a *API) restoreSecret(in *secretInput) (*named, error) {
	s, err := a.get(in.SecretID, false)
	if err != nil {
		return nil, err
	}
	s.Deleted, s.Gone = time.Time{}, time.Time{}
	a.save()
	return &named{ARN: s.ARN, Name: s.Name}, nil
}

func (a *API) tagResource(in *tagInput) (*empty, error) {
	s, err := a.get(in.SecretID, true)
	if err != nil {
		return nil, err
	}
	if err := s.addTags(in.Tags); err != nil {
		return nil, err
	}
	s.Changed = a.now()
	a.save()
	return &empty{}, nil
}

func (s *record) addTags(tags []tag) error {
	count := len(s.Tags)
	for _, t := range tags {
		if t.Key == "" || len(t.Key) > 128 || len(t.Value) > 256 || strings.HasPrefix(t.Key, "aws:") {
			return invalidParameter("Invalid tag key %q.", t.Key)
		}
		if _, ok := s.Tags[t.Key]; !ok {
			count++
		}
	}
	if count > maxTags {
		return invalidParameter("A secret has at most %d tags.", maxTags)
	}
	for _, t := range tags {
		s.Tags[t.Key] = t.Value
	}
	return nil
}

func (a *API) untagResource(in *untagInput) (*empty, error) {
	s, err := a.get(in.SecretID, true)
	if err != nil {
		return nil, err
	}
	for _, k := range in.TagKeys {
		delete(s.Tags, k)
	}
	s.Changed = a.now()
	a.save()
	return &empty{}, nil
}
