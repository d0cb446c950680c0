package backup

import (
	"context"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/rds"   //nolint:depguard // the played cloud is made with it
	"github.com/aws/aws-sdk-go-v2/service/rds/types" //nolint:depguard // as above
	"github.com/jackc/pgx/v5"

	"dbops/internal/cloud"
	"dbops/internal/op"
	"dbops/internal/sandbox/gcpapi"
	"dbops/internal/sandbox/pgtest"
	played "dbops/internal/sandbox/play"
	"dbops/internal/sandbox/rdsapi"
	theatre "dbops/internal/sandbox/stage"
	"dbops/internal/sandbox/world"
	"dbops/internal/secret"
)

func TestMain(m *testing.M) {
	if child() {
		return
	}
	if err := theatre.Alone(); err != nil {
		panic(err)
	}
	os.Exit(pgtest.Main(m))
}

// stage is a played cloud with real servers, and its source instance with data.
type stage struct {
	place  // where its clients reach it
	kind   cloud.Kind
	faults *played.Faults
	server func(instance string) *world.Server
	cloud  Cloud
	played *theatre.Stage
}

// place is all that another process needs to reach a stage.
type place struct {
	Kind  cloud.Kind
	URL   string
	Keys  string // the file with the credentials
	Relay string // where its servers are reached
}

const source = "main"

var clouds = []cloud.Kind{cloud.RDS, cloud.CloudSQL}

func newStage(t *testing.T, kind cloud.Kind) *stage {
	t.Helper()
	clouds := theatre.New(theatre.Options{Pace: 0.0001})
	t.Cleanup(func() {
		if err := clouds.Close(); err != nil {
			t.Error(err)
		}
	})
	p := clouds.Get(t, kind)
	g := &stage{kind: kind, faults: p.Faults, server: p.Server, cloud: p.Client, played: p, place: place{Kind: kind, URL: p.URL, Keys: p.Keys}}
	g.Relay = p.Relay(t)
	g.spare(t, source)
	g.query(t, source, `create table item (id int primary key, name text not null); insert into item select i, 'item ' || i from generate_series(1, 200) i;
		create table note (id int references item, at timestamptz default now()); create unlogged table cache (id int); insert into cache values (1);
		create view named as select name from item; create function one() returns int language sql as 'select 1'; analyze`)
	return g
}

// spare makes one more instance.
func (g *stage) spare(t *testing.T, name string) {
	t.Helper()
	var err error
	if g.kind == cloud.RDS {
		_, err = g.played.RDS.Adopt(t.Context(), rdsapi.Seed{
			Create: sdk.CreateDBInstanceInput{
				DBInstanceIdentifier: &name, EngineVersion: new("16"), MasterUsername: new("boss"), BackupRetentionPeriod: new(int32(7)),
				DeletionProtection: new(true), EnableIAMDatabaseAuthentication: new(true), PubliclyAccessible: new(true),
				Tags: []types.Tag{{Key: new("environment"), Value: new("prod")}},
			},
			Password: secret.New("correct-horse-battery"),
		})
	} else {
		_, err = g.played.Google.Adopt(t.Context(), gcpapi.Attributes{
			Project: theatre.Project, Name: name, Major: 16, Availability: "ZONAL", Labels: map[string]string{"environment": "prod"},
			Flags: map[string]string{"cloudsql.iam_authentication": "on"}, Password: secret.New("postgres-pw"), DeletionProtection: true,
		})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// open is a client of another process.
func (p place) open(ctx context.Context) (Cloud, error) {
	return theatre.Client(ctx, p.Kind, p.URL, &http.Transport{})
}

// connect logs in to a database of an instance.
func (p place) connect(ctx context.Context, _ op.Target, instance, database string) (*pgx.Conn, error) {
	cfg, err := theatre.Through(p.Relay, instance, database)
	if err != nil {
		return nil, err
	}
	return pgx.ConnectConfig(ctx, cfg)
}

// query asks a server and returns the first text of its last answer.
func (g *stage) query(t testing.TB, instance, sql string) (text string) {
	t.Helper()
	conn, err := g.connect(t.Context(), op.Target{}, instance, "postgres")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	answers, err := conn.PgConn().Exec(t.Context(), sql).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if last := answers[len(answers)-1]; len(last.Rows) > 0 {
		text = string(last.Rows[0][0])
	}
	return text
}

// busy is the cloud of a source that is used: who asks again soon how far it can be restored sees that move, as it would within minutes.
type busy struct {
	Cloud
	p    place
	mu   sync.Mutex
	last time.Time
}

func (b *busy) Get(ctx context.Context, name string) (*cloud.Instance, error) {
	live, err := b.Cloud.Get(ctx, name)
	if err != nil || name != source {
		return live, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if time.Since(b.last) < time.Second && live.Backups.LatestRestorable.Before(b.last) {
		if conn, err := b.p.connect(ctx, op.Target{}, name, "postgres"); err == nil {
			_, _ = conn.Exec(ctx, `insert into note values (1); select pg_switch_wal()`, pgx.QueryExecModeSimpleProtocol)
			_ = conn.Close(ctx)
		}
		b.last = time.Time{}
	} else {
		b.last = time.Now()
	}
	return live, nil
}
