//go:build drivers

package proxy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"dbops/internal/pg"
	"dbops/internal/secret"
)

// driver is one whose own tests judge the proxy.
type driver struct {
	module   string
	packages []string
	setup    string // of its database, as its documentation has it
	database string
	env      func(host, port, password string) []string
}

var drivers = map[string]driver{
	"pgx": {
		module: "github.com/jackc/pgx/v5", packages: []string{".", "./pgconn", "./pgtype", "./pgxpool", "./stdlib"}, database: "pgx_test",
		setup: `
			create extension hstore;
			create extension ltree;
			create domain uint64 as numeric(20,0);
			create user " tricky, ' } "" \\ test user " superuser password 'secret'`,
		env: func(host, port, password string) []string {
			return []string{fmt.Sprintf("PGX_TEST_DATABASE=host=%s port=%s user=super password=%s dbname=pgx_test sslmode=disable", host, port, password)}
		},
	},
	"pq": {
		module: "github.com/lib/pq", packages: []string{"."}, database: "pqgo",
		setup: `create extension hstore`,
		env: func(host, port, password string) []string {
			return []string{"PGHOST=" + host, "PGPORT=" + port, "PGUSER=super", "PGPASSWORD=" + password, "PGDATABASE=pqgo", "PGSSLMODE=disable"}
		},
	},
}

// TestDriversOwnTestsPassThroughTheProxy runs the tests of PostgreSQL drivers directly on a server and through the proxy. What fails
// directly, for want of a server that is set up for it, may fail through the proxy; nothing else.
func TestDriversOwnTestsPassThroughTheProxy(t *testing.T) {
	s := ownPostgres(t, 18)
	for name, d := range drivers {
		t.Run(name, func(t *testing.T) {
			boss := s.connect(t, "postgres")
			_, err := boss.Exec(t.Context(), "create database "+d.database)
			must(t, err)
			_, err = s.connect(t, d.database).Exec(t.Context(), d.setup)
			must(t, err)
			up := s.upstream(d.database, pg.Params{User: "super", Password: secret.New(superPassword), Database: d.database})
			p := serve(t, Config{Access: "admin", Users: []string{"dbops"}, Application: nameless, Upstreams: []Upstream{up}})
			programs := d.build(t)
			begin := time.Now()
			direct := d.run(t, programs, d.env("127.0.0.1", fmt.Sprint(s.port), superPassword))
			took := time.Since(begin)
			host, port, _ := net.SplitHostPort(p.addr)
			begin = time.Now()
			through := d.run(t, programs, d.env(host, port, proxyPassword))
			t.Logf("directly %d tests passed and %d failed in %s, through the proxy %d and %d in %s", len(direct.passed), len(direct.failed), took.Round(time.Second),
				len(through.passed), len(through.failed), time.Since(begin).Round(time.Second))
			if len(direct.passed) < 50 {
				t.Fatalf("hardly any tests ran:\n%s", direct.output)
			}
			for test, said := range through.failed {
				if _, also := direct.failed[test]; also {
					continue
				}
				if !d.passesAlone(t, programs, test, d.env(host, port, proxyPassword)) {
					t.Errorf("%s fails through the proxy only:\n%s", test, said)
				}
			}
			for test := range direct.passed {
				if !through.passed[test] && through.failed[test] == "" {
					t.Errorf("%s passed directly, and did not run through the proxy", test)
				}
			}
		})
	}
}

// build compiles the tests of the module that scripts/peers/drivers pins, in a copy of it.
func (d driver) build(t *testing.T) (programs map[string]string) {
	t.Helper()
	pins, err := filepath.Abs("../../scripts/peers/drivers")
	must(t, err)
	find := exec.Command("go", "mod", "download", "-json", d.module)
	find.Dir, find.Env = pins, append(os.Environ(), "GOFLAGS=-mod=readonly", "GOWORK=off")
	out, err := find.Output()
	must(t, err)
	var module struct{ Dir, Error string }
	must(t, json.Unmarshal(out, &module))
	if module.Error != "" {
		t.Fatal(module.Error)
	}
	dir := t.TempDir()
	must(t, os.CopyFS(dir, os.DirFS(module.Dir)))
	programs = map[string]string{}
	for _, pkg := range d.packages {
		program := filepath.Join(t.TempDir(), "tests")
		build := exec.Command("go", "test", "-c", "-vet=off", "-trimpath", "-o", program, pkg) // what was compiled serves another folder, too
		build.Dir, build.Env = dir, append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", pkg, err, out)
		}
		programs[filepath.Join(dir, pkg)] = program
	}
	return programs
}

