// What PostgreSQL's JDBC driver must be able to do through `dbops proxy`. It prints a line for each promise that holds, and "done"
// at the end.

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.OffsetDateTime;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Properties;
import java.util.Random;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.Callable;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;
import org.postgresql.copy.CopyManager;
import org.postgresql.util.PSQLException;

class Client {
    interface Check {
        void run() throws Exception;
    }

    static final URI ADDRESS = URI.create(System.getenv("PEER_URI"));
    static final String CA = System.getenv("PEER_CA");
    static final boolean WRITES = System.getenv("PEER_ACCESS").equals("write");
    static final String DATABASE = ADDRESS.getPath().substring(1);
    static final String[] PLAIN = {"sslmode", "disable"};
    static final String[] VERIFIED = {"sslmode", "verify-full", "sslrootcert", CA};

    // connect takes names and values of properties.
    static Connection connect(String... more) throws SQLException {
        return connectTo(DATABASE, more);
    }

    static Connection connectTo(String database, String... more) throws SQLException {
        String[] who = ADDRESS.getUserInfo().split(":", 2);
        Properties p = new Properties();
        p.setProperty("user", who[0]);
        p.setProperty("password", who[1]);
        for (int i = 0; i < more.length; i += 2) {
            p.setProperty(more[i], more[i + 1]);
        }
        return DriverManager.getConnection("jdbc:postgresql://127.0.0.1:" + ADDRESS.getPort() + "/" + database, p);
    }

    static String[] and(String[] some, String... more) {
        List<String> all = new ArrayList<>(Arrays.asList(some));
        all.addAll(Arrays.asList(more));
        return all.toArray(new String[0]);
    }

    static Object ask(Connection c, String sql) throws SQLException {
        try (Statement s = c.createStatement(); ResultSet r = s.executeQuery(sql)) {
            holds(r.next(), "no row: " + sql);
            return r.getObject(1);
        }
    }

    static void run(Connection c, String sql) throws SQLException {
        try (Statement s = c.createStatement()) {
            s.execute(sql);
        }
    }

    static void holds(boolean ok, String what) {
        if (!ok) {
            throw new AssertionError(what);
        }
    }

    static void same(Object got, Object want) {
        holds(Objects.deepEquals(got, want), "got " + got + ", want " + want);
    }

    static PSQLException refused(String state, Check check) throws Exception {
        try {
            check.run();
        } catch (PSQLException e) {
            holds(state.equals(e.getSQLState()), "SQLSTATE " + e.getSQLState() + " instead of " + state + ": " + e);
            return e;
        }
        throw new AssertionError("no error where " + state + " was due");
    }

    static String unique() {
        return "peer_" + UUID.randomUUID().toString().replace("-", "").substring(0, 12);
    }

    // running waits until a session with that application_name is at a statement.
    static void running(String application) throws Exception {
        try (Connection c = connect()) {
            String sql = "select count(*) from pg_stat_activity where state = 'active' and query like '%pg_sleep%' and application_name = '" + application + "'";
            for (long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(20); !ask(c, sql).equals(1L); Thread.sleep(20)) {
                holds(System.nanoTime() < end, application + " does not run");
            }
        }
    }

