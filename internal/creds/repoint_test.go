package creds

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/sandbox/containers"
	"dbops/internal/sandbox/pgtest"
	"dbops/internal/sandbox/statetest"
	"dbops/internal/secret"
)

// twins are two servers, of which the second, of a newer major, has the roles of the first with the same passwords.
func twins(t *testing.T, containers int) (b *bench, to *stage) {
	t.Helper()
	old, newer := pgtest.Start(t, majors[0]), pgtest.Start(t, majors[1])
	name := fmt.Sprintf("moved%d", counter.Add(1))
	for _, s := range []*pgtest.Server{old, newer} {
		s.Exec(t, "postgres", "CREATE DATABASE "+name)
		t.Cleanup(func() { s.Exec(t, "postgres", "DROP DATABASE "+name+" WITH (FORCE)") })
	}
	s := newStageIn(t, old, name, containers)
	b = newBench(t, s, statetest.New(t, "sqlite"), s.deps())
	b.issueAll(t)
	for _, c := range s.Containers { // each has run since it was issued
		_, version := s.current(t, c)
		must(t, os.WriteFile(filepath.Join(s.Dir, c.Name+".runs"), []byte(version), 0o600))
	}
	moved := *s
	moved.Host, moved.Port, moved.CAFile, moved.Major = newer.Host, newer.Port, newer.CAFile, newer.Major
	super := newer.Superuser(t, name)
	run := func(format string, args ...any) {
		t.Helper()
		if _, err := super.Exec(t.Context(), fmt.Sprintf(format, args...)); err != nil {
			t.Fatal(strings.Fields(format)[0:2], err)
		}
	}
	rows, err := old.Superuser(t, name).Query(t.Context(), `SELECT rolname, rolcanlogin, coalesce(rolpassword, '') FROM pg_authid
		WHERE rolname IN ($1, $2) OR rolname LIKE 'shop\_%' OR rolname LIKE 'c\_shop\_%' ORDER BY rolname`, s.Owner, s.Admin)
	must(t, err)
	roles, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (x struct {
		Name, Verifier string
		Login          bool
	}, err error,
	) {
		return x, r.Scan(&x.Name, &x.Login, &x.Verifier)
	})
	must(t, err)
	mine := []string{s.Owner, s.Admin}
	for _, c := range s.Containers {
		mine = append(mine, GroupRole(c.Name), SlotRole(c.Name, SlotA), SlotRole(c.Name, SlotB))
	}
	for _, r := range roles {
		if !slices.Contains(mine, r.Name) {
			continue
		}
		run("CREATE ROLE %s CREATEROLE", r.Name)
		if r.Login {
			run("ALTER ROLE %s LOGIN PASSWORD '%s'", r.Name, r.Verifier)
		}
	}
	run("ALTER DATABASE %s OWNER TO %s", name, s.Owner)
	run("CREATE SCHEMA app AUTHORIZATION %s", s.Owner)
	run("CREATE TABLE app.item (id bigint GENERATED ALWAYS AS IDENTITY, note text)")
	run("ALTER TABLE app.item OWNER TO %s", s.Owner)
	for _, c := range s.Containers {
		group := GroupRole(c.Name)
		run("GRANT USAGE ON SCHEMA app TO %s", group)
		run("GRANT ALL ON ALL TABLES IN SCHEMA app TO %s", group)
		for _, slot := range []string{SlotA, SlotB} {
			run("GRANT %s TO %s", group, SlotRole(c.Name, slot))
			run("ALTER ROLE %s SET role = %s", SlotRole(c.Name, slot), group)
		}
	}
	return b, &moved
}

func (s *stage) address() Address {
	return Address{Host: s.Host, Port: int(s.Port), SSLMode: "verify-full"}
}

func (s *stage) repointing(to *stage) Repointing {
	return Repointing{
		Target: op.Target{Environment: "prod", Instance: "main"}, From: s.address(), To: to.address(),
		Login: func(ctx context.Context, database string, l Login) (*pgx.Conn, error) {
			return to.login(ctx, database, l)
		},
	}
}

func (b *bench) repoint(t *testing.T, run string, r Repointing) (op.Result, error) {
	t.Helper()
	d := b.deps
	d.Told = nil
	return d.Repoint(t.Context(), &op.Session{Run: run}, r)
}

// text is what a place holds.
func (s *stage) text(t *testing.T, place string) (text, version string) {
	t.Helper()
	store, ref, err := s.deps().Place(t.Context(), place)
	must(t, err)
	held, err := store.Inspect(t.Context(), ref)
	must(t, err)
	v, err := store.Read(t.Context(), ref, held.Current.ID)
	must(t, err)
	return v.Reveal(), held.Current.ID
}

