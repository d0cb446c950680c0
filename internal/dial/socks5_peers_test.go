//go:build peers

package dial

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/fault"
	"dbops/internal/sandbox/island"
	"dbops/internal/secret"
)

func TestThroughASOCKSProxy(t *testing.T) {
	program := island.Program(t, "DBOPS_PEER_MICROSOCKS")
	is := startIsland(t, island.Spec{
		Programs: [][]string{
			{program, "-i", hereAddr, "-p", "1080"},
			{program, "-i", hereAddr, "-p", "1081", "-u", "dbops", "-P", "open-sesame"},
		},
		Doors: map[string]string{"free": hereAddr + ":1080", "locked": hereAddr + ":1081"},
	})
	is.wantNoWay(t)
	free, locked := island.NewGate(t, "unix", is.Socket("free")), island.NewGate(t, "unix", is.Socket("locked"))
	login := func(password string) func(context.Context) (secret.Value, error) {
		return func(context.Context) (secret.Value, error) { return secret.New(password), nil }
	}
	way := NewSOCKS5(SOCKS5Options{Address: free.Addr})
	eventually(t, func() error { return query(brief(t), is.config(t, dbHost, way.Dial)) })

	t.Run("without and with a login, by a name that only the proxy knows", func(t *testing.T) {
		leakless(t)
		authenticated := NewSOCKS5(SOCKS5Options{Address: locked.Addr, User: "dbops", Password: login("open-sesame")})
		eventually(t, func() error { return query(brief(t), is.config(t, dbHost, authenticated.Dial)) })
		conn, err := way.Dial(brief(t), "tcp", dbHost+":5432")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if a := conn.RemoteAddr(); a.String() != dbHost+":5432" || a.Network() != "tcp" {
			t.Errorf("it leads to %s %s", a.Network(), a)
		}
	})

	t.Run("a certificate for another name is refused", func(t *testing.T) {
		err := query(brief(t), is.config(t, otherHost, way.Dial))
		if wrong, ok := errors.AsType[x509.HostnameError](err); !ok || wrong.Host != otherHost {
			t.Fatalf("got %v", err)
		}
	})

	t.Run("after a loss the next connection works", func(t *testing.T) {
		conn, err := pgconn.ConnectConfig(brief(t), is.config(t, dbHost, way.Dial))
		if err != nil {
			t.Fatal(err)
		}
		free.Cut()
		if _, err := conn.Exec(brief(t), "select 1").ReadAll(); err == nil {
			t.Error("a session outlives its connection")
		}
		if err := query(brief(t), is.config(t, dbHost, way.Dial)); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})

	t.Run("what is wrong is told", func(t *testing.T) {
		leakless(t)
		dial := func(o SOCKS5Options, addr string) error {
			conn, err := NewSOCKS5(o).Dial(brief(t), "tcp", addr)
			if err == nil {
				_ = conn.Close()
			}
			return err
		}
		to := dbHost + ":5432"
		wantFault(t, dial(SOCKS5Options{Address: locked.Addr}, to), fault.Denied, []string{"via socks5 " + locked.Addr, "did not let this login in"}, []string{"write user and secret"})
		wantFault(t, dial(SOCKS5Options{Address: locked.Addr, User: "dbops", Password: login("wrong")}, to), fault.Denied,
			[]string{"did not let this login in"}, []string{"check user and secret"})
		missing := func(context.Context) (secret.Value, error) {
			return secret.Value{}, fault.Newf(fault.NotFound, "read env:X", "it is not set").Hint("set X")
		}
		wantFault(t, dial(SOCKS5Options{Address: locked.Addr, User: "dbops", Password: missing}, to), fault.NotFound, []string{"the password of dbops"}, []string{"set X"})
		wantFault(t, dial(SOCKS5Options{Address: free.Addr}, dbHost+":5433"), fault.Unavailable, []string{"the proxy cannot connect to " + dbHost + ":5433"}, []string{"let the proxy in"})
		wantFault(t, dial(SOCKS5Options{Address: free.Addr}, "nowhere.island.test:5432"), fault.Unavailable, []string{"the proxy cannot connect to nowhere.island.test"}, []string{"resolved there"})
		gone := island.NewGate(t, "unix", is.Socket("free"))
		gone.Close()
		wantFault(t, dial(SOCKS5Options{Address: gone.Addr}, to), fault.Unavailable, []string{"the proxy is not reached", "nobody listens"}, []string{"is the proxy running"})
		mail, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer mail.Close()
		go func() {
			if c, err := mail.Accept(); err == nil {
				_, _ = c.Write([]byte("220 ready\r\n"))
				_ = c.Close()
			}
		}()
		wantFault(t, dial(SOCKS5Options{Address: mail.Addr().String()}, to), fault.Unavailable, []string{"did not answer as one"}, []string{"is it a SOCKS5 proxy"})
		silent := island.NewGate(t, "unix", is.Socket("free"))
		silent.Silence(true)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, err = NewSOCKS5(SOCKS5Options{Address: silent.Addr}).Dial(ctx, "tcp", to)
		wantFault(t, err, fault.Unavailable, []string{"in time"}, nil)
	})
}
