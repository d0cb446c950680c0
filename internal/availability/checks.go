package availability

import (
	"fmt"

	"dbops/internal/cloud"
	"dbops/internal/op"
)

// command is a dbops command for the target.
func command(verb string, t op.Target) string {
	return "dbops " + verb + " -e " + t.Environment + " " + t.Instance
}

// managed are the findings that forbid every change: nobody can make it, or not now. more is false if looking further makes no sense.
func managed(t op.Target, f Facts) (found []op.Finding, more bool) {
	switch {
	case f.Provider != cloud.RDS && f.Provider != cloud.CloudSQL:
		return []op.Finding{{
			Severity: op.Block, Check: "provider", Text: fmt.Sprintf("%s is %s: no cloud manages its availability", t, title(f.Provider)),
			Remedy: "replication and failover of this server are arranged outside of dbops",
		}}, false
	case f.Availability == "":
		return []op.Finding{{
			Severity: op.Block, Check: "cluster", Text: fmt.Sprintf("%s does not say the availability of %s: a cluster that it belongs to decides that", title(f.Provider), t),
			Remedy: "change the cluster in the provider's console; dbops changes single instances",
		}}, false
	case f.State != cloud.Available:
		return []op.Finding{{
			Severity: op.Block, Check: "state", Text: fmt.Sprintf("%s is %s: %s accepts the change only when it is available", t, f.State, title(f.Provider)),
			Evidence: "state " + string(f.State), Remedy: stateRemedy(t, f.State),
		}}, true
	}
	return nil, true
}

func stateRemedy(t op.Target, s cloud.State) string {
	switch s {
	case cloud.Stopped:
		return "start it in the provider's console, then plan again"
	case cloud.Failed:
		return "mend it first: the provider's console says what is wrong"
	default:
		return "wait until it is available: " + command("status", t)
	}
}

// announced are the provider's plans for the instance.
func announced(f Facts) []op.Finding {
	var all []op.Finding
	for _, m := range f.Maintenance {
		all = append(all, op.Finding{
			Severity: op.Info, Check: "maintenance", Text: title(f.Provider) + " announces maintenance: " + m, Evidence: "window " + orNone(f.Window),
		})
	}
	return all
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// told is a pending modification for a person.
func told(c cloud.Change) string {
	if c.From == "" {
		return c.Setting + " to " + c.To
	}
	return c.Setting + " from " + c.From + " to " + c.To
}