    static void everyMode() throws Exception {
        for (String mode : new String[] {"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}) {
            try (Connection c = connect("sslmode", mode, "sslrootcert", CA)) {
                same(ask(c, "select current_database()::text"), DATABASE);
                same(ask(c, "show default_transaction_read_only"), WRITES ? "off" : "on");
                holds(c.isValid(5), "not valid");
            }
        }
        refused("08006", () -> connect("sslmode", "verify-full", "sslrootcert", "/nowhere/ca.pem").close());
    }

    static void prepared() throws Exception {
        for (String[] mode : new String[][] {PLAIN, VERIFIED}) {
            // -1: binary and prepared from the first time on; 3: it changes in between; extended protocols that cache nothing
            for (String[] how : new String[][] {{"prepareThreshold", "-1"}, {"prepareThreshold", "3"}, {"prepareThreshold", "0"}, {"preferQueryMode", "simple"}}) {
                try (Connection c = connect(and(mode, how));
                        PreparedStatement s = c.prepareStatement(
                                "select ?::int4, ?::int8, ?::float8, ?::text, ?::timestamptz, ?::uuid, ?::bytea, ?::int4[], ?::numeric, ?::bool")) {
                    for (int i = 0; i < 10; i++) {
                        UUID id = UUID.randomUUID();
                        OffsetDateTime at = OffsetDateTime.parse("2026-02-03T04:05:06.789Z").plusDays(i);
                        byte[] bytes = {0, 1, (byte) 255, (byte) i};
                        s.setInt(1, i);
                        s.setLong(2, Long.MIN_VALUE + i);
                        s.setDouble(3, i + 0.1);
                        s.setString(4, "naïve ☕ 🐘" + i);
                        s.setObject(5, at);
                        s.setObject(6, id);
                        s.setBytes(7, bytes);
                        s.setArray(8, c.createArrayOf("int4", new Integer[] {i, null, -i}));
                        s.setBigDecimal(9, new java.math.BigDecimal("12345678901234567890.123456789"));
                        s.setNull(10, java.sql.Types.BOOLEAN);
                        try (ResultSet r = s.executeQuery()) {
                            holds(r.next(), "no row");
                            same(r.getInt(1), i);
                            same(r.getLong(2), Long.MIN_VALUE + i);
                            same(r.getDouble(3), i + 0.1);
                            same(r.getString(4), "naïve ☕ 🐘" + i);
                            same(r.getObject(5, OffsetDateTime.class).toInstant(), at.toInstant());
                            same(r.getObject(6, UUID.class), id);
                            same(r.getBytes(7), bytes);
                            same(r.getArray(8).getArray(), new Integer[] {i, null, -i});
                            same(r.getBigDecimal(9), new java.math.BigDecimal("12345678901234567890.123456789"));
                            same(r.getObject(10), null);
                        }
                    }
                }
            }
        }
    }

    static void tenMegabytes() throws Exception {
        byte[] big = new byte[10 << 20];
        new Random(1).nextBytes(big);
        for (String[] mode : new String[][] {PLAIN, VERIFIED}) {
            try (Connection c = connect(and(mode, "prepareThreshold", "-1")); PreparedStatement s = c.prepareStatement("select ?::bytea")) {
                s.setBytes(1, big);
                try (ResultSet r = s.executeQuery()) {
                    holds(r.next() && Arrays.equals(r.getBytes(1), big), "10 MB came back changed");
                }
            }
        }
    }

    static void fetchSize() throws Exception {
        try (Connection c = connect(VERIFIED)) {
            c.setAutoCommit(false);
            try (Statement s = c.createStatement()) {
                s.setFetchSize(64);
                try (ResultSet r = s.executeQuery("select n, repeat(md5(n::text), 20) from generate_series(1, 1000) n")) {
                    int n = 0;
                    while (r.next()) {
                        same(r.getInt(1), ++n);
                    }
                    same(n, 1000);
                }
                try (ResultSet r = s.executeQuery("select generate_series(1, 1000000)")) { // left unread
                    holds(r.next(), "no row");
                }
                same(ask(c, "select 1"), 1);
            }
            c.commit();
        }
    }

    static void timeoutAndCancel() throws Exception {
        for (String[] mode : new String[][] {PLAIN, VERIFIED}) {
            String application = unique();
            try (Connection c = connect(and(mode, "ApplicationName", application)); Statement s = c.createStatement()) {
                s.setQueryTimeout(1);
                long start = System.nanoTime();
                refused("57014", () -> s.executeQuery("select pg_sleep(30)"));
                holds(System.nanoTime() - start < TimeUnit.SECONDS.toNanos(20), "the time-out came late");
                same(ask(c, "select 1"), 1);

                s.setQueryTimeout(0);
                ExecutorService other = Executors.newSingleThreadExecutor();
                Future<?> cancelled = other.submit(() -> {
                    running(application);
                    s.cancel();
                    return null;
                });
                refused("57014", () -> s.executeQuery("select pg_sleep(30)"));
                cancelled.get(20, TimeUnit.SECONDS);
                other.shutdown();
                same(ask(c, "select 1"), 1);
            }
        }
    }

    static void notifications() throws Exception {
        String channel = unique();
        try (Connection listener = connect(VERIFIED); Connection speaker = connect(PLAIN)) {
            run(listener, "listen " + channel);
            run(speaker, "select pg_notify('" + channel + "', 'good news')");
            PGNotification[] heard = listener.unwrap(PGConnection.class).getNotifications(20000);
            same(heard.length, 1);
            same(heard[0].getName() + " " + heard[0].getParameter(), channel + " good news");
        }
    }

    static void pool() throws Exception {
        for (String[] mode : new String[][] {PLAIN, VERIFIED}) {
            ExecutorService threads = Executors.newFixedThreadPool(20);
            CyclicBarrier together = new CyclicBarrier(20);
            List<Callable<Integer>> work = new ArrayList<>();
            for (int i = 0; i < 20; i++) {
                int n = i;
                work.add(() -> {
                    try (Connection c = connect(mode)) {
                        together.await(30, TimeUnit.SECONDS);
                        same(ask(c, "select " + n), n);
                        return (Integer) ask(c, "select pg_backend_pid()");
                    }
                });
            }
            Set<Integer> backends = new HashSet<>();
            for (Future<Integer> f : threads.invokeAll(work)) {
                backends.add(f.get());
            }
            threads.shutdown();
            same(backends.size(), 20);
        }
    }

    static void copyAndBatch() throws Exception {
        try (Connection c = connect(VERIFIED)) {
            CopyManager copy = c.unwrap(PGConnection.class).getCopyAPI();
            StringBuilder text = new StringBuilder();
            for (int n = 1; n <= 50000; n++) {
                text.append(n).append('\t').append("z".repeat(n % 100)).append('\n');
            }
            ByteArrayOutputStream out = new ByteArrayOutputStream();
            copy.copyOut("copy (select n, repeat('z', n % 100) from generate_series(1, 50000) n) to stdout", out);
            same(out.toString(StandardCharsets.UTF_8), text.toString());
            if (!WRITES) {
                refused("25006", () -> run(c, "create table peer_wrote (n int)"));
                return;
            }
            run(c, "create temp table kept (n int primary key, t text)");
            same(copy.copyIn("copy kept from stdin", new ByteArrayInputStream(out.toByteArray())), 50000L);
            run(c, "truncate kept");
            try (PreparedStatement s = c.prepareStatement("insert into kept values (?, ?)")) {
                for (int n = 0; n < 3000; n++) {
                    s.setInt(1, n);
                    s.setString(2, "z".repeat(n % 500));
                    s.addBatch();
                }
                same(Arrays.stream(s.executeBatch()).sum(), 3000);
            }
            PSQLException twice = refused("23505", () -> run(c, "insert into kept values (1)"));
            same(twice.getServerErrorMessage().getConstraint(), "kept_pkey");
            same(ask(c, "select count(*) from kept"), 3000L);
        }
    }

    static void errors() throws Exception {
        try (Connection c = connect(PLAIN)) {
            same(refused("42P01", () -> ask(c, "select * from no_such_table")).getServerErrorMessage().getPosition(), 15);
            c.setAutoCommit(false);
            refused("22012", () -> ask(c, "select 1/0"));
            refused("25P02", () -> ask(c, "select 1"));
            c.rollback();
            same(ask(c, "select 1"), 1);
            refused("57P01", () -> ask(c, "select pg_terminate_backend(pg_backend_pid())"));
        }
    }

    static void refusals() throws Exception {
        for (String[] mode : new String[][] {PLAIN, VERIFIED}) {
            PSQLException e = refused("28P01", () -> connect(and(mode, "password", "wrong")).close());
            holds(e.getServerErrorMessage().getHint().contains("connection string"), "hint: " + e.getServerErrorMessage().getHint());
            e = refused("3D000", () -> connectTo("nowhere", mode).close());
            holds(e.getServerErrorMessage().getHint().contains(DATABASE), "hint: " + e.getServerErrorMessage().getHint());
        }
    }

    public static void main(String[] args) {
        Map<String, Check> checks = new LinkedHashMap<>();
        checks.put("every sslmode", Client::everyMode);
        checks.put("prepared statements and binary transfer", Client::prepared);
        checks.put("10 MB there and back", Client::tenMegabytes);
        checks.put("a cursor by fetch size", Client::fetchSize);
        checks.put("a statement times out or is cancelled, and the session goes on", Client::timeoutAndCancel);
        checks.put("LISTEN and NOTIFY", Client::notifications);
        checks.put("a pool of 20 threads", Client::pool);
        checks.put("COPY both ways and batches, where writing is allowed", Client::copyAndBatch);
        checks.put("errors of the server keep their SQLSTATE", Client::errors);
        checks.put("a wrong password is 28P01, an unknown database 3D000 with a hint", Client::refusals);
        boolean failed = false;
        for (Map.Entry<String, Check> check : checks.entrySet()) {
            try {
                check.getValue().run();
                System.out.println("ok   " + check.getKey());
            } catch (Throwable e) { // the others are worth a try
                failed = true;
                System.out.print("FAIL " + check.getKey() + ": ");
                e.printStackTrace(System.out);
            }
        }
        System.out.println("done");
        System.exit(failed ? 1 : 0);
    }
}
