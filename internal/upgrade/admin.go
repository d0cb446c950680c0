package upgrade

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/pg"
	"dbops/internal/secret"
)

// admin lets the admin login of dbops.yaml into the new instance, which the provider made with a login of its own only. That one is given a
// password that nobody knows when it is not needed any more.
func (m *moving) admin(ctx context.Context, s *op.Session) (op.Result, error) {
	user, password, err := m.r.d.Admin(ctx, m.t)
	if err != nil {
		return op.Result{}, err
	}
	c, err := m.cloud(ctx)
	if err != nil {
		return op.Result{}, err
	}
	p, err := m.wanted(ctx, s, false)
	if err != nil {
		return op.Result{}, err
	}
	prospect, err := c.Prospect(ctx, p)
	if err != nil {
		return op.Result{}, err
	}
	if prospect.Admin == user {
		return op.Result{Text: user + " is the provider's own admin login"}, m.reach(ctx, s, m.to)
	}
	var first *pgx.Conn
	pace := m.r.d.Pace
	pace.Patience = m.r.d.Reach
	err = s.Poll(ctx, pace, "log in to "+m.to.Name, func(ctx context.Context) (bool, string, error) {
		if conn, err := m.r.d.Connect(ctx, m.t, m.to, maintenance, nil); err == nil { // an earlier try came so far
			_ = conn.Close(context.WithoutCancel(ctx))
			return true, "", nil
		}
		var err error
		if first, err = m.r.d.ConnectAs(ctx, m.t, m.to, maintenance, prospect.Admin, password); err != nil {
			return false, "it cannot be logged in to yet: " + oneLine(err), nil
		}
		return true, "", nil
	})
	if err != nil || first == nil {
		return op.Result{Text: user + " may log in"}, err
	}
	defer func() { _ = first.Close(context.WithoutCancel(ctx)) }()
	if err := s.Fence(); err != nil {
		return op.Result{}, err
	}
	if err := m.makeAdmin(ctx, first, user, password); err != nil {
		return op.Result{}, err
	}
	return op.Result{
		Text:    fmt.Sprintf("%s may log in; nobody knows the password of %s, set one where it is needed", user, prospect.Admin),
		Changes: []op.Change{{Target: m.t.Environment + "/" + m.to.Name, Setting: "admin login", To: user}},
	}, nil
}

// makeAdmin makes the login with what it may on the source, as far as the provider's own login may give it.
func (m *moving) makeAdmin(ctx context.Context, first *pgx.Conn, user string, password secret.Value) error {
	source, err := m.r.d.Connect(ctx, m.t, m.from, maintenance, nil)
	if err != nil {
		return err
	}
	defer func() { _ = source.Close(context.WithoutCancel(ctx)) }()
	var attributes string
	var groups []string
	err = source.QueryRow(ctx, `select concat_ws(' ', case when rolcreaterole then 'createrole' end, case when rolcreatedb then 'createdb' end),
 array(select b.rolname::text from pg_catalog.pg_auth_members x join pg_catalog.pg_roles b on b.oid = x.roleid
 where x.member = r.oid and (b.rolname ~ '^pg_|^rds_|^cloudsql') order by 1)
 from pg_catalog.pg_roles r where rolname = $1`, user).Scan(&attributes, &groups)
	if err != nil {
		return fault.New(fault.Unavailable, "read what "+user+" may on "+m.from.Name, err)
	}
	verifier, err := pg.Verifier(password)
	if err != nil {
		return err
	}
	nobodys, err := pg.Verifier(secret.New(rand.Text()))
	if err != nil {
		return err
	}
	sql := []string{"create role " + ident(user) + " login " + attributes + " password " + literal(verifier)}
	for _, g := range groups {
		sql = append(sql, fmt.Sprintf("grant %s to %s", ident(g), ident(user)))
	}
	// The last, for it shuts the way that this came in by; in one transaction with the rest, so that one login works at any time.
	sql = append(sql, "alter role current_user password "+literal(nobodys))
	if _, err := first.Exec(ctx, "begin; "+strings.Join(sql, "; ")+"; commit", pgx.QueryExecModeSimpleProtocol); err != nil {
		return fault.New(fault.Failed, "make the login "+user+" on "+m.to.Name, err).
			Hint("make it by hand with what it may on %s, then try again", m.from.Name)
	}
	return nil
}

func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
