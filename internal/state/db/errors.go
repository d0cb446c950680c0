package db

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"os"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"dbops/internal/fault"
)

type pgxConnConfig = pgx.ConnConfig

// conflicts tells whether a transaction lost against another one and may be tried again.
func conflicts(err error) bool {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code == "40001" || e.Code == "40P01"
	}
	return false // SQLite has waited for busyTimeout already, and a transaction that has begun loses against nobody
}

// sqliteCode is SQLite's code of an error. The engine's errors are only text.
func sqliteCode(err error) int {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code() & 0xff
	}
	for text, code := range map[string]int{
		"database or disk is full": sqlite3.SQLITE_FULL, "disk I/O error": sqlite3.SQLITE_IOERR, "attempt to write a readonly database": sqlite3.SQLITE_READONLY,
		"database is locked": sqlite3.SQLITE_BUSY, "database disk image is malformed": sqlite3.SQLITE_CORRUPT,
	} {
		if strings.Contains(err.Error(), text) {
			return code
		}
	}
	return 0
}

// Fault is err of the store as a person sees it: full, read-only, locked, gone, or not permitted. An error that is one already
// stays as it is.
func Fault(op string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	if errors.Is(err, context.Canceled) {
		return fault.New(fault.Interrupted, op, err)
	}
	switch sqliteCode(err) {
	case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR:
		return fault.New(fault.Unavailable, op, err).Hint("the disk that holds the state is full or failing: nothing was changed; make room and try again")
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM:
		return fault.New(fault.Config, op, err).Hint("dbops must be able to write the state file and its folder")
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return fault.New(fault.Busy, op, err).Hint("another process holds the state file: see who with fuser, then try again")
	case sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT:
		return fault.New(fault.Internal, op, err).Hint("the state file is damaged: keep it for analysis, and restore it from a backup")
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch {
		case e.Code == "53100":
			return fault.New(fault.Unavailable, op, err).Hint("the disk of the state's server is full: nothing was changed; make room and try again")
		case e.Code == "25006":
			return fault.New(fault.Unavailable, op, err).Hint("the state's server is read-only: a standby, or in recovery; name the primary")
		case strings.HasPrefix(e.Code, "28"):
			return fault.New(fault.Denied, op, err).Hint("check the login of the state: state_secret in dbops.yaml, or PGUSER and PGPASSWORD")
		case e.Code == "42501" && strings.HasPrefix(op, "migrate"):
			return fault.New(fault.Denied, op, err).Hint("its tables are not there, or too old: the owner of the database runs dbops state migrate")
		case e.Code == "42501":
			return fault.New(fault.Denied, op, err).Hint("the role needs the rights that docs/state.md lists")
		case e.Code == "3D000":
			return fault.New(fault.Config, op, err).Hint("create it: CREATE DATABASE ...; or correct state in dbops.yaml")
		case e.Code == "53300":
			return fault.New(fault.Unavailable, op, err).Hint("the state's server has no connection left: end some sessions, or raise max_connections")
		case e.Code == "40001" || e.Code == "40P01" || e.Code == "55P03":
			return fault.New(fault.Busy, op, err).Hint("others change the same: try again")
		case strings.HasPrefix(e.Code, "57") || strings.HasPrefix(e.Code, "08"):
			return fault.New(fault.Unavailable, op, err).Hint("the state's server went away: nothing that was recorded is lost; try again when it is back")
		}
		return fault.New(fault.Internal, op, err)
	}
	if gone(err) {
		return fault.New(fault.Unavailable, op, err).Hint("the state's server does not answer: no change is made without it; open proxies go on")
	}
	return fault.New(fault.Internal, op, err)
}

// gone tells whether the connection is, or never came about.
func gone(err error) bool {
	_, network := errors.AsType[net.Error](err)
	_, connect := errors.AsType[*pgconn.ConnectError](err)
	if network || connect || strings.Contains(err.Error(), "conn closed") { // the driver's word, without a type
		return true
	}
	for _, e := range []error{context.DeadlineExceeded, os.ErrDeadlineExceeded, io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, driver.ErrBadConn} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
