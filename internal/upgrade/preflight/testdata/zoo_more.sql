-- What the zoo lacks. It is sent in one, after it, by a session that stays open.
CREATE TABLE app.t_xml(id int PRIMARY KEY, x xml, m money, "system_user" text);
CREATE UNLOGGED TABLE app.t_quickpart(id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE app.t_ci(k text COLLATE app.nd PRIMARY KEY);
CREATE TABLE app.t_cifk(id int PRIMARY KEY, k text REFERENCES app.t_ci);
CREATE TABLE app.t_hash(m app.mood PRIMARY KEY) PARTITION BY HASH (m);
CREATE TABLE app.t_list(k text PRIMARY KEY) PARTITION BY LIST (k);
CREATE TABLE app.t_off(id int PRIMARY KEY, r int REFERENCES app.t_xml); ALTER TABLE app.t_off DISABLE TRIGGER ALL;
CREATE FUNCTION app.f_old() RETURNS text LANGUAGE plpgsql AS $$BEGIN RETURN (SELECT attcacheoff FROM pg_attribute LIMIT 1); END$$;
CREATE FUNCTION app.f_set() RETURNS int LANGUAGE sql SET work_mem = '1MB' AS 'select 1';
CREATE FUNCTION app.f_plain(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'select lower($1)'; -- names nothing of ours: harmless
CREATE FUNCTION app.f_safe(text) RETURNS int LANGUAGE sql IMMUTABLE AS 'select v from app.t_lookup where k = $1'; -- harmless too
CREATE INDEX ON app.t_xml (app.f_plain("system_user")); CREATE INDEX ON app.t_xml (app.f_safe("system_user"));
CREATE FUNCTION app."json_value"(int) RETURNS int LANGUAGE sql AS 'select 1';
CREATE FUNCTION app.c_fn() RETURNS real AS '$libdir/pg_trgm', 'show_limit' LANGUAGE c;
CREATE OPERATOR CLASS app.oc FOR TYPE int4 USING btree AS OPERATOR 1 <, OPERATOR 3 =, FUNCTION 1 btint4cmp(int4, int4);
CREATE CAST (bigint AS timestamptz) WITHOUT FUNCTION;
CREATE VIEW app.v_wal AS SELECT wal_write FROM pg_stat_wal;
CREATE VIEW app.v_att AS SELECT attcacheoff FROM pg_attribute;
CREATE EXTENSION intarray VERSION '1.2';
CREATE EXTENSION fuzzystrmatch;
CREATE TABLE public.t_pub(id int PRIMARY KEY); ALTER TABLE public.t_pub OWNER TO app_owner;
GRANT SELECT ON app.t_plain TO rds_superuser;
CREATE SEQUENCE app.s_full MAXVALUE 10; SELECT setval('app.s_full', 9);
UPDATE pg_collation SET collversion = '0' WHERE collname = 'de_icu';
ALTER ROLE alice SET log_min_duration_statement = 5;
ALTER ROLE alice REPLICATION;
ALTER DATABASE $db SET idle_session_timeout = '1h'; ALTER DATABASE $db SET password_encryption = 'md5'; ALTER DATABASE $db CONNECTION LIMIT 9;
CREATE TABLE app.t_space(id int PRIMARY KEY) TABLESPACE preflight_space;
CREATE TABLE app.t_big(id int PRIMARY KEY, b text); -- what a vacuum would have found of one row with 24 MB
UPDATE pg_class SET reltuples = 1 WHERE oid = 'app.t_big'::regclass;
UPDATE pg_class SET relpages = 3072 WHERE oid = (SELECT reltoastrelid FROM pg_class WHERE oid = 'app.t_big'::regclass);
CREATE TEMP TABLE held(a int);
SELECT pg_advisory_lock(7);
