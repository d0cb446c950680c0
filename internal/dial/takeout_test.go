package dial

import (
	"bytes"
	"crypto/tls"
	"crypto/x509/pkix"
	"io"
	"net"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"dbops/internal/sandbox/pki"
)

// A new version of the library that fails this has another wrapper: look at takeOut.
func TestAConnectionHasNothingOfTheLibraryAroundItsTLS(t *testing.T) {
	cloud, c := playCloud(t)
	cloud.at("10.0.0.1", cloud.instance(t, "a"))
	conn, err := c.Dial(t.Context(), instance)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	s, ok := conn.(*sealed)
	if !ok {
		t.Fatalf("%T", conn)
	}
	if _, ok := s.Conn.(*tls.Conn); !ok {
		t.Errorf("the TLS is inside a %T", s.Conn)
	}
	for end := time.Now().Add(10 * time.Second); ; {
		var all bytes.Buffer
		if err := pprof.Lookup("goroutine").WriteTo(&all, 1); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(all.String(), "instrumentedConn") {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("a goroutine of the library goes on:\n%s", &all)
		}
	}
	if s.library.Load() == nil {
		t.Error("the library could not be told of an error")
	}
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if s.library.Load() != nil {
		t.Error("the library's connection is kept")
	}
	if all := s.ConnectionState().PeerCertificates; len(all) == 0 || all[0].Subject.CommonName != "p:i" {
		t.Errorf("certificates of the instance: %v", all)
	}
}

func TestAConnectionThatIsNotTheLibrarysStaysAsItIs(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	if got := seal(near, &socket{far}); got.Conn != near || got.library.Load() != nil {
		t.Errorf("%+v", got)
	}
}

func TestACertificateThatTheInstanceDoesNotAcceptIsAskedForAnew(t *testing.T) {
	cloud, c := playCloud(t)
	good := cloud.instance(t, "a")
	cloud.at("10.0.0.1", good)
	if got, err := reaches(t, c); got != "a" || err != nil {
		t.Fatalf("%q %v", got, err)
	}
	other, err := pki.NewCA(pkix.Name{CommonName: "another"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	cloud.at("10.0.0.1", cloud.instanceThatTrusts(t, other, "b"))
	if got, err := reaches(t, c); err == nil || !strings.Contains(err.Error(), "tls: ") {
		t.Errorf("%q %v", got, err)
	}
	cloud.at("10.0.0.1", good)
	if got, err := reaches(t, c); got != "a" || err != nil {
		t.Errorf("%q %v", got, err)
	}
	if n := cloud.certs.Load(); n != 2 {
		t.Errorf("%d certificates were made", n)
	}
}
