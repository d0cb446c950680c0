package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/creack/pty"

	"dbops/internal/sandbox/crowd"
	"dbops/internal/sandbox/play"
)

const (
	crowdSize       = 1000
	crowdContainers = 20
)

// startCrowd plays a thousand instances whose clouds take less than is asked of them at once.
func startCrowd(t *testing.T) *crowd.Crowd {
	t.Helper()
	dir, err := os.MkdirTemp(shared.dir, "crowd-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	c, err := crowd.Start(t.Context(), crowd.Options{
		Dir: dir, Instances: crowdSize, Containers: crowdContainers,
		AWS: play.Rate{Burst: 6, PerSecond: 20}, Google: play.Rate{Burst: 300, PerSecond: 500},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	for name, value := range c.Environ() {
		t.Setenv(name, value)
	}
	return c
}

// asked is what a command asked of the clouds, without what they refused because it was too much at once.
func asked(c *crowd.Crowd, refused int) int {
	n := -(c.Refused() - refused)
	for _, times := range c.Counts.Take() {
		n += times
	}
	return n
}

// pagesOf is how many requests the lists of all places are: pages of 100 (RDS) and 500 (Cloud SQL), the maintenance or the operations, and on RDS
// the parameter groups, of which each place has one for a major.
func pagesOf(c *crowd.Crowd, places ...string) (n int) {
	for _, place := range places {
		if strings.HasPrefix(place, "crowd-") {
			n += (len(c.Names(place))+499)/500 + 1
		} else {
			n += (len(c.Names(place))+99)/100 + 1 + crowdMajors
		}
	}
	return n
}

const crowdMajors = 4

var (
	crowdRegions  = []string{"eu-west-1", "us-east-1", "eu-central-1"}
	crowdProjects = []string{"crowd-one", "crowd-two"}
)

// in runs a command in this process.
func in(ctx context.Context, args ...string) (code int, out, err string) {
	var stdout, stderr bytes.Buffer
	c := &cli{in: strings.NewReader(""), out: &stdout, err: &stderr, getenv: os.Getenv}
	code = c.execute(ctx, args)
	return code, stdout.String(), stderr.String()
}

// answer runs a command with -o json, wants an exit status, and decodes its answer.
func answer[T any](t *testing.T, want int, args ...string) (v T) {
	t.Helper()
	code, out, stderr := in(t.Context(), append(args, "-o", "json")...)
	if code != want {
		t.Errorf("dbops %s: exit status %d, want %d: %s", strings.Join(args, " "), code, want, stderr)
	}
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Errorf("dbops %s: %v in %.200s", strings.Join(args, " "), err, out)
	}
	return v
}

// crowdAnswer is what the answers of the commands have in common: a row of each instance, and why it is not whole.
type crowdAnswer struct {
	Instances []struct {
		Instance     string
		Live         json.RawMessage
		Problem      string
		Certificates []json.RawMessage
		Error        *errorJSON
	}
	Rows       []struct{ Instance, Status string }
	Containers []struct {
		Name, Instance string
		Works          bool
	}
	Failed []failedJSON
}

// failures are the instances that have no answer, and one of their errors.
func (a crowdAnswer) failures() (names []string, why string) {
	for _, i := range a.Instances {
		if i.Error != nil || i.Problem != "" {
			names, why = append(names, i.Instance), i.Problem
			if i.Error != nil {
				why = i.Error.Message
			}
		}
	}
	return names, why
}

