package follow

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"dbops/internal/fault"
	"dbops/internal/pg/catalog"
)

// state is what is kept as a comment: of the publication, and as far as the other side needs it, of the subscription. Two publications of
// the same schema have the same one, as a copy that goes on compares schemas with their comments.
type state struct {
	Identities []identity        `json:"identities,omitempty"`
	Schema     map[string]string `json:"schema,omitempty"` // a sum for each table and whatever else there is
}

func (s state) text() string {
	b, _ := json.Marshal(s) // cannot fail
	return string(b)
}

// noted reads the state from the comment of a publication or a subscription; found tells whether that exists.
func noted(ctx context.Context, conn *pgx.Conn, kind, name string) (s state, found bool, err error) {
	sql := "select coalesce(obj_description(oid, 'pg_publication'), '') from pg_publication where pubname = $1"
	if kind == "subscription" {
		sql = "select coalesce(shobj_description(oid, 'pg_subscription'), obj_description(oid, 'pg_subscription'), '') from pg_subscription" +
			" where subname = $1 and subdbid = (select oid from pg_database where datname = current_database())"
	}
	text, err := one[string](ctx, conn, sql, name)
	if errors.Is(err, pgx.ErrNoRows) {
		return s, false, nil
	}
	if err != nil || text == "" {
		return s, err == nil, err
	}
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return s, true, fault.Newf(fault.Invalid, "read the comment of "+kind+" "+name, "it is not what dbops wrote").
			Hint("look for tables whose REPLICA IDENTITY is FULL and should not be, then: COMMENT ON %s %s IS NULL", strings.ToUpper(kind), name)
	}
	return s, true, nil
}

// publish makes the publication of every table, or brings one that an earlier try left up to date.
func (w *way) publish(ctx context.Context, conn *pgx.Conn) (state, error) {
	if err := unseen(ctx, conn); err != nil {
		return state{}, err
	}
	s, found, err := noted(ctx, conn, "publication", w.name)
	if err != nil {
		return s, err
	}
	all, err := tables(ctx, conn)
	if err != nil {
		return s, err
	}
	if err := w.plan(&s, all); err != nil {
		return s, err
	}
	// What is going to be altered is written down first. A table comes into a publication only when it has an identity: a client's UPDATE
	// would fail otherwise.
	var first []string
	if !found {
		first = append(first, "create publication "+ident(w.name))
	}
	s.Schema = nil
	if err := transaction(ctx, conn, append(first, w.comment("publication", s))...); err != nil {
		return s, err
	}
	for _, t := range all {
		if !t.Identified {
			if err := transaction(ctx, conn, "alter table only "+t.String()+" replica identity full"); err != nil {
				return s, err
			}
		}
	}
	if len(all) > 0 {
		names := make([]string, len(all))
		for i, t := range all {
			names[i] = "only " + t.String()
		}
		if err := transaction(ctx, conn, "alter publication "+ident(w.name)+" set table "+strings.Join(names, ", ")); err != nil {
			return s, err
		}
	}
	if s.Schema, err = fingerprint(ctx, conn); err != nil {
		return s, err
	}
	return s, transaction(ctx, conn, w.comment("publication", s))
}

// published are the tables of the publication.
func (w *way) published(ctx context.Context, conn *pgx.Conn) ([]string, error) {
	rows, err := conn.Query(ctx, `select n.nspname::text, c.relname::text from pg_publication p join pg_publication_rel r on r.prpubid = p.oid
 join pg_class c on c.oid = r.prrelid join pg_namespace n on n.oid = c.relnamespace where p.pubname = $1`, w.name)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (string, error) {
		var schema, name string
		err := row.Scan(&schema, &name)
		return ident(schema, name), err
	})
}

