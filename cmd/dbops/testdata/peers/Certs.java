// Connects by the URL of its argument, with the password of PGPASSWORD, and says whether the session is encrypted.

import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.Statement;
import java.util.Properties;

class Certs {
    public static void main(String[] args) throws Exception {
        Properties p = new Properties();
        p.setProperty("password", System.getenv("PGPASSWORD"));
        try (Connection c = DriverManager.getConnection(args[0], p); Statement s = c.createStatement();
             ResultSet r = s.executeQuery("select 'it works over ' || version from pg_stat_ssl where pid = pg_backend_pid() and ssl")) {
            r.next();
            System.out.println(r.getString(1));
        }
    }
}
