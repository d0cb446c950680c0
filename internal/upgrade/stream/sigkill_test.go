package stream

import (
	"context"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/secret"
)

// The environment of a process of this test binary that copies and kills itself: when, and between what.
const dieIn = "DBOPS_TEST_DIE_IN"

// copyAndDie is what such a process does.
func copyAndDie(spec string) {
	f := strings.Split(spec, "|") // phase, after, and twice: URL and password
	after, err := strconv.Atoi(f[1])
	if err != nil {
		panic(err)
	}
	to := func(url, password string) Connect {
		return func(ctx context.Context, tune func(*pgx.ConnConfig)) (*pgx.Conn, error) {
			c, err := pgx.ParseConfig(url)
			if err != nil {
				return nil, err
			}
			c.Password = secret.New(password).Reveal()
			tune(c)
			return pgx.ConnectConfig(ctx, c)
		}
	}
	j := Job{Source: to(f[2], f[3]), Target: to(f[4], f[5]), SplitBytes: 64 << 10, Progress: func(p Progress) {
		if p.Phase == f[0] && p.Done >= after {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
	}}
	if _, err := Copy(context.Background(), j); err != nil {
		println(err.Error())
	}
}

func TestAKilledProcessLeavesWhatAnotherOneFinishes(t *testing.T) {
	from, to := newSide(t, 16), newSide(t, 18)
	conn, err := from.customer(t.Context(), func(*pgx.ConnConfig) {})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	if err := script(t.Context(), conn, `create schema app; create table app.t (id bigint generated always as identity primary key, v text unique); insert into app.t (v) select md5(i::text) from generate_series(1, 20000) i;
create table app.u (id int primary key, t bigint references app.t); insert into app.u select i, i from generate_series(1, 50) i; create index on app.u (t); select lo_from_bytea(0, '\x01'); create view app.v as select * from app.u`); err != nil {
		t.Fatal(err)
	}
	for _, p := range []struct {
		phase string
		after int
	}{{"before the data", 3}, {"data", 1}, {"data", 3}, {"large objects", 1}, {"after the data", 1}} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^$")
		spec := []string{p.phase, strconv.Itoa(p.after), from.server.URL(from.db), from.server.Password.Reveal(), to.server.URL(to.db), to.server.Password.Reveal()}
		cmd.Env = append(os.Environ(), dieIn+"="+strings.Join(spec, "|"))
		out, err := cmd.CombinedOutput()
		cancel()
		if cmd.ProcessState == nil || cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("phase %s: %v: %s", p.phase, err, out)
		}
	}
	res, err := Copy(t.Context(), Job{Source: from.customer, Target: to.customer, SplitBytes: 64 << 10})
	if err != nil || !res.Resumed {
		t.Fatalf("%+v, %v", res, err)
	}
	if err := Finish(t.Context(), to.customer); err != nil {
		t.Fatal(err)
	}
	same(t, "killed and the source", to.dumped(), from.dumped())
}
