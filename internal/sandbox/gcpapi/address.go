package gcpapi

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"syscall"
)

// connectorPort is where connectors expect the server-side proxy. They know no other.
const connectorPort = "3307"

// freeAddress finds a loopback address of its own for an instance: connectors always dial port 3307, so that only the address
// can tell two instances apart. Linux answers on all of 127.0.0.0/8; elsewhere an address must be made an alias first.
func freeAddress(ctx context.Context, taken map[string]bool) (string, error) {
	var last error
	for range 20 {
		ip := netip.AddrFrom4([4]byte{127, byte(64 + rand.IntN(64)), byte(rand.IntN(256)), byte(1 + rand.IntN(254))}).String()
		if taken[ip] {
			continue
		}
		if last = probe(ctx, ip); last == nil {
			return ip, nil
		}
		if errors.Is(last, syscall.EADDRNOTAVAIL) {
			return aliasedAddress(ctx, taken)
		}
	}
	return "", fmt.Errorf("find a loopback address for the instance: %w", last)
}

// aliasedAddress looks through the addresses that somebody made aliases of the loopback interface.
func aliasedAddress(ctx context.Context, taken map[string]bool) (string, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return "", err
	}
	have := map[string]bool{}
	for _, a := range addrs {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		ip := prefix.Addr()
		have[ip.String()] = true
		if netip.MustParsePrefix("127.64.0.0/10").Contains(ip) && !taken[ip.String()] && probe(ctx, ip.String()) == nil {
			return ip.String(), nil
		}
	}
	next := netip.AddrFrom4([4]byte{127, 64, 0, 1})
	for taken[next.String()] || have[next.String()] {
		next = next.Next()
	}
	return "", fmt.Errorf("this system has no loopback address that is free for the instance: make one with "+
		"`sudo ifconfig lo0 alias %s` and try again", next)
}

// probe tells whether both ports of an instance are free at ip.
func probe(ctx context.Context, ip string) error {
	for _, port := range []string{connectorPort, "5432"} {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(ip, port))
		if err != nil {
			return err
		}
		if err := l.Close(); err != nil {
			return err
		}
	}
	return nil
}
