package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/exp/golden"
	pkcs12 "software.sslmate.com/src/go-pkcs12"

	"dbops/internal/certs/bundle"
	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/secret"
)

func subjectWith(provider cloud.Kind, roots []*x509.Certificate, common bool, addr string, names ...string) *Subject {
	return &Subject{
		Environment: "prod", Instance: "main", Provider: provider, Roots: roots, RootsFrom: "the test", Addresses: []Address{{HostPort: addr}}, Names: names, CommonName: common,
		Told: &cloud.Certificates{Instance: &cloud.Instance{}},
	}
}

// The settings are what people paste: each word of them is in a golden file. The PEM of a CA is left out there, it is made anew each time.
func TestTheSettings(t *testing.T) {
	t.Parallel()
	ca := authority(t, "the CA", 1000*time.Hour)
	roots := []*x509.Certificate{ca.Certificate()}
	plain := subjectWith(cloud.Postgres, nil, false, "db.example.com:5432", "db.example.com")
	plain.Told = nil
	for name, c := range map[string]struct {
		s      *Subject
		o      KitOptions
		client bool
	}{
		"rds":             {subjectWith(cloud.RDS, roots, false, "x.abc.eu-west-1.rds.amazonaws.com:5432", "x.abc.eu-west-1.rds.amazonaws.com"), KitOptions{Database: "orders", User: "ann"}, false},
		"cloudsql":        {subjectWith(cloud.CloudSQL, roots, true, "203.0.113.7:5432", "shop:main"), KitOptions{Database: "shop", User: "a'n n"}, true},
		"cloudsql-shared": {subjectWith(cloud.CloudSQL, roots, false, "203.0.113.7:5432", "x.europe-west1.sql.goog"), KitOptions{Database: "shop"}, false},
		"public":          {plain, KitOptions{Database: "postgres"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "with a space")
			must(t, os.Mkdir(dir, 0o700))
			if c.client {
				must(t, os.WriteFile(filepath.Join(dir, FileCert), nil, 0o600))
				must(t, os.WriteFile(filepath.Join(dir, FileKey), nil, 0o600))
			}
			c.o.Dir = dir
			k, err := NewKit(c.s, nil, c.o, time.Now())
			must(t, err)
			var b strings.Builder
			for _, n := range k.Notes {
				b.WriteString("note: " + n + "\n")
			}
			for _, s := range k.Settings() {
				b.WriteString("\n## " + s.Tool + ": " + s.Title + " (" + s.Verifies + ")\n" + s.Text + "\n")
				if s.Note != "" {
					b.WriteString("note: " + s.Note + "\n")
				}
			}
			b.WriteString("\n## " + FileService + "\n" + k.serviceEntry())
			text := strings.NewReplacer(dir, "/DIR x", strings.ReplaceAll(dir, " ", "+"), "/DIR+x", js(PEM(roots[0])), `"PEM"`).Replace(b.String())
			text = strings.ReplaceAll(text, strings.NewReplacer("/", "%2F", " ", "+").Replace(dir), "%2FDIR+x")
			golden.RequireEqual(t, text)
			for _, weak := range []string{"sslmode=require", "sslmode=prefer", "rejectUnauthorized", "Trust Server Certificate", "disable_ca_validation"} {
				if strings.Contains(text, weak) {
					t.Errorf("it says %s", weak)
				}
			}
		})
	}
}

