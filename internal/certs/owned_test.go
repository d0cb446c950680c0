package certs

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	pkcs12 "software.sslmate.com/src/go-pkcs12"

	"dbops/internal/certs/bundle"
	"dbops/internal/cloud"
	"dbops/internal/fault"
)

func kitIn(t *testing.T, dir, instance string, roots ...*x509.Certificate) *Kit {
	t.Helper()
	s := subjectWith(cloud.RDS, roots, false, "h:1", "h")
	s.Instance = instance
	k, err := NewKit(s, nil, KitOptions{Dir: dir, Database: "shop", User: "ann"}, time.Now())
	must(t, err)
	return k
}

func TestFilesOfOthersAreNotOverwritten(t *testing.T) {
	t.Parallel()
	ca, other := authority(t, "the CA", time.Hour).Certificate(), authority(t, "another CA", time.Hour).Certificate()
	theirs, err := pkcs12.Modern.EncodeTrustStore([]*x509.Certificate{other}, trustPassword)
	must(t, err)
	kept := filepath.Join(t.TempDir(), "kept")
	must(t, os.WriteFile(kept, bundle.Encode([]*x509.Certificate{other}), 0o600))
	for name, c := range map[string]struct {
		file, text string
		do         func(path string) error
		want       string
	}{
		"a bundle of their own":        {file: FileRoots, text: "mine\n" + PEM(other), want: "root.crt is of somebody else"},
		"a bundle without remarks":     {file: FileRoots, text: PEM(ca), want: "root.crt is of somebody else"},
		"a link":                       {file: FileRoots, do: func(path string) error { return os.Symlink(kept, path) }, want: "root.crt is a link"},
		"a link to nothing":            {file: FileService, do: func(path string) error { return os.Symlink("/nowhere", path) }, want: "pg_service.conf is a link"},
		"a folder":                     {file: FileTrust, do: func(path string) error { return os.Mkdir(path, 0o700) }, want: "truststore.p12 is no file"},
		"a trust store of their own":   {file: FileTrust, text: string(theirs), want: "truststore.p12 is of somebody else"},
		"rubbish in the trust store":   {file: FileTrust, text: "x", want: "truststore.p12 is of somebody else"},
		"an entry of that name":        {file: FileService, text: "[prod-main]\nhost=x\n", want: "pg_service.conf has an entry [prod-main] of somebody else"},
		"two entries of that name":     {file: FileService, text: mark + "\n[prod-main]\nhost=x\n" + mark + "\n[prod-main]\nhost=y\n", want: "pg_service.conf has 2 entries [prod-main]"},
		"the files of another of ours": {do: func(path string) error { _, err := kitIn(t, path, "billing", other).Write(); return err }, want: "root.crt belongs to the entry [prod-billing]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, c.file)
			if c.do == nil {
				c.do = func(path string) error { return os.WriteFile(path, []byte(c.text), 0o600) }
			}
			must(t, c.do(path))
			before := contents(t, dir)
			_, err := kitIn(t, dir, "main", ca).Write()
			if fault.KindOf(err) != fault.Failed || !strings.Contains(err.Error(), c.want) || !strings.Contains(fault.HintOf(err), "--dir") {
				t.Errorf("got %v (%s), want %s", err, fault.HintOf(err), c.want)
			}
			if after := contents(t, dir); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
		})
	}
	if text, err := os.ReadFile(kept); err != nil || string(text) != string(bundle.Encode([]*x509.Certificate{other})) {
		t.Errorf("what the link led to is %q, %v", text, err)
	}
}

// contents are the names and the texts of a folder's files.
func contents(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	var b strings.Builder
	for _, e := range entries {
		text, _ := os.ReadFile(filepath.Join(dir, e.Name())) // not of a folder, nor of a link to nothing
		b.WriteString(e.Name() + " " + e.Type().String() + "\n" + string(text) + "\n")
	}
	return b.String()
}

// An old folder is renewed; what others put into pg_service.conf stays, to the letter, and as closed as it was.
func TestOurOwnFilesAreRenewed(t *testing.T) {
	t.Parallel()
	old, next := authority(t, "old", time.Hour).Certificate(), authority(t, "next", time.Hour).Certificate()
	dir := t.TempDir()
	above, below := "# mine\n[a]\nhost=x\npassword=y\n", "\n# of b\n[b]\nhost=z"
	file := filepath.Join(dir, FileService)
	must(t, os.WriteFile(file, []byte(above), 0o600))
	first := kitIn(t, dir, "main", old)
	_, err := first.Write()
	must(t, err)
	text, err := os.ReadFile(file)
	must(t, err)
	if want := above + "\n" + first.serviceEntry(); string(text) != want {
		t.Errorf("%q, want %q", text, want)
	}
	must(t, os.WriteFile(file, append(text, below...), 0o600))
	if database, user := Login(dir, "prod", "main"); database != "shop" || user != "ann" {
		t.Errorf("it is for %q, %q", database, user)
	}
	second := kitIn(t, dir, "main", old, next)
	second.Host = "elsewhere"
	_, err = second.Write()
	must(t, err)
	text, err = os.ReadFile(file)
	must(t, err)
	if want := above + "\n" + second.serviceEntry() + below; string(text) != want {
		t.Errorf("%q, want %q", text, want)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	roots, err := os.ReadFile(filepath.Join(dir, FileRoots))
	must(t, err)
	if got, err := bundle.Parse(roots); err != nil || len(got) != 2 {
		t.Errorf("%s holds %d, %v", FileRoots, len(got), err)
	}
}

func FuzzServices(f *testing.F) {
	f.Add("# mine\n[a]\nhost=x\n\n" + mark + "\n[prod-main]\nhost=y\n# of b\n[b]")
	f.Add("[prod-main")
	f.Fuzz(func(t *testing.T, text string) {
		entry := mark + "\n[prod-main]\nhost=new\n"
		merged := mergeService([]byte(text), "prod-main", entry)
		if again := mergeService([]byte(merged), "prod-main", entry); !strings.Contains(merged, entry) || again != merged {
			t.Errorf("%q becomes %q, and that %q", text, merged, again)
		}
	})
}
