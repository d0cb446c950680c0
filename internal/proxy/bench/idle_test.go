package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// idle is the memory of a proxy with many connections that do nothing.
type idle struct {
	side        string
	connections int
	bytes       int           // resident memory that each one added
	cpu         time.Duration // that all of them cost in a minute
}

// settle is how long a proxy has to give back what logins left behind.
const settle = 20 * time.Second

// measureIdle opens n connections through each proxy, has each one ask one question, and looks at what the proxy has grown by.
func measureIdle(b *testing.B, st *stage, s *standIn, n int) []idle {
	b.Helper()
	if most := int(fileLimit()/2) - 500; n > most {
		b.Logf("no more than %d connections: the limit on open files is %d", most, fileLimit())
		n = most
	}
	st.configure(b, s.admin, s.plain)
	defer st.configure(b, st.variable("CLOUDSDK_API_ENDPOINT_OVERRIDES_SQL"), "")
	var out []idle
	for _, side := range []struct {
		name, database string
		open           func() proxy
	}{
		{"cloud-sql-proxy", "any", func() proxy { return st.openCSP(b, s.admin) }},
		{"dbops, Cloud SQL", "pgbench_main", func() proxy { return st.openDBOps(b, "--max-connections", fmt.Sprint(n+10)) }},
		{"dbops, by address", "many", func() proxy { return st.openDBOps(b, "--max-connections", fmt.Sprint(n+10)) }},
	} {
		p := side.open()
		first, err := login(b.Context(), p, side.database)
		must(b, err)
		time.Sleep(settle)
		before := resident(b, p.pid)
		conns := make([]net.Conn, n)
		var g errgroup.Group
		g.SetLimit(16)
		for i := range conns {
			g.Go(func() (err error) {
				conns[i], err = login(b.Context(), p, side.database)
				return err
			})
		}
		must(b, g.Wait())
		time.Sleep(settle)
		after, busy := resident(b, p.pid), processorTime(b, p.pid)
		time.Sleep(settle / 2)
		busy = processorTime(b, p.pid) - busy
		got := idle{side.name, n, (after - before) / n, time.Duration(float64(busy) * float64(time.Minute) / float64(settle/2))}
		b.Logf("%s, %d idle connections: %.1f KB each, %s of processor a minute", got.side, n, float64(got.bytes)/1024, got.cpu.Round(time.Millisecond))
		out = append(out, got)
		for _, c := range append(conns, first) {
			_ = c.Close()
		}
		p.stop()
	}
	return out
}

// login opens a session and asks it one question.
func login(ctx context.Context, p proxy, database string) (net.Conn, error) {
	c, err := (&net.Dialer{Timeout: time.Minute}).DialContext(ctx, "tcp", p.addr)
	if err != nil {
		return nil, err
	}
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	packet := binary.BigEndian.AppendUint32(make([]byte, 4), 196608)
	packet = append(packet, "user\x00"+benchRole+"\x00database\x00"+database+"\x00\x00"...)
	binary.BigEndian.PutUint32(packet, uint32(len(packet)))
	if _, err := c.Write(packet); err != nil {
		return nil, err
	}
	asked := false
	for {
		kind, body, err := receive(c)
		if err != nil {
			return nil, err
		}
		var say []byte
		switch {
		case kind == 'E':
			return nil, fmt.Errorf("refused: %q", body)
		case kind == 'R' && binary.BigEndian.Uint32(body) == 3: // a password in the clear
			say = append(binary.BigEndian.AppendUint32([]byte{'p'}, uint32(len(p.password)+5)), p.password+"\x00"...)
		case kind == 'Z' && asked:
			return c, c.SetDeadline(time.Time{})
		case kind == 'Z':
			asked = true
			say = []byte("Q\x00\x00\x00\x0dselect 1\x00")
		default:
			continue
		}
		if _, err := c.Write(say); err != nil {
			return nil, err
		}
	}
}

func receive(c net.Conn) (kind byte, body []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return 0, nil, err
	}
	body = make([]byte, binary.BigEndian.Uint32(head[1:])-4)
	_, err = io.ReadFull(c, body)
	return head[0], body, err
}
