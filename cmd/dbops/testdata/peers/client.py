"""What psycopg2 must be able to do through `dbops proxy`. It prints a line for each promise that holds, and "done" at the end."""

import contextlib
import datetime
import hashlib
import io
import os
import random
import select
import sys
import threading
import time
import traceback
import uuid
from concurrent.futures import ThreadPoolExecutor

import psycopg2
import psycopg2.extensions as ext
import psycopg2.pool

URI, CA, ACCESS = os.environ["PEER_URI"], os.environ["PEER_CA"], os.environ["PEER_ACCESS"]
DATABASE = ext.parse_dsn(URI)["dbname"]
VERIFIED = {"sslmode": "verify-full", "sslrootcert": CA}
MODES = {"disable": False, "allow": False, "prefer": True, "require": True, "verify-ca": True, "verify-full": True}


@contextlib.contextmanager
def connected(**more):
    conn = psycopg2.connect(URI, **more)
    try:
        yield conn
    finally:
        conn.close()


def ask(conn, sql, args=None):
    with conn.cursor() as cur:
        cur.execute(sql, args)
        return cur.fetchall()


@contextlib.contextmanager
def refused(kind, code, *texts):
    try:
        yield
    except kind as e:
        assert e.pgcode == code, f"SQLSTATE {e.pgcode} instead of {code}: {e}"
        for text in texts:
            assert text in str(e), f"it does not say {text!r}: {e}"
    else:
        raise AssertionError(f"no {kind.__name__} where {code or texts} was due")


def unique(what):
    return f"{what}_{uuid.uuid4().hex[:12]}"


def running(application):
    """Waits until a session with that application_name is at a statement."""
    with connected() as watcher:
        watcher.autocommit = True
        end = time.monotonic() + 20
        sql = "select 1 from pg_stat_activity where application_name = %s and state = 'active' and query like '%%pg_sleep%%'"
        while not ask(watcher, sql, [application]):
            assert time.monotonic() < end, f"{application} does not run"
            time.sleep(0.02)


def every_sslmode():
    for mode, encrypted in MODES.items():
        with connected(sslmode=mode, sslrootcert=CA) as conn:
            assert conn.info.ssl_in_use == encrypted, f"sslmode={mode}: encrypted is {conn.info.ssl_in_use}"
            want = [(DATABASE, "on" if ACCESS == "read" else "off")]
            assert ask(conn, "select current_database(), current_setting('default_transaction_read_only')") == want
    with refused(psycopg2.OperationalError, None, "does not exist"):
        psycopg2.connect(URI, sslmode="verify-full", sslrootcert="/nowhere/ca.pem")


def queries():
    for more in {"sslmode": "disable"}, VERIFIED:
        with connected(**more) as conn:
            at = datetime.datetime(2026, 2, 3, 4, 5, 6, 789000, tzinfo=datetime.timezone.utc)
            given = (42, "naïve ☕ 🐘", None, ["a,b", '"', None], at, True, 1.5)
            assert ask(conn, "select %s, %s, %s, %s, %s, %s, %s::float8", given) == [given]
            with conn.cursor() as cur:
                cur.execute("prepare double as select $1::int * 2")
                for i in range(50):
                    cur.execute("execute double (%s)", [i])
                    assert cur.fetchone() == (2 * i,)
                cur.execute("do $$ begin raise notice 'hello from the server'; end $$")
            assert conn.notices == ["NOTICE:  hello from the server\n"], conn.notices


def ten_megabytes():
    big = random.Random(1).randbytes(10 << 20)
    for more in {"sslmode": "disable"}, VERIFIED:
        with connected(**more) as conn:
            back, md5 = ask(conn, "select b, md5(b) from (select %s::bytea as b) t", [psycopg2.Binary(big)])[0]
            assert bytes(back) == big and md5 == hashlib.md5(big).hexdigest()


