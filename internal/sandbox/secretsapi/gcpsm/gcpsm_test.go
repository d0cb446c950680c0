package gcpsm

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	secretmanager "cloud.google.com/go/secretmanager/apiv1"
	pb "cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"github.com/googleapis/gax-go/v2/apierror"
	"go.uber.org/goleak"
	"golang.org/x/oauth2"
	"google.golang.org/api/iterator"
	"google.golang.org/api/option"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"dbops/internal/sandbox/gcpapi/googleid"
	"dbops/internal/sandbox/play"
)

const (
	owner  = "owner@example.com"
	reader = "reader@example.com"
	parent = "projects/shop-prod"
	number = "projects/123456789012"
)

func TestMain(m *testing.M) {
	// Google's libraries keep idle connections in transports of their own, which nobody can close.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

type fixture struct {
	url    string
	id     *googleid.Directory
	faults *play.Faults
	dir    string
	log    *strings.Builder
	server *Server
}

func start(t *testing.T, dir string) *fixture {
	t.Helper()
	id, err := googleid.Open(googleid.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	for email, role := range map[string]string{owner: "roles/secretmanager.admin", reader: "roles/secretmanager.viewer"} {
		if err := id.Grant(email, role); err != nil {
			t.Fatal(err)
		}
	}
	f := &fixture{id: id, faults: new(play.Faults), dir: dir, log: new(strings.Builder)}
	f.server, err = New(Options{
		Dir: dir, Identity: id, Faults: f.faults, Projects: map[string]string{"shop-prod": "123456789012"},
		Log: slog.New(slog.NewTextHandler(f.log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(f.server)
	t.Cleanup(srv.Close)
	f.url = srv.URL
	return f
}

func (f *fixture) client(t *testing.T, email string, scopes ...string) *secretmanager.Client {
	t.Helper()
	tok, err := f.id.Token(email, time.Hour, scopes...)
	if err != nil {
		t.Fatal(err)
	}
	return f.with(t, option.WithTokenSource(oauth2.StaticTokenSource(&oauth2.Token{AccessToken: tok.Reveal()})))
}

func (f *fixture) with(t *testing.T, auth option.ClientOption) *secretmanager.Client {
	t.Helper()
	c, err := secretmanager.NewRESTClient(t.Context(), option.WithEndpoint(f.url), auth)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(); http.DefaultClient.CloseIdleConnections() })
	return c
}

func create(t *testing.T, c *secretmanager.Client, id string) *pb.Secret {
	t.Helper()
	s, err := c.CreateSecret(t.Context(), &pb.CreateSecretRequest{Parent: parent, SecretId: id, Secret: automatic()})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func automatic() *pb.Secret {
	return &pb.Secret{Replication: &pb.Replication{Replication: &pb.Replication_Automatic_{Automatic: &pb.Replication_Automatic{}}}}
}

func add(t *testing.T, c *secretmanager.Client, secret, data string) *pb.SecretVersion {
	t.Helper()
	sum := int64(crc32.Checksum([]byte(data), crc32.MakeTable(crc32.Castagnoli)))
	v, err := c.AddSecretVersion(t.Context(), &pb.AddSecretVersionRequest{
		Parent: secret, Payload: &pb.SecretPayload{Data: []byte(data), DataCrc32C: &sum},
	})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// want fails unless err is an API error with that status.
func want(t *testing.T, what string, err error, status int, text string) {
	t.Helper()
	api, ok := errors.AsType[*apierror.APIError](err)
	if !ok || api.HTTPCode() != status || !strings.Contains(err.Error(), text) {
		t.Errorf("%s: got %v, want %d with %q", what, err, status, text)
	}
}

func TestVersionsAreAddedAccessedAndDestroyed(t *testing.T) {
	t.Parallel()
	ctx, f := t.Context(), start(t, t.TempDir())
	c := f.client(t, owner)
	s := create(t, c, "api-db")
	if s.GetName() != number+"/secrets/api-db" || s.GetEtag() == "" || s.GetCreateTime() == nil {
		t.Errorf("created %v", s)
	}
	first, second := add(t, c, s.GetName(), "one"), add(t, c, parent+"/secrets/api-db", "two")
	if second.GetName() != s.GetName()+"/versions/2" || second.GetState() != pb.SecretVersion_ENABLED || !second.GetClientSpecifiedPayloadChecksum() {
		t.Errorf("added %v", second)
	}
	for version, data := range map[string]string{"latest": "two", "1": "one", "2": "two"} {
		got, err := c.AccessSecretVersion(ctx, &pb.AccessSecretVersionRequest{Name: parent + "/secrets/api-db/versions/" + version})
		if err != nil || string(got.GetPayload().GetData()) != data || got.GetPayload().GetDataCrc32C() != checksum([]byte(data)) {
			t.Errorf("version %s: %v, %v", version, got, err)
		}
	}
	if _, err := c.DisableSecretVersion(ctx, &pb.DisableSecretVersionRequest{Name: second.GetName()}); err != nil {
		t.Fatal(err)
	}
	_, err := c.AccessSecretVersion(ctx, &pb.AccessSecretVersionRequest{Name: parent + "/secrets/api-db/versions/latest"})
	want(t, "access of a disabled version", err, 400, "is in DISABLED state")
	if _, err := c.EnableSecretVersion(ctx, &pb.EnableSecretVersionRequest{Name: second.GetName()}); err != nil {
		t.Fatal(err)
	}
	_, err = c.DestroySecretVersion(ctx, &pb.DestroySecretVersionRequest{Name: first.GetName(), Etag: `"other"`})
	want(t, "destroy with a stale etag", err, 400, "etag")
	gone, err := c.DestroySecretVersion(ctx, &pb.DestroySecretVersionRequest{Name: first.GetName(), Etag: first.GetEtag()})
	if err != nil || gone.GetState() != pb.SecretVersion_DESTROYED || gone.GetDestroyTime() == nil {
		t.Errorf("destroyed %v, %v", gone, err)
	}
	_, err = c.EnableSecretVersion(ctx, &pb.EnableSecretVersionRequest{Name: first.GetName()})
	want(t, "enable of a destroyed version", err, 400, "DESTROYED")
	if err := c.DeleteSecret(ctx, &pb.DeleteSecretRequest{Name: s.GetName(), Etag: s.GetEtag()}); err != nil {
		t.Errorf("delete with the etag of creation, which versions do not change: %v", err)
	}
	_, err = c.GetSecret(ctx, &pb.GetSecretRequest{Name: s.GetName()})
	want(t, "get after delete", err, 404, "not found")
}

func TestAnnotationsAreCheckedAsByTheRealOne(t *testing.T) {
	t.Parallel()
	ctx, f := t.Context(), start(t, t.TempDir())
	c := f.client(t, owner)
	s := create(t, c, "api-db")
	annotate := func(annotations map[string]string) error {
		_, err := c.UpdateSecret(ctx, &pb.UpdateSecretRequest{
			Secret: &pb.Secret{Name: s.GetName(), Annotations: annotations}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"annotations"}},
		})
		return err
	}
	good := map[string]string{"dbops-versions": `[{"token":"x"}]`, "a": "", "A.b_c-9": strings.Repeat("x", 16000)}
	if err := annotate(good); err != nil {
		t.Error(err)
	}
	for name, bad := range map[string]map[string]string{
		"an empty key": {"": "x"}, "a key with a slash": {"a/b": "x"}, "a key that ends badly": {"a-": "x"},
		"a long key": {strings.Repeat("a", 64): "x"}, "too much": {"a": strings.Repeat("x", 8<<10), "b": strings.Repeat("x", 8<<10)},
	} {
		want(t, name, annotate(bad), 400, "nnotation")
	}
	got, err := c.GetSecret(ctx, &pb.GetSecretRequest{Name: s.GetName()})
	if err != nil || !maps.Equal(got.GetAnnotations(), good) {
		t.Errorf("%v, %v", got.GetAnnotations(), err)
	}
	_, err = c.CreateSecret(ctx, &pb.CreateSecretRequest{Parent: parent, SecretId: "bad", Secret: &pb.Secret{
		Replication: automatic().GetReplication(), Annotations: map[string]string{"a/b": "x"},
	}})
	want(t, "a new secret", err, 400, "nnotation")
}

func TestAliasesMoveByCompareAndSwap(t *testing.T) {
	t.Parallel()
	ctx, f := t.Context(), start(t, t.TempDir())
	c := f.client(t, owner)
	s := create(t, c, "api-db")
	add(t, c, s.GetName(), "one")
	add(t, c, s.GetName(), "two")
	point := func(etag string, aliases map[string]int64) (*pb.Secret, error) {
		return c.UpdateSecret(ctx, &pb.UpdateSecretRequest{
			Secret:     &pb.Secret{Name: s.GetName(), Etag: etag, VersionAliases: aliases},
			UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"version_aliases"}},
		})
	}
	next, err := point(s.GetEtag(), map[string]int64{"current": 1, "pending": 2})
	if err != nil || next.GetVersionAliases()["current"] != 1 || next.GetEtag() == s.GetEtag() {
		t.Fatalf("%v, %v", next, err)
	}
	got, err := c.AccessSecretVersion(ctx, &pb.AccessSecretVersionRequest{Name: s.GetName() + "/versions/current"})
	if err != nil || string(got.GetPayload().GetData()) != "one" || got.GetName() != s.GetName()+"/versions/1" {
		t.Errorf("current: %v, %v", got, err)
	}
	_, err = point(s.GetEtag(), map[string]int64{"current": 2})
	want(t, "a stale etag", err, 400, "etag")
	for _, bad := range []map[string]int64{{"latest": 1}, {"NEW": 1}, {"7": 1}, {"-a": 1}, {"current": 3}, {"a b": 1}} {
		_, err = point("", bad)
		want(t, fmt.Sprint(bad), err, 400, "alias")
	}
}

func TestErrorsHaveTheRealShape(t *testing.T) {
	t.Parallel()
	ctx, f := t.Context(), start(t, t.TempDir())
	c := f.client(t, owner)
	s := create(t, c, "api-db")
	add(t, c, s.GetName(), "s3cret-payload")
	_, err := c.CreateSecret(ctx, &pb.CreateSecretRequest{Parent: parent, SecretId: "api-db", Secret: automatic()})
	want(t, "create twice", err, 409, "already exists")
	_, err = c.AccessSecretVersion(ctx, &pb.AccessSecretVersionRequest{Name: s.GetName() + "/versions/9"})
	want(t, "a version that does not exist", err, 404, "Secret Version ["+s.GetName()+"/versions/9] not found")
	wrong := int64(7)
	_, err = c.AddSecretVersion(ctx, &pb.AddSecretVersionRequest{Parent: s.GetName(), Payload: &pb.SecretPayload{Data: []byte("x"), DataCrc32C: &wrong}})
	want(t, "a wrong checksum", err, 400, "checksum")
	_, err = c.AddSecretVersion(ctx, &pb.AddSecretVersionRequest{Parent: s.GetName(), Payload: &pb.SecretPayload{Data: make([]byte, maxPayload+1)}})
	want(t, "a payload of more than 64 KiB", err, 400, "larger than the limit")

	_, err = f.client(t, reader).AccessSecretVersion(ctx, &pb.AccessSecretVersionRequest{Name: s.GetName() + "/versions/latest"})
	want(t, "a reader of names", err, 403, "Permission 'secretmanager.versions.access' denied")
	api, _ := errors.AsType[*apierror.APIError](err)
	if api.Reason() != "IAM_PERMISSION_DENIED" || api.Metadata()["permission"] != "secretmanager.versions.access" {
		t.Errorf("details: %s %v", api.Reason(), api.Metadata())
	}
	_, err = f.client(t, owner, googleid.ScopeSQLAdmin).GetSecret(ctx, &pb.GetSecretRequest{Name: s.GetName()})
	want(t, "a token for Cloud SQL", err, 403, "insufficient authentication scopes")
	_, err = c.GetSecret(ctx, &pb.GetSecretRequest{Name: "projects/other/secrets/api-db"})
	want(t, "somebody else's project", err, 403, "or it may not exist")
	_, err = f.with(t, option.WithTokenSource(oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "x"}))).GetSecret(ctx, &pb.GetSecretRequest{Name: s.GetName()})
	want(t, "a token that nobody made", err, 401, "invalid authentication credentials")
	if strings.Contains(f.log.String(), "s3cret") || strings.Contains(f.log.String(), "czNjcmV0") {
		t.Error("a payload is in the log")
	}
}

