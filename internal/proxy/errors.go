package proxy

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"dbops/internal/fault"
	"dbops/internal/secret"
)

// refusal is an error that is told to the client and ends its connection.
type refusal struct{ told pgproto3.ErrorResponse }

func (r *refusal) Error() string { return r.told.Message }

func (r *refusal) hint(format string, args ...any) *refusal {
	r.told.Hint = fmt.Sprintf(format, args...)
	return r
}

// refuse makes a refusal of the proxy's own. Its text starts with who speaks, as the server's own errors do not.
func refuse(code, format string, args ...any) *refusal {
	return &refusal{fatal(code, "dbops: "+fmt.Sprintf(format, args...))}
}

func fatal(code, message string) pgproto3.ErrorResponse {
	return pgproto3.ErrorResponse{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: code, Message: message}
}

// What ends a session from outside.
func shuttingDown() *refusal {
	return refuse("57P01", "the proxy is shutting down").hint("start dbops proxy again, and connect again")
}

// Goodbye is a reason to end a proxy, as the cause of the context of [Server.Serve]: clients are told it as 57P01, with the hint.
type Goodbye struct{ Reason, Hint string }

func (g *Goodbye) Error() string { return g.Reason }

func goodbyeOf(ctx context.Context) *refusal {
	if g, ok := errors.AsType[*Goodbye](context.Cause(ctx)); ok {
		return refuse("57P01", "%s", g.Reason).hint("%s", g.Hint)
	}
	return shuttingDown()
}

func killed() *refusal {
	return refuse("57P01", "the connection was ended by the user of the proxy").hint("connect again, or ask who runs the proxy why")
}

// upstreamLost is told at the end of a session whose server went away without saying goodbye.
func upstreamLost(instance string) *refusal {
	return refuse("08006", "the connection to instance %s was lost", instance).
		hint("whether the last statement took effect is not known; connect again and look")
}

// refusalOf is what the client is told about err: the server's own error word for word, with a hint if it has none, else one of the
// proxy's.
func refusalOf(err error) *refusal {
	if r, ok := errors.AsType[*refusal](err); ok {
		return r
	}
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok {
		r := &refusal{errorResponse(pe)}
		if r.told.Hint == "" {
			r.told.Hint = fault.HintOf(err)
		}
		return r
	}
	r := refuse(stateOf(fault.KindOf(err)), "%s", err)
	r.told.Hint = fault.HintOf(err)
	if p := fault.PermissionOf(err); p != "" {
		r.told.Detail = "missing permission: " + p
	}
	return r
}

// stateOf is the SQLSTATE of a failed login.
func stateOf(k fault.Kind) string {
	switch k {
	case fault.Denied, fault.Unapproved:
		return "28000" // invalid_authorization_specification
	case fault.Throttled:
		return "53300" // too_many_connections
	case fault.Busy:
		return "57P03" // cannot_connect_now
	case fault.Interrupted:
		return "57P01" // admin_shutdown
	case fault.Config, fault.Usage:
		return "F0000" // config_file_error
	case fault.Internal:
		return "XX000"
	default:
		return "08001" // sqlclient_unable_to_establish_sqlconnection
	}
}

// kindOf is the kind of an error that the server answered a login with.
func kindOf(state string) fault.Kind {
	switch {
	case strings.HasPrefix(state, "28"), state == "42501":
		return fault.Denied
	case state == "3D000":
		return fault.NotFound
	case strings.HasPrefix(state, "53"):
		return fault.Throttled
	case strings.HasPrefix(state, "57P"):
		return fault.Busy
	}
	return fault.Invalid
}