def server_side_cursor():
    with connected(**VERIFIED) as conn:
        with conn.cursor(name="far", scrollable=True) as cur:
            cur.itersize = 64
            cur.execute("select n, repeat(md5(n::text), 20) from generate_series(1, 1000) n")
            assert [n for n, _ in cur] == list(range(1, 1001))
            cur.scroll(9, mode="absolute")
            assert cur.fetchone()[0] == 10
        conn.commit()
        assert ask(conn, "select 1") == [(1,)]


def autocommit():
    with connected() as conn:
        ask(conn, "select 1")
        assert conn.info.transaction_status == ext.TRANSACTION_STATUS_INTRANS
        conn.rollback()
        conn.autocommit = True
        ask(conn, "select 1")
        assert conn.info.transaction_status == ext.TRANSACTION_STATUS_IDLE
        with conn.cursor() as cur:
            cur.execute("set statement_timeout = '100ms'")
            with refused(psycopg2.errors.QueryCanceled, "57014", "statement timeout"):
                cur.execute("select pg_sleep(30)")
        assert conn.info.transaction_status == ext.TRANSACTION_STATUS_IDLE


def copy_to():
    for more in {"sslmode": "disable"}, VERIFIED:
        with connected(**more) as conn, conn.cursor() as cur:
            out = io.BytesIO()
            cur.copy_expert("copy (select n, md5(n::text) from generate_series(1, 100000) n) to stdout", out)
            want = b"".join(b"%d\t%s\n" % (n, hashlib.md5(b"%d" % n).hexdigest().encode()) for n in range(1, 100001))
            assert out.getvalue() == want
            assert ask(conn, "select 1") == [(1,)]


def copy_from():
    if ACCESS != "write":
        with connected() as conn, conn.cursor() as cur, refused(psycopg2.errors.ReadOnlySqlTransaction, "25006"):
            cur.execute("create table peer_wrote (n int)")
        return
    rows = random.Random(2)
    text = "".join(f"{n}\t{'z' * rows.randrange(200)}\n" for n in range(60000)).encode()
    for more in {"sslmode": "disable"}, VERIFIED:
        with connected(**more) as conn, conn.cursor() as cur:
            cur.execute("create temp table kept (n int, t text)")
            for form in "text", "binary":
                cur.execute("truncate kept")
                cur.copy_expert("copy kept from stdin", io.BytesIO(text))
                assert cur.rowcount == 60000
                out = io.BytesIO()
                cur.copy_expert(f"copy kept to stdout (format {form})", out)
                cur.execute("truncate kept")
                cur.copy_expert(f"copy kept from stdin (format {form})", io.BytesIO(out.getvalue()))
                back = io.BytesIO()
                cur.copy_expert("copy (select * from kept order by n) to stdout", back)
                assert back.getvalue() == text, f"COPY as {form} changed something"
            conn.commit()
            with refused(psycopg2.errors.InvalidTextRepresentation, "22P02", "line 60001"):
                cur.copy_expert("copy kept from stdin", io.BytesIO(text + b"x\ty\n" + text))
            conn.rollback()
            assert ask(conn, "select count(*) from kept") == [(60000,)]


def listen_and_notify():
    channel = unique("peer")
    with connected() as listener, connected(**VERIFIED) as speaker:
        listener.autocommit = speaker.autocommit = True
        with listener.cursor() as cur:
            cur.execute(f"listen {channel}")
        ask(speaker, "select pg_notify(%s, %s)", [channel, "good news"])
        end = time.monotonic() + 20
        while not listener.notifies:
            assert time.monotonic() < end, "no notification"
            select.select([listener], [], [], 1)
            listener.poll()
        n = listener.notifies.pop()
        assert (n.channel, n.payload) == (channel, "good news")


