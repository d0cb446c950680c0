package gcpapi

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/cloudsqlconn"
	"github.com/jackc/pgx/v5"
	sqladmin "google.golang.org/api/sqladmin/v1"

	"dbops/internal/sandbox/gcpapi/googleid"
	"dbops/internal/sandbox/play"
)

const (
	person  = "dev@example.com"
	visitor = "visitor@example.com" // may connect, but not log in
)

// iam is an instance with users for both persons and the robot.
func (c *cloud) iam(t *testing.T) string {
	t.Helper()
	name := c.adopt(t, Attributes{NoBackups: true, Flags: map[string]string{flagIAM: "on"}})
	if err := c.Identity().Grant(person, "roles/cloudsql.client", "roles/cloudsql.instanceUser"); err != nil {
		t.Fatal(err)
	}
	svc := c.api(t, admin)
	for _, user := range []string{person, visitor} {
		must(t, svc)(svc.Users.Insert(project, name, &sqladmin.User{Name: user, Type: iamUser}).Do())
	}
	must(t, svc)(svc.Users.Insert(project, name, &sqladmin.User{Name: googleid.DatabaseUser(robot), Type: iamService}).Do())
	return name
}

func TestTheConnectorLogsIn(t *testing.T) {
	t.Parallel()
	c := theCloud(t)
	name := c.iam(t)
	sources := func(email string) cloudsqlconn.Option {
		return cloudsqlconn.WithIAMAuthNTokenSources(c.source(t, email, googleid.ScopeSQLAdmin), c.source(t, email, googleid.ScopeSQLLogin))
	}
	key := filepath.Join(t.TempDir(), "key.json")
	if err := c.Identity().WriteKey(robot, key, c.http.URL+"/token"); err != nil {
		t.Fatal(err)
	}
	if err := c.Identity().Grant(visitor, "roles/cloudsql.client"); err != nil {
		t.Fatal(err)
	}
	admins := c.connector(t, admin)
	persons := c.connector(t, "", cloudsqlconn.WithIAMAuthN(), sources(person))
	robots := c.connector(t, "", cloudsqlconn.WithIAMAuthN(), cloudsqlconn.WithCredentialsFile(key))
	visitors := c.connector(t, "", cloudsqlconn.WithIAMAuthN(), sources(visitor))
	token := func(email string) string {
		tok, err := c.source(t, email).Token()
		if err != nil {
			t.Fatal(err)
		}
		return tok.AccessToken
	}
	for what, tc := range map[string]struct {
		as             *cloudsqlconn.Dialer
		user, password string
		wrong          string
	}{
		"with a password":                              {admins, "postgres", "postgres-pw", ""},
		"with the identity of a person":                {persons, person, "", ""},
		"with the identity in a key file":              {robots, "robot@shop-prod.iam", "", ""},
		"with a token in place of the password":        {admins, person, token(person), ""},
		"not with a wrong password":                    {admins, "postgres", "wrong", "password authentication failed"},
		"not as another person":                        {robots, person, "", "authentication failed"},
		"not with another person's token":              {admins, person, token(admin), "authentication failed"},
		"not with an identity that may not log in":     {visitors, visitor, "", "authentication failed"},
		"not with an identity as a user with password": {persons, "postgres", "", "password"},
	} {
		conn, err := login(t.Context(), tc.as, name, tc.user, tc.password)
		switch {
		case tc.wrong == "" && err != nil:
			t.Errorf("%s: %v", what, err)
		case tc.wrong != "" && (err == nil || !strings.Contains(err.Error(), tc.wrong)):
			t.Errorf("%s: got %v, want %q", what, err, tc.wrong)
		}
		if err != nil {
			continue
		}
		if got := text(t, conn, "SELECT current_user"); got != tc.user {
			t.Errorf("%s: logged in as %s", what, got)
		}
		_ = conn.Close(t.Context())
	}
	svc := c.api(t, admin)
	must(t, svc)(svc.Instances.Patch(project, name, &sqladmin.DatabaseInstance{Settings: &sqladmin.Settings{
		DatabaseFlags: []*sqladmin.DatabaseFlags{{Name: flagIAM, Value: "off"}},
	}}).Do())
	if _, err := login(t.Context(), persons, name, person, ""); err == nil {
		t.Error("the flag is off, and identities still log in")
	}
}

