package certs

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dbops/internal/certs/bundle"
	"dbops/internal/cloud"
	"dbops/internal/op"
)

func texts(all []op.Finding) string {
	var b strings.Builder
	for _, f := range all {
		b.WriteString(string(f.Severity) + " " + f.Check + ": " + f.Text + " -> " + f.Remedy + "\n")
	}
	return b.String()
}

// Each certificate that ends is told once: as the provider tells it, as the server shows it, or as it is trusted.
func TestEveryCAThatEndsIsToldOnce(t *testing.T) {
	t.Parallel()
	now, soon := time.Now(), 240*time.Hour
	ca, unused := authority(t, "the CA", 48*time.Hour), authority(t, "an unused CA", 72*time.Hour).Certificate()
	l := leaf(t, ca, 10000*time.Hour, "shop:main", "db.example.com").Cert
	told := &cloud.Certificates{Instance: &cloud.Instance{}, CommonName: true, CAs: []cloud.ServerCA{
		{ID: SHA1(ca.Certificate()), Fingerprint: SHA1(ca.Certificate()), Role: cloud.CAActive, Until: ca.Certificate().NotAfter},
	}}
	for name, c := range map[string]struct {
		provider cloud.Kind
		told     *cloud.Certificates
		chain    []*x509.Certificate
		want     []string
	}{
		"shown and told":    {cloud.CloudSQL, told, []*x509.Certificate{l, ca.Certificate()}, []string{"warn expiry: the CA certificate the CA that the server shows"}},
		"told only":         {cloud.CloudSQL, told, []*x509.Certificate{l}, []string{"warn expiry: the CA " + SHA1(ca.Certificate())}},
		"in no one's words": {cloud.Postgres, nil, []*x509.Certificate{l}, []string{"warn expiry: the trusted CA the CA, which signed the server's certificate,"}},
		"of a plain server": {cloud.Postgres, nil, []*x509.Certificate{l, ca.Certificate()}, []string{"warn expiry: the CA certificate the CA that the server shows"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &Survey{Seen: &Seen{Chain: c.chain, Version: 0x304}, Subject: &Subject{
				Environment: "prod", Instance: "main", Provider: c.provider, Told: c.told, Roots: []*x509.Certificate{ca.Certificate(), unused, unused}, Names: []string{"db.example.com"},
			}}
			got := texts(s.Check(now, soon))
			want := append(c.want, "info expiry: the trusted CA an unused CA, which this server does not need,")
			if c.told == nil {
				want = append(want, "info provider: no provider vouches for it")
			}
			if strings.Count(got, "\n") != len(want) {
				t.Errorf("got\n%s", got)
			}
			for _, w := range want {
				if !strings.Contains(got, w) {
					t.Errorf("%q is not in\n%s", w, got)
				}
			}
			if strings.Contains(got, "rotate-ca") == (c.told == nil) {
				t.Errorf("the remedy is another provider's:\n%s", got)
			}
			if all := s.Check(now, 0); Bad(all) {
				t.Errorf("now:\n%s", texts(all))
			}
		})
	}
}