func TestWhatIsNotPlayedIsRefused(t *testing.T) {
	t.Parallel()
	ctx, f := t.Context(), start(t, t.TempDir())
	c := f.client(t, owner)
	rotated := automatic()
	rotated.Rotation = &pb.Rotation{}
	_, err := c.CreateSecret(ctx, &pb.CreateSecretRequest{Parent: parent, SecretId: "a", Secret: rotated})
	want(t, "rotation", err, 501, "sandbox: not emulated: field rotation")
	managed := &pb.Secret{Replication: &pb.Replication{Replication: &pb.Replication_UserManaged_{UserManaged: &pb.Replication_UserManaged{}}}}
	_, err = c.CreateSecret(ctx, &pb.CreateSecretRequest{Parent: parent, SecretId: "a", Secret: managed})
	want(t, "user-managed replication", err, 501, "replication other than automatic")
	s := create(t, c, "a")
	_, err = c.UpdateSecret(ctx, &pb.UpdateSecretRequest{Secret: s, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"topics"}}})
	want(t, "update of topics", err, 501, "sandbox: not emulated: update of topics")
	_, err = c.ListSecrets(ctx, &pb.ListSecretsRequest{Parent: parent, Filter: "name:a"}).Next()
	want(t, "a filter", err, 501, "sandbox: not emulated: parameter filter")
}

