package roles

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// item is a statement that the server may refuse without the others being lost.
type item struct {
	Group int    `json:"g"`           // whose first statement, if it is refused, spares the server the others
	Head  bool   `json:"h,omitempty"` // the first of its group
	SQL   string `json:"s"`

	what string // for a person
	done func() // it was not refused
	hide bool   // a refusal is of no interest
}

// batch is statements that are sent at once.
type batch struct {
	items []item
	group int
}

// begin opens a group with the statement that the others of it need.
func (b *batch) begin(sql, what string, done func()) {
	b.group++
	b.items = append(b.items, item{Group: b.group, Head: true, SQL: sql, what: what, done: done})
}

// then adds a statement to the group; apart is the same for one that needs no other.
func (b *batch) then(sql, what string, done func()) {
	b.items = append(b.items, item{Group: b.group, SQL: sql, what: what, done: done})
}

func (b *batch) apart(sql, what string, done func()) {
	b.group++
	b.then(sql, what, done)
}

// last adds one to the group that nobody need hear of.
func (b *batch) last(sql string) {
	b.items = append(b.items, item{Group: b.group, SQL: sql, hide: true})
}

// The statements go over as a parameter and not as the text of one, so that verifiers are in no log of statements; a refused one is undone
// alone, and logged by nobody as it is caught.
const (
	workSQL = `select pg_catalog.set_config('dbops_upgrade.work', $1, true), pg_catalog.set_config('dbops_upgrade.answer', '[]', true)`
	runSQL  = `do $do$
declare
  work pg_catalog.jsonb; skip pg_catalog.int4 := -1; n pg_catalog.int4 := 0; answer pg_catalog.jsonb := '[]'; why pg_catalog.text;
begin
  for work in select value from pg_catalog.jsonb_array_elements(pg_catalog.current_setting('dbops_upgrade.work')::pg_catalog.jsonb) loop
    if (work->>'g')::pg_catalog.int4 <> skip then
      begin
        execute work->>'s';
      exception when others then
        get stacked diagnostics why = pg_exception_detail;
        answer := answer || pg_catalog.jsonb_build_object('n', n, 'code', sqlstate, 'message', sqlerrm, 'detail', why);
        if work ? 'h' then skip := (work->>'g')::pg_catalog.int4; end if;
      end;
    end if;
    n := n + 1;
  end loop;
  perform pg_catalog.set_config('dbops_upgrade.work', '', true), pg_catalog.set_config('dbops_upgrade.answer', answer::pg_catalog.text, true);
end $do$`
	answerSQL = `select pg_catalog.current_setting('dbops_upgrade.answer')`
	chunk     = 400
)

// run runs the statements in order, and returns what the server refused. What says nothing about a statement is an error.
func (b *batch) run(ctx context.Context, tx pgx.Tx) ([]LeftOut, error) {
	var out []LeftOut
	for all := b.items; len(all) > 0; {
		n := min(chunk, len(all))
		for n < len(all) && all[n].Group == all[n-1].Group { // a group is not torn
			n++
		}
		some, err := runSome(ctx, tx, all[:n])
		if err != nil {
			return nil, err
		}
		out = append(out, some...)
		all = all[n:]
	}
	return out, nil
}

func runSome(ctx context.Context, tx pgx.Tx, items []item) (out []LeftOut, err error) {
	work, err := json.Marshal(items)
	if err != nil {
		return nil, err
	}
	var text string
	send := &pgx.Batch{}
	send.Queue(workSQL, string(work))
	send.Queue(runSQL)
	send.Queue(answerSQL).QueryRow(func(r pgx.Row) error { return r.Scan(&text) })
	if err := tx.SendBatch(ctx, send).Close(); err != nil {
		return nil, err
	}
	var answers []struct {
		N                     int
		Code, Message, Detail string
	}
	if err := json.Unmarshal([]byte(text), &answers); err != nil {
		return nil, err
	}
	refused := map[int]bool{}
	spared := map[int]bool{}
	for _, a := range answers {
		if grave(a.Code, a.Message) {
			return nil, &pgconn.PgError{Severity: "ERROR", Code: a.Code, Message: a.Message, Detail: a.Detail}
		}
		it := items[a.N]
		refused[a.N] = true
		spared[it.Group] = spared[it.Group] || it.Head
		if !it.hide {
			out = append(out, LeftOut{it.what, reason(a.Message, a.Detail), a.Code})
		}
	}
	for i, it := range items {
		if it.done != nil && !refused[i] && !spared[it.Group] {
			it.done()
		}
	}
	return out, nil
}

// grave tells a refusal that is not the statement's own.
func grave(code, message string) bool {
	return collision(code, message) || strings.HasPrefix(code, "XX") || strings.HasPrefix(code, "53") || strings.HasPrefix(code, "57") ||
		strings.HasPrefix(code, "58") || strings.HasPrefix(code, "25")
}

func reason(message, detail string) string {
	if detail == "" {
		return message
	}
	return message + ": " + strings.ReplaceAll(detail, "\n", ", ")
}
