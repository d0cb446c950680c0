package follow

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/fault"
	"dbops/internal/secret"
)

func serverError(err error) (*pgconn.PgError, bool) { return errors.AsType[*pgconn.PgError](err) }

// failed says what was being done, why the server refused, and what to do.
func failed(op string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	if errors.Is(err, context.Canceled) {
		return fault.New(fault.Interrupted, op, err).Hint("run it again: it goes on")
	}
	pe, ok := serverError(err)
	if !ok {
		return fault.New(fault.Unavailable, op, err).Hint("run it again: it goes on")
	}
	if pe.Detail != "" {
		err = fmt.Errorf("%w: %s", err, pe.Detail)
	}
	switch {
	case pe.Code == "42501":
		return fault.New(fault.Denied, op, err).Hint("use a login that may do this: a superuser, or one as the cloud gives its customers, that owns the tables and may replicate")
	case pe.Code == "55P03", pe.Code == "40P01":
		return fault.New(fault.Busy, op, err).Hint("end the long transaction that holds the lock, then run it again")
	case pe.Code == "53400" && strings.Contains(pe.Message, "replication slots"):
		return fault.New(fault.Failed, op, err).Hint("raise max_replication_slots and restart the server, or drop a slot that nobody needs")
	case pe.Code == "08006" && strings.Contains(pe.Message, "publisher"):
		return fault.New(fault.Unavailable, op, err).Hint("let the server that subscribes reach the other one: firewall, address, certificate, pg_hba.conf; then run it again")
	case strings.HasPrefix(pe.Code, "08"), strings.HasPrefix(pe.Code, "57P"), pe.Code == "53300":
		return fault.New(fault.Unavailable, op, err).Hint("run it again: it goes on")
	}
	return fault.New(fault.Failed, op, err).Hint("mend that, then run it again: it goes on")
}

// hiding returns an error whose text does not hold a secret: a server may repeat what it was sent.
func hiding(err error, s secret.Value) error {
	if err == nil {
		return nil
	}
	if pe, ok := serverError(err); ok {
		safe := *pe
		for _, text := range []*string{&safe.Message, &safe.Detail, &safe.Hint, &safe.Where, &safe.InternalQuery} {
			*text = strings.ReplaceAll(*text, s.Reveal(), secret.Redacted)
		}
		return &safe
	}
	if strings.Contains(err.Error(), s.Reveal()) {
		return errors.New(strings.ReplaceAll(err.Error(), s.Reveal(), secret.Redacted))
	}
	return err
}
