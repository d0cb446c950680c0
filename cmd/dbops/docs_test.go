package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// shown are the commands of a page that it is proven with: the blocks marked "sh run".
var shown = regexp.MustCompile("(?ms)^```sh run\n(.*?)^```$")

// TestPagesCanBeFollowed runs the commands of each page in order, as somebody would who follows it on the sandbox.
func TestPagesCanBeFollowed(t *testing.T) {
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	followed := 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		var script strings.Builder
		for _, block := range shown.FindAllStringSubmatch(string(text), -1) {
			script.WriteString(block[1])
		}
		if script.Len() == 0 {
			continue
		}
		followed++
		t.Run(filepath.Base(page), func(t *testing.T) {
			env := environ(t, "DBOPS_STATE_DIR="+filepath.Join(t.TempDir(), "state"))
			t.Cleanup(func() { // of a page that was not followed to its end
				stop := exec.CommandContext(context.WithoutCancel(t.Context()), shared.program, "proxy", "stop", "--all")
				stop.Env = env
				_ = stop.Run()
			})
			cmd := exec.CommandContext(t.Context(), "bash", "-euxo", "pipefail", "-c", script.String())
			cmd.Dir, cmd.Env = t.TempDir(), env
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%v:\n%s", err, out)
			}
		})
	}
	if followed == 0 {
		t.Error("no page has a block that is run")
	}
}
