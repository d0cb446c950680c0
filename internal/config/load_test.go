package config

import (
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/charmbracelet/x/exp/golden"

	"dbops/internal/fault"
)

// write puts text into a dbops.yaml of a fresh folder that also holds ca.pem and empty.pem.
func write(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("any")})
	for name, content := range map[string]string{FileName: text, "ca.pem": string(cert), "empty.pem": "nothing"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, FileName)
}

// problems loads text and returns its problems, each without the path of the file.
func problems(t *testing.T, text string) []string {
	t.Helper()
	path := write(t, text)
	_, err := Load(path)
	if err == nil {
		return nil
	}
	if fault.KindOf(err) != fault.Config || fault.ExitStatus(err) != 2 {
		t.Fatalf("kind %s, status %d", fault.KindOf(err), fault.ExitStatus(err))
	}
	list, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("not a list of problems: %v", err)
	}
	if err.Error() != list.Error() {
		t.Fatalf("the fault adds to the problems: %v", err)
	}
	var out []string
	for _, p := range list.Problems {
		s := strings.TrimPrefix(strings.TrimPrefix(p.String(), path+":"), " ")
		out = append(out, strings.ReplaceAll(s, filepath.Dir(path)+"/", ""))
	}
	return out
}

// head begins a document with one instance.
const head = "version: 1\nenvironments:\n  dev:\n    instances:\n      main:\n"

func TestLoadReportsEveryMistakeInTheOrderOfTheFile(t *testing.T) {
	_, err := Load("testdata/ten-mistakes.yaml")
	if list, ok := errors.AsType[*Error](err); !ok || len(list.Problems) != 10 {
		t.Fatalf("want ten problems, got %v", err)
	}
	golden.RequireEqual(t, []byte(err.Error()+"\n"))
}

