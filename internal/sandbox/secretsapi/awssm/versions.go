package awssm

import (
	"cmp"
	"slices"
	"time"

	"dbops/internal/sandbox/awsid"
)

type getInput struct {
	SecretID     string `json:"SecretId"`
	VersionID    string `json:"VersionId"`
	VersionStage string
}

type getOutput struct {
	ARN           string
	Name          string
	VersionID     string `json:"VersionId"`
	VersionStages []string
	SecretString  *string `json:",omitempty"`
	SecretBinary  []byte  `json:",omitempty"`
	CreatedDate   *awsid.Epoch
}

type putInput struct {
	SecretID           string `json:"SecretId"`
	ClientRequestToken string
	SecretString       *string
	SecretBinary       []byte
	VersionStages      []string
}

type stageInput struct {
	SecretID            string `json:"SecretId"`
	VersionStage        string
	MoveToVersionID     string `json:"MoveToVersionId"`
	RemoveFromVersionID string `json:"RemoveFromVersionId"`
}

type versionsInput struct {
	SecretID          string `json:"SecretId"`
	IncludeDeprecated bool
	MaxResults        *int32
	NextToken         *string
}

type versionEntry struct {
	VersionID        string   `json:"VersionId"`
	VersionStages    []string `json:",omitempty"`
	CreatedDate      *awsid.Epoch
	LastAccessedDate *awsid.Epoch `json:",omitempty"`
}

type versionsOutput struct {
	ARN       string
	Name      string
	Versions  []versionEntry
	NextToken *string `json:",omitempty"`
}

const (
	maxSecret   = 65536 // bytes
	maxStages   = 20    // labels of a secret
	maxVersions = 100
)

// checkValue checks what comes with every new version.
func checkValue(token string, text *string, binary []byte) error {
	switch {
	case text != nil && binary != nil:
		return invalidParameter("You can't specify both a binary secret value and a string secret value in the same secret.")
	case text == nil && binary == nil:
		return invalidRequest("You must provide either SecretString or SecretBinary.")
	case text != nil && *text == "":
		return invalidParameter("The SecretString value must not be empty.")
	case text != nil && len(*text) > maxSecret || len(binary) > maxSecret:
		return invalidParameter("The secret value is longer than %d bytes.", maxSecret)
	case token == "":
		return invalidRequest("You must provide a ClientRequestToken value. We recommend a UUID-type value.")
	case len(token) < 32 || len(token) > 64:
		return invalidParameter("The ClientRequestToken must be 32 to 64 characters long.")
	}
	return nil
}

func (a *API) getSecretValue(in *getInput) (*getOutput, error) {
	s, err := a.get(in.SecretID, true)
	if err != nil {
		return nil, err
	}
	id := in.VersionID
	if id == "" {
		stage := cmp.Or(in.VersionStage, current)
		if id = s.holder(stage); id == "" {
			return nil, fail("ResourceNotFoundException", "Secrets Manager can't find the specified secret value for staging label: %s", stage)
		}
	}
	v, ok := s.Versions[id]
	switch {
	case !ok:
		return nil, fail("ResourceNotFoundException", "Secrets Manager can't find the specified secret value for VersionId: %s", id)
	case in.VersionStage != "" && !slices.Contains(v.Stages, in.VersionStage):
		return nil, invalidRequest("You provided a VersionStage that is not associated to the provided VersionId.")
	}
	if today := a.today(); !v.Accessed.Equal(today) || !s.Accessed.Equal(today) {
		v.Accessed, s.Accessed = today, today
		a.save()
	}
	return &getOutput{
		ARN: s.ARN, Name: s.Name, VersionID: id, VersionStages: slices.Clone(v.Stages), SecretString: v.String, SecretBinary: v.Binary, CreatedDate: seconds(v.Created),
	}, nil
}

func (a *API) putSecretValue(in *putInput) (*named, error) {
	s, err := a.get(in.SecretID, true)
	if err != nil {
		return nil, err
	}
	if err := checkValue(in.ClientRequestToken, in.SecretString, in.SecretBinary); err != nil {
		return nil, err
	}
	out := &named{ARN: s.ARN, Name: s.Name, VersionID: in.ClientRequestToken}
	if v := s.Versions[in.ClientRequestToken]; v != nil {
		if !v.same(in.SecretString, in.SecretBinary) {
			return nil, fail("ResourceExistsException", "You can't modify an existing version, only create a new version.")
		}
		out.VersionStages = slices.Clone(v.Stages)
		return out, nil
	}
	stages := in.VersionStages
	if len(stages) == 0 {
		stages = []string{current}
	}
	if s.holder(current) == "" && !slices.Contains(stages, current) { // the first version is current
		stages = append(slices.Clone(stages), current)
	}
	now := a.now()
	if err := s.checkStages(stages); err != nil {
		return nil, err
	}
	if err := s.room(now); err != nil {
		return nil, err
	}
	v := &version{String: in.SecretString, Binary: in.SecretBinary, Created: now}
	s.Versions[in.ClientRequestToken] = v
	for _, stage := range stages {
		s.label(stage, in.ClientRequestToken)
	}
	s.Changed = now
	a.save()
	out.VersionStages = slices.Clone(v.Stages)
	return out, nil
}

