package rdsapi

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
)

// host is the address of a new instance. All have the one of the API, as long as they have different ports: the second one that is
// asked for with the same port gets another loopback address. Linux answers on all of 127.0.0.0/8. The caller holds the lock.
func (a *API) host(port int32) (string, error) {
	taken := map[string]bool{}
	for _, in := range a.state.Instances {
		taken[in.Listen] = true
	}
	at := net.JoinHostPort(a.listen, strconv.Itoa(int(port)))
	if port == 0 || !taken[at] {
		return a.listen, nil
	}
	ip, err := netip.ParseAddr(a.listen)
	if err != nil || !ip.Is4() || !ip.IsLoopback() {
		return "", notEmulated(fmt.Sprintf("Port %d a second time at %s, which is no loopback address", port, a.listen))
	}
	for range 1 << 16 {
		ip = ip.Next()
		if at = net.JoinHostPort(ip.String(), strconv.Itoa(int(port))); ip.IsLoopback() && !taken[at] {
			return ip.String(), nil
		}
	}
	return "", notEmulated(fmt.Sprintf("Port %d so often", port))
}