func TestListsHavePages(t *testing.T) {
	t.Parallel()
	ctx, f := t.Context(), start(t, t.TempDir())
	c := f.client(t, owner)
	for _, id := range []string{"c", "a", "b"} {
		create(t, c, id)
	}
	it := c.ListSecrets(ctx, &pb.ListSecretsRequest{Parent: parent, PageSize: 2})
	var names []string
	for {
		s, err := it.Next()
		if errors.Is(err, iterator.Done) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, strings.TrimPrefix(s.GetName(), number+"/secrets/"))
		if len(names) == 2 { // a page's token survives the deletion of what it names
			if err := c.DeleteSecret(ctx, &pb.DeleteSecretRequest{Name: s.GetName()}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !slices.Equal(names, []string{"a", "b", "c"}) {
		t.Errorf("secrets %v", names)
	}
	for range 5 {
		add(t, c, parent+"/secrets/a", "x")
	}
	names = nil
	vit := c.ListSecretVersions(ctx, &pb.ListSecretVersionsRequest{Parent: parent + "/secrets/a", PageSize: 2})
	for {
		v, err := vit.Next()
		if errors.Is(err, iterator.Done) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, v.GetName()[len(v.GetName())-1:])
	}
	if !slices.Equal(names, []string{"5", "4", "3", "2", "1"}) {
		t.Errorf("versions %v", names)
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	f := start(t, t.TempDir())
	c := f.client(t, owner)
	s := create(t, c, "api-db")
	add(t, c, s.GetName(), "one")
	disable := func(ctx context.Context) error {
		_, err := c.DisableSecretVersion(ctx, &pb.DisableSecretVersionRequest{Name: s.GetName() + "/versions/1"})
		return err
	}
	for effect, tc := range map[play.Effect]struct {
		status int
		text   string
	}{
		play.Throttle: {429, "Quota exceeded"}, play.Deny: {403, "secretmanager.versions.disable"},
		play.Stale: {400, "etag"}, play.Unavailable: {503, "unavailable"},
	} {
		f.faults.Add(play.Fault{Service: "secretmanager", Action: "DisableSecretVersion", Target: "api-db", Effect: effect, Count: 1})
		want(t, string(effect), disable(t.Context()), tc.status, tc.text)
	}
	f.faults.Add(play.Fault{Service: "secretmanager", Effect: play.Drop, Count: 1})
	if err := disable(t.Context()); err == nil || !strings.Contains(err.Error(), "EOF") {
		t.Errorf("drop: %v", err)
	}
	if err := disable(t.Context()); err != nil {
		t.Errorf("without faults: %v", err)
	}
}

func TestSecretsOutliveARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := start(t, dir)
	c := f.client(t, owner)
	s := create(t, c, "api-db")
	add(t, c, s.GetName(), "one")
	f = start(t, dir)
	got, err := f.client(t, owner).AccessSecretVersion(t.Context(), &pb.AccessSecretVersionRequest{Name: s.GetName() + "/versions/latest"})
	if err != nil || string(got.GetPayload().GetData()) != "one" {
		t.Errorf("%v, %v", got, err)
	}
	info, err := os.Stat(filepath.Join(dir, stateFile))
	if err != nil || info.Mode().Perm() != fs.FileMode(0o600) {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestServiceAccountFileIsEnough(t *testing.T) {
	t.Parallel()
	f := start(t, t.TempDir())
	const robot = "robot@shop-prod.iam.gserviceaccount.com"
	if err := f.id.Grant(robot, "roles/secretmanager.admin"); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key.json")
	mux := http.NewServeMux()
	mux.Handle("/token", f.id)
	mux.Handle("/", f.server)
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	f.url = srv.URL
	if err := f.id.WriteKey(robot, file, f.url+"/token"); err != nil {
		t.Fatal(err)
	}
	c := f.with(t, option.WithAuthCredentialsFile(option.ServiceAccount, file))
	create(t, c, "api-db")
}
