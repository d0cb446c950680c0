package lint_test

import (
	"os"
	"testing"

	"dbops/internal/sandbox/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }
