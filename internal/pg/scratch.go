package pg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/fault"
)

// ScratchAdmin is the superuser of a scratch server that was started here.
const ScratchAdmin = "dbops_scratch"

// ScratchOptions say what scratch server is wanted.
type ScratchOptions struct {
	Major int // of the server that it stands in for
	// User is the login that works there. It may make roles and databases, as a customer of a cloud may, and is no superuser: that could
	// run programs on this machine.
	User string
	// URL names a server to be used in place of one that is started here. It holds no password: that is PGPASSWORD, or in ~/.pgpass.
	URL string
}

// Scratch is a PostgreSQL server to try things on. What it holds is thrown away.
type Scratch struct {
	Major int
	// Own tells that it was started here, for this: its databases may have any name.
	Own bool
	// Dir is the private folder of a server that was started here, and goes with it; else empty.
	Dir string

	user    string
	connect func(ctx context.Context, user, database string, tune func(*pgx.ConnConfig)) (*pgx.Conn, error)
	close   func(ctx context.Context) error
	made    []string // databases
}

// StartScratch starts a server, or logs in to the one of a URL. Of the majors that are installed here it takes the wanted one, or the nearest
// newer one; without any it is fault.NotFound. The caller closes it.
func StartScratch(ctx context.Context, o ScratchOptions) (*Scratch, error) {
	if o.URL != "" {
		return scratchAt(ctx, o)
	}
	bin, major := scratchPrograms(o.Major)
	what := fmt.Sprintf("start a scratch server of PostgreSQL %d", o.Major)
	if bin == "" {
		return nil, fault.Newf(fault.NotFound, what, "neither it nor a newer one is installed on this machine").
			Hint("install postgresql-%d, or name the folder of its programs in DBOPS_PG_%d, or name a scratch server with scratch: in dbops.yaml", o.Major, o.Major)
	}
	s, err := startScratch(ctx, bin, major, o)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, fault.New(fault.Unavailable, what, err).Hint("name another scratch server with scratch: in dbops.yaml")
	}
	return s, nil
}

// Connect logs in to a database as the working user.
func (s *Scratch) Connect(ctx context.Context, database string, tune func(*pgx.ConnConfig)) (*pgx.Conn, error) {
	return s.connect(ctx, s.user, database, tune)
}

// Admin logs in to a database as the superuser of a server that was started here; elsewhere it is [Scratch.Connect].
func (s *Scratch) Admin(ctx context.Context, database string, tune func(*pgx.ConnConfig)) (*pgx.Conn, error) {
	if !s.Own {
		return s.Connect(ctx, database, tune)
	}
	return s.connect(ctx, ScratchAdmin, database, tune)
}

func (s *Scratch) maintain(ctx context.Context, statements ...string) error {
	c, err := s.Admin(ctx, "postgres", func(*pgx.ConnConfig) {})
	if err != nil {
		return err
	}
	defer c.Close(context.WithoutCancel(ctx))
	for _, q := range statements {
		if _, err := c.Exec(ctx, q); err != nil {
			return err
		}
	}
	return nil
}

// CreateDatabase makes a database that belongs to the working user, as a copy of another one of the scratch server's if that is named, and
// returns its name: the wanted one on a server that was started here and has none of that name.
func (s *Scratch) CreateDatabase(ctx context.Context, name, copyOf string) (string, error) {
	if !s.Own {
		name = fmt.Sprintf("dbops_scratch_%d_%d", os.Getpid(), time.Now().UnixNano())
	}
	for _, taken := range append([]string{"postgres", "template0", "template1"}, s.made...) {
		if name == taken {
			name = fmt.Sprintf("%.50s_%d", name, len(s.made)+1) // a longer one would be cut
		}
	}
	q := "create database " + pgx.Identifier{name}.Sanitize() + " owner " + pgx.Identifier{s.user}.Sanitize()
	switch {
	case copyOf != "":
		q += " template " + pgx.Identifier{copyOf}.Sanitize()
	default:
		q += " template template0 encoding 'UTF8'"
	}
	if err := s.maintain(ctx, q); err != nil {
		return "", fmt.Errorf("create a scratch database: %w", err)
	}
	s.made = append(s.made, name)
	return name, nil
}

// DropDatabase drops what [Scratch.CreateDatabase] made.
func (s *Scratch) DropDatabase(ctx context.Context, name string) error {
	return s.maintain(ctx, "drop database if exists "+pgx.Identifier{name}.Sanitize()+" with (force)")
}

// Close ends the server, or drops the databases that were made on it. It may be called twice.
func (s *Scratch) Close() error {
	if s == nil || s.close == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	end := s.close
	s.close = nil
	return end(ctx)
}

// scratchAt uses a server that is there.
func scratchAt(ctx context.Context, o ScratchOptions) (*Scratch, error) {
	const what = "use the scratch server"
	cfg, err := pgx.ParseConfig(o.URL)
	if err != nil { // its text may hold a password
		return nil, fault.Newf(fault.Usage, what, "the URL cannot be read").Hint("write it as postgresql://user@host:5432/postgres?sslmode=verify-full")
	}
	if hasPassword(o.URL) {
		return nil, fault.Newf(fault.Usage, what, "its URL holds a password, which every user of this machine can read").
			Hint("leave it out, and set PGPASSWORD or write it to ~/.pgpass")
	}
	s := &Scratch{user: cfg.User}
	s.connect = func(ctx context.Context, _, database string, tune func(*pgx.ConnConfig)) (*pgx.Conn, error) {
		c := cfg.Copy()
		if database != "postgres" { // the URL says where else to log in
			c.Database = database
		}
		tune(c)
		return pgx.ConnectConfig(ctx, c)
	}
	s.close = func(ctx context.Context) error {
		var all []error
		for _, name := range s.made {
			all = append(all, s.DropDatabase(ctx, name))
		}
		return errors.Join(all...)
	}
	c, err := s.Connect(ctx, "postgres", func(*pgx.ConnConfig) {})
	if err != nil {
		return nil, fault.Newf(fault.Unavailable, what, "log in to %s as %s: %s", cfg.Host, cfg.User, Cause(err)).Hint("look at scratch: in dbops.yaml, and at PGPASSWORD or ~/.pgpass")
	}
	defer c.Close(context.WithoutCancel(ctx))
	var version int
	if err := c.QueryRow(ctx, "select current_setting('server_version_num')::int").Scan(&version); err != nil {
		return nil, fault.New(fault.Unavailable, what, err)
	}
	if s.Major = version / 10000; s.Major < o.Major {
		return nil, fault.Newf(fault.Blocked, what, "it is PostgreSQL %d, and the server that it stands in for is %d", s.Major, o.Major).
			Hint("name one of PostgreSQL %d or newer", o.Major)
	}
	return s, nil
}

// SameServer tells whether two sessions are on one server: no two start in the same microsecond.
func SameServer(ctx context.Context, a, b *pgx.Conn) (bool, error) {
	var at [2]time.Time
	for i, c := range []*pgx.Conn{a, b} {
		if err := c.QueryRow(ctx, "select pg_postmaster_start_time()").Scan(&at[i]); err != nil {
			return false, err
		}
	}
	return at[0].Equal(at[1]), nil
}
