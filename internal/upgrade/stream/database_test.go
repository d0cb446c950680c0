package stream

import "testing"

func TestTheDatabaseItselfIsLeftAlone(t *testing.T) {
	from, to := newSide(t, 16), newSide(t, 18)
	from.exec("create table t (id int primary key); insert into t values (1)")
	from.exec("revoke connect on database " + from.db + " from public; comment on database " + from.db + " is 'old'")
	if _, err := Copy(t.Context(), job(from, to)); err != nil {
		t.Fatal(err)
	}
	var rights, comment *string
	err := to.conn.QueryRow(t.Context(), "select datacl::text, shobj_description(oid, 'pg_database') from pg_database where datname = current_database()").Scan(&rights, &comment)
	if err != nil || rights != nil || comment != nil {
		t.Errorf("%v: rights %v, comment %v", err, rights, comment)
	}
}

func TestAnExtensionBelongsToWhomItBelonged(t *testing.T) {
	from, to := newSide(t, 16), newSide(t, 18)
	for _, s := range []*side{from, to} {
		s.exec("grant create on database " + s.db + " to app_owner")
	}
	from.exec("set role app_owner; create extension citext; reset role; create extension hstore; create table t (v citext)")
	if _, err := Copy(t.Context(), job(from, to)); err != nil {
		t.Fatal(err)
	}
	if got := to.text("select pg_get_userbyid(extowner) from pg_extension where extname = 'citext'"); got != "app_owner" {
		t.Errorf("citext belongs to %s", got)
	}
}
