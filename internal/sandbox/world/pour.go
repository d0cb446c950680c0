package world

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/sandbox/pgbin"
)

// pour is what fills a new cluster from an old one: pg_dump's text, read by psql, both of the newer major or above.
type pour struct {
	from, to *server
	dir      string // of the files in between, which the servers' user owns
	dumpall  string
	dump     string
	psql     string
}

// fill brings roles and databases from old, both of which run.
func (s *server) fill(ctx context.Context, old *server) (err error) {
	p := pour{from: old, to: s, dir: filepath.Join(s.cluster.dir, "pour")}
	for name, path := range map[string]*string{"pg_dumpall": &p.dumpall, "pg_dump": &p.dump, "psql": &p.psql} {
		if *path, err = pgbin.Client(name, s.record.Major); err != nil {
			return err
		}
	}
	if err := os.Mkdir(p.dir, 0o700); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, removeTree(p.dir)) }()
	if err := s.world.user.Own(p.dir); err != nil {
		return err
	}
	if err := p.identify(); err != nil {
		return err
	}
	if err := p.roles(ctx); err != nil {
		return err
	}
	var names []string
	err = old.use(ctx, func(c *pgx.Conn) error {
		rows, err := c.Query(ctx, "SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate ORDER BY 1")
		if err == nil {
			names, err = pgx.CollectRows(rows, pgx.RowTo[string])
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := p.database(ctx, name); err != nil {
			return fmt.Errorf("database %s: %w", name, err)
		}
	}
	return s.settleRoles(ctx, old.record.Major)
}

// identify writes the certificate by which the programs are the internal superuser.
func (p pour) identify() error {
	cert, err := p.to.world.roleCertificate(superuser)
	if err != nil {
		return err
	}
	crt, key, err := encodePair(cert)
	if err != nil {
		return err
	}
	return errors.Join(writeFor(p.to.world.user, p.file("super.crt"), crt), writeFor(p.to.world.user, p.file("super.key"), key))
}

func (p pour) file(name string) string { return filepath.Join(p.dir, name) }

// run runs a program on a database of one of the servers.
func (p pour) run(ctx context.Context, on *server, database, path string, input io.Reader, args ...string) (string, error) {
	cmd := program(ctx, filepath.Dir(path), filepath.Base(path), p.to.world.user, p.dir, args...)
	cmd.Env = append(cmd.Env, "HOME="+p.dir, "PGHOST=127.0.0.1", "PGPORT="+strconv.Itoa(on.port), "PGUSER="+superuser, "PGDATABASE="+database,
		"PGSSLMODE=require", "PGSSLCERT="+p.file("super.crt"), "PGSSLKEY="+p.file("super.key"), "PGPASSFILE="+os.DevNull, "PGGSSENCMODE=disable",
		"PGCONNECT_TIMEOUT=15", "PGCLIENTENCODING=UTF8")
	return runFed(ctx, cmd, input)
}

// say lets psql read statements. Of one that fails it tells the reason, not the text, in which there may be a verifier.
func (p pour) say(ctx context.Context, database string, input io.Reader) error {
	_, err := p.run(ctx, p.to, database, p.psql, input, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=terse", "-o", os.DevNull)
	return err
}

func (p pour) roles(ctx context.Context) error {
	text := p.file("roles.sql")
	if _, err := p.run(ctx, p.from, "template1", p.dumpall, strings.NewReader(""), "--globals-only", "--no-tablespaces", "--file="+text); err != nil {
		return err
	}
	b, err := os.ReadFile(text)
	if err != nil {
		return err
	}
	b = bytes.Replace(b, []byte("\nCREATE ROLE "+superuser+";\n"), []byte("\n"), 1) // it is there
	return p.say(ctx, "template1", bytes.NewReader(b))
}

// database brings one database with its properties. The one that every cluster has is made anew.
func (p pour) database(ctx context.Context, name string) error {
	versions, err := p.extensions(ctx, name)
	if err != nil {
		return err
	}
	const text = "dump.sql"
	args := []string{"--create", "--no-tablespaces", "--file=" + p.file(text)}
	if name == "postgres" {
		args = append(args, "--clean")
	}
	if _, err := p.run(ctx, p.from, name, p.dump, strings.NewReader(""), args...); err != nil {
		return err
	}
	f, err := os.Open(p.file(text))
	if err != nil {
		return err
	}
	defer f.Close()
	if err := p.say(ctx, "template1", adapted(f, versions)); err != nil {
		return err
	}
	// Nothing has been counted after pg_upgrade, either: otherwise autovacuum would soon analyze what is new.
	c, err := p.to.db(ctx, name)
	if err != nil {
		return err
	}
	err = alone(ctx, c)
	if err == nil {
		_, err = c.Exec(ctx, "SELECT pg_stat_reset()")
	}
	return errors.Join(err, c.Close(ctx), os.Remove(p.file(text)))
}

// alone waits until no other session is in a database: one that has said goodbye still counts what it did, after its client is gone.
func alone(ctx context.Context, c *pgx.Conn) error {
	for {
		var others int
		err := c.QueryRow(ctx, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()").Scan(&others)
		if err != nil || others == 0 {
			return err
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// extensions are the versions of the extensions of a database that the new major can still make, by their quoted names.
func (p pour) extensions(ctx context.Context, database string) (map[string]string, error) {
	old, err := pairs(ctx, p.from, database, "SELECT quote_ident(extname), extversion FROM pg_extension")
	if err != nil {
		return nil, err
	}
	can, err := pairs(ctx, p.to, "template1", "SELECT quote_ident(name) || ' ' || version, '' FROM pg_available_extension_versions")
	for name, version := range old {
		if _, ok := can[name+" "+version]; !ok {
			delete(old, name)
		}
	}
	return old, err
}

func pairs(ctx context.Context, s *server, database, sql string) (map[string]string, error) {
	c, err := s.db(ctx, database)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	rows, err := c.Query(ctx, sql)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := map[string]string{}
	for rows.Next() {
		var a, b string
		if err := rows.Scan(&a, &b); err != nil {
			return nil, err
		}
		all[a] = b
	}
	return all, rows.Err()
}

// adapted is a dump, in which extensions get their versions, and without a setting that older majors do not know. Only what comes
// before the data is looked at.
func adapted(dump io.Reader, versions map[string]string) io.Reader {
	const extension = "CREATE EXTENSION IF NOT EXISTS "
	in, head := bufio.NewReader(dump), &bytes.Buffer{}
	for {
		line, err := in.ReadString('\n')
		switch {
		case strings.HasPrefix(line, "SET transaction_timeout = "):
			line = "\n"
		case strings.HasPrefix(line, extension) && strings.HasSuffix(line, ";\n"):
			name, _, _ := strings.Cut(strings.TrimPrefix(line, extension), " WITH SCHEMA ")
			if v, ok := versions[name]; ok {
				line = strings.TrimSuffix(line, ";\n") + " VERSION '" + strings.ReplaceAll(v, "'", "''") + "';\n"
			}
		}
		head.WriteString(line)
		if err != nil || strings.HasPrefix(line, "COPY ") && strings.HasSuffix(line, " FROM stdin;\n") {
			return io.MultiReader(head, in)
		}
	}
}
