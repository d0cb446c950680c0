package certs

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"dbops/internal/certs/bundle"
	"dbops/internal/cloud"
	"dbops/internal/op"
	"dbops/internal/sandbox/statetest"
	"dbops/internal/secret"
	"dbops/internal/state"
)

const childEnv = "DBOPS_CERTS_TEST_CHILD"

// doomed is what a child process is told: which run to work on, and at which point to be killed.
type doomed struct {
	Provider cloud.Kind
	URL      string // of the played cloud, which lives in the parent
	Instance string
	Roots    string // PEM
	Run, At  string
}

// child works on a run until it is killed. It returns only if the point was never reached.
func child(where string) int {
	var d doomed
	err := json.Unmarshal([]byte(where), &d)
	if err == nil {
		err = d.work(context.Background())
	}
	if err != nil {
		println(err.Error())
		return 1
	}
	return 0
}

func (d doomed) work(ctx context.Context) error {
	c, err := openCloud(ctx, d.Provider, d.URL)
	if err != nil {
		return err
	}
	roots, err := bundle.Parse([]byte(d.Roots))
	if d.Roots != "" && err != nil {
		return err
	}
	k := &killer{Cloud: c, at: d.At}
	var kinds []op.Kind
	for _, kind := range New(quick(k, d.Instance, roots)) {
		kinds = append(kinds, mortal{kind, k})
	}
	registry, err := op.NewRegistry(kinds...)
	if err != nil {
		return err
	}
	place, ok := statetest.FromEnv()
	if !ok {
		return errors.New("there is no store")
	}
	store, err := place.Open(ctx, "tester")
	if err != nil {
		return err
	}
	engine := op.New(store, registry, op.Options{Version: "test", Poll: 20 * time.Millisecond, TTL: time.Minute, Host: "doomed"})
	run, err := engine.Attach(ctx, d.Run, 0, nil)
	if err == nil && run.State != state.Done && run.State != state.Gate {
		err = fmt.Errorf("the run is %s: %s", run.State, run.Problem)
	}
	return errors.Join(err, store.Close())
}

// killer kills its process at a point: before or after a call that changes something.
type killer struct {
	Cloud
	at string
}