func TestThePortWantsAnEphemeralCertificate(t *testing.T) {
	t.Parallel()
	c := theCloud(t)
	name := c.adopt(t, Attributes{NoBackups: true})
	svc := c.api(t, admin)
	settings, err := svc.Connect.Get(project, name).Do()
	if err != nil {
		t.Fatal(err)
	}
	addr := net.JoinHostPort(settings.IpAddresses[0].IpAddress, connectorPort)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	ephemeral := func(valid string) tls.Certificate {
		made, err := svc.Connect.GenerateEphemeralCert(project, name, &sqladmin.GenerateEphemeralCertRequest{
			PublicKey: string(pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: public})), ValidDuration: valid,
		}).Do()
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode([]byte(made.EphemeralCert.Cert))
		return tls.Certificate{Certificate: [][]byte{block.Bytes}, PrivateKey: key}
	}
	asked, err := svc.SslCerts.Insert(project, name, &sqladmin.SslCertsInsertRequest{CommonName: "laptop"}).Do()
	if err != nil {
		t.Fatal(err)
	}
	laptop, err := tls.X509KeyPair([]byte(asked.ClientCert.CertInfo.Cert), []byte(asked.ClientCert.CertPrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	expired := ephemeral("1s")
	leaf, err := x509.ParseCertificate(expired.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	if time.Until(leaf.NotAfter) > 10*time.Second {
		t.Fatalf("a certificate for one second lasts until %v", leaf.NotAfter)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(settings.ServerCaCert.Cert))
	dial := func(certs ...tls.Certificate) error {
		conf := &tls.Config{
			Certificates: certs, MinVersion: tls.VersionTLS13, InsecureSkipVerify: true,
			VerifyConnection: func(cs tls.ConnectionState) error {
				if cn := cs.PeerCertificates[0].Subject.CommonName; cn != project+":"+name {
					t.Errorf("the server's name is %q", cn)
				}
				_, err := cs.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots})
				return err
			},
		}
		conn, err := (&tls.Dialer{Config: conf}).DialContext(t.Context(), "tcp", addr)
		if err != nil {
			return err
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := conn.Write([]byte("\x00\x00\x00\x08\x04\xd2\x16\x2f")); err != nil { // SSLRequest
			return err
		}
		_, err = conn.Read(make([]byte, 1))
		return err
	}
	if err := dial(ephemeral("")); err != nil {
		t.Errorf("with an ephemeral certificate: %v", err)
	}
	if err := dial(); err == nil || !strings.Contains(err.Error(), "certificate required") {
		t.Errorf("without a certificate: %v", err)
	}
	if err := dial(laptop); err == nil {
		t.Error("a certificate of a person's opens the connector port")
	}
	for time.Now().Before(leaf.NotAfter.Add(time.Second)) {
		pause(t, 50*time.Millisecond)
	}
	if err := dial(expired); err == nil || !strings.Contains(err.Error(), "expired certificate") {
		t.Errorf("with an expired certificate: %v", err)
	}
}

func TestTheConnectorFollowsCertificates(t *testing.T) {
	t.Parallel()
	c := ownCloud(t, Config{CertTTL: 2 * time.Second})
	svc := c.api(t, admin)
	name := c.adopt(t, Attributes{NoBackups: true})
	d := c.connector(t, admin)
	who := func() error {
		conn, err := login(t.Context(), d, name, "postgres", "postgres-pw")
		if err != nil {
			return err
		}
		return conn.Close(t.Context())
	}
	if err := who(); err != nil {
		t.Fatal(err)
	}
	timer := time.Now().Add(3 * time.Second) // the certificate of the first login is over then
	for time.Now().Before(timer) {
		pause(t, 50*time.Millisecond)
	}
	if err := who(); err != nil {
		t.Errorf("after the first certificate's end: %v", err)
	}

	cas := func() *sqladmin.InstancesListServerCasResponse {
		l, err := svc.Instances.ListServerCas(project, name).Do()
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	first := cas()
	_, err := svc.Instances.RotateServerCa(project, name, &sqladmin.InstancesRotateServerCaRequest{}).Do()
	want(t, "a rotation to nothing", err, 400, "invalidRequest", "no upcoming")
	must(t, svc)(svc.Instances.AddServerCa(project, name).Do())
	if l := cas(); len(l.Certs) != 2 || l.ActiveVersion != first.ActiveVersion || served(t, c, name) != first.ActiveVersion {
		t.Errorf("after add: %d authorities, active %s", len(l.Certs), l.ActiveVersion)
	}
	must(t, svc)(svc.Instances.RotateServerCa(project, name, &sqladmin.InstancesRotateServerCaRequest{}).Do())
	second := cas()
	if second.ActiveVersion == first.ActiveVersion || served(t, c, name) != second.ActiveVersion {
		t.Error("the server's certificate is not from the new authority")
	}
	if err := who(); err != nil {
		if err = who(); err != nil { // the connector learns of the new authority from one failure
			t.Errorf("after the rotation: %v", err)
		}
	}
	must(t, svc)(svc.Instances.RotateServerCa(project, name, &sqladmin.InstancesRotateServerCaRequest{
		RotateServerCaContext: &sqladmin.RotateServerCaContext{NextVersion: first.ActiveVersion},
	}).Do())
	if l := cas(); l.ActiveVersion != first.ActiveVersion || served(t, c, name) != first.ActiveVersion {
		t.Error("the rollback did not bring the old authority back")
	}
}

// served is the fingerprint of the authority that signed what the server shows: the one of listServerCas that verifies it. It is
// an error if the connector port and the open port do not agree.
func served(t *testing.T, c *cloud, name string) string {
	t.Helper()
	svc := c.api(t, admin)
	l, err := svc.Instances.ListServerCas(project, name).Do()
	if err != nil {
		t.Fatal(err)
	}
	settings, err := svc.Connect.Get(project, name).Do()
	if err != nil {
		t.Fatal(err)
	}
	host := settings.IpAddresses[0].IpAddress
	found := ""
	conf := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}
	conf.VerifyConnection = func(cs tls.ConnectionState) error {
		for _, ca := range l.Certs {
			roots := x509.NewCertPool()
			roots.AppendCertsFromPEM([]byte(ca.Cert))
			if _, err := cs.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots}); err == nil {
				found = ca.Sha1Fingerprint
			}
		}
		return nil
	}
	conn, err := (&tls.Dialer{Config: conf}).DialContext(t.Context(), "tcp", net.JoinHostPort(host, connectorPort))
	if err == nil {
		_ = conn.Close()
	}
	port := found
	cfg, err := pgx.ParseConfig("sslmode=require user=postgres password=postgres-pw dbname=postgres host=" + host)
	if err != nil {
		t.Fatal(err)
	}
	cfg.TLSConfig = conf
	open, err := pgx.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	_ = open.Close(t.Context())
	if found != port {
		t.Errorf("the open port shows a certificate of %s, the connector port of %s", found, port)
	}
	return found
}

