package stage

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Relay lets the superuser reach the servers of a stage, also from other processes of the test: their own clients prove themselves with a
// certificate. A line with the instance's name, then PostgreSQL in the clear; see [Through]. It ends with the test.
func (s *Stage) Relay(t testing.TB) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
				_ = s.pass(ctx, conn)
			})
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = l.Close()
		wg.Wait()
	})
	return l.Addr().String()
}

func (s *Stage) pass(ctx context.Context, conn net.Conn) error {
	defer conn.Close()
	in := bufio.NewReader(conn)
	name, err := in.ReadString('\n')
	if err != nil {
		return err
	}
	server := s.Server(strings.TrimSpace(name))
	if server == nil {
		return errors.New("there is no such server")
	}
	known, err := server.DB(ctx, "postgres")
	if err != nil {
		return err
	}
	cfg := known.Config()
	_ = known.Close(ctx)
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(cfg.Host, strconv.Itoa(int(cfg.Port))))
	if err != nil {
		return err
	}
	defer raw.Close()
	defer context.AfterFunc(ctx, func() { _ = raw.Close() })()
	if _, err := raw.Write([]byte{0, 0, 0, 8, 4, 210, 22, 47}); err != nil { // SSLRequest
		return err
	}
	if _, err := io.ReadFull(raw, make([]byte, 1)); err != nil {
		return err
	}
	out := tls.Client(raw, cfg.TLSConfig)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(out, in)
		_ = raw.Close()
	}()
	_, err = io.Copy(conn, out)
	_ = conn.Close()
	<-done
	return err
}

// Through is how the superuser comes to a database of an instance by way of a relay.
func Through(relay, instance, database string) (*pgx.ConnConfig, error) {
	host, port, err := net.SplitHostPort(relay)
	if err != nil {
		return nil, err
	}
	cfg, err := pgx.ParseConfig("host=" + host + " port=" + port + " user=sandbox_super password='' sslmode=disable")
	if err != nil {
		return nil, err
	}
	cfg.Database = database
	cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err == nil {
			_, err = conn.Write([]byte(instance + "\n"))
		}
		return conn, err
	}
	return cfg, nil
}
