package cloudtest

import (
	"crypto/tls"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"dbops/internal/cloud"
	"dbops/internal/fault"
)

// RunCertifier checks that the changer of a stage keeps the promises of cloud.Certifier, with an instance of its own. Where it has client
// certificates and CAs of one instance's own, own is true.
func RunCertifier(t *testing.T, s *Stage, own bool) {
	t.Helper()
	c, ok := s.Changer.(cloud.Certifier)
	if !ok {
		t.Fatalf("%T is none", s.Changer)
	}
	s.Spare(t, "certified")
	told := func(t *testing.T) *cloud.Certificates {
		t.Helper()
		out, err := c.Certificates(t.Context(), "certified")
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	t.Run("it tells what an instance proves itself by", func(t *testing.T) {
		out := told(t)
		active := out.CA(cloud.CAActive)
		if out.Instance == nil || out.Instance.Name != "certified" || len(out.Names) == 0 || active == nil || active != &out.CAs[0] {
			t.Fatalf("told %+v", out)
		}
		if out.Instance.TLS.Mode == "" {
			t.Error("it does not tell whether clients must encrypt")
		}
		for _, ca := range out.CAs {
			if ca.ID == "" || ca.Fingerprint != strings.ToLower(ca.Fingerprint) || len(ca.Fingerprint) != 40 || !ca.Until.After(time.Now()) || ca.Until.Location() != time.UTC || own == (ca.PEM == "") {
				t.Errorf("CA %+v", ca)
			}
		}
	})
	t.Run("a batch tells the same", func(t *testing.T) {
		b, ok := s.Changer.(cloud.Batcher)
		if !ok {
			t.Fatalf("%T is none", s.Changer)
		}
		batch := b.Batch(t.Context(), "certified", "dbops-no-such-instance")
		got, err := batch.Certificates(t.Context(), "certified")
		if err != nil {
			t.Fatal(err)
		}
		want := told(t)
		if x, y := marshal(t, want), marshal(t, got); x != y {
			t.Errorf("two answers differ:\n%s\n%s", x, y)
		}
		same(t, want.Instance, got.Instance)
		_, err = batch.Certificates(t.Context(), "dbops-no-such-instance")
		failed(t, err, fault.NotFound)
	})
	t.Run("an instance that does not exist is not found", func(t *testing.T) {
		_, err := c.Certificates(t.Context(), "dbops-no-such-instance")
		failed(t, err, fault.NotFound)
		_, err = c.RotateCA(t.Context(), "dbops-no-such-instance", told(t).CAs[0].ID, cloud.CANow)
		failed(t, err, fault.NotFound)
	})
	t.Run("who does not wait any more gets no answer", func(t *testing.T) {
		_, err := c.Certificates(cancelled(t), "certified")
		failed(t, err, fault.Interrupted)
		_, err = c.Certificates(expired(t), "certified")
		failed(t, err, fault.Unavailable)
	})
	t.Run("the active CA is rotated to at once", func(t *testing.T) {
		r, err := c.RotateCA(t.Context(), "certified", told(t).CA(cloud.CAActive).ID, cloud.CANow)
		if err != nil {
			t.Fatal(err)
		}
		if looks := s.finish(t, r); looks != 1 {
			t.Errorf("it took %d looks", looks)
		}
	})
	t.Run("a CA that it has not is refused", func(t *testing.T) {
		_, err := c.RotateCA(t.Context(), "certified", "none", cloud.CANow)
		if err == nil || fault.KindOf(err) != fault.Invalid && fault.KindOf(err) != fault.NotFound {
			t.Errorf("got %v", err)
		}
		_, err = c.RotateCA(t.Context(), "certified", told(t).CAs[0].ID, "some day")
		failed(t, err, fault.Invalid)
	})
	t.Run("another CA is rotated to, and back", func(t *testing.T) { s.rotates(t, c, own, told) })
	if own {
		t.Run("client certificates", func(t *testing.T) { s.clients(t, c, told) })
		return
	}
	t.Run("what it has not is said", func(t *testing.T) {
		_, add := c.AddCA(t.Context(), "certified")
		_, _, _, create := c.CreateClient(t.Context(), "certified", "x")
		_, remove := c.DeleteClient(t.Context(), "certified", "x")
		for _, err := range []error{add, create, remove} {
			failed(t, err, fault.Invalid)
			if !errors.Is(err, cloud.ErrUnsupported) || fault.HintOf(err) == "" {
				t.Errorf("got %v", err)
			}
		}
	})
}

func (s *Stage) rotates(t *testing.T, c cloud.Certifier, own bool, told func(*testing.T) *cloud.Certificates) {
	t.Helper()
	before := told(t).CA(cloud.CAActive).ID
	next := told(t).CA(cloud.CAOffered)
	if own {
		r, err := c.AddCA(t.Context(), "certified")
		if err != nil {
			t.Fatal(err)
		}
		s.finish(t, r)
		if _, err := c.AddCA(t.Context(), "certified"); !errors.Is(err, cloud.ErrExists) {
			t.Errorf("a second one: %v", err)
		}
		next = told(t).CA(cloud.CANext)
	}
	if next == nil || next.ID == before {
		t.Fatalf("there is nothing to rotate to: %+v", told(t).CAs)
	}
	for _, id := range []string{next.ID, before} {
		r, err := c.RotateCA(t.Context(), "certified", id, cloud.CANow)
		if err != nil {
			t.Fatal(err)
		}
		if r.RequestID == "" {
			t.Error("the provider's audit log cannot be searched for it")
		}
		s.finish(t, r)
		out := told(t)
		if out.CA(cloud.CAActive).ID != id || out.Instance.State != cloud.Available {
			t.Errorf("done, and yet %+v", out.CAs)
		}
	}
}

func (s *Stage) clients(t *testing.T, c cloud.Certifier, told func(*testing.T) *cloud.Certificates) {
	t.Helper()
	made, key, r, err := c.CreateClient(t.Context(), "certified", "laptop")
	if err != nil {
		t.Fatal(err)
	}
	s.finish(t, r)
	if _, err := tls.X509KeyPair([]byte(made.PEM), []byte(key.Reveal())); err != nil {
		t.Errorf("the key is not the certificate's: %v", err)
	}
	listed := told(t).Client("laptop")
	if listed == nil || listed.ID != made.ID || told(t).Client(made.ID) == nil || !listed.Until.Equal(made.Until) || listed.Created.IsZero() || listed.PEM != made.PEM {
		t.Fatalf("made %+v, listed %+v", made, listed)
	}
	_, _, _, err = c.CreateClient(t.Context(), "certified", "laptop")
	failed(t, err, fault.Invalid)
	if !errors.Is(err, cloud.ErrExists) || !strings.Contains(err.Error(), "laptop") {
		t.Errorf("the same name: %v", err)
	}
	if r, err = c.DeleteClient(t.Context(), "certified", made.ID); err != nil {
		t.Fatal(err)
	}
	s.finish(t, r)
	if slices.ContainsFunc(told(t).Clients, func(c cloud.ClientCert) bool { return c.ID == made.ID }) {
		t.Error("it is still there")
	}
	_, err = c.DeleteClient(t.Context(), "certified", made.ID)
	failed(t, err, fault.NotFound)
	_, err = c.DeleteClient(t.Context(), "certified", "")
	failed(t, err, fault.Invalid)
}