// checkStages checks labels that are to be attached.
func (s *record) checkStages(stages []string) error {
	labels := map[string]bool{}
	for _, v := range s.Versions {
		for _, x := range v.Stages {
			labels[x] = true
		}
	}
	for _, x := range stages {
		if x == "" || len(x) > 256 {
			return invalidParameter("Invalid staging label.")
		}
		labels[x] = true
	}
	if len(labels) > maxStages {
		return fail("LimitExceededException", "The secret would have more than %d staging labels.", maxStages)
	}
	return nil
}

// room makes room for another version: beyond the limit the oldest ones without a label go, but none of the last day.
func (s *record) room(now time.Time) error {
	for len(s.Versions) >= maxVersions {
		oldest := ""
		for id, v := range s.Versions {
			if len(v.Stages) == 0 && now.Sub(v.Created) > 24*time.Hour && (oldest == "" || v.Created.Before(s.Versions[oldest].Created)) {
				oldest = id
			}
		}
		if oldest == "" {
			return fail("LimitExceededException", "The secret has %d versions that are not a day old or have labels.", len(s.Versions))
		}
		delete(s.Versions, oldest)
	}
	return nil
}

// updateSecretVersionStage moves a label by compare-and-set: a label that sits on a version goes to another one only if the
// caller names the version it sits on.
func (a *API) updateSecretVersionStage(in *stageInput) (*named, error) {
	s, err := a.get(in.SecretID, true)
	if err != nil {
		return nil, err
	}
	for _, id := range []string{in.MoveToVersionID, in.RemoveFromVersionID} {
		if _, ok := s.Versions[id]; id != "" && !ok {
			return nil, fail("ResourceNotFoundException", "Secrets Manager can't find the specified secret value for VersionId: %s", id)
		}
	}
	holder := s.holder(in.VersionStage)
	switch {
	case in.VersionStage == "":
		return nil, invalidParameter("You must provide a VersionStage.")
	case in.MoveToVersionID == "" && in.RemoveFromVersionID == "":
		return nil, invalidParameter("You must provide MoveToVersionId or RemoveFromVersionId.")
	case in.RemoveFromVersionID != "" && in.RemoveFromVersionID != holder:
		return nil, invalidParameter("The staging label %s is not attached to version %s, which RemoveFromVersionId names.", in.VersionStage, in.RemoveFromVersionID)
	case in.MoveToVersionID == "" && in.VersionStage == current:
		return nil, invalidParameter("You can only move staging label AWSCURRENT to a different secret version. It can't be completely removed.")
	case in.RemoveFromVersionID == "" && holder != "" && holder != in.MoveToVersionID:
		return nil, invalidParameter("The parameter RemoveFromVersionId can't be empty. Staging label %s is currently attached to version %s, "+
			"so you must explicitly reference that version in RemoveFromVersionId.", in.VersionStage, holder)
	}
	if in.MoveToVersionID == "" {
		s.unlabel(in.VersionStage)
	} else {
		if err := s.checkStages([]string{in.VersionStage}); err != nil {
			return nil, err
		}
		s.label(in.VersionStage, in.MoveToVersionID)
	}
	s.Changed = a.now()
	a.save()
	return &named{ARN: s.ARN, Name: s.Name}, nil
}

func (a *API) listSecretVersionIDs(in *versionsInput) (*versionsOutput, error) {
	s, err := a.get(in.SecretID, true)
	if err != nil {
		return nil, err
	}
	all := make([]versionEntry, 0, len(s.Versions))
	for id, v := range s.Versions {
		if len(v.Stages) > 0 || in.IncludeDeprecated {
			all = append(all, versionEntry{
				VersionID: id, VersionStages: slices.Clone(v.Stages), CreatedDate: seconds(v.Created), LastAccessedDate: seconds(v.Accessed),
			})
		}
	}
	slices.SortFunc(all, func(x, y versionEntry) int {
		return cmp.Or(time.Time(*x.CreatedDate).Compare(time.Time(*y.CreatedDate)), cmp.Compare(x.VersionID, y.VersionID))
	})
	part, next, err := page(all, func(v versionEntry) string { return v.VersionID }, in.NextToken, in.MaxResults)
	if err != nil {
		return nil, err
	}
	return &versionsOutput{ARN: s.ARN, Name: s.Name, Versions: part, NextToken: next}, nil
}
