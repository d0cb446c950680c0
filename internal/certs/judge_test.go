package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/sandbox/pki"
)

func authority(t testing.TB, name string, ttl time.Duration) *pki.CA {
	t.Helper()
	ca, err := pki.NewCA(pkix.Name{CommonName: name}, ttl)
	must(t, err)
	return ca
}

func leaf(t testing.TB, ca *pki.CA, ttl time.Duration, cn string, dns ...string) pki.Leaf {
	t.Helper()
	l, err := ca.Issue(ttl, func(c *x509.Certificate) {
		c.Subject, c.DNSNames, c.ExtKeyUsage = pkix.Name{CommonName: cn}, dns, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	})
	must(t, err)
	return l
}

// listener is a server that does as it is told with each connection.
func listener(t testing.TB, serve func(net.Conn)) Address {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serve(c)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return Address{HostPort: l.Addr().String()}
}

// postgres answers a request for TLS, and shows a certificate.
func postgres(t testing.TB, cfg *tls.Config) Address {
	t.Helper()
	return listener(t, func(c net.Conn) {
		ask := make([]byte, 8)
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.ReadFull(c, ask); err != nil {
			return
		}
		if _, err := c.Write([]byte("S")); err != nil {
			return
		}
		s := tls.Server(c, cfg)
		if s.Handshake() == nil {
			_, _ = s.Read(make([]byte, 1))
		}
	})
}

func TestAServerIsJudged(t *testing.T) {
	t.Parallel()
	now := time.Now()
	ca, other := authority(t, "the CA", 1000*time.Hour), authority(t, "another CA", time.Hour)
	old := authority(t, "an old CA", 20*time.Hour)
	expect := Expect{Roots: []*x509.Certificate{ca.Certificate()}, RootsFrom: "the CAs of the test", Names: []string{"db.example.com"}}
	instance := expect
	instance.Names, instance.CommonName = []string{"project:instance"}, true
	told := expect
	told.Active, told.Until = &cloud.ServerCA{ID: "told", Fingerprint: SHA1(other.Certificate())}, now.Add(time.Minute)
	rds := expect
	rds.Active = &cloud.ServerCA{ID: "rds-ca-rsa2048-g1", Fingerprint: "none"}
	amazon := authority(t, "Amazon RDS eu-west-1 Root CA RSA2048 G1", 1000*time.Hour)
	rds.Roots = []*x509.Certificate{amazon.Certificate()}
	ended := expect
	ended.Roots = []*x509.Certificate{old.Certificate()}
	for name, c := range map[string]struct {
		leaf   pki.Leaf
		expect Expect
		at     time.Time
		within time.Duration
		max    uint16
		want   []string // check: a part of the text
	}{
		"all is well":                   {leaf: leaf(t, ca, 900*time.Hour, "x", "db.example.com"), expect: expect},
		"an instance's name":            {leaf: leaf(t, ca, 900*time.Hour, "project:instance"), expect: instance},
		"another instance":              {leaf: leaf(t, ca, 900*time.Hour, "project:other"), expect: instance, want: []string{"name: is for project:other, not for project:instance"}},
		"another host":                  {leaf: leaf(t, ca, 900*time.Hour, "x", "other.example.com"), expect: expect, want: []string{"name: is for other.example.com, x, not for db.example.com"}},
		"a common name is no host name": {leaf: leaf(t, ca, 900*time.Hour, "db.example.com"), expect: expect, want: []string{"name: is for db.example.com"}},
		"a stranger":                    {leaf: leaf(t, other, 900*time.Hour, "x", "db.example.com"), expect: expect, want: []string{"chain: signed by another CA, which is not among the CAs of the test"}},
		"it ends soon":                  {leaf: leaf(t, ca, 100*time.Hour, "x", "db.example.com"), expect: expect, within: 720 * time.Hour, want: []string{"expiry: in 4 days"}},
		"it does not end so soon":       {leaf: leaf(t, ca, 100*time.Hour, "x", "db.example.com"), expect: expect, within: 72 * time.Hour},
		"it has ended":                  {leaf: leaf(t, ca, 100*time.Hour, "x", "db.example.com"), expect: expect, at: now.Add(200 * time.Hour), want: []string{"expiry: expired on"}},
		"it has not begun":              {leaf: leaf(t, ca, 100*time.Hour, "x", "db.example.com"), expect: expect, at: now.Add(-20 * time.Minute), want: []string{"expiry: is good only from"}},
		"its CA has ended":              {leaf: leaf(t, old, 900*time.Hour, "x", "db.example.com"), expect: ended, at: now.Add(30 * time.Hour), want: []string{"chain: the trusted CA an old CA signed the server's certificate and has expired", "expiry: that the server shows expired"}},
		"the provider tells otherwise":  {leaf: leaf(t, ca, 900*time.Hour, "x", "db.example.com"), expect: told, want: []string{"provider: its CA is told", "provider: and it ends on"}},
		"a CA of RDS by its name":       {leaf: leaf(t, amazon, 900*time.Hour, "x", "db.example.com"), expect: rds},
		"an old protocol":               {leaf: leaf(t, ca, 900*time.Hour, "x", "db.example.com"), expect: expect, max: tls.VersionTLS11, want: []string{"protocol: TLS 1.1"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := postgres(t, &tls.Config{Certificates: []tls.Certificate{c.leaf.TLS}, MaxVersion: c.max, MinVersion: tls.VersionTLS10})
			seen, err := Look(t.Context(), "look", []Address{{HostPort: "127.0.0.1:1"}, a}, dialer())
			must(t, err)
			at := c.at
			if at.IsZero() {
				at = now
			}
			found := seen.Judge(c.expect, at, c.within)
			if len(found) != len(c.want) {
				t.Fatalf("found %+v, want %q", found, c.want)
			}
			for i, f := range found {
				check, text, _ := strings.Cut(c.want[i], ": ")
				if f.Check != check || !strings.Contains(f.Text, text) || f.Severity == op.Warn && f.Remedy == "" {
					t.Errorf("found %+v, want %q", f, c.want[i])
				}
			}
		})
	}
}

