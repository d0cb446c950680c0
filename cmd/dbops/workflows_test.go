package main

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"dbops/internal/sandbox"
)

// The example workflows are run as a repository of their own that holds the sandbox's dbops.yaml: their shell lines as they are, by the shell that
// GitHub and GitLab run them with. What stands around the lines (checkouts, credentials, who may start a job) is theirs.

// job is one of either: its lines, step by step.
type job struct {
	name    string
	needs   string // what has to hold for it to be started at all
	steps   []step
	outputs map[string]string // of GitHub: a name and an expression
}

type step struct {
	id, run string
	always  bool // also after a failure
}

// ci is a repository, and what its jobs have left.
type ci struct {
	dir, state string
	env        []string
	outputs    map[string]string // steps.ID.outputs.NAME and needs.JOB.outputs.NAME
	summary    string            // a file
}

func newCI(t *testing.T) *ci {
	t.Helper()
	_, dir := startSandbox(t, "ci")
	c := &ci{dir: dir, state: filepath.Join(t.TempDir(), "state"), outputs: map[string]string{}, summary: filepath.Join(t.TempDir(), "summary")}
	c.env = c.as(t, "")

	// The repository: main, and a change on a branch that a pull request asks for.
	if err := os.CopyFS(filepath.Join(dir, "runbooks"), os.DirFS("../../docs/ci/runbooks")); err != nil {
		t.Fatal(err)
	}
	rotate := filepath.Join(dir, "runbooks", "rotate.yaml")
	text, err := os.ReadFile(rotate)
	if err == nil {
		text = []byte(strings.Replace(string(text), "soak: 5m", "soak: 1s, grace: 1s, polls: 1", 1)) // for the test
		err = os.WriteFile(rotate, text, 0o600)
	}
	if err != nil || !strings.Contains(string(text), "soak: 1s") {
		t.Fatalf("%v: %s", err, text)
	}
	c.shell(t, "repository", `git init -q -b main .
git config user.email ci@example.com; git config user.name ci
git add dbops.yaml runbooks migrations
git reset -q migrations/shop/000011*
git commit -q -m main
git update-ref refs/remotes/origin/main HEAD
git add migrations
git commit -q -m change`, 0)
	return c
}

// as is the environment of somebody of the sandbox; "" is the robot.
func (c *ci) as(t *testing.T, who string) []string {
	t.Helper()
	env, err := sandbox.Environ(c.dir, who)
	if err != nil {
		t.Fatal(err)
	}
	drop := []string{"DBOPS_CONFIG"} // it is found in the repository
	for k := range env.Set {
		drop = append(drop, k)
	}
	all := slices.DeleteFunc(environ(t), func(kv string) bool { k, _, _ := strings.Cut(kv, "="); return slices.Contains(drop, k) })
	all = append(all, "DBOPS_STATE_DIR="+c.state, "CI=true")
	for _, k := range slices.Sorted(maps.Keys(env.Set)) {
		if k != "DBOPS_CONFIG" {
			all = append(all, k+"="+env.Set[k])
		}
	}
	return all
}

// shell runs lines as a job does, and demands their status.
func (c *ci) shell(t *testing.T, name, lines string, want int, more ...string) string {
	t.Helper()
	out, got := c.bash(t, lines, more...)
	if got != want {
		t.Fatalf("%s: status %d, want %d:\n%s\n%s", name, got, want, lines, out)
	}
	return out
}

