package lint_test

import (
	"fmt"
	"os"
	"testing"

	"dbops/internal/sandbox/pgtest"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(benchChild); dir != "" {
		if err := lintFolder(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(pgtest.Main(m))
}
