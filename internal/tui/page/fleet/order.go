package fleet

import (
	"cmp"
	"strings"
	"time"

	"dbops/internal/tui/overview"
	"dbops/internal/tui/theme"
)

// order is how instances are ordered within their environment.
type order uint8

const (
	byName order = iota
	byState
	byConnections
	byCPU
	byDisk
	byLag
	byCert
	byCredentials
	byDrift
	byRegion
	orders
)

func (o order) String() string {
	return [...]string{
		"name", "state", "connections", "CPU", "disk", "replica lag", "certificate", "age of credentials", "drift", "region",
	}[o%orders]
}

func (o order) next() order { return (o + 1) % orders }

func (o order) previous() order { return (o + orders - 1) % orders }

// compare puts protected environments first, keeps environments together, and then orders instances, the worst first.
func (o order) compare(a, b overview.Known) int {
	env := cmp.Or(-cmp.Compare(boolean(a.Protected), boolean(b.Protected)), strings.Compare(a.Environment, b.Environment))
	if env != 0 {
		return env
	}
	var first int
	switch o {
	case byState:
		first = cmp.Compare(severity(a), severity(b))
	case byConnections:
		first = most(overview.Known.Connections, a, b)
	case byCPU:
		first = most(overview.Known.CPU, a, b)
	case byDisk:
		first = most(overview.Known.Disk, a, b)
	case byLag:
		first = most(overview.Known.Lag, a, b)
	case byCert:
		first = expiry(a).Compare(expiry(b))
	case byCredentials:
		first = most(overview.Known.CredentialAge, a, b)
	case byDrift:
		first = most(overview.Known.Drifts, a, b)
	case byRegion:
		first = last(region(a), region(b))
	default:
	}
	return cmp.Or(first, strings.Compare(a.Name, b.Name))
}

// most puts the highest first, and what is not known last.
func most(of func(overview.Known) overview.Level, a, b overview.Known) int {
	x, y := of(a), of(b)
	return cmp.Or(-cmp.Compare(boolean(x.OK), boolean(y.OK)), -cmp.Compare(x.V, y.V))
}

// last compares texts, an empty one after all others.
func last(a, b string) int {
	return cmp.Or(cmp.Compare(boolean(a == ""), boolean(b == "")), strings.Compare(a, b))
}

func boolean(b bool) int {
	if b {
		return 1
	}
	return 0
}

// severity is 0 for the worst.
func severity(k overview.Known) int {
	switch k.StateCell().Role {
	case theme.Danger:
		return 0
	case theme.Warn:
		return 1
	case theme.Pending:
		return 2
	case theme.Muted:
		return 3
	default:
		return 4
	}
}

// expiry is the end of the certificate, far away when there is none.
func expiry(k overview.Known) time.Time {
	if k.Live == nil || k.Live.TLS.Expires.IsZero() {
		return time.Unix(1<<40, 0)
	}
	return k.Live.TLS.Expires
}
