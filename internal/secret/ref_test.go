package secret

import (
	"strings"
	"testing"
)

func TestParseRef(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		text string
		want Ref
		err  string
	}{
		{"an AWS secret", "aws-sm:orders", Ref{SchemeAWS, "orders", ""}, ""},
		{"an AWS secret with region, slashes and field", "aws-sm:eu-west-1/prod/orders#password", Ref{SchemeAWS, "eu-west-1/prod/orders", "password"}, ""},
		{"an ARN, colons and all", "aws-sm:arn:aws:secretsmanager:eu-west-1:1:secret:a-b#k", Ref{SchemeAWS, "arn:aws:secretsmanager:eu-west-1:1:secret:a-b", "k"}, ""},
		{"a secret that RDS manages", "aws-sm:rds!db-1234#password", Ref{SchemeAWS, "rds!db-1234", "password"}, ""},
		{"a GCP secret", "gcp-sm:projects/p/secrets/s", Ref{SchemeGCP, "projects/p/secrets/s", ""}, ""},
		{"a GCP secret's version and field", "gcp-sm:projects/p/secrets/s/versions/3#k", Ref{SchemeGCP, "projects/p/secrets/s/versions/3", "k"}, ""},
		{"a file", "file:../secrets/orders", Ref{SchemeFile, "../secrets/orders", ""}, ""},
		{"a file's field", "file:/etc/x.json#password", Ref{SchemeFile, "/etc/x.json", "password"}, ""},
		{"a variable, whose name may hold anything", "env:A#B", Ref{SchemeEnv, "A#B", ""}, ""},

		{"no colon", "orders", Ref{}, "named by its place"},
		{"empty", "", Ref{}, "named by its place"},
		{"an unknown scheme", "vault:orders", Ref{}, "named by its place"},
		{"a URL in the place of a reference", "https://x", Ref{}, "named by its place"},
		{"no name", "aws-sm:", Ref{}, "name after the colon is missing"},
		{"only a field", "file:#password", Ref{}, "name after the colon is missing"},
		{"an empty field", "aws-sm:orders#", Ref{}, "field after # is missing"},
		{"half a GCP name", "gcp-sm:projects/p", Ref{}, "want projects/PROJECT"},
		{"a GCP name of another kind", "gcp-sm:folders/p/secrets/s", Ref{}, "want projects/PROJECT"},
		{"a GCP name with an empty project", "gcp-sm:projects//secrets/s", Ref{}, "want projects/PROJECT"},
		{"a GCP name that climbs", "gcp-sm:projects/../secrets/s", Ref{}, "want projects/PROJECT"},
		{"a GCP name with half a version", "gcp-sm:projects/p/secrets/s/versions", Ref{}, "want projects/PROJECT"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := ParseRef(c.text)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error %v, want one with %q", err, c.err)
				}
				return
			}
			if err != nil || got != c.want {
				t.Fatalf("got %+v, %v", got, err)
			}
			if got.String() != c.text {
				t.Errorf("prints as %q", got)
			}
		})
	}
}

func TestASecretInThePlaceOfAReferenceIsNotRepeated(t *testing.T) {
	t.Parallel()
	for _, text := range []string{hidden, hidden + ":x", "x:" + hidden, "hunter2:" + hidden} {
		if _, err := ParseRef(text); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("error %v", err)
		}
	}
}

func TestWithinMakesFilesAbsolute(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, want string }{
		{"file:secrets/a#k", "file:/etc/dbops/secrets/a#k"},
		{"file:../a", "file:/etc/a"},
		{"file:/abs", "file:/abs"},
		{"aws-sm:a", "aws-sm:a"},
		{"env:A", "env:A"},
	} {
		r, err := ParseRef(c.in)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Within("/etc/dbops").String(); got != c.want {
			t.Errorf("%s within /etc/dbops is %s, want %s", c.in, got, c.want)
		}
	}
}

func FuzzParseRef(f *testing.F) {
	for _, s := range []string{"aws-sm:a#b", "gcp-sm:projects/p/secrets/s/versions/1#k", "file:x", "env:A", ":", "#"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseRef(s)
		if err != nil {
			return
		}
		again, err := ParseRef(r.String())
		if err != nil || again != r {
			t.Errorf("%q parses to %+v, which prints as %q and parses to %+v, %v", s, r, r, again, err)
		}
	})
}