// put makes a text current.
func (s *stage) put(t *testing.T, place, text string) {
	t.Helper()
	store, ref, err := s.deps().Place(t.Context(), place)
	must(t, err)
	must(t, store.Create(t.Context(), ref))
	held, err := store.Inspect(t.Context(), ref)
	must(t, err)
	v, err := store.Stage(t.Context(), ref, fmt.Sprintf("by hand %d", counter.Add(1)), secret.New(text))
	must(t, err)
	must(t, store.Promote(t.Context(), ref, held.Current.ID, v.ID))
}

// fleet rolls out containers that query all the time.
type fleet map[string]*containers.Container

func (f fleet) Start(ctx context.Context, container, version, _ string) (string, error) {
	return version, f[container].Rollout(ctx)
}

func (fleet) Done(context.Context, string, string) (bool, string, error) { return true, "", nil }

func (s *stage) fleet(t *testing.T) fleet {
	t.Helper()
	pem, err := os.ReadFile(s.CAFile)
	must(t, err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	f := fleet{}
	for _, c := range s.Containers {
		f[c.Name] = containers.Start(t.Context(), containers.Spec{
			Environment: "prod", Name: c.Name,
			Source: func(context.Context) (secret.Value, string, error) {
				text, version := s.text(t, c.Places[0])
				return secret.New(text), version, nil
			},
			Trust: func(_, host string) (*tls.Config, error) {
				return &tls.Config{RootCAs: roots, ServerName: host, MinVersion: tls.VersionTLS12}, nil
			},
			Load: map[string]containers.Load{"shop": {Read: "SELECT count(*) FROM app.item WHERE id = $1::int", Write: "INSERT INTO app.item (note) VALUES ($1::int::text)"}},
		}, containers.Options{Rate: 60})
		t.Cleanup(f[c.Name].Close)
		must(t, f[c.Name].Started(t.Context()))
	}
	return f
}

// works waits until every container has done something more, and counts what failed.
func (f fleet) works(t *testing.T) {
	t.Helper()
	for name, c := range f {
		before := c.Status().Queries
		for deadline := time.Now().Add(20 * time.Second); c.Status().Queries < before+8; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s does nothing: %+v", name, c.Status())
			}
		}
		if st := c.Status(); st.Failed > 0 || st.FailedDeployments > 0 {
			t.Errorf("%s: %d of %d queries failed: %v %s", name, st.Failed, st.Queries, st.Errors, st.DeploymentError)
		}
	}
}

