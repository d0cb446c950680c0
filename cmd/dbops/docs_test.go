package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"dbops/internal/sandbox"
	"dbops/internal/sandbox/play"
)

// TestPagesCanBeFollowed runs the commands of each page in order, as somebody would who follows it on the sandbox: the blocks fenced
// "sh run". Most pages share the sandbox of this package, one after the other. Beside them go those that leave something behind
// ("sh run alone": with a sandbox of their own) and those that bring one up themselves ("sh run from nothing").
//
// A line whose comment is or ends with "status 4" (after a colon) has to end with that status, every other one with 0. A block fenced "text run"
// shows what the commands before it print: see [printed].
func TestPagesCanBeFollowed(t *testing.T) {
	followed := map[string][]page{}
	var mu sync.Mutex
	asked := map[string][]string{}
	t.Cleanup(func() {
		if !t.Failed() && len(asked) == len(followed["run"])+len(followed["run alone"]) { // else some were not followed, by -run
			judgePolicies(t, asked, false)
		}
	})
	on := func(t *testing.T, p page, cloud *sandbox.Sandbox, env []string) {
		t.Helper()
		cloud.ForgetAsked()
		p.follow(t, env)
		mu.Lock()
		defer mu.Unlock()
		asked[p.path] = cloud.Asked()
	}
	for _, p := range pages(t) {
		if how := p.how(); how != "" {
			followed[how] = append(followed[how], p)
		}
	}
	for _, how := range []string{"run", "run alone", "run from nothing"} {
		if len(followed[how]) == 0 {
			t.Errorf("no page has a block that is %s", how)
		}
	}
	for _, p := range followed["run alone"] {
		t.Run(filepath.Base(p.path), func(t *testing.T) {
			t.Parallel()
			cloud, env := ownSandbox(t, p.name())
			on(t, p, cloud, env)
		})
	}
	for _, p := range followed["run from nothing"] {
		t.Run(filepath.Base(p.path), func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(shared.dir, "page-"+p.name())
			p.follow(t, []string{"DBOPS_SANDBOX_DIR=" + dir})
		})
	}
	t.Run("shared", func(t *testing.T) {
		t.Parallel()
		for _, p := range followed["run"] {
			t.Run(filepath.Base(p.path), func(t *testing.T) { on(t, p, shared.sandbox, shared.env) })
		}
	})
}

// ownSandbox is a sandbox that only one page sees, and the environment that points at it.
func ownSandbox(t *testing.T, name string) (*sandbox.Sandbox, []string) {
	t.Helper()
	cloud, dir := startSandbox(t, "page-"+name)
	env, err := sandbox.Environ(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	return cloud, sandboxEnv(env)
}

// startSandbox starts a sandbox beside the one that all share, for what leaves something behind. It ends with the test.
func startSandbox(t *testing.T, name string) (cloud *sandbox.Sandbox, dir string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	dir = filepath.Join(shared.dir, name)
	cloud, err := sandbox.Start(ctx, sandbox.Options{Dir: dir, Pace: play.Pace(0.002), Program: shared.program})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cloud.Close(); err != nil {
			t.Error(err)
		}
	})
	control, err := cloud.ServeControl(ctx, func() {})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = control.Close() })
	return cloud, dir
}

// how the page is followed: as the fence of its first block that is run says. Empty if none is.
func (p page) how() string {
	for _, b := range p.blocks {
		if b.language == "sh" && b.run != "" {
			return b.run
		}
	}
	return ""
}

func (p page) name() string { return strings.TrimSuffix(filepath.Base(p.path), ".md") }

func (p page) follow(t *testing.T, cloud []string) {
	t.Helper()
	out := t.TempDir()
	env := environOn(t, cloud)
	t.Cleanup(func() { // of a page that was not followed to its end
		for _, args := range [][]string{{"proxy", "stop", "--all-configs"}, {"sandbox", "down"}} {
			if args[0] == "sandbox" && p.how() != "run from nothing" {
				continue
			}
			stop := exec.CommandContext(context.WithoutCancel(t.Context()), shared.program, args...)
			stop.Env = env
			_ = stop.Run()
		}
	})
	cmd := exec.CommandContext(t.Context(), "bash", "-euxo", "pipefail", "-c", p.script(out))
	cmd.Dir, cmd.Env = t.TempDir(), env
	said, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v:\n%s%s", err, said, newest(out))
		return
	}
	for i, b := range p.blocks {
		if b.language == "text" && b.run != "" {
			if err := printed(b.text, p.before(t, out, i)); err != nil {
				t.Errorf("%s:%d: %v", p.path, b.line, err)
			}
		}
	}
}