func TestAThousandInstances(t *testing.T) {
	c := startCrowd(t)
	everywhere := slices.Concat(crowdRegions, crowdProjects)
	// throttled has the clouds throttle a command, whatever its pace; few wants it to have met that, and to have asked no more than that and a number
	// of requests.
	const throttles = 1
	throttled := func() (refused int) {
		c.Faults[crowdRegions[0]].Add(play.Fault{Service: "rds", Action: "DescribeDBInstances", Effect: play.Throttle, Count: throttles})
		return c.Refused()
	}
	few := func(t *testing.T, refused, most int) {
		t.Helper()
		if n := asked(c, refused); n > most+throttles {
			t.Errorf("%d requests, want %d at most", n, most+throttles)
		}
		if left := c.Faults[crowdRegions[0]].List(); len(left) > 0 {
			t.Errorf("the throttle was not met: %+v", left)
		}
	}
	c.Counts.Take()

	t.Run("status", func(t *testing.T) {
		refused := throttled()
		code, out, stderr := in(t.Context(), "status")
		if lines := strings.Count(out, "\n"); code != 0 || lines != crowdSize+1 || strings.Count(out, " available ") != crowdSize {
			t.Fatalf("exit status %d, %d lines: %.400s\n%s", code, lines, out, stderr)
		}
		few(t, refused, pagesOf(c, everywhere...))
	})
	t.Run("drift", func(t *testing.T) {
		refused := throttled()
		a := answer[crowdAnswer](t, 5, "drift")
		if failed, why := a.failures(); len(a.Instances) != crowdSize || len(failed) > 0 {
			t.Fatalf("%d instances, %d failed: %s", len(a.Instances), len(failed), why)
		}
		unknown := 0
		for _, r := range a.Rows {
			if r.Status == "unknown" {
				unknown++
			}
		}
		if unknown > 0 || len(a.Rows) < 5*crowdSize {
			t.Errorf("%d rows, %d of them not known", len(a.Rows), unknown)
		}
		few(t, refused, pagesOf(c, everywhere...))
	})
	t.Run("certs list", func(t *testing.T) {
		refused := throttled()
		a := answer[crowdAnswer](t, 0, "certs", "list")
		if failed, why := a.failures(); len(a.Instances) != crowdSize || len(failed) > 0 {
			t.Fatalf("%d instances, %d failed: %s", len(a.Instances), len(failed), why)
		}
		for _, i := range a.Instances {
			if len(i.Certificates) < 2 {
				t.Fatalf("%s has %d certificates", i.Instance, len(i.Certificates))
			}
		}
		// The CAs of a region and an engine version; and of each instance of Cloud SQL two lists, which no other has.
		most := pagesOf(c, everywhere...) + len(crowdRegions)*(1+crowdMajors) + 2*(len(c.Names("crowd-one"))+len(c.Names("crowd-two")))
		few(t, refused, most)
	})
	t.Run("creds list", func(t *testing.T) {
		refused := throttled()
		a := answer[crowdAnswer](t, 0, "creds", "list", "-e", crowd.Environment)
		if len(a.Containers) != crowdContainers || len(a.Failed) > 0 {
			t.Fatalf("%d containers, failed: %+v", len(a.Containers), a.Failed)
		}
		for _, one := range a.Containers {
			if !one.Works {
				t.Errorf("the credential of %s does not work", one.Name)
			}
		}
		few(t, refused, pagesOf(c, crowdRegions[:2]...))
	})
	c.Lift()
	t.Run("a region that is down", func(t *testing.T) { regionDown(t, c) })
	t.Run("ctrl+C", func(t *testing.T) { cutOff(t, c) })
	t.Run("memory", func(t *testing.T) { memoryOf(t, c) })
}

// regionDown wants the rows of other regions from all commands, and why those of one are missing.
func regionDown(t *testing.T, c *crowd.Crowd) {
	t.Helper()
	const down = "us-east-1"
	t.Setenv("AWS_MAX_ATTEMPTS", "2") // four take their time
	defer c.Faults[down].Clear()
	c.Faults[down].Add(play.Fault{Service: "rds", Effect: play.Unavailable})
	failures := func(t *testing.T, want int, args ...string) {
		t.Helper()
		failed, why := answer[crowdAnswer](t, want, args...).failures()
		if slices.Sort(failed); !slices.Equal(failed, c.Names(down)) || !strings.Contains(why, down) {
			t.Errorf("%d failed, want the %d of %s: %s", len(failed), len(c.Names(down)), down, why)
		}
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		code, out, stderr := in(t.Context(), "status")
		if code != 1 || strings.Count(out, " available ") != crowdSize-len(c.Names(down)) || strings.Count(out, "x unreachable") != len(c.Names(down)) {
			t.Errorf("status: exit status %d: %s", code, stderr)
		}
		if n := strings.Count(out, "\nx "); n != 1 {
			t.Errorf("status says %d times why", n)
		}
	})
	wg.Go(func() { failures(t, 5, "drift") }) // there is drift elsewhere, which is said first
	wg.Go(func() { failures(t, 1, "certs", "list", "--no-handshake") })
	wg.Go(func() {
		a := answer[crowdAnswer](t, 1, "creds", "list", "-e", crowd.Environment)
		if len(a.Containers) != crowdContainers/2 || len(a.Failed) != crowdContainers/2 || !strings.Contains(a.Failed[0].Error.Message, down) {
			t.Errorf("creds list: %d containers, failed %+v", len(a.Containers), a.Failed)
		}
	})
}

