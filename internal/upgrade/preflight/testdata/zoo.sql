-- One of everything that an upgrade meets. Each step is sent by itself; $db is the database.
CREATE ROLE app_owner LOGIN PASSWORD 'secret1'; CREATE ROLE app_rw; CREATE ROLE readonly NOLOGIN; CREATE ROLE alice LOGIN PASSWORD 'a' CONNECTION LIMIT 5 VALID UNTIL '2030-01-01';
GRANT app_rw TO alice; GRANT readonly TO app_rw WITH ADMIN OPTION; CREATE ROLE orphan_owner;
ALTER ROLE alice SET statement_timeout='5s'; ALTER ROLE app_owner SET search_path='app, public'; 
ALTER DATABASE $db SET timezone='Europe/Paris'; ALTER DATABASE $db SET default_transaction_isolation='repeatable read';
ALTER ROLE alice IN DATABASE $db SET work_mem='64MB';
ALTER DATABASE $db SET "app.tenant" TO 't1';
GRANT CONNECT ON DATABASE $db TO readonly; REVOKE TEMP ON DATABASE $db FROM PUBLIC;
CREATE SCHEMA app AUTHORIZATION app_owner; CREATE SCHEMA audit AUTHORIZATION orphan_owner;
CREATE EXTENSION pg_trgm; CREATE EXTENSION hstore; CREATE EXTENSION citext SCHEMA app; CREATE EXTENSION postgres_fdw; CREATE EXTENSION "uuid-ossp"; CREATE EXTENSION pg_stat_statements; CREATE EXTENSION btree_gist;
SET ROLE app_owner; SET search_path=app,public;
CREATE TYPE mood AS ENUM('sad','ok','happy'); CREATE DOMAIN posint AS int CHECK(VALUE>0); CREATE TYPE addr AS (street text, n int);
CREATE TABLE t_plain(id serial primary key, e mood, p posint, a addr, c citext, h hstore);
INSERT INTO t_plain(e,p,a,c,h) SELECT 'ok',i,ROW('x',i)::app.addr,'AbC'||i,'a=>1' FROM generate_series(1,100) i;
CREATE UNLOGGED TABLE t_unlogged(id int primary key, v text); INSERT INTO t_unlogged SELECT i,'u' FROM generate_series(1,10) i;
CREATE TABLE t_gen(id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a int, b int GENERATED ALWAYS AS (a*2) STORED); INSERT INTO t_gen(a) SELECT i FROM generate_series(1,50) i;
CREATE TABLE t_part(id bigint, ts date, v text, PRIMARY KEY(id,ts)) PARTITION BY RANGE(ts);
CREATE TABLE t_part_1 PARTITION OF t_part FOR VALUES FROM ('2024-01-01') TO ('2025-01-01'); CREATE TABLE t_part_d PARTITION OF t_part DEFAULT;
CREATE INDEX t_part_v ON t_part(v); INSERT INTO t_part SELECT i,'2024-06-01'::date+i,'v'||i FROM generate_series(1,400) i;
CREATE TABLE t_fkpart(id int primary key, pid bigint, pts date, FOREIGN KEY(pid,pts) REFERENCES t_part); INSERT INTO t_fkpart SELECT i,i,'2024-06-01'::date+i FROM generate_series(1,100) i;
CREATE TABLE t_notvalid(id int primary key, r int); INSERT INTO t_notvalid VALUES(1,999); ALTER TABLE t_notvalid ADD CONSTRAINT nv_fk FOREIGN KEY(r) REFERENCES t_notvalid(id) NOT VALID;
CREATE TABLE t_excl(id int, r int4range, EXCLUDE USING gist (r WITH &&)); INSERT INTO t_excl SELECT i,int4range(i*10,i*10+5) FROM generate_series(1,20) i;
CREATE TABLE t_rls(id int primary key, owner text); ALTER TABLE t_rls ENABLE ROW LEVEL SECURITY; ALTER TABLE t_rls FORCE ROW LEVEL SECURITY; CREATE POLICY p1 ON t_rls USING (owner=current_user); 
CREATE TABLE t_lookup(k text primary key, v int); INSERT INTO t_lookup VALUES('a',1),('b',2);
CREATE FUNCTION f_lookup(text) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT v FROM app.t_lookup WHERE k=$1';
CREATE TABLE t_fidx(id int primary key, k text); INSERT INTO t_fidx SELECT i,'a' FROM generate_series(1,10) i; CREATE INDEX t_fidx_f ON t_fidx(f_lookup(k));
CREATE FUNCTION f_chk(text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RETURN EXISTS(SELECT 1 FROM t_lookup WHERE k=$1); END $$;
CREATE TABLE a_chk(id int primary key, k text CHECK (f_chk(k))); INSERT INTO a_chk VALUES(1,'a');
CREATE MATERIALIZED VIEW mv1 AS SELECT f_lookup(k) x, count(*) FROM t_fidx GROUP BY 1;
-- Only now: from 17 on neither could have been made with it.
CREATE OR REPLACE FUNCTION f_lookup(text) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT v FROM t_lookup WHERE k=$1';
CREATE MATERIALIZED VIEW mv0 AS SELECT * FROM mv1; CREATE MATERIALIZED VIEW mv_empty AS SELECT 1 a WITH NO DATA;
CREATE VIEW v_act AS SELECT pid, usename, query, wait_event FROM pg_stat_activity;
CREATE VIEW v_proc AS SELECT oid, proname FROM pg_proc;
CREATE VIEW v_lo AS SELECT loid FROM pg_largeobject_metadata m(loid);
CREATE TABLE t_reg(id int, rc regclass, rp regproc, rt regtype); INSERT INTO t_reg VALUES(1,'app.t_plain','app.f_chk','app.mood'),(2,'app.t_plain_pkey','now','int');
CREATE TABLE t_acl(a aclitem, n name); INSERT INTO t_acl VALUES('app_owner=r/app_owner','x');
CREATE TABLE t_lo(id int, doc oid); RESET ROLE; INSERT INTO app.t_lo SELECT i, lo_from_bytea(0,'\xdead') FROM generate_series(1,5) i; DO $$DECLARE r record; BEGIN FOR r IN SELECT oid FROM pg_largeobject_metadata LOOP EXECUTE format('ALTER LARGE OBJECT %s OWNER TO app_owner',r.oid); END LOOP; END$$;
SET ROLE app_owner;
CREATE COLLATION app.de_icu (provider=icu, locale='de-DE'); CREATE COLLATION app.nd (provider=icu, locale='und-u-ks-level2', deterministic=false);
CREATE TABLE t_coll(id int primary key, s text COLLATE app.de_icu, s2 text COLLATE app.nd); CREATE INDEX ON t_coll(s);
CREATE STATISTICS st1 ON id, v FROM t_part;
CREATE FUNCTION trg() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO t_log VALUES(now(), TG_TABLE_NAME); RETURN NEW; END$$; CREATE TABLE t_log(ts timestamptz, t text);
CREATE TABLE t_trg(id int primary key); CREATE TRIGGER tr BEFORE INSERT ON t_trg FOR EACH ROW EXECUTE FUNCTION trg(); INSERT INTO t_trg SELECT generate_series(1,5);
ALTER TABLE t_trg ENABLE ALWAYS TRIGGER tr;
CREATE RULE r1 AS ON DELETE TO t_log DO INSTEAD NOTHING;
CREATE TABLE t_inh(id int); CREATE TABLE t_inh_c(extra text) INHERITS(t_inh); 
CREATE TABLE t_nopk(a int, b text); CREATE TABLE t_ident_full(a int); ALTER TABLE t_ident_full REPLICA IDENTITY FULL;
ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT SELECT ON TABLES TO readonly; GRANT USAGE ON SCHEMA app TO readonly; GRANT SELECT(id) ON t_plain TO readonly;
CREATE SEQUENCE s_standalone START 1000 CYCLE MAXVALUE 2000; SELECT nextval('s_standalone');
CREATE FUNCTION f_secdef() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'select 1'; 
CREATE TABLE t_invalid(a int); INSERT INTO t_invalid VALUES(1),(1);
RESET ROLE;
-- step, fails
CREATE UNIQUE INDEX CONCURRENTLY t_invalid_i ON app.t_invalid(a);
-- step
CREATE SERVER fs FOREIGN DATA WRAPPER postgres_fdw OPTIONS(host '127.0.0.1', dbname 'x'); CREATE USER MAPPING FOR app_owner SERVER fs OPTIONS(user 'u', password 'p'); GRANT USAGE ON FOREIGN SERVER fs TO app_owner;
CREATE FOREIGN TABLE app.ft(a int) SERVER fs;
CREATE FUNCTION public.et() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN RAISE NOTICE 'ddl %', tg_tag; END$$; CREATE EVENT TRIGGER et1 ON ddl_command_end EXECUTE FUNCTION public.et();
CREATE PUBLICATION pub_all FOR ALL TABLES; CREATE PUBLICATION pub_some FOR TABLE app.t_plain;
CREATE SUBSCRIPTION sub1 CONNECTION 'host=127.0.0.1 dbname=x' PUBLICATION p WITH (connect=false);
-- step
SELECT pg_create_logical_replication_slot('preflight_slot','pgoutput');
-- step
CREATE TABLE audit.secret(id int primary key, v text); INSERT INTO audit.secret VALUES(1,'s'); REVOKE ALL ON SCHEMA audit FROM PUBLIC;
CREATE CAST (text AS app.mood) WITH INOUT; 
CREATE FUNCTION app.c_leak(text) RETURNS bool LANGUAGE sql LEAKPROOF IMMUTABLE AS 'select true';
-- step
BEGIN; INSERT INTO app.t_nopk VALUES(1,'prep'); PREPARE TRANSACTION 'ptx1';
-- step
ALTER ROLE readonly SET vacuum_cost_delay='2ms';