func TestAKitDecidesByWhatTheServerShows(t *testing.T) {
	t.Parallel()
	ca := authority(t, "the CA", 1000*time.Hour)
	roots := []*x509.Certificate{ca.Certificate()}
	kit := func(s *Subject, cn string, dns ...string) *Kit {
		t.Helper()
		l := leaf(t, ca, time.Hour, cn, dns...)
		k, err := NewKit(s, &Seen{Chain: []*x509.Certificate{l.Cert}}, KitOptions{Dir: t.TempDir(), Database: "x"}, time.Now())
		must(t, err)
		return k
	}
	both := subjectWith(cloud.CloudSQL, roots, true, "203.0.113.7:5432", "shop:main", "x.sql.goog")
	if k := kit(both, "shop:main", "x.sql.goog"); k.Host != "x.sql.goog" || k.HostAddr != "" || k.BareMode != verifyFull || k.Active == nil {
		t.Errorf("a DNS name that the server shows is not used: %+v", k)
	}
	if k := kit(both, "shop:main"); k.Host != "shop:main" || k.HostAddr != "203.0.113.7" || k.Mode != verifyFull || k.BareMode != verifyCA {
		t.Errorf("a DNS name that the server does not show: %+v", k)
	}
	psc := subjectWith(cloud.CloudSQL, roots, true, "psc.example.com:5432", "shop:main")
	if k := kit(psc, "shop:main"); k.Host != "psc.example.com" || k.Mode != verifyCA || len(k.Notes) == 0 {
		t.Errorf("a host that is no address: %+v", k)
	}
	nameless := subjectWith(cloud.CloudSQL, roots, false, "203.0.113.7:5432")
	if k := kit(nameless, "whoever"); k.Mode != verifyCA || !strings.Contains(strings.Join(k.Notes, " "), "WEAKER") {
		t.Errorf("a shared CA without a name: %+v", k)
	}
	plain := subjectWith(cloud.Postgres, roots, false, "db:5432")
	plain.Told = nil
	if k := kit(plain, "db"); k.Mode != verifyCA || len(k.Notes) == 0 {
		t.Errorf("verify-ca in dbops.yaml: %+v", k)
	}
}

func TestExpiredCAsAreLeftOut(t *testing.T) {
	t.Parallel()
	good, ended := authority(t, "good", time.Hour).Certificate(), authority(t, "ended", -time.Minute).Certificate()
	s := subjectWith(cloud.RDS, []*x509.Certificate{ended, good}, false, "h:1", "h")
	k, err := NewKit(s, nil, KitOptions{Dir: t.TempDir(), Database: "x"}, time.Now())
	must(t, err)
	if len(k.Certs) != 1 || !k.Certs[0].Equal(good) || !strings.Contains(strings.Join(k.Notes, " "), "ended") {
		t.Errorf("kit %+v", k)
	}
	s.Roots = s.Roots[:1]
	if _, err := NewKit(s, nil, KitOptions{Dir: t.TempDir()}, time.Now()); fault.KindOf(err) != fault.Invalid || fault.HintOf(err) == "" {
		t.Errorf("only expired ones: %v", err)
	}
	s.Socket = true
	if _, err := NewKit(s, nil, KitOptions{Dir: t.TempDir()}, time.Now()); fault.KindOf(err) != fault.Invalid {
		t.Errorf("on a socket: %v", err)
	}
}

func TestTheFilesAreReadAgain(t *testing.T) {
	t.Parallel()
	a, b := authority(t, "CA", time.Hour).Certificate(), authority(t, "CA", time.Hour).Certificate() // of one name, as Cloud SQL's are
	dir := filepath.Join(t.TempDir(), "new", "folder")
	k, err := NewKit(subjectWith(cloud.RDS, []*x509.Certificate{a, b}, false, "h:1", "h"), nil, KitOptions{Dir: dir, Database: "x"}, time.Now())
	must(t, err)
	for range 2 {
		_, err = k.Write()
		must(t, err)
	}
	text, err := os.ReadFile(k.Path(FileRoots))
	must(t, err)
	again, err := bundle.Parse(text)
	if err != nil || bundle.Compare(k.Certs, again).Any() {
		t.Errorf("%s: %v", FileRoots, err)
	}
	trust, err := os.ReadFile(k.Path(FileTrust))
	must(t, err)
	in, err := pkcs12.DecodeTrustStore(trust, trustPassword)
	if err != nil || len(in) != 2 {
		t.Errorf("%s: %d, %v", FileTrust, len(in), err)
	}
	if left := hidden(t, dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// A disk that takes some of the files and not the others leaves all of them as they were.
func TestWhatCannotBeWrittenWhollyIsNotWritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "a"), []byte("before"), 0o600))
	_, err := writeAll(dir, map[string][]byte{"a": []byte("after"), "b": []byte("x"), filepath.Join("none", "c"): nil}, 0o644)
	if fault.KindOf(err) != fault.Failed || fault.HintOf(err) == "" {
		t.Errorf("got %v", err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "a")); err != nil || string(text) != "before" {
		t.Errorf("a is %q, %v", text, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "b")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("b: %v", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("left: %v", entries)
	}
	file := filepath.Join(dir, "a")
	if _, err := writeAll(file, map[string][]byte{"x": nil}, 0o644); fault.KindOf(err) != fault.Failed || !strings.Contains(fault.HintOf(err), "--dir") {
		t.Errorf("into a file: %v, %s", err, fault.HintOf(err))
	}
}

