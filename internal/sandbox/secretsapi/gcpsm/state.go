package gcpsm

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"dbops/internal/sandbox/play"
)

// maxPage is the real service's largest page, and its default.
const maxPage = 25000

// state is what is kept on disk, payloads included.
type state struct {
	Secrets map[string]*record `json:"secrets"` // by name: projects/NUMBER/secrets/ID
}

type record struct {
	Name        string            `json:"name"`
	Created     time.Time         `json:"created"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Aliases     map[string]int64  `json:"aliases,omitempty"`
	Etag        string            `json:"etag"`
	Versions    []*version        `json:"versions,omitempty"` // the nth is version n+1
}

type version struct {
	State     secretmanagerpb.SecretVersion_State `json:"state"`
	Created   time.Time                           `json:"created"`
	Destroyed time.Time                           `json:"destroyed,omitzero"`
	Etag      string                              `json:"etag"`
	Payload   []byte                              `json:"payload,omitempty"`
	Checked   bool                                `json:"checked"` // the client sent a checksum with it
}

// message is the record as the API shows it: a copy.
func (r *record) message() *secretmanagerpb.Secret {
	return &secretmanagerpb.Secret{
		Name: r.Name, CreateTime: timestamppb.New(r.Created), Etag: r.Etag,
		Labels: maps.Clone(r.Labels), Annotations: maps.Clone(r.Annotations), VersionAliases: maps.Clone(r.Aliases),
		Replication: &secretmanagerpb.Replication{Replication: &secretmanagerpb.Replication_Automatic_{
			Automatic: &secretmanagerpb.Replication_Automatic{},
		}},
	}
}

// versionMessage is version n as the API shows it: a copy, without the payload.
func (r *record) versionMessage(n int64) *secretmanagerpb.SecretVersion {
	v := r.Versions[n-1]
	m := &secretmanagerpb.SecretVersion{
		Name: r.versionName(n), CreateTime: timestamppb.New(v.Created), State: v.State, Etag: v.Etag,
		ClientSpecifiedPayloadChecksum: v.Checked,
		ReplicationStatus: &secretmanagerpb.ReplicationStatus{ReplicationStatus: &secretmanagerpb.ReplicationStatus_Automatic{
			Automatic: &secretmanagerpb.ReplicationStatus_AutomaticStatus{},
		}},
	}
	if !v.Destroyed.IsZero() {
		m.DestroyTime = timestamppb.New(v.Destroyed)
	}
	return m
}

func (r *record) versionName(n int64) string { return r.Name + "/versions/" + strconv.FormatInt(n, 10) }

// secret is the record that the call names. The caller holds the lock.
func (s *Server) secret(c *call) (*record, error) {
	name := s.secretName(c)
	if r := s.state.Secrets[name]; r != nil {
		return r, nil
	}
	return nil, notFound("Secret", name)
}

func (s *Server) secretName(c *call) string {
	number, _ := s.number(c.project)
	return "projects/" + number + "/secrets/" + c.secret
}

// version is the version that the call names: by number, by alias, or the newest as "latest". The caller holds the lock.
func (s *Server) version(c *call) (*record, int64, error) {
	r, err := s.secret(c)
	if err != nil {
		return nil, 0, err
	}
	n, err := strconv.ParseInt(c.version, 10, 64)
	if c.version == "latest" {
		n, err = int64(len(r.Versions)), nil
	}
	if err != nil {
		n = r.Aliases[c.version]
	}
	if n < 1 || n > int64(len(r.Versions)) {
		return nil, 0, notFound("Secret Version", r.Name+"/versions/"+c.version)
	}
	return r, n, nil
}

func (s *Server) save() error { return play.Save(s.opts.Dir, stateFile, s.state) }

// newEtag is an etag that was never used before, quoted as those of the real service.
func newEtag() string {
	b := make([]byte, 7)
	_, _ = rand.Read(b)
	return strconv.Quote(hex.EncodeToString(b))
}

// page cuts a list. The token is the key of the last item of the page before; after tells whether an item comes after it.
func page[T any](c *call, all []T, key func(T) string, after func(item T, key string) bool) ([]T, string, error) {
	q := c.URL.Query()
	size := maxPage
	if v := q.Get("pageSize"); v != "" && v != "0" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 {
			return nil, "", invalid("Invalid page size: %.20q", v)
		}
		size = min(n, size)
	}
	if token := q.Get("pageToken"); token != "" {
		last, err := base64.RawURLEncoding.DecodeString(token)
		if err != nil {
			return nil, "", invalid("Invalid page token.")
		}
		all = slices.DeleteFunc(slices.Clone(all), func(v T) bool { return !after(v, string(last)) })
	}
	if len(all) <= size {
		return all, "", nil
	}
	return all[:size], base64.RawURLEncoding.EncodeToString([]byte(key(all[size-1]))), nil
}

// validID is what Google allows as a secret's id.
func validID(id string) error {
	ok := len(id) >= 1 && len(id) <= 255 && strings.IndexFunc(id, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	}) < 0
	if !ok {
		return invalid("The provided Secret ID [%s] does not match the expected format [[a-zA-Z_0-9]+]", fmt.Sprintf("%.60s", id))
	}
	return nil
}
