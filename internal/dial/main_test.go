package dial

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"dbops/internal/sandbox/island"
	"dbops/internal/sandbox/pgtest"
)

func TestMain(m *testing.M) {
	island.Main()
	os.Exit(pgtest.Main(m))
}

// leakless fails a test that leaves something running behind.
func leakless(t *testing.T) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	idle := []goleak.Option{ // connections to the played AWS, at both ends
		goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"),
		goleak.IgnoreAnyFunction("net/http.(*conn).serve"),
	}
	t.Cleanup(func() { goleak.VerifyNone(t, append(idle, before)...) })
}