// plan notes the tables whose identity has to be altered.
func (w *way) plan(s *state, all []table) error {
	var bare []string
	for _, t := range all {
		if t.Identified {
			continue
		}
		bare = append(bare, t.String())
		if !slices.ContainsFunc(s.Identities, func(i identity) bool { return i.Schema == t.Schema && i.Table == t.Name }) {
			s.Identities = append(s.Identities, identity{Schema: t.Schema, Table: t.Name, Was: t.Identity})
		}
	}
	if len(bare) > 0 && !w.full {
		return fault.Newf(fault.Blocked, "publish the tables of the "+w.from.what, "no row of %s can be told from another", few(bare)).
			Hint("%s", identityRemedy)
	}
	slices.SortFunc(s.Identities, func(a, b identity) int {
		return strings.Compare(a.Schema+"\x00"+a.Table, b.Schema+"\x00"+b.Table)
	})
	return nil
}

const identityRemedy = "give each a primary key, or REPLICA IDENTITY USING INDEX with a unique index of columns that are not null, or allow REPLICA IDENTITY FULL for the time with --full-identity"

// beginAnew is how a replication is ended that does not go on.
const beginAnew = "dbops upgrade rollback ends the replication; then begin the upgrade anew"

func (w *way) comment(kind string, s state) string {
	return "comment on " + kind + " " + ident(w.name) + " is " + literal(s.text())
}

// fingerprint is a sum of each table with all that belongs to it, and of whatever else a schema consists of.
func fingerprint(ctx context.Context, conn *pgx.Conn) (map[string]string, error) {
	c, err := catalog.Read(ctx, conn)
	if err != nil {
		return nil, err
	}
	return sums(c), nil
}

func sums(c *catalog.Catalog) map[string]string {
	parts := map[string]*strings.Builder{}
	for _, o := range c.Objects {
		switch {
		case o.Kind == catalog.Privileges, o.Kind == "publication", o.Kind == "comment":
			continue
		case strings.Contains(o.Name, "dbops_upgrade"): // a copy's notes
			continue
		case o.Kind == "index" && (strings.Contains(o.Name, "_ccnew") || strings.Contains(o.Name, "_ccold")): // REINDEX CONCURRENTLY
			continue
		}
		key := o.Kind + " " + o.Name
		if o.On != "" {
			key = "table " + o.On
		}
		if parts[key] == nil {
			parts[key] = &strings.Builder{}
		}
		fmt.Fprintf(parts[key], "%s\x00%s\x00%s\x00", o.Kind, o.Name, o.Def)
	}
	out := make(map[string]string, len(parts))
	for key, b := range parts {
		sum := sha256.Sum256([]byte(b.String()))
		out[key] = hex.EncodeToString(sum[:6])
	}
	return out
}

// altered names what two fingerprints differ in.
func altered(before, after map[string]string) (out []string) {
	for _, key := range slices.Sorted(maps.Keys(before)) {
		switch now, ok := after[key]; {
		case !ok:
			out = append(out, key+" was dropped")
		case now != before[key]:
			out = append(out, key+" was altered")
		}
	}
	for _, key := range slices.Sorted(maps.Keys(after)) {
		if _, ok := before[key]; !ok {
			out = append(out, key+" was created")
		}
	}
	return out
}

// unaltered fails if the schema is not what it was when the publication was made: replication carries rows, and no schema.
func (w *way) unaltered(ctx context.Context, conn *pgx.Conn) error {
	s, found, err := noted(ctx, conn, "publication", w.name)
	if err != nil {
		return err
	}
	if !found || s.Schema == nil {
		return fault.Newf(fault.NotFound, "look after the replication", "the %s has no publication %s", w.from.what, w.name).Hint("%s", beginAnew)
	}
	now, err := fingerprint(ctx, conn)
	if err != nil {
		return err
	}
	if found := altered(s.Schema, now); len(found) > 0 {
		return fault.Newf(fault.Stale, "look after the replication", "the schema of the %s was altered since it began: %s", w.from.what, few(found)).
			Hint("%s; or take the change back, if no row was written under it. Let nobody alter the schema meanwhile", beginAnew)
	}
	return nil
}