func (c *ci) bash(t *testing.T, lines string, more ...string) (said string, status int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", lines)
	cmd.Dir, cmd.Env = c.dir, append(slices.Clone(c.env), more...)
	out, err := cmd.CombinedOutput()
	exit := &exec.ExitError{}
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

var expression = regexp.MustCompile(`\$\{\{ *([a-zA-Z0-9_.-]+) *\}\}`)

// expand puts outputs into the places of their expressions.
func (c *ci) expand(t *testing.T, text string) string {
	t.Helper()
	return expression.ReplaceAllStringFunc(text, func(s string) string {
		name := expression.FindStringSubmatch(s)[1]
		v, ok := c.outputs[name]
		if !ok {
			t.Fatalf("nothing has said what %s is", name)
		}
		return v
	})
}

// skipped is what github says of a job that its workflow does not start.
const skipped = "skipped"

// condition is an if: of a job, as far as the workflows use it.
var condition = regexp.MustCompile(`^(needs\.[a-zA-Z0-9_.-]+) != ''$`)

// github runs one job of a workflow, and demands the status of the step that fails first; 0: none does.
func (c *ci) github(t *testing.T, file, name string, want int) string {
	t.Helper()
	j := githubJob(t, file, name)
	if j.needs != "" {
		m := condition.FindStringSubmatch(j.needs)
		if m == nil {
			t.Fatalf("%s, %s: the test does not know what this means: %s", file, name, j.needs)
		}
		if c.expand(t, "${{ "+m[1]+" }}") == "" {
			return skipped
		}
	}
	c.clean(t, "plan.json", "events.jsonl")
	said, status := "", 0
	for _, s := range j.steps {
		if status != 0 && !s.always {
			continue
		}
		output := filepath.Join(t.TempDir(), "output")
		env := []string{"GITHUB_ACTIONS=true", "GITHUB_STEP_SUMMARY=" + c.summary, "GITHUB_OUTPUT=" + output}
		out, got := c.bash(t, c.expand(t, s.run), env...)
		said += out
		if status == 0 {
			status = got
		}
		for _, v := range j.outputs { // what a step does not say is empty
			if m := expression.FindStringSubmatch(v); m != nil && strings.HasPrefix(m[1], "steps."+s.id+".outputs.") {
				c.outputs[m[1]] = ""
			}
		}
		text, err := os.ReadFile(output)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			k, v, _ := strings.Cut(strings.TrimSpace(line), "=")
			c.outputs["steps."+s.id+".outputs."+k] = v
		}
	}
	if status != want {
		t.Fatalf("%s, %s: status %d, want %d:\n%s", file, name, status, want, said)
	}
	for k, v := range j.outputs {
		c.outputs["needs."+name+".outputs."+k] = c.expand(t, v)
	}
	return said
}

