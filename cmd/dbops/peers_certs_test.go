//go:build peers

package main

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// kit is what certs fetch says, for those who take it at its word.
type kit struct {
	Dir, SSLMode string
	CAs          []struct{ Fingerprint string }
	Settings     []struct{ Tool, Text, Verifies string }
	env          []string
}

func fetched(t *testing.T, dir, instance string, env []string) kit {
	t.Helper()
	status, stdout, stderr := runProgram(t, env, "certs", "fetch", "-e", "staging", instance, "--user", "certs_peer", "--dir", dir, "--for", "all", "-o", "json")
	k := kit{env: append(env, "PGPASSWORD=certs-peer-pw")}
	if err := json.Unmarshal([]byte(stdout), &k); err != nil || status != 0 {
		t.Fatalf("exit status %d, %v: %s", status, err, stderr)
	}
	return k
}

func (k kit) setting(t *testing.T, tool string) string {
	t.Helper()
	for _, s := range k.Settings {
		if s.Tool == tool {
			return s.Text
		}
	}
	t.Fatalf("no setting for %s", tool)
	return ""
}

// run runs a foreign program, which says "it works" or fails.
func (k kit) run(t *testing.T, works bool, env []string, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env, cmd.WaitDelay = append(append([]string{}, k.env...), env...), 5*time.Second
	out, err := cmd.CombinedOutput()
	if (err == nil && strings.Contains(string(out), "it works over TLS")) != works {
		t.Errorf("%s %s: works is not %t: %v\n%s", name, strings.Join(args, " "), works, err, out)
	}
	return string(out)
}

const works = "select 'it works over ' || version from pg_stat_ssl where pid = pg_backend_pid() and ssl"

// TestForeignClientsVerifyByWhatFetchPrints has each client connect with the settings as they are printed; and with a CA of another instance,
// which must fail.
func TestForeignClientsVerifyByWhatFetchPrints(t *testing.T) {
	env := environ(t)
	for instance, database := range map[string]string{"main": "shop", "billing": "billing"} {
		status, _, stderr := runProgram(t, env, "psql", "-e", "staging", database, "--access", "admin", "--", "-c", "create role certs_peer login password 'certs-peer-pw'")
		if status != 0 {
			t.Fatalf("make a role on %s: %s", instance, stderr)
		}
	}
	base := t.TempDir()
	rds := fetched(t, filepath.Join(base, "rds"), "billing", env)
	dir := filepath.Join(base, "cloud sql")
	if status, _, stderr := runProgram(t, env, "certs", "create-client", "-e", "staging", "main", "peers", "--dir", dir, "--yes"); status != 0 {
		t.Fatalf("make a client certificate: %s", stderr)
	}
	google := fetched(t, dir, "main", env)
	defer func() {
		if status, _, stderr := runProgram(t, env, "certs", "revoke-client", "-e", "staging", "main", "peers", "--yes"); status != 0 {
			t.Errorf("revoke it: %s", stderr)
		}
	}()
	for name, k := range map[string]kit{"rds": rds, "cloudsql": google} {
		other := map[string]string{"rds": google.Dir, "cloudsql": rds.Dir}[name]
		wrong := strings.NewReplacer(k.Dir+"/root.crt", other+"/root.crt")
		t.Run(name+" psql", func(t *testing.T) {
			for _, major := range []int{15, 18} {
				psql := filepath.Dir(client(t, "psql", major).path)
				path := []string{"PATH=" + psql + ":" + os.Getenv("PATH")}
				for _, tool := range []string{"psql", "service"} {
					line := k.setting(t, tool)
					k.run(t, true, path, "sh", "-c", line+` -Atc "`+works+`"`)
					if tool == "psql" {
						k.run(t, false, path, "sh", "-c", wrong.Replace(line)+` -Atc "`+works+`"`)
					}
				}
			}
		})
		t.Run(name+" node-postgres", func(t *testing.T) {
			modules := []string{"NODE_PATH=" + filepath.Join(peer(t, "DBOPS_PEER_NODE_PG"), "node_modules")}
			connect := strings.Replace(k.setting(t, "node"), "new (require", "const client = new (require", 1) +
				"\nclient.connect().then(() => client.query(\"" + works + "\")).then((r) => { console.log(Object.values(r.rows[0])[0]); return client.end() })" +
				".catch((e) => { console.error(e.message); process.exit(1) })"
			k.run(t, true, modules, "node", "-e", connect)
			k.run(t, false, modules, "node", "-e", wrong.Replace(connect))
			if name == "cloudsql" {
				out := k.run(t, false, modules, "node", "-e", strings.Replace(connect, `=== "shop-staging:shop-main"`, `=== "shop-staging:another"`, 1))
				if !strings.Contains(out, "another instance: shop-staging:shop-main") {
					t.Errorf("for another instance it says %s", out)
				}
			}
		})
		t.Run(name+" psycopg", func(t *testing.T) {
			args := regexp.MustCompile(`connect_args=(\{.*\})\)$`).FindStringSubmatch(k.setting(t, "sqlalchemy"))
			if args == nil {
				t.Fatalf("no arguments in %q", k.setting(t, "sqlalchemy"))
			}
			program := "import psycopg2\nc = psycopg2.connect(**" + args[1] + ").cursor()\nc.execute(\"" + works + "\")\nprint(c.fetchone()[0])"
			k.run(t, true, nil, peer(t, "DBOPS_PEER_PSYCOPG"), "-c", program)
			k.run(t, false, nil, peer(t, "DBOPS_PEER_PSYCOPG"), "-c", wrong.Replace(program))
		})
		t.Run(name+" JDBC", func(t *testing.T) { k.jdbc(t, wrong) })
	}
}

