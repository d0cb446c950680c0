package gcpsm

import (
	"hash/crc32"
	"slices"
	"strconv"

	"cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"google.golang.org/protobuf/proto"
)

// maxPayload is the real service's limit.
const maxPayload = 64 << 10

func (s *Server) addVersion(c *call) (proto.Message, error) {
	in := new(secretmanagerpb.AddSecretVersionRequest)
	if err := decode(c.body, in); err != nil {
		return nil, err
	}
	p := in.GetPayload()
	switch {
	case len(p.GetData()) == 0:
		return nil, invalid("Secret payload must not be empty.")
	case len(p.GetData()) > maxPayload:
		return nil, invalid("The secret payload is larger than the limit of %d bytes.", maxPayload)
	case p.DataCrc32C != nil && p.GetDataCrc32C() != checksum(p.GetData()):
		return nil, invalid("Secret payload checksum verification failed: data_crc32c does not match the data.")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.secret(c)
	if err != nil {
		return nil, err
	}
	r.Versions = append(r.Versions, &version{
		State: secretmanagerpb.SecretVersion_ENABLED, Created: s.opts.Now(), Etag: newEtag(),
		Payload: p.GetData(), Checked: p.DataCrc32C != nil,
	})
	return r.versionMessage(int64(len(r.Versions))), s.save()
}

func (s *Server) listVersions(c *call) (proto.Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.secret(c)
	if err != nil {
		return nil, err
	}
	all := make([]int64, len(r.Versions)) // newest first
	for i := range all {
		all[i] = int64(len(all) - i)
	}
	cut, next, err := page(c, all, func(n int64) string { return strconv.FormatInt(n, 10) }, func(n int64, last string) bool {
		l, _ := strconv.ParseInt(last, 10, 64)
		return n < l
	})
	if err != nil {
		return nil, err
	}
	out := &secretmanagerpb.ListSecretVersionsResponse{NextPageToken: next, TotalSize: int32(len(all))}
	for _, n := range cut {
		out.Versions = append(out.Versions, r.versionMessage(n))
	}
	return out, nil
}

func (s *Server) getVersion(c *call) (proto.Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, n, err := s.version(c)
	if err != nil {
		return nil, err
	}
	return r.versionMessage(n), nil
}

func (s *Server) accessVersion(c *call) (proto.Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, n, err := s.version(c)
	if err != nil {
		return nil, err
	}
	v := r.Versions[n-1]
	if v.State != secretmanagerpb.SecretVersion_ENABLED {
		return nil, precondition("Secret Version [%s] is in %s state.", r.versionName(n), v.State)
	}
	return &secretmanagerpb.AccessSecretVersionResponse{
		Name: r.versionName(n),
		Payload: &secretmanagerpb.SecretPayload{
			Data: slices.Clone(v.Payload), DataCrc32C: proto.Int64(checksum(v.Payload)),
		},
	}, nil
}

func (s *Server) enableVersion(c *call) (proto.Message, error) {
	in := new(secretmanagerpb.EnableSecretVersionRequest)
	return s.turn(c, in, secretmanagerpb.SecretVersion_ENABLED)
}

func (s *Server) disableVersion(c *call) (proto.Message, error) {
	in := new(secretmanagerpb.DisableSecretVersionRequest)
	return s.turn(c, in, secretmanagerpb.SecretVersion_DISABLED)
}

func (s *Server) destroyVersion(c *call) (proto.Message, error) {
	in := new(secretmanagerpb.DestroySecretVersionRequest)
	return s.turn(c, in, secretmanagerpb.SecretVersion_DESTROYED)
}

// turn changes a version's state. An etag in the body makes it a compare-and-swap.
func (s *Server) turn(c *call, in interface {
	proto.Message
	GetEtag() string
}, to secretmanagerpb.SecretVersion_State,
) (proto.Message, error) {
	if err := decode(c.body, in); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r, n, err := s.version(c)
	if err != nil {
		return nil, err
	}
	v := r.Versions[n-1]
	switch {
	case in.GetEtag() != "" && in.GetEtag() != v.Etag:
		return nil, stale()
	case v.State == secretmanagerpb.SecretVersion_DESTROYED:
		return nil, precondition("Secret Version [%s] is in %s state.", r.versionName(n), v.State)
	}
	v.State, v.Etag = to, newEtag()
	if to == secretmanagerpb.SecretVersion_DESTROYED {
		v.Payload, v.Destroyed = nil, s.opts.Now()
	}
	return r.versionMessage(n), s.save()
}

func checksum(data []byte) int64 {
	return int64(crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)))
}
