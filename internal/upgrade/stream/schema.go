package stream

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"dbops/internal/fault"
)

// checkTarget names all extensions and roles that the target lacks, before anything is made.
func (c *copier) checkTarget(ctx context.Context) error {
	var extensions, roles []string
	for _, it := range c.toc.items {
		if it.desc == "EXTENSION" {
			extensions = append(extensions, it.tag)
		}
		if it.owned() != "" && !it.isPublic() && !slices.Contains(roles, it.owner) {
			roles = append(roles, it.owner)
		}
	}
	missing := func(sql string, names []string) (out []string, err error) {
		rows, err := c.book.conn.Query(ctx, "select n from unnest($1::text[]) n where n not in ("+sql+") order by n", names)
		if err != nil {
			return nil, err
		}
		return pgx.CollectRows(rows, pgx.RowTo[string])
	}
	what := "copy into the target"
	lacks, err := missing("select name from pg_catalog.pg_available_extensions", extensions)
	if err != nil {
		return failed(what, "", err)
	}
	if len(lacks) > 0 {
		return fault.Newf(fault.Blocked, what, "it lacks %s", plural(lacks, "the extension", "the extensions")).
			Hint("make them available on the target, or drop them on the source before the copy")
	}
	if lacks, err = missing("select rolname from pg_catalog.pg_roles", roles); err != nil {
		return failed(what, "", err)
	}
	if len(lacks) > 0 {
		return fault.Newf(fault.Blocked, what, "it lacks %s, which own something", plural(lacks, "the role", "the roles")).
			Hint("create them on the target first")
	}
	return nil
}

func plural(names []string, one, many string) string {
	const most = 10
	if len(names) == 1 {
		return one + " " + names[0]
	}
	text := strings.Join(names[:min(most, len(names))], ", ")
	if len(names) > most {
		text += fmt.Sprintf(" and %d more", len(names)-most)
	}
	return many + " " + text
}

// batch is how many entries are made in one transaction, as long as none fails.
const batch = 40

// makePre makes what comes before the data, in order.
func (c *copier) makePre(ctx context.Context) error {
	todo := slices.DeleteFunc(c.toc.of(passPre), func(it *item) bool { return c.book.has(kindPre, it.key) })
	c.tell.phase("before the data", len(todo), 0)
	return c.makeAll(ctx, kindPre, todo)
}

// makeAll makes entries one after the other: many at once, and one by one where that fails.
func (c *copier) makeAll(ctx context.Context, kind string, all []*item) error {
	l := &line{copier: c}
	defer l.close(ctx)
	for len(all) > 0 {
		some := all[:min(batch, len(all))]
		switch i := slices.IndexFunc(some, c.lent); i {
		case -1:
		case 0:
			if err := l.one(ctx, kind, some[0]); err != nil {
				return err
			}
			c.tell.item(some[0].name())
			all = all[1:]
			continue
		default:
			some = some[:i]
		}
		all = all[len(some):]
		var sql []string
		for _, it := range some {
			sql = append(sql, it.sql(), note(kind, it.key, 0, 0))
		}
		err := l.do(ctx, kind, some[0].key, sql...)
		if pe, ok := serverError(err); ok && !endsSession(pe) {
			for _, it := range some {
				if err := l.one(ctx, kind, it); err != nil {
					return err
				}
			}
		} else if err != nil {
			return failed("make", some[0].name()+" and what follows", err)
		}
		for _, it := range some {
			c.tell.item(it.name())
		}
	}
	return nil
}

// lent tells whether an entry is made as somebody else than who copies: no statement gives an extension another owner.
func (c *copier) lent(it *item) bool { return it.desc == "EXTENSION" && c.owners[it.tag] != "" }

