package stream

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"dbops/internal/pg"
	"dbops/internal/sandbox/pgtest"
)

// benchMB is how large the database is, without indexes: DBOPS_BENCH_MB, which says nothing about a real one below some thousands.
func benchMB(b *testing.B) int {
	b.Helper()
	text := os.Getenv("DBOPS_BENCH_MB")
	if text == "" {
		return 32
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		b.Fatalf("DBOPS_BENCH_MB=%s: want a number of megabytes", text)
	}
	return n
}

// fill makes two large tables, one of them with many indexes, and 200 small ones. A row of events has about 130 bytes, one of accounts 110.
func fill(mb int) []string {
	accounts, events := mb*3000, mb*5000
	return []string{
		"create table accounts (id bigint, branch int not null, balance numeric not null, filler text not null)",
		fmt.Sprintf("insert into accounts select i, i %% 100, i / 7.0, repeat('x', 70) from generate_series(1, %d) i", accounts),
		"create table events (id bigint generated always as identity, account bigint not null, kind text not null, at timestamptz not null, body jsonb not null)",
		fmt.Sprintf("insert into events (account, kind, at, body) select 1 + i %% %d, 'kind ' || i %% 17, '2024-01-01'::timestamptz + i * interval '1 s', jsonb_build_object('n', i, 's', md5(i::text)) from generate_series(1, %d) i", accounts, events),
		"alter table accounts add primary key (id); alter table events add primary key (id), add foreign key (account) references accounts",
		"create index on events (account); create index on events (kind, at); create index on events (at)",
		"do $$ begin for i in 1..200 loop execute format('create table small_%s (id int primary key, account bigint references accounts, v text); insert into small_%s select j, j, md5(j::text) from generate_series(1, 100) j; create index on small_%s (v)', i, i, i); end loop; end $$",
		"vacuum analyze",
	}
}

// benchServer is one that nobody else uses, with settings as a large instance has them.
type benchServer struct {
	b    *testing.B
	conn *pgx.Conn
	env  []string // for libpq
	pid  int      // of the postmaster
	next int
}

const benchRole, benchPassword = "bench", "bench-word"

func startBench(b *testing.B, major int) *benchServer {
	b.Helper()
	own := pgtest.StartOwn(b, major)
	own.Exec(b, "postgres", "create role "+benchRole+" superuser login password '"+benchPassword+"'", "alter system set archive_command = '/bin/true'")
	err := own.World.Restart(b.Context(), map[string]string{
		"shared_buffers": "512MB", "max_wal_size": "8GB", "checkpoint_timeout": "15min", "maintenance_work_mem": "256MB", "wal_compression": "off",
	})
	if err != nil {
		b.Fatal(err)
	}
	s := &benchServer{b: b, conn: own.Superuser(b, "postgres")}
	c := s.conn.Config()
	s.env = []string{"PGHOST=" + c.Host, "PGPORT=" + strconv.Itoa(int(c.Port)), "PGUSER=" + benchRole, "PGPASSWORD=" + benchPassword, "PGSSLMODE=require"}
	s.pid, err = strconv.Atoi(s.text("select split_part(pg_read_file('postmaster.pid'), E'\\n', 1)"))
	if err != nil {
		b.Fatal(err)
	}
	return s
}

func (s *benchServer) exec(sql string) {
	s.b.Helper()
	if err := script(context.WithoutCancel(s.b.Context()), s.conn, sql); err != nil {
		s.b.Fatalf("%.60s: %v", sql, err)
	}
}

func (s *benchServer) text(sql string) (v string) {
	s.b.Helper()
	if err := s.conn.QueryRow(s.b.Context(), sql).Scan(&v); err != nil {
		s.b.Fatalf("%s: %v", sql, err)
	}
	return v
}

// database makes one and fills it.
func (s *benchServer) database(sql ...string) string {
	s.b.Helper()
	s.next++
	name := "b" + strconv.Itoa(s.next)
	s.exec("create database " + name)
	c, err := s.connect(name)(s.b.Context(), func(*pgx.ConnConfig) {})
	if err != nil {
		s.b.Fatal(err)
	}
	defer c.Close(context.WithoutCancel(s.b.Context()))
	for _, q := range sql {
		if err := script(s.b.Context(), c, q); err != nil {
			s.b.Fatalf("%.60s: %v", q, err)
		}
	}
	return name
}

func (s *benchServer) url(database string) string {
	c := s.conn.Config()
	return fmt.Sprintf("postgresql://%s@%s/%s?sslmode=require", benchRole, net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port))), database)
}

func (s *benchServer) connect(database string) Connect {
	return connectTo(s.url(database), benchPassword)
}

// way is one of those that are compared: programs that run one after the other.
type way struct {
	name string
	cmds func(ctx context.Context, from, to *benchServer, source, target, dir string) []*exec.Cmd
}

