package proxy

import (
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/fault"
)

// advise sees to it that the error of a login says what to do next, also where the server that refused it does not.
func (up *Upstream) advise(err *fault.Error) *fault.Error {
	if fault.HintOf(err) != "" {
		return err
	}
	pe, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return err.Hint("%s", adviceFor(err.Kind))
	}
	switch {
	case replicates(pe):
		return err.Hint("replication through the proxy is not offered: leave out replication= at the client, or connect to instance %s itself, as a role that has REPLICATION", up.Instance)
	case strings.HasPrefix(pe.Code, "28") && up.LoginHint != nil && up.LoginHint() != "":
		return err.Hint("%s", up.LoginHint())
	case strings.HasPrefix(pe.Code, "28"):
		return err.Hint("the server refused the login of dbops, not the client's: check the logins of instance %s in dbops.yaml", up.Instance)
	case pe.Code == "3D000":
		return err.Hint("check the name of database %s on instance %s in dbops.yaml (databases: %s: name)", up.Database, up.Instance, up.Database)
	case pe.Code == "42501":
		return err.Hint("grant the login role of dbops what is missing, such as CONNECT on the database")
	case pe.Code == "53300":
		return err.Hint("all connections of instance %s are taken, not those of the proxy: end some there, or raise its max_connections", up.Instance)
	case strings.HasPrefix(pe.Code, "53"):
		return err.Hint("instance %s is short of memory or disk: dbops status shows it", up.Instance)
	case pe.Code == "57P03":
		return err.Hint("instance %s is starting, stopping or recovering: connect again in a moment", up.Instance)
	case strings.HasPrefix(pe.Code, "57P"):
		return err.Hint("instance %s is being restarted: connect again in a moment", up.Instance)
	}
	return err.Hint("the server refused the session; check the parameters that the client sends, and the log of instance %s", up.Instance)
}

// replicates tells whether a server refused a client that wants to replicate. Only its words tell: the codes are those of any login.
func replicates(pe *pgconn.PgError) bool {
	if pe.Code != "42501" && !strings.HasPrefix(pe.Code, "28") {
		return false
	}
	said := strings.ToLower(pe.Message)
	return strings.Contains(said, "walsender") || strings.Contains(said, "wal sender") || strings.Contains(said, "replication connection")
}

// adviceFor is for errors of which nobody knew better.
func adviceFor(k fault.Kind) string {
	switch k {
	case fault.Denied, fault.Unapproved:
		return "log in to the cloud again, and check what the identity in use may do"
	case fault.NotFound:
		return "check the names in dbops.yaml: dbops status shows what there is"
	case fault.Throttled:
		return "wait a minute: the cloud's API limits how often it is asked"
	case fault.Busy:
		return "wait until the instance is available: dbops status shows it"
	case fault.Interrupted:
		return "connect again"
	case fault.Config, fault.Usage:
		return "check dbops.yaml: dbops config check"
	case fault.Internal:
		return "this is a bug of dbops, or something nobody foresaw: run dbops proxy with -v, and report what it says"
	default:
		return "is the instance running, and does its network let this machine in? dbops status shows it; dbops proxy --check tries every database"
	}
}