// readOwners reads whose extensions are, but for those of the superuser that the source was made with.
func (c *copier) readOwners(ctx context.Context) error {
	conn, err := c.source.reader(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	c.owners = map[string]string{}
	var name, owner string
	return each(ctx, conn, "select extname::text, pg_catalog.pg_get_userbyid(extowner)::text from pg_catalog.pg_extension where extowner <> 10", nil, []any{&name, &owner}, func() {
		c.owners[name] = owner
	})
}

func (l *line) one(ctx context.Context, kind string, it *item) error {
	if l.lent(it) { // not every owner may make it again, nor may everybody act as its owner
		err := l.do(ctx, kind, it.key, "set local role "+ident(l.owners[it.tag]), it.sql(), "reset role", note(kind, it.key, 0, 0))
		if _, refused := serverError(err); err == nil || !refused {
			return failed("make", it.name(), err)
		}
	}
	err := l.do(ctx, kind, it.key, it.sql(), note(kind, it.key, 0, 0))
	pe, ok := serverError(err)
	if ok && spared(it, pe.Code) {
		l.notes(fmt.Sprintf("%s: left out: %s", it.name(), pe.Message))
		return failed("note", it.name(), l.do(ctx, kind, it.key, note(kind, it.key, 0, 0)))
	}
	return failed("make", it.name(), err)
}

// spared are entries that only the cloud's own superuser could make, and nobody misses.
func spared(it *item, code string) bool {
	switch {
	case it.isPublic():
		return code == "42501" || code == "42704"
	case it.desc == "COMMENT" && strings.HasPrefix(it.tag, "EXTENSION "):
		return code == "42501"
	}
	return false
}

func (c *copier) notes(s string) {
	c.tell.mu.Lock()
	defer c.tell.mu.Unlock()
	c.res.Notes = append(c.res.Notes, s)
}

// line is a session on the target that is opened when it is needed, and again when it was lost.
type line struct {
	*copier
	conn *pgx.Conn
	old  uint32 // the process of the session before
}

func (l *line) close(ctx context.Context) {
	if l.conn != nil {
		l.old = l.conn.PgConn().PID()
		_ = l.conn.Close(context.WithoutCancel(ctx))
		l.conn = nil
	}
}

func (l *line) ready(ctx context.Context) error {
	if l.conn != nil && !l.conn.IsClosed() {
		return nil
	}
	l.close(ctx)
	conn, err := open(ctx, l.Target, targetSettings)
	if err != nil {
		return err
	}
	l.conn = conn
	if l.old != 0 {
		err = endSessions(ctx, conn, l.old)
		l.old = 0
	}
	return err
}

// do runs statements in a transaction that notes an item. What was committed as the connection was lost is not done twice.
func (l *line) do(ctx context.Context, kind, key string, sql ...string) error {
	for try := 1; ; try++ {
		err := l.ready(ctx)
		if err == nil && try > 1 {
			is, lerr := noted(ctx, l.conn, kind, key)
			if is {
				return nil
			}
			err = lerr
		}
		if err == nil {
			err = transaction(ctx, l.conn, sql...)
		}
		if err == nil || !again(ctx, err, try) {
			return err
		}
		l.close(ctx)
	}
}

// undo takes back what was made on rows of a snapshot that is gone; the tables stay, and are emptied as they are filled.
func (c *copier) undo(ctx context.Context) error {
	c.tell.phase("undo", 0, 0)
	var drops []string
	for _, it := range slices.Backward(c.toc.items) {
		switch {
		case it.pass == passPre || it.pass == passNone:
			continue
		case it.desc == "INDEX" && c.book.has(kindPost, it.key): // that of a partition comes without
			drops = append(drops, "drop index "+ident(it.namespace, it.tag))
			continue
		case it.drop == "":
			continue
		case c.book.has(kindPost, it.key), it.desc == "FK CONSTRAINT" && c.book.has(kindPost, it.key+firstPart):
		case c.book.has(kindPost, it.key+firstPart):
			drops = append(drops, "drop index "+ident(it.namespace)+"."+plainKey.FindStringSubmatch(it.defn)[2])
			continue
		default:
			continue
		}
		if it.desc == "SUBSCRIPTION" { // dropping it would look for its slot
			drops = append(drops, fmt.Sprintf("alter subscription %[1]s disable; alter subscription %[1]s set (slot_name = none); drop subscription %[1]s", ident(it.tag)))
			continue
		}
		drops = append(drops, it.drop)
	}
	// What belongs together goes together, in an order that only the server knows.
	for len(drops) > 0 {
		var left []string
		var first error
		for _, d := range drops {
			err := c.book.do(ctx, d)
			pe, ok := serverError(err)
			switch {
			case err == nil, ok && (pe.Code == "42704" || pe.Code == "42P01" || pe.Code == "42703"):
			case ok && (pe.Code == "2BP01" || pe.Code == "42P16"):
				left = append(left, d)
				first = err
			default:
				return failed("take back", firstLine(d), err)
			}
		}
		if len(left) == len(drops) {
			return failed("take back", firstLine(left[0]), first)
		}
		drops = left
	}
	err := c.unlink(ctx)
	if err == nil {
		err = c.book.do(ctx, c.book.renew(c.source.id, c.source.seen))
	}
	if err != nil {
		return failed("take back", "the rows of the earlier snapshot", err)
	}
	c.book.source, c.book.snapshot = c.source.id, c.source.seen
	for k := range c.book.done {
		if !strings.HasPrefix(k, kindPre+" ") {
			delete(c.book.done, k)
		}
	}
	clear(c.book.steps)
	return nil
}

// unlink drops all large objects, some at a time: each one takes a lock.
func (c *copier) unlink(ctx context.Context) error {
	for {
		var n int
		err := c.book.use(ctx, func(conn *pgx.Conn) error {
			return conn.QueryRow(ctx, "select count(pg_catalog.lo_unlink(oid)) from (select oid from pg_catalog.pg_largeobject_metadata limit 1000) part").Scan(&n)
		})
		if err != nil || n == 0 {
			return err
		}
	}
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	return s
}

// compareSource finds what was altered on the source since the snapshot was taken: such rows may be missing.
func (c *copier) compareSource(ctx context.Context) error {
	c.tell.phase("source", 0, 0)
	now, err := c.dumpSchema(ctx, "")
	if err != nil {
		return err
	}
	conn, err := open(ctx, c.Source, sourceSettings)
	if err != nil {
		return failed("compare the source with its snapshot", "", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	found, err := c.source.altered(ctx, conn, c.tables)
	if err != nil {
		return failed("compare the source with its snapshot", "", err)
	}
	found = append(found, differences(c.toc, now)...)
	if len(found) == 0 {
		return nil
	}
	if err := c.book.forget(ctx); err != nil {
		return failed("note that the source was altered", "", err)
	}
	hint := "let nobody truncate or rewrite tables meanwhile, and run it again: it copies all rows anew"
	if now.sum() != c.toc.sum() {
		hint = "let nobody alter the schema meanwhile; drop the target database, create it again, and begin again"
	}
	return fault.Newf(fault.Stale, "copy the database", "the source was altered in mid-run: %s", few(found)).Hint("%s", hint)
}

func few(all []string) string {
	const most = 5
	if len(all) <= most {
		return strings.Join(all, "; ")
	}
	return fmt.Sprintf("%s; and %d more", strings.Join(all[:most], "; "), len(all)-most)
}

// differences are the entries of two schemas that are not in both, by name.
func differences(before, after *toc) (out []string) {
	names := func(t, other *toc) map[string]bool {
		has := map[string]bool{}
		for _, it := range other.items {
			has[it.key] = true
		}
		out := map[string]bool{}
		for _, it := range t.items {
			if it.pass != passNone && !has[it.key] {
				out[it.name()] = true
			}
		}
		return out
	}
	gone, fresh := names(before, after), names(after, before)
	for n := range gone {
		if fresh[n] {
			out = append(out, n+" was altered")
		} else {
			out = append(out, n+" was dropped")
		}
	}
	for n := range fresh {
		if !gone[n] {
			out = append(out, n+" was created")
		}
	}
	slices.Sort(out)
	return out
}