// sessions counts those of a container on a server.
func (s *stage) sessions(t *testing.T, c Container) (n int) {
	t.Helper()
	conn, err := s.login(t.Context(), s.Database, Login{s.Admin, secret.New(s.AdminPassword)})
	must(t, err)
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	must(t, conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE usename IN ($1, $2)", SlotRole(c.Name, SlotA), SlotRole(c.Name, SlotB)).Scan(&n))
	return n
}

// Containers that query all the time are moved to another server, once more, and back, and none of their queries fails.
func TestContainersAreMovedToAnotherServerWithoutAFailedQuery(t *testing.T) {
	t.Parallel()
	b, to := twins(t, 2)
	f := b.fleet(t)
	b.deps.Rollout = func(context.Context, op.Target, string) (Rollout, error) { return f, nil }
	f.works(t)
	for i, way := range []struct{ from, to *stage }{{b.stage, to}, {to, b.stage}} {
		r := way.from.repointing(way.to)
		out, err := b.repoint(t, fmt.Sprintf("run-%d", i), r)
		must(t, err)
		if want := fmt.Sprintf("2 containers log in at %s", r.To); out.Text != want || len(out.Changes) != 2 {
			t.Errorf("%q, %+v", out.Text, out.Changes)
		}
		f.works(t)
		var versions []string
		for _, c := range b.Containers {
			if here, there := way.to.sessions(t, c), way.from.sessions(t, c); here == 0 || there > 0 {
				t.Errorf("%s has %d sessions at the new server, and %d at the old one", c.Name, here, there)
			}
			_, version := b.text(t, c.Places[0])
			versions = append(versions, version)
		}
		_, err = b.repoint(t, fmt.Sprintf("run-%d", i), r)
		must(t, err)
		f.works(t)
		for j, c := range b.Containers {
			if _, version := b.text(t, c.Places[0]); version != versions[j] {
				t.Errorf("%s: the second time made version %s beside %s", c.Name, version, versions[j])
			}
		}
	}
	if p := b.plan(t, RotateKind, b.rotation()); len(p.Blocked()) > 0 {
		t.Errorf("no rotation after it: %+v", p.Blocked())
	}
}

// A process that is killed anywhere leaves what works, and another one ends the move, or takes it back.
func TestAMoveThatWasKilledIsEndedOrTakenBack(t *testing.T) {
	t.Parallel()
	b, to := twins(t, 1)
	c := b.Containers[0]
	second := "file:" + filepath.Join(b.Dir, "second.json")
	text, _ := b.text(t, c.Places[0])
	b.put(t, second, text)
	b.Containers[0].Places = append(b.Containers[0].Places, second)
	c = b.Containers[0]
	for i, at := range []string{"after staging", "after promoting", "after rolling out"} {
		for _, back := range []bool{false, true} {
			run := fmt.Sprintf("run-%d-%v", i, back)
			doomed{b.stage, run, at, to}.die(t)
			at, end := to, b.stage
			if back {
				at, end = b.stage, to
			}
			_, err := b.repoint(t, run, end.repointing(at))
			must(t, err)
			for _, place := range c.Places {
				text, _ := b.text(t, place)
				if !strings.Contains(text, fmt.Sprintf(`"port":%d`, at.Port)) || strings.Contains(text, fmt.Sprintf(`"port":%d`, end.Port)) {
					t.Errorf("%s: %s names another server", run, place)
				}
				store, ref, err := b.deps.Place(t.Context(), place)
				must(t, err)
				if held, err := store.Inspect(t.Context(), ref); err != nil || held.Pending.ID != "" {
					t.Errorf("%s: %s holds %+v, %v", run, place, held, err)
				}
			}
			at.serves(t, c, b.running(t, c), "the running container")
			if !back { // for the next one
				_, err := b.repoint(t, run+"-over", to.repointing(b.stage))
				must(t, err)
			}
		}
	}
}

// Nobody is sent to where he is not let in, and no other rotation is disturbed unless somebody says so.
func TestAMoveIsRefusedBeforeAnythingIsCurrent(t *testing.T) {
	t.Parallel()
	b, to := twins(t, 2)
	for _, c := range b.Containers {
		b.put(t, c.Places[0], first(b.text(t, c.Places[0]))) // as it was
	}
	before := []string{first(b.text(t, b.Containers[0].Places[0])), first(b.text(t, b.Containers[1].Places[0]))}
	same := func(why string) {
		t.Helper()
		for i, c := range b.Containers {
			if first(b.text(t, c.Places[0])) != before[i] {
				t.Errorf("%s: the credential of %s was changed", why, c.Name)
			}
		}
	}
	super := pgtest.Start(t, majors[1]).Superuser(t, to.Database)
	role := SlotRole(b.Containers[1].Name, SlotA)
	_, err := super.Exec(t.Context(), "ALTER ROLE "+role+" NOLOGIN")
	must(t, err)
	_, err = b.repoint(t, "run", b.stage.repointing(to))
	if fault.KindOf(err) != fault.Failed || !strings.Contains(err.Error(), "nobody is sent there") {
		t.Errorf("it went on: %v", err)
	}
	same("a role that may not log in there")
	_, err = super.Exec(t.Context(), "ALTER ROLE "+role+" LOGIN")
	must(t, err)

	place := b.Containers[0].Places[0]
	store, ref, err := b.deps.Place(t.Context(), place)
	must(t, err)
	pending, err := store.Stage(t.Context(), ref, "a rotation", secret.New(`{"username":"someone","password":"`+newPassword().Reveal()+`"}`))
	must(t, err)
	looked, err := b.deps.LookRepoint(t.Context(), b.target(), b.stage.address())
	must(t, err)
	clients, byHand, cannot := PointingWords(looked)
	if len(clients) != 2 || len(byHand) != 0 || len(cannot) != 1 || !strings.Contains(cannot[0], "pending") {
		t.Errorf("%q, %q, %q", clients, byHand, cannot)
	}
	var told error
	d := b.deps
	d.Told = func(_ context.Context, run, text string) (bool, error) {
		return run == "run2" && told != nil && strings.Contains(told.Error(), text), nil
	}
	_, told = d.Repoint(t.Context(), &op.Session{Run: "run2"}, b.stage.repointing(to))
	if fault.KindOf(told) != fault.Busy || !strings.Contains(told.Error(), pending.ID) {
		t.Fatalf("it pushed a rotation aside: %v", told)
	}
	same("a rotation that is not finished")
	_, err = d.Repoint(t.Context(), &op.Session{Run: "run2"}, b.stage.repointing(to))
	must(t, err)
	for _, c := range b.Containers {
		if l, _ := b.current(t, c); l.User != SlotRole(c.Name, SlotA) {
			t.Errorf("%s logs in as %s", c.Name, l.User)
		}
	}
}

func first(text, _ string) string { return text }

// The forms of a credential, with the address in each place where it may be; nothing else changes.
func TestOnlyTheAddressOfACredentialChanges(t *testing.T) {
	t.Parallel()
	from, to := Address{Host: "old.example.com", Port: 5432, Also: []string{"old.example.com", "10.0.0.1"}},
		Address{Host: "new.example.com", Port: 6543, Also: []string{"new.example.com", "10.0.0.2"}}
	for name, c := range map[string]struct {
		text, want string
		rest       []string // that name the host still
	}{
		"a JSON object keeps its spaces, order, numbers and escapes": {
			text: "{ \"username\": \"u\",\n\t\"password\" : \"p\\u0041\\/\", \"n\": 1.50, \"host\":\"old.example.com\", \"port\": \"5432\", \"databases\": {\"shop\": {\"dbname\": \"s\", \"port\": 5432, \"host\": \"OLD.example.com.\"}, \"pool\": {\"host\": \"pool\", \"port\": 1}} }",
			want: "{ \"username\": \"u\",\n\t\"password\" : \"p\\u0041\\/\", \"n\": 1.50, \"host\":\"new.example.com\", \"port\": \"6543\", \"databases\": {\"shop\": {\"dbname\": \"s\", \"port\": 6543, \"host\": \"new.example.com\"}, \"pool\": {\"host\": \"pool\", \"port\": 1}} }",
		},
		"a port that was not said is said where it has to be": {
			text: `{"username":"u","password":"p","host":"10.0.0.1"}`, want: `{"username":"u","password":"p","host":"10.0.0.2","port":6543}`,
		},
		"another port is another server": {
			text: `{"username":"u","password":"p","host":"old.example.com","port":1}`, want: `{"username":"u","password":"p","host":"old.example.com","port":1}`,
		},
		"a field that dbops does not know stays, and is told": {
			text: `{"username":"u","password":"p","host":"old.example.com","port":5432,"url":"postgres://u:p@old.example.com/s"}`,
			want: `{"username":"u","password":"p","host":"new.example.com","port":6543,"url":"postgres://u:p@old.example.com/s"}`, rest: []string{"url"},
		},
		"a URL": {
			text: "postgres://u:old.example.com%40@old.example.com:5432/s?sslmode=verify-full&x=%20", want: "postgres://u:old.example.com%40@new.example.com:6543/s?sslmode=verify-full&x=%20",
		},
		"a URL with two hosts and no port": {
			text: "postgres://u:p@other.invalid,old.example.com/s", want: "postgres://u:p@other.invalid,new.example.com:6543/s",
		},
		"a URL whose parameters name the host": {
			text: "postgres://u:p@old.example.com/s?hostaddr=10.0.0.1", want: "postgres://u:p@new.example.com:6543/s?hostaddr=10.0.0.1", rest: []string{"the rest of the URL"},
		},
		"variables": {
			text: "# mine\r\nexport PGUSER=u\r\nPGPASSWORD='p'\r\nexport PGHOST=\"old.example.com\"\r\nDATABASE_URL=postgres://u:p@old.example.com/s\r\nPGHOSTADDR=10.0.0.1",
			want: "# mine\r\nexport PGUSER=u\r\nPGPASSWORD='p'\r\nexport PGHOST=\"new.example.com\"\r\nexport PGPORT=6543\r\nDATABASE_URL=postgres://u:p@new.example.com:6543/s\r\nPGHOSTADDR=10.0.0.1",
			rest: []string{"PGHOSTADDR"},
		},
		"variables with a port": {
			text: "PGUSER=u\nPGPASSWORD=p\nPGPORT=5432\nPGHOST=old.example.com\n", want: "PGUSER=u\nPGPASSWORD=p\nPGPORT=6543\nPGHOST=new.example.com\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := parsePayload(secret.New(c.text))
			must(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			cancel() // no name is looked up
			out, err := p.readdress(c.text, Repointing{From: from, To: to}.aim(ctx))
			must(t, err)
			want := strings.ReplaceAll(c.want, "export PGPORT=6543\r\n", "export PGPORT=6543\n")
			if strings.ReplaceAll(out.text, "export PGPORT=6543\r\n", "export PGPORT=6543\n") != want {
				t.Errorf("got\n%s\nwant\n%s", out.text, c.want)
			}
			if got := naming(out.rest, []string{from.Host, "10.0.0.1"}); !slices.Equal(got, c.rest) {
				t.Errorf("%q name it still, want %q", got, c.rest)
			}
			if again, err := p.readdress(out.text, Repointing{From: from, To: to}.aim(ctx)); err != nil || again.hits > 0 {
				t.Errorf("it is replaced again: %v, %v", again.hits, err)
			}
		})
	}
}
