package follow

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"

	"dbops/internal/fault"
)

// Detach ends the replication to the target and removes all that was made for it on both sides: the subscription, the slot, the publication,
// the login; and gives tables their identity back. It may be called at any time and any number of times. If one server cannot be reached, it
// does what is to be done on the other, and fails: called again, it does the rest.
func Detach(ctx context.Context, j Job) error { return j.forward().end(ctx) }

func (w *way) end(ctx context.Context) error {
	from, ferr := w.from.open(ctx)
	if ferr == nil {
		defer shut(ctx, from)
	}
	to, terr := w.to.open(ctx)
	if terr == nil {
		defer shut(ctx, to)
	}
	var identities []identity
	if ferr == nil {
		var st state
		if st, _, ferr = noted(ctx, from, "publication", w.name); ferr == nil {
			identities = st.Identities
		}
	}
	if terr == nil {
		terr = failed("end the replication on the "+w.to.what, w.unsubscribe(ctx, to, identities))
	}
	// The list is the publisher's: it stays until the other side has done its part.
	if ferr == nil {
		ferr = failed("end the replication on the "+w.from.what, w.unpublish(ctx, from, terr == nil))
	}
	if ferr != nil && terr != nil {
		return fault.New(fault.KindOf(ferr), "end the replication", errors.Join(ferr, terr)).Hint("%s", orSay(fault.HintOf(ferr), "run it again"))
	}
	return errors.Join(ferr, terr)
}

func orSay(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// unsubscribe works without the other server.
func (w *way) unsubscribe(ctx context.Context, conn *pgx.Conn, identities []identity) error {
	if err := unseen(ctx, conn); err != nil {
		return err
	}
	for _, kind := range []string{"subscription", "publication"} { // a copy of the schema has brought the publication along, and both sides are the same with it
		st, _, err := noted(ctx, conn, kind, w.name)
		if err != nil {
			return err
		}
		identities = append(identities, st.Identities...)
	}
	name := ident(w.name)
	has, err := subscribed(ctx, conn, w.name)
	if err != nil {
		return err
	}
	if has {
		if err := transaction(ctx, conn, "alter subscription "+name+" disable"); err != nil {
			return err
		}
	}
	if err := w.emptyPublication(ctx, conn); err != nil {
		return err
	}
	if err := giveBack(ctx, conn, identities); err != nil {
		return err
	}
	var last []string
	if has {
		last = append(last, "alter subscription "+name+" set (slot_name = none)", "drop subscription "+name)
	}
	return transaction(ctx, conn, append(last, "drop publication if exists "+name)...)
}

// unpublish keeps the list of altered tables, in the publication, if the other side needs it yet.
func (w *way) unpublish(ctx context.Context, conn *pgx.Conn, all bool) error {
	if err := unseen(ctx, conn); err != nil {
		return err
	}
	if err := w.dropSlot(ctx, conn); err != nil {
		return err
	}
	st, _, err := noted(ctx, conn, "publication", w.name)
	if err != nil {
		return err
	}
	if err := w.emptyPublication(ctx, conn); err != nil {
		return err
	}
	if err := giveBack(ctx, conn, st.Identities); err != nil {
		return err
	}
	if err := w.dropLogin(ctx, conn); err != nil {
		return err
	}
	if !all && len(st.Identities) > 0 {
		return nil
	}
	return transaction(ctx, conn, "drop publication if exists "+ident(w.name))
}

// emptyPublication takes the tables out of it, before they lose their identity: a client's UPDATE would fail otherwise.
func (w *way) emptyPublication(ctx context.Context, conn *pgx.Conn) error {
	names, err := w.published(ctx, conn)
	if err != nil || len(names) == 0 {
		return err
	}
	return transaction(ctx, conn, "alter publication "+ident(w.name)+" drop table only "+strings.Join(names, ", only "))
}
