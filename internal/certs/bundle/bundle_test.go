package bundle

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dbops/internal/sandbox/pki"
)

// The copies are trusted by whoever logs in to RDS: each must be what its name says.
func TestTheProgramsCopies(t *testing.T) {
	t.Parallel()
	regions := Regions()
	if len(regions) != 27 {
		t.Errorf("%d regions: %v", len(regions), regions)
	}
	seen := map[string]string{}
	for _, name := range regions {
		b, err := Own(name)
		if err != nil {
			t.Fatal(err)
		}
		text, err := own.ReadFile("rds/" + name + ".pem")
		if err != nil {
			t.Fatal(err)
		}
		var kinds []string
		for _, c := range b.Certs {
			kind, ok := strings.CutPrefix(c.Subject.CommonName, "Amazon RDS "+name+" Root CA ")
			kinds = append(kinds, kind)
			if !ok || !c.IsCA || c.CheckSignatureFrom(c) != nil || !slices.Equal(c.Subject.Organization, []string{"Amazon Web Services, Inc."}) {
				t.Errorf("%s holds %s, or it does not vouch for itself", name, c.Subject)
			}
			if time.Until(c.NotAfter) < 10*365*24*time.Hour {
				t.Errorf("%s ends on %s", Name(c), c.NotAfter)
			}
			if !strings.Contains(string(text), "# "+Name(c)+"\n") || !strings.Contains(string(text), "# SHA-256 "+Fingerprint(c)+"\n") {
				t.Errorf("%s: nothing above %s says what it is", name, Name(c))
			}
			if other, ok := seen[Fingerprint(c)]; ok {
				t.Errorf("%s is in %s, too", Name(c), other)
			}
			seen[Fingerprint(c)] = name
		}
		slices.Sort(kinds)
		if !slices.Equal(kinds, []string{"ECC384 G1", "RSA2048 G1", "RSA4096 G1"}) {
			t.Errorf("%s has %v", name, kinds)
		}
	}
}

func TestTheUsersCopyGoesBeforeTheProgramsOwn(t *testing.T) {
	t.Parallel()
	s := Store{Dir: filepath.Join(t.TempDir(), "rds")}
	first, err := s.Region("eu-west-1")
	if err != nil || first.File != "" || len(first.Certs) != 3 {
		t.Fatalf("%+v, %v", first, err)
	}
	file, err := s.Save("eu-west-1", first.Certs[:1])
	if err != nil {
		t.Fatal(err)
	}
	second, err := s.Region("eu-west-1")
	if err != nil || second.File != file || len(second.Certs) != 1 || !strings.Contains(second.From(), file) {
		t.Errorf("%+v, %v", second, err)
	}
	// One that is damaged is not passed over.
	if err := os.WriteFile(file, []byte("<html>"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Region("eu-west-1"); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a damaged copy: %v", err)
	}
	// The copy of before stays beside the new one.
	if _, err := s.Save("eu-west-1", first.Certs); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(Previous(file)); err != nil || string(text) != "<html>" {
		t.Errorf("of before: %q, %v", text, err)
	}
	for _, name := range []string{"cn-north-1", "us-gov-west-1", "../../etc/passwd-1", ""} {
		if _, err := s.Region(name); !errors.Is(err, ErrUnknown) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func authority(t *testing.T, name string, ttl time.Duration) *x509.Certificate {
	t.Helper()
	ca, err := pki.NewCA(pkix.Name{CommonName: name}, ttl)
	if err != nil {
		t.Fatal(err)
	}
	return ca.Certificate()
}

func TestFetchTakesNothingButCAs(t *testing.T) {
	t.Parallel()
	fresh, ended := authority(t, "fresh", time.Hour), authority(t, "ended", -time.Minute)
	ca, err := pki.NewCA(pkix.Name{CommonName: "issuer"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := ca.Issue(time.Hour, func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: "leaf"} })
	if err != nil {
		t.Fatal(err)
	}
	answers := map[string]string{
		"/good":     string(Encode([]*x509.Certificate{fresh, ended, fresh})),
		"/leaf":     string(Encode([]*x509.Certificate{fresh, leaf.Cert})),
		"/ended":    string(Encode([]*x509.Certificate{ended})),
		"/html":     "<html><body>Sign in to the Wi-Fi</body></html>",
		"/key":      string(leaf.KeyPEM),
		"/cut":      "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
		"/too-much": strings.Repeat("x", maxBundle+1),
	}
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(answers["/good"])) }))
	defer plain.Close()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/away" {
			http.Redirect(w, r, plain.URL, http.StatusFound)
			return
		}
		text, ok := answers[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte(text))
	}))
	defer server.Close()
	get := func(client *http.Client, path string) (*Download, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		return Fetch(ctx, client, server.URL+path, time.Now())
	}
	d, err := get(server.Client(), "/good")
	if err != nil || len(d.Certs) != 1 || len(d.Expired) != 1 || !d.Certs[0].Equal(fresh) {
		t.Fatalf("%+v, %v", d, err)
	}
	for path, want := range map[string]string{
		"/leaf": "leaf is no CA", "/ended": "has expired", "/html": "no certificate", "/key": "private key", "/cut": "certificate 1", "/none": "404",
		"/too-much": "too large", "/away": "without TLS",
	} {
		if _, err := get(server.Client(), path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	if _, err := Fetch(t.Context(), server.Client(), plain.URL, time.Now()); err == nil {
		t.Error("it was fetched without TLS")
	}
	stranger := &http.Client{Transport: &http.Transport{}}
	if _, err := get(stranger, "/good"); err == nil || !errors.As(err, new(*tls.CertificateVerificationError)) {
		t.Errorf("from a stranger: %v", err)
	}
}

func TestCompareTellsWhatComesAndGoes(t *testing.T) {
	t.Parallel()
	a, b, c := authority(t, "a", time.Hour), authority(t, "b", time.Hour), authority(t, "c", time.Hour)
	d := Compare([]*x509.Certificate{a, b}, []*x509.Certificate{b, c})
	if !d.Any() || len(d.Added) != 1 || !d.Added[0].Equal(c) || len(d.Removed) != 1 || !d.Removed[0].Equal(a) || len(d.Same) != 1 {
		t.Errorf("%+v", d)
	}
	if Compare([]*x509.Certificate{a}, []*x509.Certificate{a}).Any() {
		t.Error("the same differs")
	}
}

func TestPublished(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"eu-west-1":     "https://truststore.pki.rds.amazonaws.com/eu-west-1/eu-west-1-bundle.pem",
		"us-gov-east-1": "https://truststore.pki.us-gov-west-1.rds.amazonaws.com/us-gov-east-1/us-gov-east-1-bundle.pem",
		"cn-north-1":    "",
	} {
		if got := Published(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"))
	f.Add([]byte("# text\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		certs, err := Parse(text)
		if err != nil {
			return
		}
		again, err := Parse(Encode(certs))
		if err != nil || Compare(certs, again).Any() {
			t.Errorf("it is not read again as it was: %v", err)
		}
	})
}

func TestABundleThatIsCutOffIsRefused(t *testing.T) {
	t.Parallel()
	whole, err := Own("eu-west-1")
	if err != nil {
		t.Fatal(err)
	}
	text := Encode(whole.Certs)
	for _, cut := range []int{len(text) - 200, bytes.LastIndex(text, []byte("-----END"))} {
		if _, err := Parse(text[:cut]); err == nil || !strings.Contains(err.Error(), "it is damaged") {
			t.Errorf("cut at %d of %d: %v", cut, len(text), err)
		}
	}
	if _, err := Parse(text); err != nil {
		t.Error(err)
	}
}