// script is what the blocks that are run say; each writes its answers to a file of the folder, called after its line.
func (p page) script(out string) string {
	var s strings.Builder
	for _, b := range p.blocks {
		if b.language != "sh" || b.run == "" {
			continue
		}
		fmt.Fprintf(&s, "exec >'%s'\n", answers(out, b))
		for line := range strings.Lines(b.text) {
			if m := ends.FindStringSubmatch(line); m != nil {
				line = fmt.Sprintf("{ %s; } && ended=0 || ended=$?; [ $ended = %s ]\n", strings.TrimSpace(m[1]), m[2])
			}
			s.WriteString(line)
		}
	}
	return s.String()
}

// ends finds the status that a line has to end with.
var ends = regexp.MustCompile(`^(.*\S)\s+#(?:[^'"]*:)? status ([0-9]+)\s*$`)

func answers(out string, b block) string { return filepath.Join(out, fmt.Sprintf("%05d", b.line)) }

// newest is what the last block that was begun has written.
func newest(out string) string {
	files, err := filepath.Glob(filepath.Join(out, "*"))
	if err != nil || len(files) == 0 {
		return ""
	}
	text, _ := os.ReadFile(files[len(files)-1])
	line, _ := strconv.Atoi(filepath.Base(files[len(files)-1]))
	return fmt.Sprintf("the block at line %d printed:\n%s", line, text)
}

// before is what the last block that was run before the i-th has written.
func (p page) before(t *testing.T, out string, i int) string {
	t.Helper()
	for i--; i >= 0; i-- {
		if b := p.blocks[i]; b.language == "sh" && b.run != "" {
			text, err := os.ReadFile(answers(out, b))
			if err != nil {
				t.Fatal(err)
			}
			return string(text)
		}
	}
	t.Fatal("nothing is run before it")
	return ""
}

// printed tells whether the lines that a page shows are among those that were printed, in their order. Names of runs, numbers, times and
// the width of gaps may be others, and the zones; … stands for anything.
func printed(shown, got string) error {
	lines := strings.Split(got, "\n")
	at := 0
	for want := range strings.Lines(shown) {
		want = strings.TrimSpace(want)
		if want == "" || want == "…" {
			continue
		}
		pattern := regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(alike(want)), "…", ".*") + "$")
		for at < len(lines) && !pattern.MatchString(alike(lines[at])) {
			at++
		}
		if at == len(lines) {
			return fmt.Errorf("the page shows %q, which was not printed (any more, or not here):\n%s", want, got)
		}
		at++
	}
	return nil
}

var (
	aRun      = regexp.MustCompile(`\br[0-9a-f]{10}\b`)
	aDuration = regexp.MustCompile(`\b(?:[0-9]+(?:\.[0-9]+)?(?:ms|µs|s|m|h|d))+\b`)
	aZone     = regexp.MustCompile(`\b(regional|zonal) [a-z](?:\+[a-z])?\b`) // where it is after the failovers of others
	aNumber   = regexp.MustCompile(`[0-9]+(?:[.:,][0-9]+)*`)
)

func alike(line string) string {
	line = aRun.ReplaceAllString(line, "RUN")
	line = aZone.ReplaceAllString(line, "$1 z")
	line = aDuration.ReplaceAllString(line, "0s")
	line = aNumber.ReplaceAllString(line, "0")
	return strings.Join(strings.Fields(line), " ")
}

func TestPrinted(t *testing.T) {
	t.Parallel()
	const got = "ENV   STATE\nprod  available  14.23\nrun r0123456789 done in 1m2s\n"
	for shown, want := range map[string]bool{
		"ENV STATE\nprod available 15.1":           true,
		"run r9876543210 done in 410ms":            true,
		"prod …\n…\nrun … done in 1s":              true,
		"run r9876543210 done in 410ms\nENV STATE": false, // the other way round
		"prod available":                           false,
		"prod failed 14.23":                        false,
	} {
		if err := printed(shown, got); (err == nil) != want {
			t.Errorf("%q: %v", shown, err)
		}
	}
}
