// Package overview says what is known of an instance in words: its cells in the fleet, its blocks of facts, its findings.
//
// [Known] keeps the last good answer beside the last failure, so that an instance which cannot be read still shows what it was,
// with the age of it. Everything here is a pure function of that and of the time; the fleet and the instance page share it.
package overview

import (
	"net"
	"strconv"
	"strings"
	"time"

	"dbops/internal/app"
	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/tui/component"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

// Known is one instance and everything its provider has told of it so far.
type Known struct {
	app.Instance
	Live  *cloud.Instance // the last good answer; nil before the first
	At    time.Time       // when it was given; zero before the first
	Err   error           // why the last reading failed; nil when it did not
	ErrAt time.Time
	Watched
}

// Key names an instance across environments.
func Key(env, name string) string { return env + "/" + name }

// Key is the instance's own.
func (k Known) Key() string { return Key(k.Environment, k.Name) }

// With takes over an answer.
func (k Known) With(st app.Status) Known {
	k.Instance = st.Instance
	if st.Live != nil {
		k.Live, k.At, k.Err, k.ErrAt = st.Live, st.At, nil, time.Time{}
		return k
	}
	k.Err, k.ErrAt = st.Err, st.At
	return k
}

// Unheard takes over that an instance which was asked at began did not answer, if so.
func (k Known) Unheard(began, now time.Time, why error) Known {
	if k.At.Before(began) && k.ErrAt.Before(began) {
		k.Err, k.ErrAt = why, now
	}
	return k
}

// Asked tells that there was an answer, good or bad.
func (k Known) Asked() bool { return k.Live != nil || k.Err != nil }

// Old tells that what is shown is not what the last reading said.
func (k Known) Old() bool { return k.Live != nil && k.Err != nil }

// Engine is the provider and the version: "rds 14.23".
func (k Known) Engine() string {
	if k.Live == nil {
		return string(k.Provider)
	}
	return string(k.Live.Provider) + " " + version(k.Live.EngineVersion)
}

// version shortens what a provider tells: POSTGRES_15 is 15, "16.4 (Debian 16.4-1)" is 16.4.
func version(v string) string {
	v, _, _ = strings.Cut(strings.TrimPrefix(v, "POSTGRES_"), " ")
	return strings.ReplaceAll(v, "_", ".")
}

// Endpoint is the address a client would use first: host:port, or empty.
func (k Known) Endpoint() string {
	if k.Live == nil || len(k.Live.Endpoints) == 0 {
		return ""
	}
	return address(k.Live.Endpoints[0])
}

func address(e cloud.Endpoint) string { return net.JoinHostPort(e.Host, strconv.Itoa(e.Port)) }

// StateCell is the state as a word with its mark.
func (k Known) StateCell() component.Cell {
	if k.Err != nil {
		return marked(theme.Danger, reason(k.Err))
	}
	if k.Live == nil {
		return component.Cell{Text: "asking", Role: theme.Muted}
	}
	return liveState(k.Live.State)
}

func liveState(s cloud.State) component.Cell {
	switch s {
	case cloud.Available:
		return component.Cell{Text: string(s), Role: theme.OK}
	case cloud.Creating, cloud.Modifying, cloud.Restarting, cloud.Deleting:
		return marked(theme.Pending, string(s))
	case cloud.Failed, cloud.Unreachable:
		return marked(theme.Danger, string(s))
	case cloud.Stopped:
		return component.Cell{Text: string(s), Role: theme.Muted}
	default:
		return marked(theme.Warn, "unknown")
	}
}

// reason is a failure in a word or two.
func reason(err error) string {
	switch fault.KindOf(err) {
	case fault.NotFound:
		return "not found"
	case fault.Unavailable:
		return "unreachable"
	case fault.Denied, fault.Throttled, fault.Busy:
		return string(fault.KindOf(err))
	default:
		return "error"
	}
}

func marked(r theme.Role, s string) component.Cell {
	return component.Cell{Text: theme.Mark(r) + " " + s, Role: r}
}

// Availability is the mode and the zones in short: "regional b+c".
func Availability(i *cloud.Instance) string {
	zones := zone(i, i.Zone)
	if z := zone(i, i.SecondaryZone); z != "" {
		zones += "+" + z
	}
	return strings.TrimSpace(string(i.Availability) + " " + zones)
}

// zone is a zone without its region: "b" for europe-west1-b and for eu-west-1b.
func zone(i *cloud.Instance, z string) string {
	return strings.TrimPrefix(strings.TrimPrefix(z, i.Region), "-")
}

// Disk is the size of the disk: "100 GiB".
func Disk(i *cloud.Instance) string {
	if i.Storage.GiB == 0 {
		return ""
	}
	return text.Bytes(i.Storage.GiB << 30)
}

// told tells whether a provider knows about backups, protection and maintenance at all. A plain server tells nothing of them,
// which is not the same as having none.
func told(i *cloud.Instance) bool { return i.Provider != cloud.Postgres }