def cancel():
    for more in {"sslmode": "disable"}, VERIFIED:
        application = unique("peer")
        with connected(application_name=application, **more) as conn:
            with ThreadPoolExecutor(1) as other:
                def stop():
                    running(application)
                    conn.cancel()
                    return time.monotonic()

                stopped = other.submit(stop)
                with refused(psycopg2.errors.QueryCanceled, "57014", "user request"):
                    ask(conn, "select pg_sleep(30)")
                assert time.monotonic() - stopped.result() < 15, "cancelling took too long"
            conn.rollback()
            assert ask(conn, "select 1") == [(1,)]


def asynchronous():
    def wait(conn):
        while (state := conn.poll()) != ext.POLL_OK:
            ready = select.select([conn] if state == ext.POLL_READ else [], [conn] if state == ext.POLL_WRITE else [], [], 20)
            assert any(ready), "the connection does not get on"

    for more in {"sslmode": "disable"}, VERIFIED:
        conn = psycopg2.connect(URI, async_=True, **more)
        wait(conn)
        cur = conn.cursor()
        cur.execute("select n, repeat('x', 1000) from generate_series(1, %s) n", [5000])
        wait(conn)
        assert [n for n, _ in cur.fetchall()] == list(range(1, 5001))
        conn.close()


def pool():
    for more in {"sslmode": "disable"}, VERIFIED:
        connections = psycopg2.pool.ThreadedConnectionPool(20, 20, URI, **more)
        together = threading.Barrier(20)

        def work(i):
            conn = connections.getconn()
            try:
                together.wait(20)
                (n, pid), = ask(conn, "select %s, pg_backend_pid() from pg_sleep(0.05)", [i])
                assert n == i
                return pid
            finally:
                connections.putconn(conn)

        with ThreadPoolExecutor(20) as threads:
            assert len(set(threads.map(work, range(20)))) == 20
        connections.closeall()


def errors():
    with connected() as conn:
        try:
            ask(conn, "select * from no_such_table")
            raise AssertionError("no error")
        except psycopg2.errors.UndefinedTable as e:
            assert (e.pgcode, e.diag.severity, e.diag.statement_position) == ("42P01", "ERROR", "15")
        assert conn.info.transaction_status == ext.TRANSACTION_STATUS_INERROR
        with refused(psycopg2.errors.InFailedSqlTransaction, "25P02"):
            ask(conn, "select 1")
        conn.rollback()
        # psycopg2 shows the end of the connection, not the error before it; the same without a proxy
        with refused(psycopg2.OperationalError, None, "closed", "unexpectedly"):
            ask(conn, "select pg_terminate_backend(pg_backend_pid())")
        assert conn.closed


def refusals():
    # psycopg2 has no SQLSTATE of a login, and shows what libpq says: the message and its hint.
    for more in {"sslmode": "disable"}, VERIFIED:
        with refused(psycopg2.OperationalError, None, "FATAL:  dbops: password authentication failed for user ", "HINT:  ", "connection string"):
            psycopg2.connect(URI, password="wrong", **more)
        with refused(psycopg2.OperationalError, None, "FATAL:  dbops: ", "nowhere", "HINT:  ", DATABASE):
            psycopg2.connect(URI, dbname="nowhere", **more)


CHECKS = {
    "every sslmode": every_sslmode,
    "queries with parameters, prepared statements, notices": queries,
    "10 MB there and back": ten_megabytes,
    "a cursor on the server": server_side_cursor,
    "transactions and autocommit": autocommit,
    "COPY TO": copy_to,
    "COPY FROM, where writing is allowed": copy_from,
    "LISTEN and NOTIFY": listen_and_notify,
    "a statement is cancelled, and the session goes on": cancel,
    "an asynchronous connection": asynchronous,
    "a pool of 20 threads": pool,
    "errors of the server keep their SQLSTATE": errors,
    "a wrong password and an unknown database are told, with a hint": refusals,
}

if __name__ == "__main__":
    failed = False
    for name, check in CHECKS.items():
        try:
            check()
            print(f"ok   {name}", flush=True)
        except Exception:  # the others are worth a try
            failed = True
            print(f"FAIL {name}: {traceback.format_exc()}", flush=True)
    print("done")
    sys.exit(failed)
