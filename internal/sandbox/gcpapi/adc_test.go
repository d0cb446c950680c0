package gcpapi

import (
	"path/filepath"
	"testing"

	"cloud.google.com/go/cloudsqlconn"
	secretmanager "cloud.google.com/go/secretmanager/apiv1"
	"cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"github.com/jackc/pgx/v5"
	"google.golang.org/api/option"
	sqladmin "google.golang.org/api/sqladmin/v1"

	"dbops/internal/sandbox/gcpapi/googleid"
)

// One variable that names the key file is enough for every client, as it is with the real cloud.
func TestApplicationDefaultCredentialsAreEnough(t *testing.T) {
	c := theCloud(t)
	name := c.iam(t)
	key := filepath.Join(t.TempDir(), "key.json")
	if err := c.Identity().WriteKey(robot, key, c.http.URL+"/token"); err != nil {
		t.Fatal(err)
	}
	if err := c.Identity().Grant(robot, "roles/cloudsql.admin", "roles/secretmanager.admin"); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", key)

	svc, err := sqladmin.NewService(t.Context(), option.WithEndpoint(c.http.URL+"/"))
	if err != nil {
		t.Fatal(err)
	}
	if db, err := svc.Instances.Get(project, name).Do(); err != nil || db.Name != name {
		t.Errorf("the Admin API: %v", err)
	}
	user := googleid.DatabaseUser(robot)
	in(t, c.connector(t, "", cloudsqlconn.WithIAMAuthN()), name, user, "", func(conn *pgx.Conn) {
		if got := text(t, conn, "SELECT current_user"); got != user {
			t.Errorf("logged in as %s", got)
		}
	})
	sm, err := secretmanager.NewRESTClient(t.Context(), option.WithEndpoint(c.http.URL))
	if err != nil {
		t.Fatal(err)
	}
	defer sm.Close()
	if _, err := sm.ListSecrets(t.Context(), &secretmanagerpb.ListSecretsRequest{Parent: "projects/" + project, PageSize: 1}).Next(); err == nil || err.Error() != "no more items in iterator" {
		t.Errorf("the Secret Manager: %v", err)
	}
}