// cutOff interrupts a command that a project keeps waiting, once its terminal has said that most instances have answered.
func cutOff(t *testing.T, c *crowd.Crowd) {
	t.Helper()
	release := c.Hold("crowd-two")
	defer release()
	cmd := exec.Command(shared.program, "status")
	cmd.Env = append(environ(t), crowdEnv(c)...)
	var out bytes.Buffer
	cmd.Stdout = &out
	tty, line, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer tty.Close()
	cmd.Stderr = line
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := line.Close(); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	buf := make([]byte, 4096)
	for interrupted := false; ; {
		n, err := tty.Read(buf)
		said.Write(buf[:n])
		if err != nil { // the other end is closed
			break
		}
		if !interrupted && strings.Contains(said.String(), "looked at 950 of 1000 instances") {
			interrupted = true
			if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
		}
	}
	err = cmd.Wait()
	if cmd.ProcessState.ExitCode() != 130 {
		t.Errorf("it ended with %v: %s", err, said.String())
	}
	live, cut := strings.Count(out.String(), " available "), strings.Count(out.String(), "x not asked")
	if live < 950 || cut < len(c.Names("crowd-two")) || live+cut != crowdSize {
		t.Errorf("%d rows and %d without an answer", live, cut)
	}
	if !strings.Contains(said.String(), "interrupted; what is shown is of ") {
		t.Errorf("it says %q", said.String())
	}
	if progress := "looked at"; strings.Contains(out.String(), progress) {
		t.Error("the progress is in the answer")
	}
}

func crowdEnv(c *crowd.Crowd) (env []string) {
	for name, value := range c.Environ() {
		env = append(env, name+"="+value)
	}
	return env
}

// memoryOf compares the heap that commands need for a hundred instances and for a thousand.
func memoryOf(t *testing.T, c *crowd.Crowd) {
	t.Helper()
	const most = 64 << 10 // bytes of an instance, with the garbage between two collections
	configs := []string{smaller(t, c), c.Environ()["DBOPS_CONFIG"]}
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, args := range [][]string{{"status", "-o", "json"}, {"drift"}, {"certs", "list", "--no-handshake"}} {
		wg.Go(func() {
			var heap [2]int
			for i, config := range configs {
				cmd := exec.Command(shared.program, args...)
				cmd.Env = append(append(environ(t), crowdEnv(c)...), "DBOPS_CONFIG="+config, "GODEBUG=gctrace=1")
				var out, trace bytes.Buffer
				cmd.Stdout, cmd.Stderr = &out, &trace
				err := cmd.Run() // on a busy machine some do not answer in time: 1
				if code := cmd.ProcessState.ExitCode(); code > 1 && code != 5 || !strings.Contains(out.String(), "crowd-one-0020") {
					t.Errorf("dbops %s: %v", strings.Join(args, " "), err)
				}
				heap[i] = peakHeap(trace.String())
			}
			each := (heap[1] - heap[0]) / (crowdSize - crowdSize/10)
			t.Logf("dbops %s: %d MiB for %d, %d MiB for %d: %d KiB each", strings.Join(args, " "), heap[0]>>20, crowdSize/10, heap[1]>>20, crowdSize, each>>10)
			if heap[0] == 0 || each > most {
				t.Errorf("dbops %s: an instance costs %d bytes, want %d at most", strings.Join(args, " "), each, most)
			}
		})
	}
}

var collected = regexp.MustCompile(`(?m)^gc \d+ @.* \d+->(\d+)->\d+ MB`)

// peakHeap is how large the heap of a process was, in bytes, by what its collector said.
func peakHeap(trace string) (peak int) {
	for _, m := range collected.FindAllStringSubmatch(trace, -1) {
		if n, err := strconv.Atoi(m[1]); err == nil {
			peak = max(peak, n<<20)
		}
	}
	return peak
}

// smaller is a dbops.yaml with every tenth instance.
func smaller(t *testing.T, c *crowd.Crowd) string {
	t.Helper()
	path := c.Environ()["DBOPS_CONFIG"]
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	instances := 0
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "    databases:") {
			break
		}
		if strings.HasPrefix(line, "      ") {
			if instances++; instances%10 != 0 {
				continue
			}
		}
		b.WriteString(line)
	}
	small := filepath.Join(filepath.Dir(path), "small.yaml")
	if err := os.WriteFile(small, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return small
}