func ways(b *testing.B) []way {
	b.Helper()
	jobs := "--jobs=" + strconv.Itoa(defaultJobs)
	tool := func(name string) string {
		path, err := pg.ToolFor(b.Context(), name, 18)
		if err != nil {
			b.Fatal(err)
		}
		return path
	}
	dump, restore := tool("pg_dump"), tool("pg_restore")
	program := func(ctx context.Context, s *benchServer, path string, args ...string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, path, args...)
		cmd.Env = append(pg.Environ(os.Environ()), s.env...)
		return cmd
	}
	all := []way{
		{"stream", func(ctx context.Context, from, to *benchServer, source, target, dir string) []*exec.Cmd {
			cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^$")
			cmd.Env = append(os.Environ(), "TMPDIR="+dir, benchIn+"="+strings.Join([]string{from.url(source), to.url(target), benchPassword}, "|"))
			return []*exec.Cmd{cmd}
		}},
		{"dump", func(ctx context.Context, from, to *benchServer, source, target, dir string) []*exec.Cmd {
			out := filepath.Join(dir, "dump")
			in := program(ctx, to, restore, "--no-password", jobs, "--exit-on-error", "--dbname="+target, out)
			in.Env = append(in.Env, "PGOPTIONS=-c synchronous_commit=off")
			return []*exec.Cmd{program(ctx, from, dump, "--no-password", "--format=directory", jobs, "--compress=lz4", "--no-sync", "--file="+out, source), in}
		}},
	}
	if path := os.Getenv("DBOPS_PGCOPYDB"); path != "" {
		all = append(all, way{"pgcopydb", func(ctx context.Context, from, to *benchServer, source, target, dir string) []*exec.Cmd {
			cmd := program(ctx, from, path, "clone", "--source", from.url(source), "--target", to.url(target), "--table-jobs", "2", "--index-jobs", "2", "--restore-jobs", "2",
				"--dir", filepath.Join(dir, "work"), "--split-tables-larger-than", "1GB", "--skip-vacuum")
			cmd.Env = append(cmd.Env, "PATH="+filepath.Dir(dump)+":"+os.Getenv("PATH"), "TMPDIR="+dir, "HOME="+dir, "PGOPTIONS=-c synchronous_commit=off")
			return []*exec.Cmd{cmd}
		}})
	}
	return all
}

// BenchmarkCopy copies the same database in every way in turn, both servers with the same settings for all, and compares each round with
// pg_dump and pg_restore of the same round. Each round begins with another one, and one copy is not counted: it makes the target's first WAL
// files, which all later ones use again. Its figures are of whole processes, servers included; -benchtime 5x gives five rounds.
// DBOPS_PGCOPYDB names a pgcopydb that takes part (scripts/pgcopydb.sh).
func BenchmarkCopy(b *testing.B) {
	mb := benchMB(b)
	from, to := startBench(b, 14), startBench(b, 18)
	source := from.database(fill(mb)...)
	b.Run(fmt.Sprintf("%dMB", mb), func(b *testing.B) {
		all, ways := map[string][]cost{}, ways(b)
		b.Logf("%-8s %s (not counted)", ways[0].name, measure(b, ways[0], from, to, source))
		for round := 0; b.Loop(); round++ {
			for i := range ways {
				w := ways[(round+i)%len(ways)]
				c := measure(b, w, from, to, source)
				if c.rows != mb*5000 {
					b.Fatalf("%s: %d rows of events", w.name, c.rows)
				}
				b.Logf("%-8s %s", w.name, c)
				all[w.name] = append(all[w.name], c)
			}
		}
		report(b, all)
	})
}

func report(b *testing.B, all map[string][]cost) {
	b.Helper()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		var walls, cpus []float64
		for i, c := range all[name] {
			walls = append(walls, c.wall.Seconds()/all["dump"][i].wall.Seconds())
			cpus = append(cpus, c.cpu().Seconds()/all["dump"][i].cpu().Seconds())
		}
		wrote := slices.MaxFunc(all[name], func(a, b cost) int { return cmp.Compare(a.wrote, b.wrote) })
		b.Logf("%-8s of dump: wall %.2f min %.2f median, cpu %.2f min %.2f median", name, slices.Min(walls), median(walls), slices.Min(cpus), median(cpus))
		if name == "dump" {
			continue
		}
		b.ReportMetric(slices.Min(walls), name+"/dump-wall-min")
		b.ReportMetric(median(walls), name+"/dump-wall-median")
		b.ReportMetric(median(cpus), name+"/dump-cpu-median")
		b.ReportMetric(float64(wrote.wrote)/(1<<20), name+"-disk-MB")
	}
	most := slices.MaxFunc(all["stream"], func(a, b cost) int { return cmp.Compare(a.rss, b.rss) })
	b.ReportMetric(float64(most.rss)/(1<<20), "stream-rss-MB")
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}