func TestAFailoverIsFelt(t *testing.T) {
	t.Parallel()
	c := ownCloud(t, Config{Pace: 0.01}) // an outage of 600 ms
	svc := c.api(t, admin)
	name := c.adopt(t, Attributes{Availability: regional, Zone: region + "-d"})
	d := c.connector(t, admin)
	var longest, failures atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		last := time.Now()
		for ctx.Err() == nil {
			conn, err := login(ctx, d, name, "postgres", "postgres-pw")
			if err == nil {
				_, err = conn.Exec(ctx, "SELECT 1")
				_ = conn.Close(ctx)
			}
			if err != nil && ctx.Err() == nil {
				failures.Add(1)
				_ = play.Pace(1).Sleep(ctx, 5*time.Millisecond)
				continue
			}
			longest.Store(max(longest.Load(), int64(time.Since(last))))
			last = time.Now()
		}
	}()
	in(t, d, name, "postgres", "postgres-pw", func(open *pgx.Conn) {
		before, err := svc.Instances.Get(project, name).Do()
		if err != nil || before.GceZone != region+"-d" || before.SecondaryGceZone == "" {
			t.Fatalf("%+v, %v", before, err)
		}
		_, err = svc.Instances.Failover(project, name, &sqladmin.InstancesFailoverRequest{FailoverContext: &sqladmin.FailoverContext{SettingsVersion: 99}}).Do()
		want(t, "the wrong version of the settings", err, 412, "staleData", "Condition")
		must(t, svc)(svc.Instances.Failover(project, name, &sqladmin.InstancesFailoverRequest{
			FailoverContext: &sqladmin.FailoverContext{SettingsVersion: before.Settings.SettingsVersion},
		}).Do())
		if _, err := open.Exec(t.Context(), "SELECT 1"); err == nil {
			t.Error("an open session outlives the failover")
		}
		after, err := svc.Instances.Get(project, name).Do()
		if err != nil || after.GceZone != before.SecondaryGceZone || after.SecondaryGceZone != before.GceZone {
			t.Errorf("zones %s and %s, %v", after.GceZone, after.SecondaryGceZone, err)
		}
	})
	in(t, d, name, "postgres", "postgres-pw", func(*pgx.Conn) {})
	cancel()
	<-done
	if down := time.Duration(longest.Load()); down < 500*time.Millisecond || failures.Load() == 0 {
		t.Errorf("%v without a login, %d failures: that is no failover", down, failures.Load())
	}
}
