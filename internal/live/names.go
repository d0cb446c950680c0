package live

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// Connect logs in to a database of the server that is read, by its name there.
type Connect func(ctx context.Context, database string) (*pgx.Conn, error)

// Names finds out what relations are called that are in other databases than the session that reads: each database knows its own alone. They are
// asked few at a time, for a short time, and not again for a while. Its methods may be called from any goroutine.
type Names struct {
	connect Connect

	mu    sync.Mutex
	began time.Time          // of the server whose they are
	known map[string]catalog // by database
}

// catalog is what is known of the relations of a database.
type catalog struct {
	at    time.Time
	names map[uint32]string
	shut  bool // it did not answer
}

const (
	namesKept    = time.Minute
	namesTimeout = 3 * time.Second // for all databases of a reading
	mostAsked    = 3               // databases in a reading
)

// NewNames knows nothing yet. A nil Names finds nothing out.
func NewNames(connect Connect) *Names { return &Names{connect: connect} }

// place is a relation of another database; the zero value is none.
type place struct {
	Database string
	OID      uint32
}

func placesOf[T any](rows []T, of func(T) place) []place {
	out := make([]place, len(rows))
	for i, r := range rows {
		out[i] = of(r)
	}
	return out
}

const namesSQL = `select oid::bigint, oid::regclass::text from pg_class where oid = any (string_to_array($1, ',')::oid[])`

// find asks for names. Those that are not found out are called by their number.
func (n *Names) find(ctx context.Context, conn *pgx.Conn, places []place) map[place]string {
	out := map[place]string{}
	wanted := map[string][]uint32{}
	for _, p := range places {
		if _, again := out[p]; again || p.OID == 0 {
			continue
		}
		out[p] = fmt.Sprintf("relation %d of %s", p.OID, p.Database)
		wanted[p.Database] = append(wanted[p.Database], p.OID)
	}
	if n == nil || len(out) == 0 {
		return out
	}
	var began time.Time
	if conn.QueryRow(ctx, "select pg_postmaster_start_time()").Scan(&began) != nil {
		return out
	}
	ctx, cancel := context.WithTimeout(ctx, namesTimeout)
	defer cancel()
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.began.Equal(began) { // another server has other numbers
		n.began, n.known = began, map[string]catalog{}
	}
	n.learn(ctx, wanted)
	for p := range out {
		if name := n.known[p.Database].names[p.OID]; name != "" {
			out[p] = name + " of " + p.Database
		}
	}
	return out
}

// learn asks the databases of which most is wanted that is not known yet.
func (n *Names) learn(ctx context.Context, wanted map[string][]uint32) {
	var ask []string
	for database, oids := range wanted {
		c, ok := n.known[database]
		if !ok || time.Since(c.at) > namesKept {
			c = catalog{at: time.Now(), names: map[uint32]string{}}
			n.known[database] = c
		}
		wanted[database] = slices.DeleteFunc(oids, func(oid uint32) bool { _, ok := c.names[oid]; return ok })
		if len(wanted[database]) > 0 && !c.shut {
			ask = append(ask, database)
		}
	}
	slices.SortFunc(ask, func(a, b string) int { return cmp.Or(cmp.Compare(len(wanted[b]), len(wanted[a])), cmp.Compare(a, b)) })
	for _, database := range ask[:min(len(ask), mostAsked)] {
		c := n.known[database]
		names, err := n.ask(ctx, database, wanted[database])
		if errors.Is(ctx.Err(), context.Canceled) { // which says nothing of the database
			return
		}
		for _, oid := range wanted[database] {
			c.names[oid] = names[oid]
		}
		c.shut = err != nil // nobody asks again at once what was refused, or takes too long
		n.known[database] = c
	}
}

func (n *Names) ask(ctx context.Context, database string, oids []uint32) (map[uint32]string, error) {
	conn, err := n.connect(ctx, database)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	words := make([]string, len(oids))
	for i, oid := range oids {
		words[i] = strconv.FormatUint(uint64(oid), 10)
	}
	rows, err := collect[struct {
		OID  int64
		Name string
	}](ctx, conn, namesSQL, strings.Join(words, ","))
	out := map[uint32]string{}
	for _, r := range rows {
		out[uint32(r.OID)] = r.Name
	}
	return out, err
}
