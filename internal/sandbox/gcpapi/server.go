package gcpapi

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/google/uuid"
	sqladmin "google.golang.org/api/sqladmin/v1"

	"dbops/internal/sandbox/edge"
	"dbops/internal/sandbox/gcpapi/googleid"
	"dbops/internal/sandbox/pki"
	"dbops/internal/sandbox/world"
	"dbops/internal/secret"
)

const (
	superGroup = "cloudsqlsuperuser"
	iamGroup   = "cloudsqliamuser"
	master     = "postgres"

	// caTTL is how long an instance's authorities last.
	caTTL = 10 * 365 * 24 * time.Hour
)

// newInstance is an instance that has its authorities and no server yet.
func newInstance(db *sqladmin.DatabaseInstance) (*instance, error) {
	server, err := newAuthority("Google Cloud SQL Server CA")
	if err != nil {
		return nil, err
	}
	client, err := newAuthority("Google Cloud SQL Client CA")
	if err != nil {
		return nil, err
	}
	return &instance{DB: db, ServerCA: server, ClientCA: client}, nil
}

func newAuthority(name string) (*authority, error) {
	ca, err := pki.NewCA(pkix.Name{
		CommonName: name, Organization: []string{"Google, Inc"}, Country: []string{"US"},
		ExtraNames: []pkix.AttributeTypeAndValue{{Type: []int{2, 5, 4, 46}, Value: uuid.NewString()}}, // dnQualifier
	}, caTTL)
	if err != nil {
		return nil, err
	}
	return &authority{CA: ca, Created: time.Now()}, nil
}

// leaf makes the server's certificate. Its name is project:instance and there is no other, as with the real per-instance CA.
func (i *instance) leaf(ca *authority) (pki.Leaf, error) {
	ttl := time.Until(ca.CA.Certificate().NotAfter)
	return ca.CA.Issue(ttl, func(t *x509.Certificate) {
		t.Subject = pkix.Name{
			CommonName: i.DB.Project + ":" + i.DB.Name, Organization: []string{"Google, Inc"}, Country: []string{"US"},
		}
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	})
}

// spec is the server that an instance asks for.
func (i *instance) spec(password secret.Value) (world.Spec, error) {
	n, err := major(i.DB.DatabaseVersion)
	return world.Spec{
		ID: i.Server, Major: n, Master: master, MasterPassword: password, SuperGroup: superGroup, IAMGroup: iamGroup,
		Listen: net.JoinHostPort(i.IP, "5432"),
	}, err
}

// newServerID names a server of the world that never was before.
func newServerID(name string) string {
	b := make([]byte, 4)
	_, _ = rand.Read(b)
	return fmt.Sprintf("sql.%.40s.%x", name, b)
}

// settleIn gives an instance its address and the name of its server.
func (s *Server) settleIn(ctx context.Context, inst *instance) error {
	s.mu.Lock()
	taken := map[string]bool{}
	for _, other := range s.state.Instances {
		taken[other.IP] = true
	}
	s.mu.Unlock()
	ip, err := freeAddress(ctx, taken)
	if err != nil {
		return err
	}
	return s.change(func() { inst.IP, inst.Server = ip, newServerID(inst.DB.Name) })
}

// createServer makes the server of a new instance. Without a password nobody can log in as postgres, as in the real service.
func (s *Server) createServer(ctx context.Context, inst *instance, password secret.Value) error {
	if password.IsZero() {
		b := make([]byte, 24)
		_, _ = rand.Read(b)
		password = secret.New(hex.EncodeToString(b))
	}
	if err := s.settleIn(ctx, inst); err != nil {
		return err
	}
	spec, err := inst.spec(password)
	if err != nil {
		return err
	}
	leaf, err := inst.leaf(inst.ServerCA)
	if err != nil {
		return err
	}
	srv, err := s.cfg.World.Create(ctx, spec, leaf.TLS)
	if err != nil {
		return err
	}
	if err := s.serve(ctx, inst, srv, leaf.TLS); err != nil {
		return err
	}
	if err := bringFlags(ctx, srv, inst.DB.Settings.DatabaseFlags); err != nil {
		return err
	}
	return s.firstBackup(ctx, inst)
}

// firstBackup is taken when recovery is on: without it there is nothing to recover from. A stopped instance ends here.
func (s *Server) firstBackup(ctx context.Context, inst *instance) error {
	if inst.DB.Settings.BackupConfiguration.PointInTimeRecoveryEnabled {
		if err := s.automatedBackup(ctx, inst); err != nil {
			return err
		}
	}
	if inst.DB.Settings.ActivationPolicy == "NEVER" {
		return inst.server.Stop(ctx)
	}
	return nil
}

// serve lets a server be reached in the way that the instance's settings say.
func (s *Server) serve(ctx context.Context, inst *instance, srv *world.Server, cert tls.Certificate) error {
	srv.SetRequireTLS(inst.DB.Settings.IpConfiguration.SslMode != plaintextToo)
	srv.SetTokenCheck(func(role, token string) error { return s.checkLogin(inst, role, token) })
	srv.SetClientRule(func() edge.ClientRule { return s.clientRule(inst) })
	port, err := s.openPort(ctx, inst)
	if err != nil {
		return err
	}
	return s.change(func() {
		inst.server, inst.port, inst.cert = srv, port, cert
		inst.DB.IpAddresses = []*sqladmin.IpMapping{{Type: "PRIMARY", IpAddress: inst.IP}}
		inst.DB.DatabaseInstalledVersion = installedVersion(inst.DB.DatabaseVersion, srv.Version())
	})
}

// installedVersion is POSTGRES_16_14 for a server of 16.14.
func installedVersion(databaseVersion, full string) string {
	var major, minor int
	if n, _ := fmt.Sscanf(full, "%d.%d", &major, &minor); n != 2 {
		return databaseVersion
	}
	return fmt.Sprintf("POSTGRES_%d_%d", major, minor)
}

// checkLogin decides whether a token, sent in place of a password, lets its bearer in as a database user.
func (s *Server) checkLogin(inst *instance, role, token string) error {
	bearer, err := s.identity.Check(token)
	if err != nil {
		return err
	}
	if !bearer.May(googleid.ScopePlatform, googleid.ScopeSQLAdmin, googleid.ScopeSQLLogin) {
		return errors.New("the token's scopes do not allow logins")
	}
	if user := s.databaseUser(inst, bearer.Email); user != role {
		return fmt.Errorf("the token is for %q", user)
	}
	return nil
}

// databaseUser is the role that a principal may log in as, "" for none.
func (s *Server) databaseUser(inst *instance, email string) string {
	s.mu.Lock()
	on := inst.flag(flagIAM) == "on"
	s.mu.Unlock()
	if email == "" || !on || !s.identity.Allowed(email, "cloudsql.instances.login") {
		return ""
	}
	return googleid.DatabaseUser(email)
}

// removeServer deletes an instance with its server and its backups.
func (s *Server) removeServer(ctx context.Context, inst *instance) error {
	s.mu.Lock()
	port, id := inst.port, inst.Server
	backups := append([]*backup(nil), inst.Backups...)
	inst.port = nil
	s.mu.Unlock()
	if port != nil {
		if err := port.Close(); err != nil {
			return err
		}
	}
	if id != "" {
		if err := s.cfg.World.Remove(ctx, id); err != nil {
			return err
		}
	}
	for _, b := range backups {
		if b.World == "" {
			continue
		}
		if err := s.cfg.World.RemoveBackup(b.World); err != nil {
			return err
		}
	}
	return s.change(func() {
		inst.server = nil
		delete(s.state.Instances, inst.key())
	})
}