func (k *killer) pass(point string) {
	if point == k.at {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

func (k *killer) AddCA(ctx context.Context, name string) (cloud.Receipt, error) {
	k.pass("before AddCA")
	r, err := k.Cloud.AddCA(ctx, name)
	k.pass("after AddCA")
	return r, err
}

func (k *killer) RotateCA(ctx context.Context, name, id string, when cloud.CAWhen) (cloud.Receipt, error) {
	k.pass("before RotateCA")
	r, err := k.Cloud.RotateCA(ctx, name, id, when)
	k.pass("after RotateCA")
	return r, err
}

func (k *killer) CreateClient(ctx context.Context, name, client string) (cloud.ClientCert, secret.Value, cloud.Receipt, error) {
	k.pass("before CreateClient")
	c, key, r, err := k.Cloud.CreateClient(ctx, name, client)
	k.pass("after CreateClient") // the key was told, and is on no disk
	return c, key, r, err
}

func (k *killer) DeleteClient(ctx context.Context, name, id string) (cloud.Receipt, error) {
	k.pass("before DeleteClient")
	r, err := k.Cloud.DeleteClient(ctx, name, id)
	k.pass("after DeleteClient")
	return r, err
}

func (k *killer) Progress(ctx context.Context, r cloud.Receipt) (cloud.Progress, error) {
	p, err := k.Cloud.Progress(ctx, r)
	k.pass("after Progress")
	return p, err
}

// mortal is a kind whose steps die before or after they do something.
type mortal struct {
	op.Kind
	k *killer
}

func (m mortal) Steps(t op.Target, request, facts json.RawMessage) ([]op.Step, error) {
	steps, err := m.Kind.Steps(t, request, facts)
	for i, s := range steps {
		if s.Do == nil {
			continue
		}
		steps[i].Do = func(ctx context.Context, session *op.Session) (op.Result, error) {
			m.k.pass("before " + s.Name)
			r, err := s.Do(ctx, session)
			m.k.pass("after " + s.Name)
			return r, err
		}
	}
	return steps, err
}

// dies lets a process begin a run and die at a point.
func (s *stage) dies(t *testing.T, place statetest.Place, name, run, at string) {
	t.Helper()
	told, err := json.Marshal(doomed{Provider: s.kind, URL: s.url, Instance: name, Roots: string(bundle.Encode(s.roots)), Run: run, At: at})
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+string(told), place.Env(t))
	out, err := cmd.CombinedOutput()
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() || ctx.Err() != nil {
		t.Fatalf("it was not killed: %v\n%s", err, out)
	}
	place.EndLeases(t)
}

func TestAKilledProcessLosesNoKeyAndLeavesNoOrphan(t *testing.T) {
	t.Parallel()
	s := playedCloudSQL(t)
	name := s.instance(t, 17)
	for i, at := range []string{
		"before CreateClient", "after CreateClient", "after create", "after Progress", "after files",
	} {
		t.Run(at, func(t *testing.T) {
			place := statetest.New(t, "sqlite")
			b := s.benchOn(t, name, place)
			client := fmt.Sprintf("laptop-%d", i)
			dir := filepath.Join(t.TempDir(), "tls")
			id := b.submit(t, b.plan(t, CreateClientKind, CreateRequest{Name: client, Dir: dir, Host: "here", User: "postgres"}))
			s.dies(t, place, name, id, at)
			b.is(t, b.attach(t, id), state.Done)
			b.usable(t, dir, client)
			if left := hidden(t, dir); len(left) > 0 {
				t.Errorf("left in the folder: %v", left)
			}
			if n := len(b.told(t).Clients); n != i+1 {
				t.Errorf("there are %d certificates, of %d names", n, i+1)
			}
		})
	}
}

// usable checks that a folder holds the only certificate of a name with its key, and that the key is nowhere else.
func (b *bench) usable(t *testing.T, dir, client string) {
	t.Helper()
	listed := b.told(t).Client(client)
	if listed == nil {
		t.Fatalf("there is no certificate %s", client)
	}
	key, err := readKey(dir)
	must(t, err)
	if _, err := tls.X509KeyPair([]byte(listed.PEM), []byte(key.Reveal())); err != nil {
		t.Error("the key is another one's")
	}
	for _, name := range []string{FileKey, FileKeyDER, FileP12, FileP12Secret} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	b.unspoken(t, key)
}

// unspoken searches the whole store for a key.
func (b *bench) unspoken(t *testing.T, key secret.Value) {
	t.Helper()
	middle := strings.Split(strings.TrimSpace(key.Reveal()), "\n")[1]
	var all strings.Builder
	runs, err := b.Runs(t.Context(), state.RunFilter{})
	must(t, err)
	for _, r := range runs {
		steps, err := b.Journal(t.Context(), r.ID)
		must(t, err)
		events, err := b.Events(t.Context(), r.ID, 0)
		must(t, err)
		p, err := b.PlanOf(t.Context(), r.PlanHash)
		must(t, err)
		for _, v := range []any{r, steps, events, p} {
			text, err := json.Marshal(v)
			must(t, err)
			all.Write(text)
		}
	}
	if strings.Contains(all.String(), middle[:32]) {
		t.Error("the key is in the store")
	}
}

func hidden(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	return names
}

func TestAKilledRotationIsFollowedByAnother(t *testing.T) {
	t.Parallel()
	for _, s := range []*stage{playedCloudSQL(t), playedRDS(t)} {
		points := []string{"before RotateCA", "after RotateCA", "after rotate", "after wait"}
		if s.kind == cloud.CloudSQL {
			points = append([]string{"after AddCA", "after add"}, points...)
		}
		t.Run(string(s.kind), func(t *testing.T) {
			t.Parallel()
			name := s.instance(t, 17)
			for _, at := range points {
				t.Run(at, func(t *testing.T) {
					place := statetest.New(t, "sqlite")
					b := s.benchOn(t, name, place)
					before := b.told(t)
					r := RotateRequest{Now: time.Now()}
					if s.kind == cloud.RDS {
						r.To = before.CA(cloud.CAOffered).ID
					}
					id := b.submit(t, b.plan(t, RotateKind, r))
					early := slices.Contains([]string{"after AddCA", "after add"}, at)
					if s.kind == cloud.CloudSQL && !early {
						b.is(t, b.attach(t, id), state.Gate)
						must(t, b.Tell(t.Context(), id, state.Continue, actor, "a test"))
					}
					s.dies(t, place, name, id, at)
					run := b.attach(t, id)
					if early {
						b.is(t, run, state.Gate)
						run = b.tell(t, id, state.Continue)
					}
					b.is(t, run, state.Done)
					after := b.told(t)
					if got := s.root(t, name); got != after.CA(cloud.CAActive).Fingerprint || got == before.CA(cloud.CAActive).Fingerprint {
						t.Errorf("the server proves itself by %s, before by %s, told %+v", got, before.CA(cloud.CAActive).Fingerprint, after.CAs)
					}
					if s.kind == cloud.CloudSQL && after.CA(cloud.CANext) != nil {
						t.Errorf("one CA too many was added: %+v", after.CAs)
					}
				})
			}
		})
	}
}

func TestAKilledRevocationIsFollowedByAnother(t *testing.T) {
	t.Parallel()
	s := playedCloudSQL(t)
	name := s.instance(t, 17)
	for i, at := range []string{"before DeleteClient", "after DeleteClient", "after revoke"} {
		t.Run(at, func(t *testing.T) {
			place := statetest.New(t, "sqlite")
			b := s.benchOn(t, name, place)
			client := fmt.Sprintf("old-%d", i)
			dir := filepath.Join(t.TempDir(), "tls")
			b.does(t, CreateClientKind, CreateRequest{Name: client, Dir: dir, Host: "here", User: "postgres"}, state.Done)
			id := b.submit(t, b.plan(t, RevokeClientKind, RevokeRequest{Client: client}))
			s.dies(t, place, name, id, at)
			b.is(t, b.attach(t, id), state.Done)
			if b.told(t).Client(client) != nil {
				t.Error("it is still there")
			}
		})
	}
}