func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	const rds = head + "        rds: {region: eu-west-1, identifier: shop}\n"
	const sql = head + "        cloudsql: {project: shop-dev, region: europe-west1, instance: main}\n"
	const pg = head + "        postgres: {url: \"postgres://127.0.0.1/?sslmode=disable\"}\n"
	url := func(s string) string { return head + "        postgres:\n          url: " + s + "\n" }
	for name, c := range map[string]struct {
		text string
		want []string // whole problems, without the file
	}{
		"an empty file":                 {"", []string{"the file is empty"}},
		"a file of comments":            {"# nothing\n\n", []string{"the file is empty"}},
		"a list in place of a mapping":  {"- a\n", []string{"1:1: want a mapping, got a list"}},
		"text in place of a mapping":    {"hello\n", []string{"1:1: want a mapping, got text; put its keys below, indented"}},
		"a file without version":        {"environments: {}\n", []string{"1:1: version is missing; write version: 1 at the top"}},
		"a version as text":             {"version: \"1\"\nenvironments: {}\n", []string{"1:10: version: want a whole number, got text"}},
		"a version with a fraction":     {"version: 1.5\nenvironments: {}\n", []string{"1:10: version: want a whole number of common size"}},
		"version 0":                     {"version: 0\nenvironments: {}\n", []string{"1:10: version: this dbops reads version 1 of the format only; write version: 1"}},
		"a version without value":       {"version:\nenvironments: {}\n", []string{"1:1: version: there is no value; write one, or delete the key"}},
		"a missing environments":        {"version: 1\n", []string{"1:1: environments is missing"}},
		"several documents":             {"version: 1\nenvironments: {}\n---\nversion: 1\n", []string{"3:1: the file holds several documents; keep one document, and delete the line ---"}},
		"a tab as indentation":          {"version: 1\nenvironments:\n\tdev: {}\n", []string{"3:1: a tab is no indentation in YAML; use spaces"}},
		"an unclosed bracket":           {"version: 1\nenvironments: {\n", []string{"2:15: could not find flow mapping end token '}'"}},
		"a colon within a value":        {"version: 1\nenvironments: a: b\n", []string{"2:15: mapping value is not allowed in this context; put a value that holds a colon and a space in quotes"}},
		"bytes that are not UTF-8":      {"version: \xff\n", []string{"this is not UTF-8 text; save it as UTF-8"}},
		"UTF-16":                        {"v\x00e\x00", []string{"this is not UTF-8 text; save it as UTF-8"}},
		"a tag":                         {"version: !!int 1\nenvironments: {}\n", []string{"1:10: a tag (!) has no meaning here; delete it"}},
		"an unknown alias":              {"version: 1\nenvironments: *nothing\n", []string{"2:15: there is no such anchor; an alias must come after its anchor"}},
		"a merge of text":               {"version: 1\nenvironments:\n  <<: text\n", []string{"3:3: << merges mappings only, got text; as in <<: *name"}},
		"an alias as a key":             {"version: &a 1\n*a : 2\nenvironments: {}\n", []string{"2:1: a key cannot be an anchor, an alias or a tag; write it out"}},
		"an unknown key, far from all":  {"version: 1\nenvironments: {}\nzzz: 1\n", []string{"3:1: unknown key \"zzz\"; known here: version, endpoints, profiles, state, state_ca_file, state_secret, approvals, notifications, serve, audit, scratch, environments"}},
		"a duplicate key":               {"version: 1\nenvironments: {}\nversion: 1\n", []string{"3:1: key \"version\" is here twice: first on line 1"}},
		"a duplicate name":              {"version: 1\nenvironments:\n  a: {instances: {}}\n  a: {instances: {}}\n", []string{"4:3: key \"a\" is here twice: first on line 3"}},
		"a name with a slash":           {"version: 1\nenvironments:\n  a/b: {instances: {}}\n", []string{"3:3: environments.a/b: environment: a name is 1 to 63 letters, digits, dots, dashes and underscores"}},
		"an empty name":                 {"version: 1\nenvironments:\n  \"\": {instances: {}}\n", []string{"3:3: environments.: environment: a name is 1 to 63 letters, digits, dots, dashes and underscores"}},
		"an environment without value":  {"version: 1\nenvironments:\n  dev:\n", []string{"3:3: environments.dev: instances is missing"}},
		"a listen without a host":       {"version: 1\nenvironments: {dev: {listen: \":6432\", instances: {}}}\n", []string{"2:30: environments.dev.listen: a proxy serves this machine only: the host must be 127.0.0.1, ::1 or localhost; write 127.0.0.1:6432"}},
		"a listen without a port":       {"version: 1\nenvironments: {dev: {listen: localhost, instances: {}}}\n", []string{"2:30: environments.dev.listen: this is no address to listen on; write host:port, as in 127.0.0.1:6432"}},
		"a listen with a high port":     {"version: 1\nenvironments: {dev: {listen: \"localhost:65536\", instances: {}}}\n", []string{"2:30: environments.dev.listen: the port must be a number from 0 (any free one) to 65535"}},
		"a listen on no host":           {"version: 1\nenvironments: {dev: {listen: \"a b:1\", instances: {}}}\n", []string{"2:30: environments.dev.listen: a proxy serves this machine only: the host must be 127.0.0.1, ::1 or localhost; write 127.0.0.1:1"}},
		"an endpoint without a scheme":  {"version: 1\nendpoints: {aws_secrets_manager: \"127.0.0.1:4566\"}\nenvironments: {}\n", []string{"2:34: endpoints.aws_secrets_manager: this is not the base URL of an API; write it as in http://127.0.0.1:4566"}},
		"an endpoint in the clear":      {"version: 1\nendpoints: {gcp_secret_manager: \"http://sm.example.com\"}\nenvironments: {}\n", []string{"2:33: endpoints.gcp_secret_manager: http would send cloud credentials in the clear; it is for emulators on this machine; write https://"}},
		"an instance of no provider":    {head + "        logins: {}\n", []string{"5:7: environments.dev.instances.main: nothing says which server it is; write rds:, cloudsql: or postgres: below it"}},
		"an instance of two providers":  {rds + "        postgres: {url: x}\n", []string{"5:7: environments.dev.instances.main: it is one server, and cannot be rds and postgres; keep one; a second server is a second instance"}},
		"an rds without its keys":       {head + "        rds:\n", []string{"6:9: environments.dev.instances.main.rds: region is missing", "6:9: environments.dev.instances.main.rds: identifier is missing"}},
		"an rds in no region":           {head + "        rds: {region: europe, identifier: a}\n", []string{"6:23: environments.dev.instances.main.rds.region: this is no region of AWS; write it as in eu-west-1"}},
		"an rds in capitals":            {head + "        rds: {region: eu-west-1, identifier: Shop}\n", []string{"6:46: environments.dev.instances.main.rds.identifier: this is no identifier of RDS; write it in lower case, as RDS keeps it"}},
		"an rds by its host":            {head + "        rds: {region: eu-west-1, identifier: a.b.rds.amazonaws.com}\n", []string{"6:46: environments.dev.instances.main.rds.identifier: this is no identifier of RDS; write the DB instance identifier alone"}},
		"an rds with two dashes":        {head + "        rds: {region: eu-west-1, identifier: a--b}\n", []string{"6:46: environments.dev.instances.main.rds.identifier: an identifier of RDS is 1 to 63 letters, digits and single dashes, and begins with a letter"}},
		"a project by its title":        {head + "        cloudsql: {project: My Shop, region: europe-west1, instance: a}\n", []string{"6:29: environments.dev.instances.main.cloudsql.project: this is no project ID of Google Cloud; use the project's ID, as in my-project-123"}},
		"a zone as a region":            {head + "        cloudsql: {project: shop-dev, region: europe-west1-b, instance: a}\n", []string{"6:47: environments.dev.instances.main.cloudsql.region: this is no region of Google Cloud; write it as in europe-west1, without the zone"}},
		"a connection name":             {head + "        cloudsql: {project: shop-dev, region: europe-west1, instance: \"p:r:i\"}\n", []string{"6:71: environments.dev.instances.main.cloudsql.instance: this is a connection name, not the name of an instance; write its last part alone"}},
		"a cloudsql in capitals":        {head + "        cloudsql: {project: shop-dev, region: europe-west1, instance: Main}\n", []string{"6:71: environments.dev.instances.main.cloudsql.instance: an instance of Cloud SQL is named by up to 98 lower-case letters, digits and dashes, and begins with a letter"}},
		"an unknown address":            {head + "        cloudsql: {project: shop-dev, region: europe-west1, instance: a, address: privat}\n", []string{"6:83: environments.dev.instances.main.cloudsql.address: unknown address \"privat\"; did you mean \"private\"?"}},
		"a CA file that is not there":   {head + "        rds: {region: eu-west-1, identifier: a, ca_file: no.pem}\n", []string{"6:58: environments.dev.instances.main.rds.ca_file: cannot read no.pem: no such file or directory"}},
		"a CA file without one":         {head + "        rds: {region: eu-west-1, identifier: a, ca_file: empty.pem}\n", []string{"6:58: environments.dev.instances.main.rds.ca_file: empty.pem holds no certificate in PEM format"}},
		"a CA file that is a folder":    {head + "        rds: {region: eu-west-1, identifier: a, ca_file: /}\n", []string{"6:58: environments.dev.instances.main.rds.ca_file: / is not a file"}},
		"a login of another access":     {rds + "        logins: {owner: {user: a}}\n", []string{"7:18: environments.dev.instances.main.logins.owner: unknown access \"owner\"; want one of read, write, admin"}},
		"a login with iam and secret":   {sql + "        logins: {read: {user: a, iam: true, secret: \"env:PW\"}}\n", []string{"7:45: environments.dev.instances.main.logins.read.secret: a login with iam needs no password; keep one of them"}},
		"an iam login on RDS, no user":  {rds + "        logins: {read: {iam: true}}\n", []string{"7:18: environments.dev.instances.main.logins.read: with iam on RDS user is missing; write user: with a role that is a member of rds_iam"}},
		"an iam login elsewhere":        {pg + "        logins: {read: {user: a, iam: true}}\n", []string{"7:34: environments.dev.instances.main.logins.read.iam: only RDS and Cloud SQL log in with a cloud identity; use secret:, or leave both out for PGUSER and PGPASSWORD"}},
		"a full service account":        {sql + "        logins: {read: {user: a@b.iam.gserviceaccount.com, iam: true}}\n", []string{"7:31: environments.dev.instances.main.logins.read.user: Cloud SQL shortens the names of service accounts; leave .gserviceaccount.com out"}},
		"a secret of nobody":            {rds + "        logins: {read: {secret: \"env:PW\"}}\n", []string{"7:18: environments.dev.instances.main.logins.read: whose password the secret is, is not said; write user: with the login role"}},
		"a secret that is no reference": {rds + "        logins: {read: {user: a, secret: hunter2}}\n", []string{"7:42: environments.dev.instances.main.logins.read.secret: this does not name the place of a secret; write aws-sm:NAME, gcp-sm:projects/PROJECT/secrets/NAME, file:PATH or env:NAME; if this was the secret itself, change it"}},
		"a role that is too long":       {rds + "        logins: {read: {user: a, role: " + strings.Repeat("r", 64) + "}}\n", []string{"7:40: environments.dev.instances.main.logins.read.role: role: the name has 64 bytes; PostgreSQL keeps 63"}},
		"an empty user":                 {rds + "        logins: {read: {user: \"\"}}\n", []string{"7:31: environments.dev.instances.main.logins.read.user: the value is empty; write one, or delete the key"}},
		"a database of no instance":     {pg + "    databases: {shop: {}}\n", []string{"7:17: environments.dev.databases.shop: instance is missing"}},
		"a database elsewhere":          {pg + "    databases: {shop: {instance: other}}\n", []string{"7:34: environments.dev.databases.shop.instance: there is no instance \"other\" in this environment; there are: main"}},
		"a database name that is long":  {pg + "    databases: {" + strings.Repeat("ä", 32) + ": {instance: main}}\n", []string{"7:17: environments.dev.databases." + strings.Repeat("ä", 32) + ": database: the name has 64 bytes; PostgreSQL keeps 63"}},
		"a database name with a bell":   {pg + "    databases: {\"a\\ab\": {instance: main}}\n", []string{"7:17: environments.dev.databases.a\\ab: database: the name holds a control character"}},
		"two sets in one table":         {pg + "    databases: {shop: {instance: main, migrations: a, migration_sets: {b: {folder: b}}}}\n", []string{"7:72: environments.dev.databases.shop.migration_sets.b: its versions would be in the same table as those of \"migrations\"; give it a schema or a table of its own"}},
		"a set without a folder":        {pg + "    databases: {shop: {instance: main, migration_sets: {b: {schema: x}}}}\n", []string{"7:57: environments.dev.databases.shop.migration_sets.b: folder is missing"}},
		"a URL of migrations":           {pg + "    databases: {shop: {instance: main, migrations: \"s3://a/b\"}}\n", []string{"7:52: environments.dev.databases.shop.migrations: migrations is a folder, not a URL"}},
		"one database told twice":       {pg + "    databases:\n      a: {instance: main, name: x, owner: p}\n      b: {instance: main, name: x, owner: q}\n", []string{"9:7: environments.dev.databases.b: this is the same database as \"a\", with other migrations or another owner; make them agree, or correct instance or name"}},
		"a container of no database":    {pg + "    containers: {api: {databases: []}}\n", []string{"7:35: environments.dev.containers.api.databases: databases is empty"}},
		"a container elsewhere":         {pg + "    containers: {api: {databases: [shop]}}\n", []string{"7:36: environments.dev.containers.api.databases: there is no database \"shop\" in this environment; there are none in this environment"}},
		"a database named twice":        {pg + "    databases: {shop: {instance: main}}\n    containers: {api: {databases: [shop, shop]}}\n", []string{"8:42: environments.dev.containers.api.databases: \"shop\" is here twice"}},
		"a delivery into a variable":    {pg + "    databases: {shop: {instance: main}}\n    containers: {api: {databases: [shop], delivery: [\"env:DB\"]}}\n", []string{"8:54: environments.dev.containers.api.delivery: a credential cannot be put into an environment variable; deliver to aws-sm:, gcp-sm: or file:"}},
		"a delivery to a version":       {pg + "    databases: {shop: {instance: main}}\n    containers: {api: {databases: [shop], delivery: [\"gcp-sm:projects/p/secrets/s/versions/1\"]}}\n", []string{"8:54: environments.dev.containers.api.delivery: a delivery makes new versions, and cannot go to a given one; name the secret alone: projects/PROJECT/secrets/NAME"}},
		"a number in a list of names":   {pg + "    databases: {shop: {instance: main}}\n    containers: {api: {databases: [1]}}\n", []string{"8:36: environments.dev.containers.api.databases: want text, got a number; put it in quotes"}},
		"a number where text belongs":   {head + "        cloudsql: {project: 12345, region: europe-west1, instance: a}\n", []string{"6:29: environments.dev.instances.main.cloudsql.project: want text, got a number; put it in quotes"}},
		"an instance behind its guard": {
			"version: 1\nenvironments:\n  dev: {instances: {x: {rds: {region: eu-west-1, identifier: shop}}}}\n  prod: {protected: true, instances: {main: {rds: {region: eu-west-1, identifier: shop}}}}\n",
			[]string{"3:21: environments.dev.instances.x: this is the same instance as \"prod/main\", which is protected; correct it, or set protected: true here too"},
		},

		"a url that is none":             {url("db.example.com:5432"), []string{"7:16: environments.dev.instances.main.postgres.url: this is not the URL of a PostgreSQL server; write it as in postgres://db.example.com:5432/?sslmode=verify-full"}},
		"a url of several servers":       {url("postgres://a:1,b:2/?sslmode=verify-full"), []string{"7:16: environments.dev.instances.main.postgres.url: the URL names several hosts; name one server; each of several is an instance of its own"}},
		"a url of several named servers": {url("postgres://a,b/?sslmode=verify-full"), []string{"7:16: environments.dev.instances.main.postgres.url: the URL names several hosts; name one server; each of several is an instance of its own"}},
		"a url without a host":           {url("postgres:///?sslmode=disable"), []string{"7:16: environments.dev.instances.main.postgres.url: the host is missing; write it as in postgres://db.example.com:5432/?sslmode=verify-full", "7:16: environments.dev.instances.main.postgres.url: sslmode=disable would send passwords and data in the clear to another machine; use sslmode=verify-full, with ca_file unless the certificate is from a public CA"}},
		"a url without sslmode":          {url("postgres://db.example.com"), []string{"7:16: environments.dev.instances.main.postgres.url: sslmode is missing, and dbops does not guess how safe the connection must be; use sslmode=verify-full, with ca_file unless the certificate is from a public CA"}},
		"a local url without sslmode":    {url("postgres://[::1]:5433/"), []string{"7:16: environments.dev.instances.main.postgres.url: sslmode is missing, and dbops does not guess how safe the connection must be; use sslmode=disable for a server on this machine, or verify-full with ca_file"}},
		"sslmode=prefer even here":       {url("postgres://localhost/?sslmode=prefer"), []string{"7:16: environments.dev.instances.main.postgres.url: sslmode=prefer would fall back to an unencrypted connection without a word; use sslmode=verify-full, with ca_file unless the certificate is from a public CA"}},
		"sslmode=allow":                  {url("postgres://db/?sslmode=allow"), []string{"7:16: environments.dev.instances.main.postgres.url: sslmode=allow would fall back to an unencrypted connection without a word; use sslmode=verify-full, with ca_file unless the certificate is from a public CA"}},
		"sslmode=disable to elsewhere":   {url("postgres://db/?sslmode=disable"), []string{"7:16: environments.dev.instances.main.postgres.url: sslmode=disable would send passwords and data in the clear to another machine; use sslmode=verify-full, with ca_file unless the certificate is from a public CA"}},
		"sslmode=require to elsewhere":   {url("postgres://10.0.0.1/?sslmode=require"), []string{"7:16: environments.dev.instances.main.postgres.url: sslmode=require encrypts, and does not check who answers; use sslmode=verify-full, with ca_file unless the certificate is from a public CA"}},
		"an unknown sslmode":             {url("postgres://db/?sslmode=verify_full"), []string{"7:16: environments.dev.instances.main.postgres.url: unknown sslmode; did you mean \"verify-full\"?"}},
		"an unknown parameter":           {url("postgres://db/?sslmode=verify-full&ssl_mode=a"), []string{"7:16: environments.dev.instances.main.postgres.url: unknown parameter \"ssl_mode\"; did you mean \"sslmode\"?"}},
		"sslrootcert":                    {url("postgres://db/?sslmode=verify-full&sslrootcert=a"), []string{"7:16: environments.dev.instances.main.postgres.url: sslrootcert has no effect here; write ca_file: beside url"}},
		"a port that is none":            {url("postgres://db:0/?sslmode=verify-full"), []string{"7:16: environments.dev.instances.main.postgres.url: the port must be a number from 1 to 65535"}},
		"sslmode given twice":            {url("postgres://db/?sslmode=verify-full&sslmode=disable"), []string{"7:16: environments.dev.instances.main.postgres.url: sslmode is given twice"}},
		"a host given twice":             {url("postgres://db/?sslmode=verify-full&host=/tmp"), []string{"7:16: environments.dev.instances.main.postgres.url: the URL names its host twice; keep one of them"}},
		"a CA that nothing checks":       {url("postgres://localhost/?sslmode=require\n          ca_file: ca.pem"), []string{"7:16: environments.dev.instances.main.postgres.url: with sslmode=require ca_file has no effect; use sslmode=verify-full"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, want := problems(t, c.text), c.want
			if strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
			}
		})
	}
}

