package stream

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/fault"
)

func serverError(err error) (*pgconn.PgError, bool) { return errors.AsType[*pgconn.PgError](err) }

// failed says what was being done to what, why the server refused, and what to do.
func failed(phase, what string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	op := phase
	if what != "" {
		op += " " + what
	}
	pe, ok := serverError(err)
	if !ok {
		return fault.New(fault.Unavailable, op, err).Hint("run it again: it goes on where it stopped")
	}
	if pe.Detail != "" {
		err = fmt.Errorf("%w: %s", err, pe.Detail)
	}
	if pe.Where != "" && (pe.Code == "42P01" || pe.Code == "42883" || pe.Code == "42704") {
		err = fmt.Errorf("%w: in %s", err, strings.ReplaceAll(pe.Where, "\n", " | "))
	}
	kind, hint := advice(pe)
	return fault.New(kind, op, err).Hint("%s", hint)
}

// advice is what can be done about a server's refusal.
func advice(pe *pgconn.PgError) (fault.Kind, string) {
	const goesOn = ", then run it again: it goes on where it stopped"
	switch pe.Code {
	case "53100":
		return fault.Failed, "give the target more storage" + goesOn
	case "53200":
		return fault.Failed, "raise max_locks_per_transaction or the memory of the target" + goesOn
	case "42501":
		if strings.Contains(pe.Message, "row-level security") || strings.Contains(pe.Message, "row security") {
			return fault.Denied, "row security hides rows from this login: copy as the table's owner, or as a role with BYPASSRLS"
		}
		return fault.Denied, "copy with a login that may do this, such as a member of the role that owns it"
	case "42704":
		if strings.Contains(pe.Message, "role") {
			return fault.Failed, "create the role on the target" + goesOn
		}
	case "0A000", "58P01":
		if strings.Contains(pe.Message, "extension") || strings.Contains(pe.Message, "access file") || strings.Contains(pe.Message, "shared_preload") {
			return fault.Failed, "make the extension available on the target, or drop it on the source before the copy"
		}
	case "42P01", "42883":
		return fault.Failed, "a function that finds its tables by search_path fails here, as it does in pg_restore: ALTER FUNCTION ... SET search_path on the source, and begin again"
	case "23514":
		return fault.Failed, "a row of the source does not fulfil its own CHECK: mend the row or the constraint on the source, and begin again"
	case "23505":
		return fault.Failed, "the source holds duplicates that its own index should forbid, perhaps since its collation changed: REINDEX there, mend the rows, and begin again"
	case "23503":
		return fault.Failed, "a row of the source refers to none: mend it on the source, or make the foreign key NOT VALID there, and begin again"
	case "55000", "22023":
		if strings.Contains(pe.Message, "snapshot") {
			return fault.Unavailable, "the snapshot is gone: run it again, with a new one"
		}
	}
	if endsSession(pe) {
		return fault.Unavailable, "the connection was lost: run it again: it goes on where it stopped"
	}
	return fault.Failed, "mend that" + goesOn
}
