package proxy

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"

	"dbops/internal/fault"
)

func TestListenTakesLoopbackOnly(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "localhost:0", "[::1]:0", "127.0.0.9:0"} {
		ln, err := Listen(t.Context(), addr)
		if err != nil {
			t.Errorf("%s: %v", addr, err)
			continue
		}
		if a, _ := ln.Addr().(*net.TCPAddr); !a.IP.IsLoopback() || a.Port == 0 {
			t.Errorf("%s: %s", addr, a)
		}
		must(t, ln.Close())
	}
	for _, addr := range []string{"0.0.0.0:0", ":0", "[::]:0", "192.0.2.1:5432", "example.com:5432", "5432", "", "127.0.0.1", "127.0.0.1:nonsense", "[::ffff:0.0.0.0]:0"} {
		ln, err := Listen(t.Context(), addr)
		if fault.KindOf(err) != fault.Usage || fault.HintOf(err) == "" {
			t.Errorf("%q: %v", addr, err)
		}
		if err == nil {
			ln.Close()
		}
	}
}

func TestFiguresAreRefusedWithTheirOwnReason(t *testing.T) {
	_, err := ListenFigures(t.Context(), "0.0.0.0:0")
	if fault.KindOf(err) != fault.Usage || !strings.Contains(err.Error(), "figures and probes are for this machine only") || strings.Contains(err.Error(), "try passwords") {
		t.Errorf("%v", err)
	}
	ln, err := ListenFigures(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if _, err := ListenFigures(t.Context(), ln.Addr().String()); !strings.Contains(fault.HintOf(err), "--metrics 127.0.0.1:0") {
		t.Errorf("%v: %s", err, fault.HintOf(err))
	}
}

func TestAPortThatIsTakenNamesItsHolder(t *testing.T) {
	for _, first := range []string{"127.0.0.1:0", "0.0.0.0:0", "[::]:0"} {
		held, err := net.Listen("tcp", first)
		must(t, err)
		addr := fmt.Sprintf("127.0.0.1:%d", held.Addr().(*net.TCPAddr).Port)
		_, err = Listen(t.Context(), addr)
		if fault.KindOf(err) != fault.Unavailable || !strings.Contains(fault.HintOf(err), "--listen 127.0.0.1:0") {
			t.Errorf("%s: %v", first, err)
		}
		if runtime.GOOS == "linux" && !strings.Contains(err.Error(), fmt.Sprintf("(pid %d)", os.Getpid())) {
			t.Errorf("%s: the holder is not named: %v", first, err)
		}
		must(t, held.Close())
	}
}

func TestListenersOfTheKernelsTable(t *testing.T) {
	table := []byte(`  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1538 00000000:0000 0A 00000000:00000000 00:00000000 00000000   101        0 111 1 0 100 0 0 10 0
   1: 00000000:1538 00000000:0000 0A 00000000:00000000 00:00000000 00000000   101        0 222 1 0 100 0 0 10 0
   2: 0200007F:1538 00000000:0000 0A 00000000:00000000 00:00000000 00000000   101        0 333 1 0 100 0 0 10 0
   3: 0100007F:1538 0100007F:9999 01 00000000:00000000 00:00000000 00000000   101        0 444 1 0 100 0 0 10 0
   4: garbage
   5: zz:1538 00000000:0000 0A 00000000:00000000 00:00000000 00000000   101        0 555 1 0 100 0 0 10 0
   6: 0000000000000000FFFF00000100007F:1538 0:0 0A 00000000:00000000 00:00000000 00000000   101        0 666 1 0
`)
	got := fmt.Sprint(listeners(table, netip.MustParseAddrPort("127.0.0.1:5432")))
	if got != "[111 222 666]" {
		t.Error(got)
	}
}
