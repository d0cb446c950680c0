package config

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// samples are made up, one of each shape, in pieces so that no scanner takes this file for a leak.
func samples() map[string]string {
	return map[string]string{
		"a private key":         "-----BEGIN RSA PRIVATE" + " KEY-----",
		"a password in a URL":   "postgres://app:hunter2" + "@db.example.com/shop",
		"an AWS access key":     "AKIA" + "IOSFODNN7EXAMPLE",
		"a Google access token": "ya29" + ".a0AfH6SMBx-y_z",
		"a Google API key":      "AIza" + "SyA1234567890abcdefghijklmnopqrstuv",
		"a GitHub token":        "ghp_" + "abcdefghijklmnopqrstuvwxyz0123456789",
		"a GitLab token":        "glpat-" + "abcdefghijklmnopqrst",
		"a Slack token":         "xoxb-" + "1234567890-abcdef",
		"a Neon password":       "npg_" + "a1B2c3D4e5F6",
		"a signed token":        "eyJ" + "hbGciOiJIUzI1NiJ9.eyJ" + "zdWIiOiIxMjM0NTY3ODkwIn0.x",
		"a password verifier":   "SCRAM-SHA-256$" + "4096:c2FsdA==$c3RvcmVk:c2VydmVy",
	}
}

func TestEveryKindOfSecretIsRefusedAndNotRepeated(t *testing.T) {
	t.Parallel()
	for what, s := range samples() {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			for place, text := range map[string]string{
				"a value":   head + "        postgres: {url: \"" + s + "\"}\n",
				"a login":   head + "        rds: {region: eu-west-1, identifier: a}\n        logins: {read: {user: a, secret: '" + s + "'}}\n",
				"a key":     "version: 1\nenvironments: {}\n\"" + s + "\": 1\n",
				"a name":    "version: 1\nenvironments: {\"" + s + "\": {instances: {}}}\n",
				"a list":    "version: 1\nenvironments: {a: {instances: {}, containers: {c: {databases: [\"" + s + "\"]}}}}\n",
				"a block":   "version: 1\nenvironments: {}\nnote: |\n  text\n  " + s + "\n",
				"a comment": "version: 1 # " + s + "\nenvironments: {}\n",
			} {
				got := strings.Join(problems(t, text), "\n")
				if !strings.Contains(got, what) {
					t.Errorf("%s: not refused: %q", place, got)
				}
				if strings.Contains(got, s) || strings.Contains(got, s[:12]) || strings.Contains(got, "hunter2") {
					t.Errorf("%s: repeated: %q", place, got)
				}
			}
		})
	}
}

func TestAKeyThatAnnouncesASecretIsRefused(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"password", "db_password", "token", "secret_key", "apiKey", "aws_secret_access_key", "passphrase"} {
		got := strings.Join(problems(t, head+"        rds: {region: eu-west-1, identifier: a, "+key+": hunter2}\n"), "\n")
		if !strings.Contains(got, "rds."+key+": dbops.yaml must hold no secrets") || strings.Contains(got, "hunter2") {
			t.Errorf("%s: got %q", key, got)
		}
	}
}

// A secret of any text, in any place where one may be written by mistake, is never part of a message.
func TestNoMessageRepeatsAValue(t *testing.T) {
	t.Parallel()
	places := []string{
		"version: X\nenvironments: {}\n",
		"version: 1\nenvironments: {dev: {protected: X, listen: X, instances: X}}\n",
		"version: 1\nendpoints: {aws_secrets_manager: X}\nenvironments: {}\n",
		head + "        rds: {region: X, identifier: X, profile: X}\n        logins: {read: {user: a, secret: X}, write: X}\n",
		head + "        cloudsql: {project: X, region: X, instance: X, endpoint: X}\n        logins: {read: {iam: X}}\n",
		head + "        postgres: {url: X}\n",
		head + "        postgres: {url: 'postgres://a:X@db/?sslmode=verify-full'}\n",
		head + "        postgres: {url: 'postgres://db:X/?sslmode=X'}\n",
		head + "        postgres: {url: 'postgres://db/?sslmode=verify-full&password=X'}\n",
		head + "        rds: {region: eu-west-1, identifier: a, password: X}\n",
		head + "        rds: {region: eu-west-1, identifier: a}\n    containers: {c: {databases: X, delivery: [X]}}\n",
		"version: 1\nenvironments: [\"X\"\n",
		"version: 1\nenvironments: X: X\n",
		"version: 1\n  password: X\nX\n",
	}
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringMatching(`[a-z]{3}[!$%^+=~0-9A-Z]{8}`).Draw(t, "secret")
		text := strings.ReplaceAll(rapid.SampledFrom(places).Draw(t, "place"), "X", s)
		_, err := parse("dbops.yaml", dir+"/dbops.yaml", []byte(text))
		if err != nil && strings.Contains(err.Error(), s) {
			t.Fatalf("repeated in %q", err)
		}
	})
}