// passesAlone tells whether a test passes when it has the machine for itself, or nearly so.
func (d driver) passesAlone(t *testing.T, programs map[string]string, test string, env []string) bool {
	t.Helper()
	name, _, _ := strings.Cut(test, "/")
	for dir, program := range programs {
		of := ""
		if slices.Contains(d.packages, "./"+filepath.Base(dir)) {
			of = filepath.Base(dir) + "."
		}
		if of == "" && strings.Contains(name, ".") || !strings.HasPrefix(name, of) {
			continue
		}
		for range 3 {
			out := runTests(t, dir, program, env, "-test.run", "^"+strings.TrimPrefix(name, of)+"$")
			if bytes.Contains(out, []byte("\nPASS\n")) && !bytes.Contains(out, []byte("--- FAIL")) {
				t.Logf("%s needed another try", test)
				return true
			}
		}
	}
	return false
}

func runTests(t *testing.T, dir, program string, env []string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, append([]string{"-test.v", "-test.timeout", "8m"}, args...)...)
	cmd.Dir = dir // the tests read files beside them
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "PG") {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	cmd.Env = append(cmd.Env, append(env, "HOME="+t.TempDir())...)
	out, err := cmd.CombinedOutput()
	if _, failed := errors.AsType[*exec.ExitError](err); err != nil && !failed {
		t.Errorf("%s: %v", dir, err)
	}
	return out
}

// verdicts are what became of the tests, by package and name.
type verdicts struct {
	passed map[string]bool
	failed map[string]string // what they said
	output string
}

// folder is one that is made anew by each run, in the name of a test.
var folder = regexp.MustCompile(`/tmp/[^/]*/[0-9]+`)

var verdict = regexp.MustCompile(`(?m)^ *--- (PASS|FAIL): (\S+)`)

// runToTheEnd runs the tests of a package again if one of them has broken off the rest: they give an answer a second or two, and a busy machine
// takes longer, at which some panic.
func runToTheEnd(t *testing.T, dir, program string, env []string) []byte {
	t.Helper()
	for try := 1; ; try++ {
		out := runTests(t, dir, program, env)
		i := bytes.Index(out, []byte("panic: "))
		if i < 0 {
			return out
		}
		if try == 3 {
			t.Errorf("the tests in %s end early:\n%.3000s", filepath.Base(dir), out[i:])
			return out
		}
	}
}

func (d driver) run(t *testing.T, programs map[string]string, env []string) verdicts {
	t.Helper()
	v := verdicts{passed: map[string]bool{}, failed: map[string]string{}}
	outputs := map[string][]byte{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for dir, program := range programs { // at once, as go test does with the packages of a module
		wg.Go(func() {
			out := runToTheEnd(t, dir, program, env)
			mu.Lock()
			defer mu.Unlock()
			outputs[dir] = out
		})
	}
	wg.Wait()
	for dir, out := range outputs {
		v.output += string(out)
		all := verdict.FindAllSubmatchIndex(out, -1)
		for _, m := range all {
			name := folder.ReplaceAllString(string(out[m[4]:m[5]]), "/tmp")
			if pkg := "./" + filepath.Base(dir); slices.Contains(d.packages, pkg) {
				name = filepath.Base(dir) + "." + name
			}
			if string(out[m[2]:m[3]]) == "PASS" {
				v.passed[name] = true
				continue
			}
			rest := string(out[m[1]:])
			if i := strings.Index(rest, "\n="); i >= 0 {
				rest = rest[:i]
			}
			v.failed[name] = fmt.Sprintf("%.1500s", rest)
		}
	}
	return v
}
