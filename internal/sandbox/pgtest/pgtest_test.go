package pgtest_test

import (
	"os"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/sandbox/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

func TestEveryMajorTakesAVerifiedLogin(t *testing.T) {
	for _, major := range pgtest.Majors {
		t.Run(strconv.Itoa(major), func(t *testing.T) {
			t.Parallel()
			s := pgtest.Start(t, major)
			c, err := pgconn.ConnectConfig(t.Context(), s.Config(t, s.Database(t)))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close(t.Context())
			if v := c.ParameterStatus("server_version"); v[:2] != strconv.Itoa(major) {
				t.Errorf("server version %s", v)
			}
		})
	}
}
