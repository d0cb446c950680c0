package upgrade

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/pg"
	"dbops/internal/secret"
	"dbops/internal/upgrade/quiesce"
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
// 16 CREATEROLE was enough for that. Left out are roles that log in with a token: as a member of one it could do nothing else.
func (m *moving) administer(ctx context.Context, made []string) (left []roles.LeftOut, err error) {
	if m.to.Login == "" || m.q.To < 16 {
		return nil, nil
	}
	user, _, err := m.r.d.Admin(ctx, m.t)
	if err != nil {
		return nil, err
	}
	if may, err := m.r.altersAll(ctx, m.t, m.from, user); err != nil || !may {
		return nil, err
	}
	byToken, err := roles.ByToken(ctx, m.at(m.to))
	if err != nil {
		return nil, err
	}
	conn, err := m.r.d.Connect(ctx, m.t, m.to, maintenance, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	member, err := memberships(ctx, conn, user)
	if err != nil {
		return nil, err
	}
	var sql []string
	for _, role := range made {
		acts, there := member[role]
		switch {
		case role == user:
		case byToken[role]:
			if there && !acts { // it was given before the role became one of a token
				sql = append(sql, fmt.Sprintf("revoke %s from %s", ident(role), ident(user)))
			}
			left = append(left, roles.LeftOut{What: "ADMIN OPTION of " + user + " on role " + ident(role), Why: user + " could then log in only with a token; alter that role as " + m.to.Login})
		case acts: // with what it is allowed already
			sql = append(sql, fmt.Sprintf("grant %s to %s with admin true", ident(role), ident(user)))
		default:
			sql = append(sql, fmt.Sprintf("grant %s to %s with admin true, inherit false, set false", ident(role), ident(user)))
		}
	}
	if len(sql) == 0 {
		return left, nil
	}
	if _, err := conn.Exec(ctx, strings.Join(sql, "; "), pgx.QueryExecModeSimpleProtocol); err != nil {
		return nil, fault.New(fault.Failed, "let "+user+" administer the roles on "+m.to.Name, err).Hint("grant them by hand WITH ADMIN OPTION, then try again")
	}
	return left, nil
}

// memberships are the roles that a login is a member of, and whether it may act as one, or only administer it.
func memberships(ctx context.Context, conn *pgx.Conn, user string) (map[string]bool, error) {
	type row struct {
		Role string
		Acts bool
	}
	rows, err := conn.Query(ctx, `select b.rolname::text, bool_or(x.inherit_option or x.set_option) from pg_catalog.pg_auth_members x
 join pg_catalog.pg_roles b on b.oid = x.roleid where x.member = $1::regrole group by 1`, ident(user))
	if err != nil {
		return nil, err
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[row])
	out := make(map[string]bool, len(all))
	for _, r := range all {
		out[r.Role] = r.Acts
	}
	return out, err
}

// altersAll tells whether CREATEROLE lets a login of the server alter every role.
func (r *Room) altersAll(ctx context.Context, t op.Target, s Server, user string) (may bool, err error) {
	conn, err := r.d.Connect(ctx, t, s, maintenance, nil)
	if err != nil {
		return false, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	err = conn.QueryRow(ctx, "select rolcreaterole and current_setting('server_version_num')::int < 160000 from pg_catalog.pg_roles where rolname = $1", user).Scan(&may)
	return may, err
}

// observeTokens looks whether the new instance would take the admin login's password, and what it must not administer there for that.
func (r *Room) observeTokens(ctx context.Context, t op.Target, q Request, f *facts) error {
	if f.Target.Server.Login == "" {
		return nil
	}
	user, _, err := r.d.Admin(ctx, t)
	if err != nil {
		return err
	}
	byToken, err := roles.ByToken(ctx, (&moving{r: r, t: t}).at(f.Source.Server))
	if err != nil {
		return err
	}
	if byToken[user] {
		f.Found = append(f.Found, found{
			Severity: op.Warn, Check: "admin-token", Text: "the admin login " + user + " is a member of roles that log in with a token: the new instance may take no password from it",
			Remedy: "take it out of the cloud's group for tokens, and of every role that is in it; the run proves before the cut-over that it gets in",
		})
		delete(byToken, user)
	}
	delete(byToken, f.Target.Server.Login)
	if q.To < 16 || len(byToken) == 0 {
		return nil
	}
	if may, err := r.altersAll(ctx, t, f.Source.Server, user); err != nil || !may {
		return err
	}
	names := slices.Sorted(maps.Keys(byToken))
	f.Found = append(f.Found, found{
		Severity: op.Info, Check: "admin-option",
		Text:     fmt.Sprintf("%s alters every role now, and on the new instance not those that log in with a token, of which there are %d: given ADMIN OPTION on one, it could itself log in only with a token", user, len(names)),
		Evidence: strings.Join(names, ", "), Remedy: "alter them as " + f.Target.Server.Login + ", which administers them there",
	})
	return nil
}

// prove logs in to the new instance as those do who go on with it after the cut-over, while clients are served where they were.
func (m *moving) prove(ctx context.Context) error {
	if m.to.Login == "" {
		return nil
	}
	user, _, err := m.r.d.Admin(ctx, m.t)
	if err != nil {
		return err
	}
	conn, err := m.r.d.Connect(ctx, m.t, m.ownTo(), maintenance, nil)
	if is(err, fault.Denied) {
		return fault.New(fault.Denied, "see that "+user+" may work on "+m.to.Name, err).
			Hint("log in to %s as %s and see what %s is a member of: of a member of a role that logs in with a token, directly or through others, a server wants a token. Revoke that, or give it its password, then dbops runs retry %s",
				m.to.Name, m.to.Login, user, m.run)
	}
	if err != nil {
		return err
	}
	_ = conn.Close(context.WithoutCancel(ctx))
	_, err = quiesce.Look(ctx, m.at(m.ownTo()), m.names)
	return err
}

func (m *moving) proveAdmin(ctx context.Context, _ *op.Session) (op.Result, error) {
	return op.Result{Text: "it gets in"}, m.prove(ctx)
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
