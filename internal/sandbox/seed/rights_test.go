package seed

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// code is the SQLSTATE of an error, "" for nil.
func code(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

const denied = "42501"

func accesses(t *testing.T, s server, data string) {
	t.Helper()
	change := map[string]string{
		"shop":    `UPDATE shop.orders SET status = 'paid' WHERE status = 'placed'`,
		"billing": `UPDATE billing.accounts SET closed = true`,
		"events":  `INSERT INTO events.inbox (body) VALUES ('{}')`,
	}[data]
	schema := map[string]string{"shop": "shop", "billing": "billing", "events": "events"}[data]
	create := "CREATE TABLE " + schema + ".made (n int)"
	for _, c := range []struct {
		user, password, sql, want string
	}{
		{"dbops_read", "read-password", change, denied},
		{"dbops_read", "read-password", create, denied},
		{"dbops_read", "read-password", "CREATE TABLE public.made (n int)", denied},
		{"dbops_read", "read-password", "SET ROLE " + data + "_owner", denied},
		{"dbops_write", "write-password", change, ""},
		{"dbops_write", "write-password", create, denied},
		{"dbops_admin", "admin-password", "SET LOCAL ROLE " + data + "_owner; " + create, ""},
		{"master", "master-password", "SET LOCAL ROLE " + data + "_owner; " + create, ""},
	} {
		conn := s.login(t, c.user, c.password, data)
		tx, err := conn.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Conn().PgConn().Exec(t.Context(), c.sql).ReadAll(); code(err) != c.want {
			t.Errorf("%s: %s: got %v, want %q", c.user, c.sql, err, c.want)
		}
		if err := tx.Rollback(t.Context()); err != nil {
			t.Error(err)
		}
	}
	reader := s.login(t, "dbops_read", "read-password", data)
	for _, table := range tables(t, reader, "r", "m", "p", "v") {
		if _, err := reader.Exec(t.Context(), "SELECT FROM "+table+" LIMIT 1"); err != nil {
			t.Errorf("dbops_read cannot read %s: %v", table, err)
		}
	}
	for _, password := range []string{"", "write-password"} {
		if _, err := s.as(t.Context(), "dbops_read", password, data); code(err) != "28P01" {
			t.Errorf("logged in with a wrong password: %v", err)
		}
	}
}

func containers(t *testing.T, s server) {
	t.Helper()
	api := s.login(t, "shop_api_a", "api-password", "shop")
	if got := column(t, api, "SELECT session_user || ' as ' || current_user"); got[0] != "shop_api_a as c_shop_api" {
		t.Error(got)
	}
	if _, err := api.Exec(t.Context(), "INSERT INTO shop.orders (customer_id) VALUES (1)"); err != nil {
		t.Error(err)
	}
	if _, err := api.Exec(t.Context(), "DELETE FROM shop.orders WHERE status = 'cart' AND customer_id = 1"); err != nil {
		t.Error(err)
	}
	if _, err := api.Exec(t.Context(), "CREATE TABLE shop.made (n int)"); code(err) != denied {
		t.Errorf("a container may create: %v", err)
	}
	reports := s.login(t, "reports_a", "reports-password", "shop")
	if _, err := reports.Exec(t.Context(), "SELECT FROM shop.monthly_revenue, shop.order_totals, audit.order_changes LIMIT 1"); err != nil {
		t.Error(err)
	}
	if _, err := reports.Exec(t.Context(), "UPDATE shop.orders SET note = ''"); code(err) != denied {
		t.Errorf("a reading container may write: %v", err)
	}
	owner := s.login(t, "dbops_admin", "admin-password", "shop")
	if _, err := owner.Exec(t.Context(), "SET ROLE shop_owner"); err != nil {
		t.Fatal(err)
	}
	if _, err := owner.Exec(t.Context(), "CREATE TABLE shop.later (n int)"); err != nil {
		t.Fatal(err)
	}
	if _, err := api.Exec(t.Context(), "INSERT INTO shop.later VALUES (1)"); err != nil {
		t.Errorf("what the owner makes later is not reached: %v", err)
	}
	if _, err := owner.Exec(t.Context(), "DROP TABLE shop.later"); err != nil {
		t.Error(err)
	}
	if _, err := s.as(t.Context(), "shop_api_b", "api-password", "shop"); code(err) != "28P01" && code(err) != "28000" {
		t.Errorf("the idle slot logs in: %v", err)
	}
}

func rotated(t *testing.T, s server) {
	t.Helper()
	admin := s.login(t, "dbops_admin", "admin-password", "shop")
	if _, err := admin.Exec(t.Context(), "ALTER ROLE shop_api_a PASSWORD 'rotated-password'"); err != nil {
		t.Fatalf("the admin cannot rotate: %v", err)
	}
	if _, err := admin.Exec(t.Context(), "ALTER ROLE shop_api_b LOGIN PASSWORD 'other-password'"); err != nil {
		t.Fatalf("the admin cannot rotate: %v", err)
	}
	if err := Apply(t.Context(), s.DB, spec("shop")); err != nil {
		t.Fatal(err)
	}
	s.login(t, "shop_api_a", "rotated-password", "shop")
	s.login(t, "shop_api_b", "other-password", "shop")
}

func tokens(t *testing.T, s server) {
	t.Helper()
	got := column(t, s.super(t, "shop"), `SELECT format('%s %s', pg_has_role(rolname, 'rds_iam', 'MEMBER'), rolpassword IS NULL) FROM pg_authid WHERE rolname = 'sre@example.com'`)
	if !slices.Equal(got, []string{"t t"}) {
		t.Error(got)
	}
	d := spec("shop")
	d.IAMGroup = ""
	if err := Apply(t.Context(), s.DB, d); err == nil || !strings.Contains(err.Error(), "role sre@example.com") {
		t.Errorf("a token login without a group: %v", err)
	}
	verifiers := column(t, s.super(t, "shop"), `SELECT rolpassword FROM pg_authid WHERE rolname ~ '^(dbops|shop_api|reports)_' AND rolpassword !~ '^SCRAM-SHA-256\$4096:'`)
	if len(verifiers) > 0 {
		t.Error("a password is not kept as a verifier")
	}
}

// unseen searches the server's log, which has every statement.
func unseen(t *testing.T, s server) {
	t.Helper()
	text, err := os.ReadFile(s.log)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), `ALTER ROLE "dbops_read" PASSWORD 'SCRAM-SHA-256$`) {
		t.Error("the log does not have the statements")
	}
	for _, password := range []string{"read-password", "write-password", "admin-password", "api-password", "reports-password", "master-password"} {
		if strings.Contains(string(text), password) {
			t.Errorf("the log has %s", password)
		}
	}
}
