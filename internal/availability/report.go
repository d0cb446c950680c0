package availability

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"dbops/internal/fault"
	"dbops/internal/pg"
)

// Zones are where an instance runs.
type Zones struct {
	Primary string `json:"primary,omitempty"`
	Standby string `json:"standby,omitempty"`
}

func (z Zones) String() string {
	if z.Standby == "" {
		return orNone(z.Primary)
	}
	return orNone(z.Primary) + " with a standby in " + z.Standby
}

// Watched is what the probe saw in one stretch of time: see pg.Measured.
type Watched struct {
	Since        time.Time `json:"since"`
	Until        time.Time `json:"until"`
	Attempts     int       `json:"attempts"`
	Failures     int       `json:"failures"`
	FirstFailure time.Time `json:"first_failure,omitzero"`
	LastFailure  time.Time `json:"last_failure,omitzero"`
	Cause        string    `json:"cause,omitempty"` // of the last failure
	Outages      int       `json:"outages"`
	DowntimeMS   int64     `json:"downtime_ms"`
	LongestMS    int64     `json:"longest_ms"`
	SlowestMS    int64     `json:"slowest_ms"`     // of the attempts that were served
	Down         bool      `json:"down,omitempty"` // at the end nobody was served yet
}

func watchedOf(m pg.Measured) Watched {
	return Watched{
		Since: m.Since.UTC(), Until: m.Until.UTC(), Attempts: m.Attempts, Failures: m.Failures,
		FirstFailure: m.FirstFailure.UTC(), LastFailure: m.LastFailure.UTC(), Cause: m.Cause, Outages: m.Outages,
		DowntimeMS: m.Total.Milliseconds(), LongestMS: m.Longest.Milliseconds(), SlowestMS: m.Slowest.Milliseconds(), Down: m.Down,
	}
}

// served tells whether anybody was, so that failures mean something.
func (w Watched) served() bool { return w.Attempts > w.Failures }

// Report is what a change was like: what the step "wait" stores.
type Report struct {
	Asked  time.Time `json:"asked,omitzero"`   // when the provider accepted it; zero if it was found under way, or done
	Ended  time.Time `json:"ended,omitzero"`   // when it was seen to be done; zero if it waits for the window
	Window string    `json:"window,omitempty"` // it waits for this
	Before Zones     `json:"before"`
	After  Zones     `json:"after"`

	// Measured tells whether what follows says anything: the probe was served at least once. Downtime that it did not see is not in it.
	Measured    bool      `json:"measured"`
	DowntimeMS  int64     `json:"downtime_ms"`
	LongestMS   int64     `json:"longest_ms"`
	Outages     int       `json:"outages"`
	Attempts    int       `json:"attempts"`
	Failures    int       `json:"failures"`
	UnwatchedMS int64     `json:"unwatched_ms"` // how long nobody looked between asking and the end
	Watched     []Watched `json:"watched,omitempty"`
	Notes       []string  `json:"notes,omitempty"` // what a reader of the numbers has to know
}

// Steps whose output others read.
const (
	stepModify   = "modify"
	stepFailover = "failover"
	stepWait     = "wait"
)

// ReportStep is the step of a run, of either kind, whose output [ReadReport] reads.
const ReportStep = stepWait

// ReadReport reads what the step [ReportStep] stored.
func ReadReport(output []byte) (Report, error) {
	var r Report
	if err := json.Unmarshal(output, &r); err != nil {
		return r, fault.New(fault.Internal, "read the report of a change of availability", err)
	}
	return r, nil
}

// gap is what may lie between asking and looking without a word: two steps of a run are not one moment. An outage that is shorter may
// be missed.
const gap = 500 * time.Millisecond

// add takes the stretches that were watched into the report.
func (r *Report) add(stretches ...*Watched) {
	at := r.Asked
	for _, w := range stretches {
		if w == nil {
			continue
		}
		if at.IsZero() {
			at = w.Since
		}
		if hole := w.Since.Sub(at); hole > 0 {
			r.UnwatchedMS += hole.Milliseconds()
		}
		if w.Until.After(at) {
			at = w.Until
		}
		r.Watched = append(r.Watched, *w)
		r.Measured = r.Measured || w.served()
		r.DowntimeMS += w.DowntimeMS
		r.LongestMS = max(r.LongestMS, w.LongestMS)
		r.Outages += w.Outages
		r.Attempts += w.Attempts
		r.Failures += w.Failures
	}
	if hole := r.Ended.Sub(at); !at.IsZero() && hole > 0 {
		r.UnwatchedMS += hole.Milliseconds()
	}
}

// annotate says what the numbers do not.
func (r *Report) annotate(asked Asked) {
	n := len(r.Watched)
	switch {
	case n == 0:
		r.Notes = append(r.Notes, "no login to probe with is configured")
	case !r.Measured:
		r.Notes = append(r.Notes, "the probe was never served: "+r.Watched[n-1].Cause)
	case asked.Before != "":
		r.Notes = append(r.Notes, "the database did not answer before the change either: "+asked.Before)
	}
	if hole := r.unwatched(); hole > gap && n > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("nobody looked for %s of it: no process worked on the run, or it was slow from one step to the next", brief(hole)))
	}
	if asked.Found != "" {
		r.Notes = append(r.Notes, "the change was found "+asked.Found+", so what was before that is not known")
	}
	if n > 0 && r.Watched[n-1].Down {
		r.Notes = append(r.Notes, "at the end the database did not answer yet: "+r.Watched[n-1].Cause)
	}
}

func (r *Report) unwatched() time.Duration { return time.Duration(r.UnwatchedMS) * time.Millisecond }

// text is the report on one line.
func (r *Report) text() string {
	var s strings.Builder
	switch {
	case !r.Measured:
		s.WriteString("downtime not measured")
	case r.Outages == 0:
		fmt.Fprintf(&s, "no downtime measured (%d attempts)", r.Attempts)
	default:
		fmt.Fprintf(&s, "%s of downtime measured", brief(time.Duration(r.DowntimeMS)*time.Millisecond))
		if r.Outages > 1 {
			fmt.Fprintf(&s, " in %d outages, the longest %s", r.Outages, brief(time.Duration(r.LongestMS)*time.Millisecond))
		}
		fmt.Fprintf(&s, " (%d of %d attempts failed)", r.Failures, r.Attempts)
	}
	for _, n := range r.Notes {
		s.WriteString("; " + n)
	}
	return s.String()
}

// brief is a duration to three digits or so.
func brief(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return d.Round(time.Millisecond).String()
	case d < 10*time.Minute:
		return d.Round(100 * time.Millisecond).String()
	default:
		return d.Round(time.Second).String()
	}
}

// String is the report in a sentence or two.
func (r *Report) String() string { return r.text() }
