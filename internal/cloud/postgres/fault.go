package postgres

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/cloud"
	"dbops/internal/fault"
)

// Fault is err, of connecting to or of asking a PostgreSQL server, as a *fault.Error for op; pgconn's error stays in the chain. It
// is nil for nil, and err itself if that is a *fault.Error already. ctx is the caller's: it tells a person's interrupt from a slow
// network.
func Fault(ctx context.Context, op string, err error) error {
	if err == nil {
		return nil
	}
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return fault.New(fault.Interrupted, op, cloud.Because("interrupted", err))
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return serverFault(op, pg, err)
	}
	if what, why := cloud.Unreached(err); what != "" {
		return fault.New(fault.Unavailable, op, cloud.Because(why, err)).Hint("%s", reachHint(what))
	}
	text := err.Error()
	for _, c := range []struct {
		has, why, hint string
		kind           fault.Kind
	}{
		{"server refused TLS connection", "the server does not offer TLS", "set ssl = on on the server; sslmode=disable sends everything in the clear", fault.Unavailable},
		{"require_auth", "the server asks for the password in a way that is not accepted here", "the server should use scram-sha-256; a password is never sent in the clear to somebody unproven", fault.Denied},
	} {
		if strings.Contains(text, c.has) {
			return fault.New(c.kind, op, cloud.Because(c.why, err)).Hint("%s", c.hint)
		}
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return fault.New(fault.Unavailable, op, cloud.Because(innermost(err).Error(), err)).Hint("%s", reachHint(""))
	}
	return fault.New(fault.Internal, op, cloud.Because(text, err))
}

// innermost is the error at the end of the chain, without the list of attempts around it.
func innermost(err error) error {
	for {
		if many, ok := err.(interface{ Unwrap() []error }); ok && len(many.Unwrap()) > 0 {
			err = many.Unwrap()[0]
			continue
		}
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}

// serverFault is an error that the server answered with, by its SQLSTATE.
func serverFault(op string, pg *pgconn.PgError, err error) error {
	f := func(kind fault.Kind, hint string) error {
		e := fault.New(kind, op, cloud.Because(pg.Message+" (SQLSTATE "+pg.Code+")", err))
		if hint == "" {
			return e
		}
		return e.Hint("%s", hint)
	}
	switch pg.Code {
	case "28P01":
		return f(fault.Denied, "the password of the login is wrong or expired; check the login in dbops.yaml, or PGPASSWORD and PGPASSFILE")
	case "28000":
		if strings.Contains(pg.Message, "pg_hba.conf") {
			return f(fault.Denied, "pg_hba.conf on the server does not let this role in from here")
		}
		return f(fault.Denied, "the role does not exist, or may not log in")
	case "42501":
		return f(fault.Denied, pg.Hint)
	case "3D000":
		return f(fault.NotFound, "check the name of the database")
	case "53300":
		return f(fault.Busy, "all connections are taken; wait, or raise max_connections")
	case "57P03":
		return f(fault.Unavailable, "the server is starting, stopping or recovering; try again in a moment")
	case "57P01", "57P02":
		return f(fault.Unavailable, "the server was stopped or restarted; try again in a moment")
	case "55000", "55006", "55P03":
		return f(fault.Busy, pg.Hint)
	case "40001", "40P01":
		return f(fault.Stale, "repeat it")
	}
	switch pg.Code[:min(2, len(pg.Code))] {
	case "28":
		return f(fault.Denied, pg.Hint)
	case "08":
		return f(fault.Unavailable, pg.Hint)
	case "53":
		return f(fault.Busy, pg.Hint)
	case "58", "XX":
		return f(fault.Unavailable, "the server has trouble; see its log")
	}
	return f(fault.Invalid, pg.Hint)
}

func reachHint(what cloud.Obstacle) string {
	switch what {
	case cloud.NoSuchHost, cloud.NoLookup:
		return "check the name in the url, the DNS and the VPN"
	case cloud.Refused:
		return "check that the server runs, and its port"
	case cloud.NoRoute, cloud.TimedOut:
		return "check the VPN and the firewalls on the way"
	case cloud.WrongName:
		return "connect by a name that the certificate carries"
	case cloud.WrongCA:
		return "name the CA that signs the server's certificate: ca_file"
	case cloud.Expired:
		return "renew the server's certificate; check this machine's clock"
	case cloud.TLSFailed:
		return "check the certificate and the TLS settings of the server"
	default:
		return "check that a PostgreSQL server listens there, and that nothing on the way cuts the connection"
	}
}
