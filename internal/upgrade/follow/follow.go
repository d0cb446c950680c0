// Package follow keeps a copy of a database up to date by logical replication, and after the change the old one by the new one.
//
// [Begin] makes a publication and a slot on the source, whose snapshot is what is copied; [Attach] has the target's server subscribe to what
// was written since; [Drain] waits for the last of it, [Sequences] sets what no replication carries, and [Detach] leaves nothing behind.
// [Reverse] does it from the target to the source, so that going back loses nothing. What was altered, and how the schema looked, is kept as
// the publication's comment: any process can go on, or end it.
package follow

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Connect opens a session on one of the two databases. It is called many times. The login owns the tables, may replicate, and may create
// roles, publications and subscriptions: [Check] tells whether it does.
type Connect func(ctx context.Context, tune func(*pgx.ConnConfig)) (*pgx.Conn, error)

// Address is where one server reaches the database of the other one.
type Address struct {
	Host     string
	Port     int
	Database string
	// SSLMode and RootCert are libpq's; RootCert is a file on the server that connects, or "system" from PostgreSQL 16 on.
	SSLMode  string
	RootCert string
}

// Job is the replication of one database.
type Job struct {
	// Name is the run's. What is made on the servers is called after it and after the database: two runs do not meet.
	Name           string
	Source, Target Connect
	// From is where the target's server reaches the source, Back where the source's server reaches the target. Both name their database.
	From, Back Address
	// FullIdentity sets REPLICA IDENTITY FULL on tables without any for the time. The log then holds their old rows whole, and the other side
	// looks for a row without a key: through any index from PostgreSQL 16 on, else by reading the table.
	FullIdentity bool
	// Progress is told how it goes while something is waited for, by one caller at a time.
	Progress func(Lag)
}

// side is one of the two databases.
type side struct {
	connect Connect
	what    string
}

// way is a direction of replication.
type way struct {
	name     string // of the publication, the slot, the subscription and the login
	from, to side   // the one that publishes, and the one that subscribes
	address  Address
	full     bool
	progress func(Lag)
}

func (j Job) forward() *way {
	return &way{
		name: j.called(""), from: side{j.Source, "source"}, to: side{j.Target, "target"},
		address: j.From, full: j.FullIdentity, progress: j.Progress,
	}
}

func (j Job) back() *way {
	return &way{
		name: j.called("_back"), from: side{j.Target, "target"}, to: side{j.Source, "source"},
		address: j.Back, full: j.FullIdentity, progress: j.Progress,
	}
}

const longestSlug = 32 // of a run's name, in a name that may have 63 bytes

// called is a name that a slot may have: small letters, digits and underscores.
func (j Job) called(suffix string) string {
	slug := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '_'
	}, j.Name)
	sum := sha256.Sum256([]byte(j.Name + "\x00" + j.From.Database))
	return "dbops_" + slug[:min(len(slug), longestSlug)] + "_" + hex.EncodeToString(sum[:5]) + suffix
}

func (w *way) tell(l Lag) {
	if w.progress != nil {
		w.progress(l)
	}
}
