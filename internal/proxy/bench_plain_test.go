//go:build unix

package proxy

import (
	"io"
	"net"
	"testing"
)

// BenchmarkPlain moves a GB of rows between two sockets without TLS: spliced by the kernel, which shows nobody what it moves, and as the
// relay does it, which follows the messages. cpu-s is this process's processor time for all three ends.
func BenchmarkPlain(b *testing.B) {
	for _, width := range []int{100, 8000} {
		row := message('d', string(make([]byte, width)))
		var chunk []byte
		for len(chunk)+len(row) < 256<<10 {
			chunk = append(chunk, row...)
		}
		for _, how := range []struct {
			name string
			move func(to, from net.Conn) error
		}{
			{"splice", func(to, from net.Conn) error {
				_, err := io.Copy(to, from)
				return err
			}},
			{"followed", func(to, from net.Conn) error {
				pool := &buffers{}
				in, out, t := newStream(from, pool), newStream(to, pool), &talk{tx: 'I'}
				for {
					p, err := in.next()
					if err != nil {
						return err
					}
					n, _ := t.fromServer(p, false)
					if err := out.send(p[:n]); err != nil {
						return err
					}
				}
			}},
		} {
			b.Run(how.name+"/"+map[int]string{100: "rows of 100 bytes", 8000: "rows of 8 kB"}[width], func(b *testing.B) {
				from, server := pair(b)
				client, to := pair(b)
				go func() {
					_ = how.move(to, from)
					_ = to.Close()
				}()
				before := processorTime(b)
				const gigabyte = 1 << 30
				for b.Loop() {
					go func() {
						for sent := 0; sent < gigabyte; sent += len(chunk) {
							if _, err := server.Write(chunk); err != nil {
								return
							}
						}
					}()
					whole := int64((gigabyte + len(chunk) - 1) / len(chunk) * len(chunk))
					if _, err := io.CopyN(io.Discard, client, whole); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric((processorTime(b)-before).Seconds()/float64(b.N), "cpu-s/GB")
			})
		}
	}
}