func TestLoadAccepts(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"no environments":                 "version: 1\nenvironments: {}\n",
		"a byte order mark":               "\xef\xbb\xbfversion: 1\nenvironments: {}\n",
		"carriage returns":                "version: 1\r\nenvironments:\r\n  dev:\r\n    instances: {}\r\n",
		"a document with its header":      "---\nversion: 1\nenvironments: {}\n",
		"sections with nothing in them":   head + "        rds: {region: us-gov-west-1, identifier: a}\n    databases:\n    containers:\n",
		"a name of digits":                "version: 1\nenvironments:\n  2024: {instances: {}}\n",
		"a project of a domain":           head + "        cloudsql: {project: \"example.com:shop-dev\", region: europe-west1, instance: a}\n",
		"a URL with a user":               head + "        postgres: {url: \"postgres://app@db.example.com/x?sslmode=verify-ca\"}\n        logins: {read: {secret: \"file:pw\"}}\n",
		"a Unix socket":                   head + "        postgres: {url: \"postgres:///?host=/run/postgresql&port=5433&sslmode=disable\"}\n",
		"sslmode=require on this machine": head + "        postgres: {url: \"postgres://127.0.0.9:5433/?sslmode=require\"}\n",
		"an emulator in a container":      "version: 1\nendpoints: {aws_secrets_manager: \"http://localstack:4566\"}\nenvironments: {}\n",
		"a database named like a secret":  head + "        postgres: {url: \"postgres://db/?sslmode=verify-full\", ca_file: ca.pem}\n    databases: {password: {instance: main}, \"my token\": {instance: main}}\n",
		"one database by two names":       head + "        postgres: {url: \"postgres://db/?sslmode=verify-full\"}\n    databases: {a: {instance: main}, b: {instance: main, name: a}}\n",
		"one instance, twice guarded":     "version: 1\nenvironments:\n  a: {protected: true, instances: {x: {rds: {region: eu-west-1, identifier: shop}}}}\n  b: {protected: true, instances: {y: {rds: {region: eu-west-1, identifier: shop}}}}\n",
		"two accounts, one identifier":    "version: 1\nenvironments:\n  a: {instances: {x: {rds: {region: eu-west-1, identifier: shop, profile: dev}}}}\n  b: {protected: true, instances: {y: {rds: {region: eu-west-1, identifier: shop}}}}\n",
		"anchors, aliases and merges": "version: 1\nenvironments:\n  dev: &base\n    instances: {main: {rds: &rds {region: eu-west-1, identifier: a}}}\n" +
			"  test:\n    <<: *base\n  qa:\n    instances: {main: {rds: {<<: *rds, identifier: b}}}\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := problems(t, text); got != nil {
				t.Errorf("refused:\n\t%s", strings.Join(got, "\n\t"))
			}
		})
	}
}

