package drift

import (
	"context"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"dbops/internal/cloud"
	"dbops/internal/sandbox/gcpapi"
	"dbops/internal/sandbox/rdsapi"
	played "dbops/internal/sandbox/stage"
	"dbops/internal/secret"
)

func TestMain(m *testing.M) {
	if child() {
		return
	}
	os.Exit(clouds.Main(m))
}

// What the tests of the binary have in common.
var (
	clouds = played.New(played.Options{Pace: 0.0001})
	stages = map[cloud.Kind]*stage{cloud.RDS: {}, cloud.CloudSQL: {}}
	serial atomic.Int64
)

// stage is one played cloud.
type stage struct {
	*played.Stage
	once   sync.Once
	shared sync.Mutex // held by the test that uses the instance of that name
}

// shared is the instance that tests use one after the other: servers are too dear for one a test.
const shared = "shared"

func playedCloud(t testing.TB, kind cloud.Kind) *stage {
	t.Helper()
	s := stages[kind]
	s.once.Do(func() { s.Stage = clouds.Get(t, kind) })
	return s
}

// adopt makes an instance that has what the profile production says; in Cloud SQL but a public address: it is not played without.
func (s *stage) adopt(ctx context.Context, name string) (err error) {
	if s.Kind == cloud.CloudSQL {
		_, err = s.Google.Adopt(ctx, gcpapi.Attributes{
			Project: played.Project, Name: name, Major: 17, Availability: "REGIONAL", DeletionProtection: true, Password: secret.New("correct-horse-battery"),
		})
		return err
	}
	seed := rdsapi.Seed{Password: secret.New("correct-horse-battery")}
	c := &seed.Create
	c.DBInstanceIdentifier, c.EngineVersion, c.MasterUsername, c.BackupRetentionPeriod = &name, new("17"), new("orders_admin"), new(int32(7))
	c.MultiAZ, c.DeletionProtection, c.PubliclyAccessible = new(true), new(true), new(false)
	day := strings.ToLower(time.Now().UTC().Add(72 * time.Hour).Format("Mon")) // not today
	c.PreferredMaintenanceWindow = new(day + ":04:00-" + day + ":04:30")
	_, err = s.RDS.Adopt(ctx, seed)
	return err
}
