package gcpsm

import (
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/emptypb"
)

// The real service's limits for one secret.
const (
	maxAliases     = 50
	maxAnnotations = 16 << 10 // bytes of keys and values
)

var (
	aliasForm      = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,62}$`)
	annotationForm = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$`)
)

func (s *Server) listSecrets(c *call) (proto.Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	prefix := s.secretName(c)
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(s.state.Secrets)), func(n string) bool { return !strings.HasPrefix(n, prefix) })
	cut, next, err := page(c, names,
		func(n string) string { return n }, func(n, last string) bool { return n > last })
	if err != nil {
		return nil, err
	}
	out := &secretmanagerpb.ListSecretsResponse{NextPageToken: next, TotalSize: int32(len(names))}
	for _, n := range cut {
		out.Secrets = append(out.Secrets, s.state.Secrets[n].message())
	}
	return out, nil
}

func (s *Server) getSecret(c *call) (proto.Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.secret(c)
	if err != nil {
		return nil, err
	}
	return r.message(), nil
}

func (s *Server) createSecret(c *call) (proto.Message, error) {
	in := new(secretmanagerpb.Secret)
	if err := decode(c.body, in); err != nil {
		return nil, err
	}
	c.secret = c.URL.Query().Get("secretId")
	if err := validID(c.secret); err != nil {
		return nil, err
	}
	if in.GetReplication() == nil {
		return nil, invalid("Replication is required: Secret.replication must be provided.")
	}
	if err := honoured(in, "replication", "labels", "annotations", "version_aliases"); err != nil {
		return nil, err
	}
	auto := in.GetReplication().GetAutomatic()
	if auto == nil || auto.GetCustomerManagedEncryption() != nil {
		return nil, notEmulated("replication other than automatic")
	}
	if len(in.GetVersionAliases()) > 0 {
		return nil, invalid("Version aliases cannot be assigned to versions that do not exist.")
	}
	if err := checkAnnotations(in.GetAnnotations()); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	name := s.secretName(c)
	if s.state.Secrets[name] != nil {
		return nil, &apiError{http.StatusConflict, "ALREADY_EXISTS", "Secret [" + name + "] already exists.", nil}
	}
	r := &record{Name: name, Created: s.opts.Now(), Labels: in.GetLabels(), Annotations: in.GetAnnotations(), Etag: newEtag()}
	s.state.Secrets[name] = r
	return r.message(), s.save()
}

// updateSecret honours a mask of labels, annotations and version_aliases. An etag in the body makes it a compare-and-swap.
func (s *Server) updateSecret(c *call) (proto.Message, error) {
	in := new(secretmanagerpb.Secret)
	if err := decode(c.body, in); err != nil {
		return nil, err
	}
	mask := c.URL.Query().Get("updateMask")
	if mask == "" {
		return nil, invalid("The field mask must not be empty: update_mask is required.")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.secret(c)
	if err != nil {
		return nil, err
	}
	if in.GetEtag() != "" && in.GetEtag() != r.Etag {
		return nil, stale()
	}
	next := *r
	for path := range strings.SplitSeq(mask, ",") {
		switch path {
		case "labels":
			next.Labels = in.GetLabels()
		case "annotations":
			if err := checkAnnotations(in.GetAnnotations()); err != nil {
				return nil, err
			}
			next.Annotations = in.GetAnnotations()
		case "versionAliases", "version_aliases":
			if err := r.checkAliases(in.GetVersionAliases()); err != nil {
				return nil, err
			}
			next.Aliases = in.GetVersionAliases()
		default:
			return nil, notEmulated("update of " + path)
		}
	}
	next.Etag = newEtag()
	*r = next
	return r.message(), s.save()
}

func (r *record) checkAliases(aliases map[string]int64) error {
	if len(aliases) > maxAliases {
		return invalid("At most %d version aliases can be assigned to a secret.", maxAliases)
	}
	for alias, n := range aliases {
		if !aliasForm.MatchString(alias) || alias == "latest" || alias == "NEW" {
			return invalid("Invalid version alias: %q.", alias)
		}
		if n < 1 || n > int64(len(r.Versions)) {
			return invalid("Version alias %q refers to version %d, which does not exist.", alias, n)
		}
	}
	return nil
}

func checkAnnotations(annotations map[string]string) error {
	size := 0
	for key, value := range annotations {
		if !annotationForm.MatchString(key) {
			return invalid("Invalid annotation key: %.80q.", key)
		}
		size += len(key) + len(value)
	}
	if size >= maxAnnotations {
		return invalid("Annotations of a secret must be smaller than %d bytes, keys and values.", maxAnnotations)
	}
	return nil
}

func (s *Server) deleteSecret(c *call) (proto.Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.secret(c)
	if err != nil {
		return nil, err
	}
	if etag := c.URL.Query().Get("etag"); etag != "" && etag != r.Etag {
		return nil, stale()
	}
	delete(s.state.Secrets, r.Name)
	return &emptypb.Empty{}, s.save()
}

// decode reads a body strictly. protojson quotes what it cannot parse, which may be a part of a payload: its words are not
// passed on.
func decode(body []byte, m proto.Message) error {
	if len(body) == 0 {
		return nil
	}
	if err := protojson.Unmarshal(body, m); err != nil {
		return invalid("Invalid JSON payload received: it is not a %s.", m.ProtoReflect().Descriptor().Name())
	}
	return nil
}

// honoured refuses a message that sets a field outside of fields. What only the service sets is ignored, as the service does.
func honoured(m proto.Message, fields ...string) error {
	var err error
	m.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		name := string(f.Name())
		switch name {
		case "name", "create_time", "etag":
			return true
		}
		if !slices.Contains(fields, name) {
			err = notEmulated("field " + name)
		}
		return err == nil
	})
	return err
}