// Each moment at which a process may die between the answer and the key's name.
func TestASlotKeepsTheKeyWheneverTheProcessDies(t *testing.T) {
	t.Parallel()
	l := leaf(t, authority(t, "client CA", time.Hour), time.Hour, "laptop")
	cert := cloud.ClientCert{PEM: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: l.Cert.Raw}))}
	key := secret.New(string(l.KeyPEM))
	open := func(dir string) *slot {
		t.Helper()
		s, err := openSlot(dir, "r1")
		must(t, err)
		t.Cleanup(s.close)
		return s
	}
	name := "." + FileKey + "-r1"
	for moment, die := range map[string]func(dir string) error{
		"after the whole":        func(dir string) error { return open(dir).keep(key) },
		"before it is shortened": func(dir string) error { _, err := open(dir).file.WriteAt(l.KeyPEM, 0); return err },
		"before it has its name": func(dir string) error {
			s := open(dir)
			_, err := s.file.WriteAt(l.KeyPEM, 0)
			return errors.Join(err, s.file.Truncate(int64(len(l.KeyPEM))))
		},
		"when it has two names": func(dir string) error {
			s := open(dir)
			_, err := s.file.WriteAt(l.KeyPEM, 0)
			return errors.Join(err, s.file.Truncate(int64(len(l.KeyPEM))), os.Link(filepath.Join(dir, name), filepath.Join(dir, FileKey)))
		},
		"after it was set aside": func(dir string) error {
			s := open(dir)
			return errors.Join(s.keep(key), open(dir).setAside())
		},
	} {
		t.Run(moment, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			must(t, die(dir))
			s := open(dir)
			if !s.holdsKeyOf(cert) {
				t.Fatal("the key is lost")
			}
			text, err := readKey(dir)
			must(t, err)
			if _, err := tls.X509KeyPair([]byte(cert.PEM), []byte(text.Reveal())); err != nil {
				t.Error("what has the key's name is not the key")
			}
			info, err := os.Stat(filepath.Join(dir, FileKey))
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%v, %v", info.Mode(), err)
			}
			err = writeClient(dir, cert, text)
			must(t, err)
			err = writeClient(dir, cert, text) // again, with the password of before
			must(t, err)
			p12, err := os.ReadFile(filepath.Join(dir, FileP12))
			must(t, err)
			password, err := os.ReadFile(filepath.Join(dir, FileP12Secret))
			must(t, err)
			if _, _, err := pkcs12.Decode(p12, strings.TrimSpace(string(password))); err != nil {
				t.Errorf("%s does not open with its password: %v", FileP12, err)
			}
			der, err := os.ReadFile(filepath.Join(dir, FileKeyDER))
			must(t, err)
			if k, err := x509.ParsePKCS8PrivateKey(der); err != nil || !belongs(l.Cert, k) {
				t.Errorf("%s: %v", FileKeyDER, err)
			}
		})
	}
	t.Run("nothing was asked for", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		s := open(dir)
		if s.holdsKeyOf(cert) {
			t.Error("it holds a key")
		}
		s.giveBack()
		if left := hidden(t, dir); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	})
	t.Run("another's key is not overwritten", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, FileKey), []byte("mine"), 0o600))
		if err := open(dir).keep(key); err == nil {
			t.Error("it was")
		}
		if err := open(dir).keep(secret.New("no key")); err == nil || strings.Contains(err.Error(), "no key") {
			t.Errorf("rubbish: %v", err)
		}
	})
}

// Google's keys have come as PKCS#1, and as PKCS#8.
func TestKeysOfAllFormsAreRead(t *testing.T) {
	t.Parallel()
	old, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	sec1, err := x509.MarshalECPrivateKey(curve)
	must(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(old)
	must(t, err)
	for kind, der := range map[string][]byte{"RSA PRIVATE KEY": x509.MarshalPKCS1PrivateKey(old), "PRIVATE KEY": pkcs8, "EC PRIVATE KEY": sec1} {
		k, err := parseKey(secret.New(string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))))
		if _, ok := k.(crypto.Signer); !ok || err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
	for _, bad := range []string{"", "rubbish", "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n"} {
		if _, err := parseKey(secret.New(bad)); err == nil || bad != "" && strings.Contains(err.Error(), bad) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