func TestWhatIsNoServerIsSaid(t *testing.T) {
	t.Parallel()
	answer := func(b string) Address {
		return listener(t, func(c net.Conn) {
			_, _ = io.ReadFull(c, make([]byte, 8))
			_, _ = c.Write([]byte(b))
		})
	}
	for name, c := range map[string]struct {
		at   []Address
		kind fault.Kind
		want string
	}{
		"nobody listens":       {[]Address{{HostPort: "127.0.0.1:1"}}, fault.Unavailable, "nobody listens"},
		"no address":           {nil, fault.Unavailable, "no address"},
		"no TLS":               {[]Address{answer("N")}, fault.Invalid, "does not offer TLS"},
		"something else":       {[]Address{answer("H")}, fault.Unavailable, "no PostgreSQL"},
		"it hangs up":          {[]Address{answer("")}, fault.Unavailable, "cut"},
		"half a handshake":     {[]Address{answer("S")}, fault.Unavailable, "cut"},
		"rubbish in TLS":       {[]Address{answer("Srubbish that is no TLS record")}, fault.Unavailable, "does not speak TLS"},
		"no host of that name": {[]Address{{HostPort: "no-such-host.invalid:5432"}}, fault.Unavailable, "no-such-host.invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Look(t.Context(), "look at prod/main", c.at, dialer())
			if fault.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.want) || strings.ContainsAny(err.Error(), "\n") {
				t.Errorf("got %s: %v", fault.KindOf(err), err)
			}
		})
	}
}

func TestASilentServerIsNotWaitedForForLong(t *testing.T) {
	t.Parallel()
	end := make(chan struct{})
	a := listener(t, func(net.Conn) { <-end })
	defer close(end)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := Look(ctx, "look", []Address{a}, dialer())
	if fault.KindOf(err) != fault.Unavailable || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// Where only connectors may come, the port of the connectors shows the certificate.
func TestTheConnectorPortShowsTheCertificate(t *testing.T) {
	t.Parallel()
	s := playedCloudSQL(t)
	subject := s.subject(t, s.instance(t, 17))
	subject.Addresses[0].HostPort = "127.0.0.1:1"
	survey := Observe(t.Context(), subject, dialer())
	must(t, survey.Unseen)
	if !survey.Seen.Connector || len(survey.Check(time.Now(), 0)) > 1 {
		t.Errorf("seen %+v, findings %+v", survey.Seen, survey.Check(time.Now(), 0))
	}
}

func TestASurveyListsAndFindsWhatEnds(t *testing.T) {
	t.Parallel()
	now := time.Now()
	ca := authority(t, "the CA", 1000*time.Hour).Certificate()
	s := &Survey{Subject: &Subject{
		Environment: "prod", Instance: "main", Provider: cloud.CloudSQL, Roots: []*x509.Certificate{ca},
		Told: &cloud.Certificates{
			Instance: &cloud.Instance{TLS: cloud.TLS{Mode: "ALLOW_UNENCRYPTED_AND_ENCRYPTED"}},
			CAs: []cloud.ServerCA{
				{ID: SHA1(ca), Fingerprint: SHA1(ca), Role: cloud.CAActive, Until: now.Add(10 * 24 * time.Hour)},
				{ID: "offered", Role: cloud.CAOffered, Until: now},
				{ID: "next", Role: cloud.CANext, Until: now.Add(time.Hour)},
				{ID: "previous", Role: cloud.CAPrevious, Until: now.Add(-time.Hour)},
			},
			Clients: []cloud.ClientCert{{ID: "c1", Name: "old", Until: now.Add(-time.Hour)}, {ID: "c2", Name: "new", Until: now.Add(9000 * time.Hour)}},
		},
	}}
	var sorts []string
	for _, r := range s.Rows() {
		sorts = append(sorts, r.Sort+" "+r.Role+" "+r.Name)
	}
	want := []string{"ca active the CA", "ca next next", "ca previous previous", "client  old", "client  new"}
	if !slices.Equal(sorts, want) {
		t.Errorf("rows %q, want %q", sorts, want)
	}
	found := s.Check(now, 30*24*time.Hour)
	var texts []string
	for _, f := range found {
		texts = append(texts, string(f.Severity)+" "+f.Text)
	}
	for i, part := range []string{"warn the CA " + SHA1(ca) + " expires", "warn the CA next that is to come expires", "info the CA next is added", "warn the client certificate old expired", "info the server also takes"} {
		if i >= len(texts) || !strings.HasPrefix(texts[i], part) {
			t.Fatalf("findings %q, want %q", texts, part)
		}
	}
	if len(texts) != 5 || !Bad(found) || Bad(found[2:3]) {
		t.Errorf("findings %q", texts)
	}
}