func TestAMergeGivesWayToWhatIsWritten(t *testing.T) {
	t.Parallel()
	cfg, err := Load(write(t, "version: 1\nenvironments:\n  a: {instances: {x: {rds: &r {region: eu-west-1, identifier: one}}}}\n"+
		"  b: {instances: {x: {rds: {identifier: two, <<: *r}}}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got := cfg.Environments["b"].Instances["x"].Coordinates(); got != "eu-west-1/two" {
		t.Error(got)
	}
	if got := cfg.Environments["a"].Instances["x"].Coordinates(); got != "eu-west-1/one" {
		t.Error(got)
	}
}

func TestAMistakeInAnAnchorIsToldOnce(t *testing.T) {
	t.Parallel()
	got := problems(t, "version: 1\nenvironments:\n  a: {instances: &i {x: {rds: {region: eu-west-1, identifierr: one}}}}\n  b: {instances: *i}\n")
	if len(got) != 1 || !strings.Contains(got[0], `did you mean "identifier"?`) {
		t.Errorf("got %q", got)
	}
}

func TestLoadFillsInDefaultsAndAbsolutePaths(t *testing.T) {
	t.Parallel()
	path := write(t, head+"        cloudsql: {project: shop-dev, region: europe-west1, instance: main}\n"+
		"      other:\n        rds: {region: eu-west-1, identifier: a, ca_file: ./ca.pem}\n"+
		"    databases: {shop: {instance: main, migrations: ../migrations}, x: {instance: main, name: y, migrations: /m}}\n"+
		"    containers: {api: {databases: [shop], delivery: [\"file:secrets/api.json#url\"]}}\n")
	cfg, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	dir, env := filepath.Dir(path), cfg.Environments["dev"]
	ref, err := cfg.Secret(env.Containers["api"].Delivery[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, got, want string }{
		{"path", cfg.Path, path},
		{"name", env.Name, "dev"},
		{"address", env.Instances["main"].CloudSQL.Address, "public"},
		{"ca_file", env.Instances["other"].RDS.CAFile, filepath.Join(dir, "ca.pem")},
		{"migrations", env.Databases["shop"].Migrations, filepath.Join(filepath.Dir(dir), "migrations")},
		{"absolute migrations", env.Databases["x"].Migrations, "/m"},
		{"database", env.Databases["shop"].Name, "shop"},
		{"named database", env.Databases["x"].Name, "y"},
		{"access", string(env.Containers["api"].Access), "read"},
		{"delivery", ref.String(), "file:" + filepath.Join(dir, "secrets/api.json") + "#url"},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, c.got, c.want)
		}
	}
}

func TestLoadOfAFileThatCannotBeRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	big := filepath.Join(dir, "big.yaml")
	if err := os.WriteFile(big, []byte(strings.Repeat("#", maxBytes+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ path, want, hint string }{
		{filepath.Join(dir, "no.yaml"), "read " + filepath.Join(dir, "no.yaml") + ": no such file or directory", "dbops config init writes a commented one"},
		{dir, "read " + dir + ": it is a folder; name the file in it", ""},
		{big, "read " + big + ": it is larger than 1024 KiB, which no dbops.yaml is", ""},
	} {
		_, err := Load(c.path)
		if fault.KindOf(err) != fault.Config || err.Error() != c.want || fault.HintOf(err) != c.hint {
			t.Errorf("%s: got %v (%s)", c.path, err, fault.HintOf(err))
		}
	}
}
