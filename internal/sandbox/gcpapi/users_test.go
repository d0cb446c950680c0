package gcpapi

import (
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	sqladmin "google.golang.org/api/sqladmin/v1"
)

func TestUsersAreRoles(t *testing.T) {
	t.Parallel()
	c := theCloud(t)
	svc := c.api(t, admin)
	name := c.adopt(t, Attributes{NoBackups: true})
	d := c.connector(t, admin)
	in(t, d, name, "postgres", "postgres-pw", func(conn *pgx.Conn) {
		run(t, conn, "CREATE ROLE app_rw")
		run(t, conn, "CREATE ROLE in_sql LOGIN PASSWORD 'x'")
	})
	op := must(t, svc)(svc.Users.Insert(project, name, &sqladmin.User{Name: "boss", Password: "it's a \\ pw"}).Do())
	if op.OperationType != "CREATE_USER" || op.User != admin {
		t.Errorf("%+v", op)
	}
	must(t, svc)(svc.Users.Insert(project, name, &sqladmin.User{Name: "app", Password: "app-pw", DatabaseRoles: []string{"app_rw"}}).Do())
	const rights = "SELECT concat_ws(' ', rolcreaterole, rolcreatedb, rolsuper, pg_has_role(rolname, 'cloudsqlsuperuser', 'member')) FROM pg_roles WHERE rolname = current_user"
	for user, tc := range map[string][2]string{"boss": {"it's a \\ pw", "t t f t"}, "app": {"app-pw", "f f f f"}} {
		in(t, d, name, user, tc[0], func(conn *pgx.Conn) {
			if got := text(t, conn, rights); got != tc[1] {
				t.Errorf("%s: rights %s, want %s", user, got, tc[1])
			}
		})
	}
	l, err := svc.Users.List(project, name).Do()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, u := range l.Items {
		names = append(names, u.Name)
		if u.Password != "" || u.Type != builtIn {
			t.Errorf("%+v", u)
		}
	}
	if !slices.Equal(names, []string{"app", "boss", "in_sql", "postgres"}) {
		t.Errorf("users %v", names)
	}
	_, err = svc.Users.Insert(project, name, &sqladmin.User{Name: "app", Password: "x"}).Do()
	want(t, "a user twice", err, 409, "userAlreadyExists", "already exists")
	_, err = svc.Users.Insert(project, name, &sqladmin.User{Name: "x@example.com", Type: iamUser}).Do()
	want(t, "an identity without the flag", err, 400, "invalidRequest", "IAM authentication is not enabled")

	must(t, svc)(svc.Users.Update(project, name, &sqladmin.User{Password: "new-pw"}).Name("app").Do())
	in(t, d, name, "app", "new-pw", func(*pgx.Conn) {})
	if _, err := login(t.Context(), d, name, "app", "app-pw"); err == nil {
		t.Error("the old password still works")
	}
	must(t, svc)(svc.Users.Update(project, name, &sqladmin.User{}).Name("app").DatabaseRoles("in_sql").RevokeExistingRoles(true).Do())
	u, err := svc.Users.Get(project, name, "app").Do()
	if err != nil || !slices.Equal(u.DatabaseRoles, []string{"in_sql"}) {
		t.Errorf("%+v, %v", u, err)
	}
	in(t, d, name, "boss", "it's a \\ pw", func(conn *pgx.Conn) { run(t, conn, "CREATE DATABASE mine") })
	dropped, err := svc.Users.Delete(project, name).Name("boss").Do()
	dropped = wait(t, svc, dropped, err)
	if dropped.Error == nil || !strings.Contains(dropped.Error.Errors[0].Message, "cannot be dropped because some objects depend on it") {
		t.Errorf("a user who owns something: %+v", dropped)
	}
	must(t, svc)(svc.Users.Delete(project, name).Name("app").Do())
	_, err = svc.Users.Get(project, name, "app").Do()
	want(t, "a deleted user", err, 404, "userDoesNotExist", "user")
}

func TestDatabasesAreReal(t *testing.T) {
	t.Parallel()
	c := theCloud(t)
	svc := c.api(t, admin)
	name := c.adopt(t, Attributes{NoBackups: true})
	must(t, svc)(svc.Databases.Insert(project, name, &sqladmin.Database{Name: "shop", Charset: "UTF8"}).Do())
	_, err := svc.Databases.Insert(project, name, &sqladmin.Database{Name: "shop"}).Do()
	want(t, "a database twice", err, 400, "invalidRequest", "already exists")
	d, err := svc.Databases.Get(project, name, "shop").Do()
	if err != nil || d.Charset != "UTF8" {
		t.Errorf("%+v, %v", d, err)
	}
	must(t, svc)(svc.Databases.Delete(project, name, "shop").Do())
	_, err = svc.Databases.Get(project, name, "shop").Do()
	want(t, "a deleted database", err, 404, "databaseDoesNotExist", "database")
}

func TestClientCertificatesAreSignedOnce(t *testing.T) {
	t.Parallel()
	c := theCloud(t)
	svc := c.api(t, admin)
	name := c.adopt(t, Attributes{NoBackups: true})
	made, err := svc.SslCerts.Insert(project, name, &sqladmin.SslCertsInsertRequest{CommonName: "laptop"}).Do()
	if err != nil {
		t.Fatal(err)
	}
	must(t, svc)(made.Operation, nil)
	sha1 := made.ClientCert.CertInfo.Sha1Fingerprint
	if made.ClientCert.CertPrivateKey == "" || made.ServerCaCert.Sha1Fingerprint == "" || len(sha1) != 40 {
		t.Errorf("%+v", made)
	}
	_, err = svc.SslCerts.Insert(project, name, &sqladmin.SslCertsInsertRequest{CommonName: "laptop"}).Do()
	want(t, "the same name", err, 409, "sslCertAlreadyExists", "already exists")
	l, err := svc.SslCerts.List(project, name).Do()
	if err != nil || len(l.Items) != 1 || l.Items[0].CommonName != "laptop" || l.Items[0].ExpirationTime == "" {
		t.Errorf("%+v, %v", l, err)
	}
	must(t, svc)(svc.SslCerts.Delete(project, name, sha1).Do())
	_, err = svc.SslCerts.Get(project, name, sha1).Do()
	want(t, "a deleted certificate", err, 404, "sslCertDoesNotExist", "SSL certificate")
}