func TestWhatIsToComeIsToldWithTheRunThatWaits(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 29, 5, 0, 0, 0, time.UTC) // a Sunday
	s := &Survey{Gate: "r1", Subject: &Subject{Environment: "prod", Instance: "main", Provider: cloud.CloudSQL, Told: &cloud.Certificates{
		CommonName: true, Instance: &cloud.Instance{Maintenance: cloud.Maintenance{Window: "sun:04:00-sun:04:30"}},
		CAs: []cloud.ServerCA{{ID: "now", Role: cloud.CAActive}, {ID: "next", Role: cloud.CANext}},
	}}}
	for want, set := range map[string]func(){
		"dbops runs decide r1 continue":      func() {},
		"rotate-ca -e prod main goes on":     func() { s.Gate = "" },
		"--to now --in-window takes it back": func() { s.Provider = cloud.RDS },
	} {
		s.Gate, s.Provider = "r1", cloud.CloudSQL
		set()
		if got := texts(s.Check(at, 0)); !strings.Contains(got, want) || s.Provider == cloud.RDS && !strings.Contains(got, "next on 2026-12-06") {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	for window, want := range map[string]string{"sun:05:30-sun:06:00": "2026-11-29", "Mon:00:00-Mon:01:00": "2026-11-30", "sat:23:59-sun:00:30": "2026-12-05", "": "", "x:y": ""} {
		if got := windowText(window, at); want == "" && strings.Contains(got, "next") || !strings.HasSuffix(got, want) {
			t.Errorf("%q: %q", window, got)
		}
	}
}

// Files that a rotation has made stale are noticed, whoever wrote them, where dbops wrote them.
func TestStaleFoldersAreNoticed(t *testing.T) {
	t.Parallel()
	old, next := authority(t, "old", time.Hour), authority(t, "next", time.Hour)
	base := t.TempDir()
	write := func(name, instance string, roots ...*x509.Certificate) {
		t.Helper()
		_, err := kitIn(t, filepath.Join(base, name), instance, roots...).Write()
		must(t, err)
	}
	write("old", "main", old.Certificate())
	write("both", "main", old.Certificate(), next.Certificate())
	write("other", "billing", old.Certificate())
	write("broken", "main", old.Certificate())
	must(t, os.WriteFile(filepath.Join(base, "broken", FileRoots), []byte("x"), 0o600))
	must(t, os.Mkdir(filepath.Join(base, "foreign"), 0o700))
	must(t, os.WriteFile(filepath.Join(base, "foreign", FileService), []byte("[prod-main]\n"), 0o600))

	ca := func(c *x509.Certificate, r cloud.CARole) cloud.ServerCA {
		return cloud.ServerCA{ID: c.Subject.CommonName, Fingerprint: SHA1(c), Role: r}
	}
	told := &cloud.Certificates{Instance: &cloud.Instance{}, CAs: []cloud.ServerCA{ca(old.Certificate(), cloud.CAActive), ca(next.Certificate(), cloud.CANext)}}
	rotated := &cloud.Certificates{Instance: &cloud.Instance{}, CAs: []cloud.ServerCA{ca(next.Certificate(), cloud.CAActive), ca(old.Certificate(), cloud.CAPrevious)}}
	s := &Survey{Subject: &Subject{Environment: "prod", Instance: "main", Provider: cloud.CloudSQL, Roots: []*x509.Certificate{old.Certificate(), next.Certificate()}}}
	seen := func(l *x509.Certificate) *Seen { return &Seen{Chain: []*x509.Certificate{l}} }
	before, after := seen(leaf(t, old, time.Hour, "x").Cert), seen(leaf(t, next, time.Hour, "x").Cert)
	for name, c := range map[string]struct {
		told *cloud.Certificates
		seen *Seen
		want string
	}{
		"before the rotation":           {told, before, "old: lacks the CA to come, next; broken: cannot be read; "},
		"after it":                      {rotated, after, "old: does not verify the server; broken: cannot be read; "},
		"after it, seen by nobody":      {rotated, nil, "old: lacks the CA of the server, next; broken: cannot be read; "},
		"of a plain server":             {nil, after, "old: does not verify the server; broken: cannot be read; "},
		"of a plain server, not looked": {nil, nil, "broken: cannot be read; "},
	} {
		s.Told, s.Seen = c.told, c.seen
		got := ""
		for _, dir := range []string{"old", "both", "other", "broken", "foreign"} {
			dir = filepath.Join(base, dir)
			for _, f := range Folders("", []string{dir, dir}, "prod", "main") {
				for _, found := range s.CheckFolder(f, time.Now()) {
					text, _, _ := strings.Cut(strings.TrimPrefix(found.Text, filepath.Join(dir, FileRoots)+" "), ":")
					got += filepath.Base(dir) + ": " + text + "; "
					if found.Severity != op.Warn || !strings.Contains(found.Remedy, "certs fetch -e prod main --dir "+dir) {
						t.Errorf("%s: %+v", name, found)
					}
				}
			}
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
	if n := len(Folders(base, nil, "prod", "main")); n != 3 {
		t.Errorf("%d folders are found", n)
	}
}

func TestTheFilesOfARevokedCertificateAreFound(t *testing.T) {
	t.Parallel()
	ca := authority(t, "the CA", 1000*time.Hour)
	l := leaf(t, ca, time.Hour, "laptop")
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, FileService), []byte((&Kit{Dir: dir, Service: "prod-main"}).serviceEntry()), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, FileRoots), bundle.Encode([]*x509.Certificate{ca.Certificate()}), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, FileCert), []byte(PEM(l.Cert)), 0o600))
	s := &Survey{Subject: &Subject{
		Environment: "prod", Instance: "main", Provider: cloud.CloudSQL, Roots: []*x509.Certificate{ca.Certificate()},
		Told: &cloud.Certificates{Instance: &cloud.Instance{}, Clients: []cloud.ClientCert{{ID: SHA1(l.Cert), Name: "laptop"}}},
	}}
	look := func() []op.Finding { return s.CheckFolder(Folders("", []string{dir}, "prod", "main")[0], time.Now()) }
	if all := look(); len(all) > 0 {
		t.Errorf("it is good: %+v", all)
	}
	s.Told.Clients = nil
	if all := look(); len(all) != 1 || !Bad(all) || !strings.Contains(all[0].Text, "was revoked") || !strings.HasPrefix(all[0].Remedy, "rm "+dir+"/client.*; ") {
		t.Errorf("it was revoked: %+v", all)
	}
}
