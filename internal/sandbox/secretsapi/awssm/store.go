package awssm

import (
	"bytes"
	"encoding/base64"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"dbops/internal/sandbox/awsid"
	"dbops/internal/sandbox/play"
)

const (
	storeFile = "aws-secrets.json"
	current   = "AWSCURRENT"
	previous  = "AWSPREVIOUS"
)

// record is one secret on disk.
type record struct {
	Name        string              `json:"name"`
	ARN         string              `json:"arn"`
	Description string              `json:"description,omitempty"`
	Created     time.Time           `json:"created"`
	Changed     time.Time           `json:"changed"`
	Accessed    time.Time           `json:"accessed,omitzero"` // a day
	Deleted     time.Time           `json:"deleted,omitzero"`  // when it was marked
	Gone        time.Time           `json:"gone,omitzero"`     // when it ends
	Tags        map[string]string   `json:"tags,omitempty"`
	Versions    map[string]*version `json:"versions"` // by id
}

// version is one version on disk. This is the store of these secrets, therefore they are not a secret.Value.
type version struct {
	String   *string   `json:"string,omitempty"`
	Binary   []byte    `json:"binary,omitempty"`
	Created  time.Time `json:"created"`
	Accessed time.Time `json:"accessed,omitzero"` // a day
	Stages   []string  `json:"stages,omitempty"`
}

func (v *version) same(text *string, binary []byte) bool {
	if (v.String == nil) != (text == nil) || !bytes.Equal(v.Binary, binary) {
		return false
	}
	return text == nil || *v.String == *text
}

// stages lists the versions that have labels, with them.
func (s *record) stages() map[string][]string {
	out := map[string][]string{}
	for id, v := range s.Versions {
		if len(v.Stages) > 0 {
			out[id] = slices.Clone(v.Stages)
		}
	}
	return out
}

// holder is the version that has a label; empty: none.
func (s *record) holder(stage string) string {
	for id, v := range s.Versions {
		if slices.Contains(v.Stages, stage) {
			return id
		}
	}
	return ""
}

// label moves a label to a version. With AWSCURRENT, AWSPREVIOUS moves to the version that loses it.
func (s *record) label(stage, to string) {
	from := s.holder(stage)
	if from == to {
		return
	}
	s.unlabel(stage)
	s.Versions[to].Stages = append(s.Versions[to].Stages, stage)
	if stage == current && from != "" {
		s.label(previous, from)
	}
}

func (s *record) unlabel(stage string) {
	if id := s.holder(stage); id != "" {
		v := s.Versions[id]
		v.Stages = slices.DeleteFunc(v.Stages, func(x string) bool { return x == stage })
	}
}

// find returns the secret that a name, an ARN, or an ARN without its random end means; nil if there is none.
func (a *API) find(id string) *record {
	if s, ok := a.secrets[id]; ok {
		return s
	}
	for _, s := range a.secrets {
		if id == s.ARN || id == s.ARN[:len(s.ARN)-7] {
			return s
		}
	}
	return nil
}

// get is [API.find] with the errors of the API: missing, or, if alive is wanted, marked for deletion.
func (a *API) get(id string, alive bool) (*record, error) {
	s := a.find(id)
	switch {
	case id == "":
		return nil, invalidParameter("You must provide a SecretId.")
	case s == nil:
		return nil, fail("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
	case alive && !s.Deleted.IsZero():
		return nil, invalidRequest("You can't perform this operation on the secret because it was marked for deletion.")
	}
	return s, nil
}

// arn is the ARN of a secret without its random end.
func (a *API) arn(name string) string {
	return "arn:aws:secretsmanager:" + a.keys.Region() + ":" + a.keys.Account() + ":secret:" + name
}

// save keeps the secrets. The caller holds the lock.
func (a *API) save() {
	if err := play.Save(a.dir, storeFile, a.secrets); err != nil {
		a.log.Error("the played secrets were not kept", slog.Any("error", err))
	}
}

// purge ends the secrets whose recovery window has passed.
func (a *API) purge() {
	now := a.now()
	maps.DeleteFunc(a.secrets, func(_ string, s *record) bool { return !s.Gone.IsZero() && now.After(s.Gone) })
}

// newARN is the ARN of a new secret: six random characters keep it apart from an older one of the same name.
func (a *API) newARN(name string) string { return a.arn(name) + "-" + awsid.ID(6) }

// seconds is t for an answer; nil for the zero time.
func seconds(t time.Time) *awsid.Epoch {
	if t.IsZero() {
		return nil
	}
	return new(awsid.Epoch(t))
}

// today is the day of now, as LastAccessedDate tells it.
func (a *API) today() time.Time { return a.now().UTC().Truncate(24 * time.Hour) }

// page returns the part of items after the token, by key, and the token of the next part.
func page[T any](items []T, key func(T) string, token *string, size *int32) ([]T, *string, error) {
	n := 100
	if size != nil {
		if n = int(*size); n < 1 || n > 100 {
			return nil, nil, invalidParameter("MaxResults must be between 1 and 100.")
		}
	}
	first := 0
	if token != nil {
		b, err := base64.RawURLEncoding.DecodeString(*token)
		if err != nil {
			return nil, nil, fail("InvalidNextTokenException", "The NextToken value is invalid.")
		}
		first = 1 + slices.IndexFunc(items, func(x T) bool { return key(x) == string(b) })
	}
	items = items[first:]
	if len(items) <= n {
		return items, nil, nil
	}
	next := base64.RawURLEncoding.EncodeToString([]byte(key(items[n-1])))
	return items[:n], &next, nil
}

// tags are a secret's tags by key.
func (s *record) tags() []tag {
	out := make([]tag, 0, len(s.Tags))
	for _, k := range slices.Sorted(maps.Keys(s.Tags)) {
		out = append(out, tag{Key: k, Value: s.Tags[k]})
	}
	return out
}

// prefixed tells whether text begins with any of the wanted prefixes; one with ! in front must not match.
func prefixed(text string, wanted []string) bool {
	return slices.ContainsFunc(wanted, func(w string) bool {
		not, negated := strings.CutPrefix(w, "!")
		return strings.HasPrefix(text, not) != negated
	})
}
