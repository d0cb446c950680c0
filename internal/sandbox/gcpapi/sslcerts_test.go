package gcpapi

import (
	"context"
	"crypto/tls"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	sqladmin "google.golang.org/api/sqladmin/v1"
)

// The open port takes the certificates that the API lists, demands one in the mode that says so, and refuses those that are deleted.
func TestTheOpenPortKnowsClientCertificates(t *testing.T) {
	t.Parallel()
	c := theCloud(t)
	svc := c.api(t, admin)
	name := c.adopt(t, Attributes{NoBackups: true})
	inst, err := svc.Instances.Get(project, name).Do()
	if err != nil {
		t.Fatal(err)
	}
	host := inst.IpAddresses[0].IpAddress
	enter := func(certs ...tls.Certificate) error {
		cfg, err := pgx.ParseConfig("sslmode=require user=postgres password=postgres-pw dbname=postgres host=" + host)
		if err != nil {
			return err
		}
		cfg.TLSConfig = &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12, Certificates: certs}
		conn, err := pgx.ConnectConfig(t.Context(), cfg)
		if err == nil {
			err = conn.Close(context.WithoutCancel(t.Context()))
		}
		return err
	}
	made, err := svc.SslCerts.Insert(project, name, &sqladmin.SslCertsInsertRequest{CommonName: "laptop"}).Do()
	if err != nil {
		t.Fatal(err)
	}
	must(t, svc)(made.Operation, nil)
	own, err := tls.X509KeyPair([]byte(made.ClientCert.CertInfo.Cert), []byte(made.ClientCert.CertPrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(enter(), enter(own)); err != nil {
		t.Errorf("before any is demanded: %v", err)
	}
	must(t, svc)(svc.Instances.Patch(project, name, &sqladmin.DatabaseInstance{Settings: &sqladmin.Settings{
		SettingsVersion: inst.Settings.SettingsVersion, IpConfiguration: &sqladmin.IpConfiguration{SslMode: certificateToo},
	}}).Do())
	if err := enter(own); err != nil {
		t.Errorf("with a certificate: %v", err)
	}
	if pg, ok := errors.AsType[*pgconn.PgError](enter()); !ok || pg.Code != "28000" || !strings.Contains(pg.Message, "valid client certificate") {
		t.Errorf("without a certificate: %v", pg)
	}
	must(t, svc)(svc.SslCerts.Delete(project, name, made.ClientCert.CertInfo.Sha1Fingerprint).Do())
	if err := enter(own); err == nil || !strings.Contains(err.Error(), "tls") {
		t.Errorf("with a deleted certificate: %v", err)
	}
	stranger, err := newAuthority("somebody else's CA")
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := inst0(name).leaf(stranger)
	if err != nil {
		t.Fatal(err)
	}
	if err := enter(leaf.TLS); err == nil {
		t.Error("a certificate of another CA is taken")
	}
	in(t, c.connector(t, admin), name, "postgres", "postgres-pw", func(*pgx.Conn) {}) // it brings its own
}

// inst0 is enough of an instance to have a certificate made.
func inst0(name string) *instance {
	return &instance{DB: &sqladmin.DatabaseInstance{Project: project, Name: name}}
}