// jdbc judges the URL, the trust store, and the two forms of a client's key.
func (k kit) jdbc(t *testing.T, wrong *strings.Replacer) {
	t.Helper()
	jdbc(t) // skips where there is none
	jar := peer(t, "DBOPS_PEER_JDBC")
	java := func(works bool, url string, options ...string) {
		t.Helper()
		args := append([]string{"-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"}, options...)
		k.run(t, works, nil, "java", append(args, "-cp", jar, "testdata/peers/Certs.java", url)...)
	}
	url, _, _ := strings.Cut(k.setting(t, "jdbc"), "\n")
	java(true, url)
	escaped := regexp.MustCompile(`sslrootcert=[^&]*`)
	java(false, escaped.ReplaceAllString(url, "sslrootcert="+strings.NewReplacer("/", "%2F", " ", "+").Replace(wrong.Replace(k.Dir+"/root.crt"))))

	trust := filepath.Join(k.Dir, "truststore.p12")
	out, err := exec.CommandContext(t.Context(), "keytool", "-list", "-keystore", trust, "-storepass", "changeit").CombinedOutput()
	if n := strings.Count(string(out), "trustedCertEntry"); err != nil || n != len(k.CAs) || n == 0 {
		t.Errorf("keytool lists %d CAs, not %d: %v\n%s", n, len(k.CAs), err, out)
	}
	full := regexp.MustCompile(`sslmode=[a-z-]*`).ReplaceAllString(url, "sslmode="+map[bool]string{true: "verify-full", false: "verify-ca"}[strings.Contains(url, "verify-full")])
	byStore := escaped.ReplaceAllString(full, "sslfactory=org.postgresql.ssl.DefaultJavaSSLFactory")
	byStore = regexp.MustCompile(`&ssl(cert|key)=[^&]*`).ReplaceAllString(byStore, "")
	java(true, byStore, "-Djavax.net.ssl.trustStore="+trust, "-Djavax.net.ssl.trustStorePassword=changeit")
	java(false, byStore) // Java's own CAs did not sign it

	if !strings.Contains(url, "sslkey=") {
		return
	}
	command := regexp.MustCompile(`keytool -changealias .*`).FindString(k.setting(t, "jdbc"))
	if out, err := exec.CommandContext(t.Context(), "sh", "-c", command).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	secret, err := os.ReadFile(filepath.Join(k.Dir, "client.p12.password"))
	if err != nil {
		t.Fatal(err)
	}
	p12 := strings.Replace(url, "client.pk8", "client.p12", 1) + "&sslpassword=" + strings.TrimSpace(string(secret))
	java(true, p12)
	java(false, p12+"x")
	// The server asks for the certificate: a key that is not its own is noticed.
	if err := os.WriteFile(filepath.Join(k.Dir, "client.pk8"), []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	java(false, url)
}