// clean removes what an earlier job has left in its folder: each one has a checkout of its own.
func (c *ci) clean(t *testing.T, files ...string) {
	t.Helper()
	for _, file := range files {
		if err := os.Remove(filepath.Join(c.dir, file)); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
}

func githubJob(t *testing.T, file, name string) job {
	t.Helper()
	var w struct {
		Jobs map[string]struct {
			If      string            `yaml:"if"`
			Outputs map[string]string `yaml:"outputs"`
			Steps   []struct {
				ID  string `yaml:"id"`
				If  string `yaml:"if"`
				Run string `yaml:"run"`
			} `yaml:"steps"`
		} `yaml:"jobs"`
	}
	readYAML(t, "../../docs/ci/github/"+file, &w)
	found, ok := w.Jobs[name]
	if !ok {
		t.Fatalf("%s has no job %s", file, name)
	}
	j := job{name: name, needs: found.If, outputs: found.Outputs}
	for _, s := range found.Steps {
		if s.Run != "" {
			j.steps = append(j.steps, step{s.ID, s.Run, strings.Contains(s.If, "cancelled()")})
		}
	}
	return j
}

// gitlab runs one job: its lines in one shell. dotenv is what a job before it has reported.
func (c *ci) gitlab(t *testing.T, name string, want int, variables ...string) string {
	t.Helper()
	var all map[string]any
	readYAML(t, "../../docs/ci/gitlab/.gitlab-ci.yml", &all)
	b, err := json.Marshal(all[name])
	if err != nil {
		t.Fatal(err)
	}
	var j struct{ Script []string }
	if err := json.Unmarshal(b, &j); err != nil || len(j.Script) == 0 {
		t.Fatalf("the job %s has no lines: %v", name, err)
	}
	if text, err := os.ReadFile(filepath.Join(c.dir, "run.env")); err == nil {
		variables = append(variables, strings.Fields(string(text))...)
	}
	return c.shell(t, "gitlab, "+name, strings.Join(j.Script, "\n"), want, variables...)
}

func readYAML(t *testing.T, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err == nil {
		err = yaml.Unmarshal(text, into)
	}
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// approve lets somebody else say yes to all that waits.
func (c *ci) approve(t *testing.T) {
	t.Helper()
	robot := c.env
	c.env = c.as(t, "alice")
	defer func() { c.env = robot }()
	c.shell(t, "alice", `dbops approvals list -o json | jq -r '.approvals[] | select(.state == "requested") | .id' > waiting
[ -s waiting ]
while read -r id; do dbops approvals approve "$id"; done < waiting`, 0)
}

func says(t *testing.T, what, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !regexp.MustCompile("(?m)" + want).MatchString(text) {
			t.Errorf("%s does not say %s:\n%s", what, want, text)
		}
	}
}

func TestTheExampleWorkflowsDoWhatTheySay(t *testing.T) {
	t.Parallel()
	c := newCI(t)
	summary := func() string {
		t.Helper()
		text, err := os.ReadFile(c.summary)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}

	// A pull request with a migration that rewrites a large table is told so, beside its line. Without it, the plan is in the summary.
	said := c.github(t, "pull-request.yml", "plan", 5)
	says(t, "the lint of the pull request", said, `^::error file=migrations/shop/000011_widen_payment_amount\.up\.sql,line=1`)
	c.shell(t, "author", `git rm -q -f migrations/shop/000011* && git commit -q -m "another time"`, 0)
	c.github(t, "pull-request.yml", "plan", 0)
	says(t, "the summary", summary(), `^REHEARSAL  prod/main/shop$`, `^  change +shop version +7 -> 10$`)
	says(t, "the list of runs", c.shell(t, "nobody", "dbops runs list", 0), "no runs")

	// Merged: asked for, refused without an approval, applied with it.
	c.github(t, "apply.yml", "request", 0)
	c.github(t, "apply.yml", "apply", 4)
	c.approve(t)
	said = c.github(t, "apply.yml", "apply", 0)
	says(t, "the apply", said, `^prod +main +shop +10 +10 `)

	// A merge with nothing pending is well: nobody is asked, and nothing is applied.
	says(t, "the request", c.github(t, "apply.yml", "request", 0), `nothing changes`)
	if said = c.github(t, "apply.yml", "apply", 0); said != skipped {
		t.Errorf("without a plan something is applied:\n%s", said)
	}

	// The night finds what somebody did in the console, beside a certificate check that runs all the same.
	said = c.github(t, "nightly-drift.yml", "drift", 5)
	says(t, "the drift check", said, `^::error.*public_access`, `^ok prod/main  TLS`)

	c.github(t, "weekly-drill.yml", "drill", 0)
	says(t, "the summary", summary(), `restore drill|restored`)

	// The rotation waits for its approval at the gate.
	c.github(t, "quarterly-rotation.yml", "plan", 0)
	says(t, "the summary", summary(), `next: dbops runs decide r[0-9a-f]+ continue`)
	c.approve(t)
	said = c.github(t, "quarterly-rotation.yml", "rotate", 0)
	says(t, "the rotation", said, `^r[0-9a-f]+: runbook: quarterly rotation, done$`, `shop-api`)

	// GitLab, with the other instance.
	c.gitlab(t, "plan", 0, "CI_MERGE_REQUEST_TARGET_BRANCH_NAME=main")
	c.gitlab(t, "request", 0)
	c.gitlab(t, "apply", 4)
	c.approve(t)
	said = c.gitlab(t, "apply", 0)
	says(t, "the apply", said, `^prod +billing +billing +6 +6 `)
	c.clean(t, "plan.json")
	says(t, "the request", c.gitlab(t, "request", 0), `nothing changes`)
	says(t, "the apply", c.gitlab(t, "apply", 0), `^nothing is pending$`)
	c.gitlab(t, "drift", 5)
	c.gitlab(t, "drill", 0)
	c.gitlab(t, "rotation", 0)
	c.approve(t)
	said = c.gitlab(t, "rotate", 0)
	says(t, "the rotation", said, `^r[0-9a-f]+: runbook: quarterly rotation, done$`, `billing-invoicing`)
	says(t, "the audit log", c.shell(t, "nobody", "dbops audit verify", 0), "entries are what was signed")
}

// Each workflow that is shown is one that the test above runs.
func TestEachExampleWorkflowIsRun(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("workflows_test.go")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("../../docs/ci/github/*.yml")
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	for _, file := range files {
		var w struct {
			Jobs map[string]any `yaml:"jobs"`
		}
		readYAML(t, file, &w)
		for name := range w.Jobs {
			if !strings.Contains(string(text), `c.github(t, "`+filepath.Base(file)+`", "`+name+`"`) {
				t.Errorf("nothing runs the job %s of %s", name, file)
			}
		}
	}
	var all map[string]map[string]any
	gitlab, err := os.ReadFile("../../docs/ci/gitlab/.gitlab-ci.yml")
	if err != nil {
		t.Fatal(err)
	}
	gitlab = []byte(regexp.MustCompile(`(?m)^stages: .*$`).ReplaceAllString(string(gitlab), ""))
	if err := yaml.Unmarshal(gitlab, &all); err != nil {
		t.Fatal(err)
	}
	for name, j := range all {
		if j["script"] != nil && !strings.Contains(string(text), `c.gitlab(t, "`+name+`"`) {
			t.Errorf("nothing runs the job %s of GitLab", name)
		}
	}
}
