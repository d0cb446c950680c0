package upgrade

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/pg"
	"dbops/internal/secret"
	"dbops/internal/upgrade/roles"
)

// observeAdmin finds out who logs in to the new instance while it is filled: the provider's own login, which may do there what the admin login of
// dbops.yaml need not be allowed to. It is given that one's password for the time.
func (r *Room) observeAdmin(ctx context.Context, t op.Target, q Request, c Cloud, f *facts) error {
	user, _, err := r.d.Admin(ctx, t)
	if is(err, fault.Config) {
		f.Target.NoAdmin = oneLine(err) + ": " + fault.HintOf(err)
		return nil
	}
	if err != nil {
		return err
	}
	prospect, err := c.Prospect(ctx, (&moving{r: r, t: t, q: q, from: f.Source.Server, to: f.Target.Server}).wanted("plan"))
	if is(err, fault.Invalid) { // the plan says why
		return nil
	}
	if err != nil {
		return err
	}
	f.Target.Lost = prospect.Lost
	if prospect.Admin != user {
		f.Target.Server.Login = prospect.Admin
	}
	return nil
}

// administer lets the admin login of dbops.yaml alter the roles that another login has made for it, as it may on the source: before PostgreSQL
// 16 CREATEROLE was enough for that.
func (m *moving) administer(ctx context.Context, made []string) error {
	if m.to.Login == "" || m.q.To < 16 {
		return nil
	}
	user, _, err := m.r.d.Admin(ctx, m.t)
	if err != nil {
		return err
	}
	source, err := m.r.d.Connect(ctx, m.t, m.from, maintenance, nil)
	if err != nil {
		return err
	}
	defer func() { _ = source.Close(context.WithoutCancel(ctx)) }()
	var may bool
	err = source.QueryRow(ctx, "select rolcreaterole and current_setting('server_version_num')::int < 160000 from pg_catalog.pg_roles where rolname = $1", user).Scan(&may)
	if err != nil || !may {
		return err
	}
	conn, err := m.r.d.Connect(ctx, m.t, m.to, maintenance, nil)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	rows, err := conn.Query(ctx, "select b.rolname::text from pg_catalog.pg_auth_members x join pg_catalog.pg_roles b on b.oid = x.roleid where x.member = $1::regrole", ident(user))
	if err != nil {
		return err
	}
	member, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	var sql []string
	for _, role := range made {
		more := ", inherit false, set false"
		if slices.Contains(member, role) { // with what it is allowed already
			more = ""
		}
		if role != user {
			sql = append(sql, fmt.Sprintf("grant %s to %s with admin true%s", ident(role), ident(user), more))
		}
	}
	if len(sql) == 0 {
		return nil
	}
	if _, err := conn.Exec(ctx, strings.Join(sql, "; "), pgx.QueryExecModeSimpleProtocol); err != nil {
		return fault.New(fault.Failed, "let "+user+" administer the roles on "+m.to.Name, err).Hint("grant them by hand WITH ADMIN OPTION, then try again")
	}
	return nil
}

// seal ends the memberships that the upgrade needed, and gives the provider's own login a password that nobody knows: it had that of another one.
func (m *moving) seal(ctx context.Context, s *op.Session) (op.Result, error) {
	const done = "the memberships are ended"
	if m.to.Login == "" {
		return op.Result{Text: done}, roles.Finish(ctx, m.at(m.to))
	}
	text := done + "; " + fmt.Sprintf("nobody knows the password of %s: set one in the provider's console where it is needed", m.to.Login)
	conn, err := m.r.d.Connect(ctx, m.t, m.to, maintenance, nil)
	if is(err, fault.Denied) && s.Attempt > 1 { // an earlier try came so far
		return op.Result{Text: text}, nil
	}
	if err != nil {
		return op.Result{}, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if err := roles.Finish(ctx, m.at(m.to)); err != nil {
		return op.Result{}, err
	}
	verifier, err := pg.Verifier(secret.New(rand.Text()))
	if err != nil {
		return op.Result{}, err
	}
	if err := s.Fence(); err != nil {
		return op.Result{}, err
	}
	if _, err := conn.Exec(ctx, "alter role current_user password "+literal(verifier)); err != nil {
		return op.Result{}, fault.New(fault.Failed, "change the password of "+m.to.Login+" on "+m.to.Name, err).Hint("change it in the provider's console: it is that of the admin login in dbops.yaml")
	}
	return op.Result{Text: text, Changes: []op.Change{{Target: m.t.Environment + "/" + m.to.Name, Setting: "password of " + m.to.Login, To: "one that nobody knows"}}}, nil
}

func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