// explain makes the error of a login upstream one that a person can act on. stage is what was being done, password must not be
// in the text.
func explain(op, stage string, limit time.Duration, password string, err error) *fault.Error {
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok {
		return fault.New(kindOf(pe.Code), op, pe)
	}
	if limit, hint, ok := outOfFiles(err); ok {
		return fault.New(fault.Throttled, op, limit).Hint("%s", hint)
	}
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return fault.New(f.Kind, op, f)
	}
	if unknown, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		by := ""
		if unknown.Cert != nil {
			by = " " + strconv.Quote(unknown.Cert.Issuer.String())
		}
		return fault.Newf(fault.Unavailable, op, "the server's certificate is signed by an authority%s that is not trusted", by).
			Hint("set ca_file of the instance to the CA of the server; for RDS, dbops certs update brings the newest of its region")
	}
	if wrong, ok := errors.AsType[x509.HostnameError](err); ok {
		return fault.New(fault.Unavailable, op, wrong).
			Hint("the certificate is another server's: check the address of the instance, and whether the name points where it should")
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		return fault.New(fault.Unavailable, op, invalid).Hint("check the clock of this machine, and the expiry of the server's certificate")
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return fault.New(fault.Unavailable, op, dns).Hint("check the host, and whether a VPN with its own names has to be up")
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || pgconn.Timeout(err) {
		return fault.Newf(fault.Unavailable, op, "no answer within %s while %s", limit, stage).
			Hint("is the instance running, and does its network let this machine in (VPN, authorized networks, security group)?")
	}
	if errors.Is(err, context.Canceled) {
		return fault.New(fault.Interrupted, op, context.Canceled)
	}
	if errors.Is(err, errUnsynced) {
		return fault.New(fault.Unavailable, op, errUnsynced).Hint("this machine or the way to the instance is very slow; try again")
	}
	if oe, ok := errors.AsType[*net.OpError](err); ok && oe.Op == "dial" {
		return fault.New(fault.Unavailable, op, oe).
			Hint("is the instance running, and does its network let this machine in (VPN, authorized networks, security group)?")
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) {
		return fault.Newf(fault.Unavailable, op, "the server closed the connection while %s", stage)
	}
	if _, ok := errors.AsType[*pgconn.ParseConfigError](err); ok { // its text may hold the connection string
		return fault.Newf(fault.Config, op, "the connection settings of the instance cannot be read")
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); !ok { // of Upstream.Config
		return fault.New(fault.KindOf(err), op, scrub(err, password))
	}
	f := fault.New(fault.Unavailable, op, scrub(bare(err), password))
	if strings.Contains(f.Error(), "server refused TLS") { // pgconn has no value for it
		f = f.Hint("the server has TLS switched off; dbops does not fall back to plaintext unless the instance says sslmode=disable")
	}
	return f
}

// bare takes off what pgconn puts before a cause: user, database and addresses, which op says already.
func bare(err error) error {
	for range 4 {
		switch e := err.(type) { //nolint:errorlint // one layer at a time
		case interface{ Unwrap() []error }:
			if errs := e.Unwrap(); len(errs) > 0 {
				err = errs[0]
				continue
			}
		case *pgconn.ConnectError:
			err = e.Unwrap()
			continue
		case *net.OpError:
			return err
		case interface{ Unwrap() error }:
			if strings.Contains(err.Error(), "): ") { // "address (host): what: why"
				err = e.Unwrap()
				continue
			}
		}
		break
	}
	return err
}

// scrub keeps a password out of a text that came from elsewhere.
func scrub(err error, password string) error {
	if password == "" || !strings.Contains(err.Error(), password) {
		return err
	}
	return errors.New(strings.ReplaceAll(err.Error(), password, secret.Redacted))
}

// errorResponse is the wire form of an error that pgconn decoded.
func errorResponse(e *pgconn.PgError) pgproto3.ErrorResponse {
	return pgproto3.ErrorResponse{
		Severity:            e.Severity,
		SeverityUnlocalized: e.SeverityUnlocalized,
		Code:                e.Code,
		Message:             e.Message,
		Detail:              e.Detail,
		Hint:                e.Hint,
		Position:            e.Position,
		InternalPosition:    e.InternalPosition,
		InternalQuery:       e.InternalQuery,
		Where:               e.Where,
		SchemaName:          e.SchemaName,
		TableName:           e.TableName,
		ColumnName:          e.ColumnName,
		DataTypeName:        e.DataTypeName,
		ConstraintName:      e.ConstraintName,
		File:                e.File,
		Line:                e.Line,
		Routine:             e.Routine,
	}
}

// encode appends a message. Those of the proxy are small and cannot fail to encode.
func encode(dst []byte, m pgproto3.BackendMessage) []byte {
	out, err := m.Encode(dst)
	if err != nil {
		return dst
	}
	return out
}
