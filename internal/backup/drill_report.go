package backup

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"dbops/internal/state"
)

// Span is a length of time whose JSON is a number of seconds.
type Span time.Duration

// MarshalJSON writes seconds, to the millisecond.
func (s Span) MarshalJSON() ([]byte, error) {
	return json.Marshal(float64(time.Duration(s).Milliseconds()) / 1000)
}

// UnmarshalJSON reads seconds.
func (s *Span) UnmarshalJSON(b []byte) error {
	var seconds float64
	if err := json.Unmarshal(b, &seconds); err != nil {
		return err
	}
	*s = Span(seconds * float64(time.Second))
	return nil
}

func (s Span) String() string {
	d := time.Duration(s)
	if d < 10*time.Second {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// DrillReport is the output of step "report".
type DrillReport struct {
	Met      bool   `json:"met"`      // it was restored, it is as the source, and the targets are kept
	Source   string `json:"source"`   // the provider's name
	Instance string `json:"instance"` // the scratch instance
	Kept     bool   `json:"kept"`

	Point   time.Time `json:"point"`            // the state that was restored
	Reached time.Time `json:"reached,omitzero"` // the newest transaction in it
	Method  string    `json:"method,omitempty"` // how that is known: replay, commits, provider
	Exact   bool      `json:"exact"`            // the moment lies between two looks at the source, so that every difference counts

	RPO         Span    `json:"rpo_seconds"` // the most that could have been lost while the drill looked: now, less the latest moment that could be restored
	RTO         Span    `json:"rto_seconds"` // from the request to the first answer of the restored server; 0: it never answered
	Interrupted bool    `json:"interrupted"` // other processes went on with the drill: the RTO holds the time between them
	Targets     Targets `json:"targets"`

	Checks    []Check          `json:"checks"`
	Databases []DatabaseReport `json:"databases"`
	Text      string           `json:"text"` // the result in a sentence
}

// Targets are what a drill is measured by; 0 is none.
type Targets struct {
	RPO Span `json:"rpo_seconds,omitempty"`
	RTO Span `json:"rto_seconds,omitempty"`
}

// DatabaseReport is the size of one database.
type DatabaseReport struct {
	Database string `json:"database"`
	Bytes    int64  `json:"bytes"`          // on the source
	Restored int64  `json:"restored_bytes"` // in what was restored
	Tables   int    `json:"tables"`
}

// reportStep is where a drill's report is.
const reportStep = "report"

// ReportOf finds a drill's report in the journal of its run; ok if it is there.
func ReportOf(journal []state.Step) (r DrillReport, ok bool, err error) {
	for _, s := range journal {
		if s.Phase == state.Do && s.Name == reportStep && s.State == state.StepDone {
			if err := json.Unmarshal(s.Output, &r); err != nil {
				return r, false, fmt.Errorf("read the report: %w", err)
			}
			return r, true, nil
		}
	}
	return r, false, nil
}

// judge says whether the drill is passed.
func (r *DrillReport) judge() {
	var bad []string
	for _, c := range r.Checks {
		if c.Result == Mismatch && !c.summarizes(r.Checks) {
			bad = append(bad, strings.Join(strings.Fields(c.Check+" "+c.Database+" "+c.Object), " ")+": "+c.Text)
		}
	}
	if len(bad) > 3 {
		bad = append(bad[:3], fmt.Sprintf("%d more", len(bad)-3))
	}
	if t := r.Targets.RTO; t > 0 && r.RTO > t {
		bad = append(bad, fmt.Sprintf("it took %s, and %s is the target", r.RTO, t))
	}
	if t := r.Targets.RPO; t > 0 && r.RPO > t {
		bad = append(bad, fmt.Sprintf("%s could have been lost, and %s is the target", r.RPO, t))
	}
	r.Met = len(bad) == 0
	r.Text = fmt.Sprintf("passed: usable after %s, at most %s lost", r.RTO, r.RPO)
	if !r.Met {
		r.Text = "failed: " + strings.Join(bad, "; ")
	}
}
