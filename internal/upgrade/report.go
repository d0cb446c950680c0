package upgrade

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/state"
)

// ReportSchema is the schema of a report's JSON.
const ReportSchema = "dbops/upgrade-report/v1"

// Report is what a run or a rehearsal of an upgrade did, and how long that took: made of the plan and the journal, at any time.
type Report struct {
	Schema    string         `json:"schema"`
	Run       string         `json:"run"`
	Kind      string         `json:"kind"`
	Title     string         `json:"title"`
	State     state.RunState `json:"state"`
	Problem   string         `json:"problem,omitempty"`
	Source    ReportServer   `json:"source"`
	Target    ReportServer   `json:"target"`
	Engine    string         `json:"engine"`
	CatchUp   bool           `json:"catch_up"`
	Started   time.Time      `json:"started,omitzero"`
	Ended     time.Time      `json:"ended,omitzero"`
	Took      Span           `json:"took_seconds"`
	Phases    []Phase        `json:"phases"`
	Downtime  *Downtime      `json:"downtime,omitempty"`
	ShutOut   time.Time      `json:"shut_out_since,omitzero"`     // clients are, until the run goes on or is taken back
	Clients   string         `json:"clients,omitempty"`           // where they are; of a run that is done, on the target
	Next      string         `json:"next,omitempty"`              // how a run goes on that has not ended, or clients get in again
	Caution   string         `json:"caution,omitempty"`           // what a run that is done could not see to
	After     string         `json:"after,omitempty"`             // the operation that ended the way back
	Remnant   string         `json:"new_instance_left,omitempty"` // the new instance, where a rollback ended the way back and nobody removed it
	Stays     int            `json:"stays_major,omitempty"`       // what the instance is, although its upgrade in place was undone
	stands    string
	makes     bool         // the run makes its target
	Forecast  *Forecast    `json:"forecast,omitempty"`
	Databases []ReportData `json:"databases"`
	// Failures are what a rehearsal found that would fail; of a run, what it is parked or ended with.
	Failures []Failure    `json:"failures"`
	Findings []op.Finding `json:"findings"`
	Sessions []string     `json:"sessions_ended,omitempty"`
	Lost     []string     `json:"not_carried_over,omitempty"` // settings of the instance
	LeftOut  []string     `json:"left_out,omitempty"`         // roles and settings of roles and databases
	Compared []string     `json:"compared"`
	Not      []string     `json:"not_compared"`
	Back     string       `json:"back,omitempty"`
}

// ReportServer is one side.
type ReportServer struct {
	Name  string `json:"name"`
	Major int    `json:"major"`
}

// Phase is a step and how long it took, all attempts together.
type Phase struct {
	Name     string          `json:"name"`
	Title    string          `json:"title"`
	State    state.StepState `json:"state"`
	Took     Span            `json:"took_seconds"`
	Attempts int             `json:"attempts"`
	Problem  string          `json:"problem,omitempty"`
	Downtime bool            `json:"downtime,omitempty"` // clients are shut out in it
}

// Downtime is the time in which clients could not write.
type Downtime struct {
	From time.Time `json:"from"` // the first of them was shut out
	To   time.Time `json:"to"`   // all were switched
	Took Span      `json:"took_seconds"`
}

// Forecast is what a rehearsal says of the downtime of the run.
type Forecast struct {
	Low  Span   `json:"low_seconds"`
	High Span   `json:"high_seconds"`
	Rule string `json:"rule"`
}

// ReportData is one database.
type ReportData struct {
	Name   string `json:"name"`
	Tables int    `json:"tables"`
	Rows   int64  `json:"rows"`
	Bytes  int64  `json:"bytes"` // that went over the wire
	Took   Span   `json:"took_seconds"`
	// Equal says that a comparison found no difference; Why why there was none, or what it found.
	Equal bool   `json:"equal"`
	Why   string `json:"why,omitempty"`
	Sums  int    `json:"tables_compared"`
}

// Failure is something that failed, and what to do about it.
type Failure struct {
	Step string `json:"step"` // may be empty, of a run that was ended between two
	Text string `json:"text"`
	Hint string `json:"hint,omitempty"`
}

func (f Failure) String() string {
	if f.Step == "" {
		return f.Text
	}
	return f.Step + ": " + f.Text
}

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
	if d := time.Duration(s); d < 10*time.Second {
		return d.Round(10 * time.Millisecond).String()
	}
	return time.Duration(s).Round(time.Second).String()
}

// forecast is what the plan of a run takes of a rehearsal.
type forecast struct {
	Run     string    `json:"run"`
	At      time.Time `json:"at"`
	CatchUp bool      `json:"catch_up"`
	Low     Span      `json:"low_seconds"`
	High    Span      `json:"high_seconds"`
	Failed  string    `json:"failed,omitempty"`
}

func (r *Report) forecast() *forecast {
	if r == nil {
		return nil
	}
	f := &forecast{Run: r.Run, At: r.Ended, CatchUp: r.CatchUp}
	if r.Forecast != nil {
		f.Low, f.High = r.Forecast.Low, r.Forecast.High
	}
	if len(r.Failures) > 0 {
		f.Failed = r.Failures[0].String()
	}
	return f
}

// margin is how much longer than on an idle copy a run may take.
const margin = 1.5

const rule = "low: what the rehearsal measured of the phases in which clients are shut out; high: half as much again, because the copy was idle and the source is not, and the grace for its sessions. " +
	"How long clients take to begin anew is not in it"

// ReportOf makes the report of a run or a rehearsal from its plan and its journal.
func ReportOf(p *op.Plan, run state.Run, journal []state.Step) (*Report, error) {
	if p.Kind != RunKind && p.Kind != RehearseKind && p.Kind != InPlaceKind {
		return nil, fault.Newf(fault.Usage, "report on run "+run.ID, "it is no upgrade that made or changed an instance, it is %s", p.Kind).Hint("dbops upgrade status shows those that are")
	}
	var q Request
	var f facts
	if err := json.Unmarshal(p.Request, &q); err != nil {
		return nil, fmt.Errorf("read the request of run %s: %w", run.ID, err)
	}
	if err := json.Unmarshal(p.Facts, &f); err != nil {
		return nil, fmt.Errorf("read the facts of run %s: %w", run.ID, err)
	}
	q = q.normal(f.Source.Server.Name)
	r := &Report{
		Schema: ReportSchema, Run: run.ID, Kind: p.Kind, Title: p.Title, State: run.State, Problem: run.Problem,
		Source: ReportServer{f.Source.Server.Name, f.Source.Major}, Target: ReportServer{f.Target.Server.Name, q.To},
		Engine: q.Engine, CatchUp: q.CatchUp, Started: run.Started, Ended: run.Ended, Findings: p.Findings, Back: BackOf(p, run.ID, journal),
		Databases: []ReportData{}, Failures: []Failure{}, Compared: []string{}, Not: []string{},
	}
	end := run.Ended
	if end.IsZero() {
		end = run.Updated
	}
	if !run.Started.IsZero() {
		r.Took = Span(end.Sub(run.Started))
	}
	titles := map[string]string{}
	for _, s := range p.Steps {
		titles[s.Name] = s.Title
	}
	r.phases(journal, titles)
	if err := r.outputs(journal); err != nil {
		return nil, err
	}
	r.judge(p.Kind, q, run, journal)
	r.ShutOut = ShutOutSince(p.Kind, journal)
	r.stands = standsAt(run)
	r.makes = past{Facts: f, InPlace: p.Kind != RunKind}.makes()
	r.standing(p, run)
	return r, r.settled(p.Kind, run, journal)
}

func (r *Report) phases(journal []state.Step, titles map[string]string) {
	down := false
	for _, s := range journal {
		if s.Phase != state.Do {
			continue
		}
		i := slices.IndexFunc(r.Phases, func(p Phase) bool { return p.Name == s.Name })
		if i < 0 {
			down = down || s.Name == quiesceStep
			r.Phases = append(r.Phases, Phase{Name: s.Name, Title: cmp.Or(titles[s.Name], "compare with what the plan was made from"), Downtime: down})
			i = len(r.Phases) - 1
			down = down && s.Name != switchStep
		}
		p := &r.Phases[i]
		p.State, p.Problem = s.State, s.Problem
		p.Attempts = max(p.Attempts, s.Attempt)
		if !s.Ended.IsZero() {
			p.Took += Span(s.Ended.Sub(s.Started))
		}
	}
}

// output reads what a step stored, if it came to its end.
func output(journal []state.Step, name string, into any) (ok bool, err error) {
	for _, s := range journal {
		if s.Phase == state.Do && s.Name == name && s.State == state.StepDone && len(s.Output) > 0 && string(s.Output) != "null" {
			if err := json.Unmarshal(s.Output, into); err != nil {
				return false, fmt.Errorf("read what step %s stored: %w", name, err)
			}
			return true, nil
		}
	}
	return false, nil
}

// FailuresOf are what a rehearsal found that would fail.
func FailuresOf(journal []state.Step) (out []Failure) {
	for _, s := range journal {
		var t tried
		if s.Phase == state.Do && s.State == state.StepDone && json.Unmarshal(s.Output, &t) == nil && t.Failed != "" {
			out = append(out, Failure{s.Name, t.Failed, t.Hint})
		}
	}
	return out
}

func (r *Report) outputs(journal []state.Step) error {
	r.Failures = append(r.Failures, FailuresOf(journal)...)
	for _, s := range journal {
		var t tried
		_ = json.Unmarshal(s.Output, &t) // of a step that did not fail it is something else
		if s.Phase != state.Do || s.State != state.StepDone || !strings.HasPrefix(s.Name, "copy ") || t.Failed != "" {
			continue
		}
		var c copied
		if err := json.Unmarshal(s.Output, &c); err != nil {
			return fmt.Errorf("read what step %s stored: %w", s.Name, err)
		}
		if c.Database == "" {
			continue // it was not tried
		}
		d := ReportData{Name: c.Database, Tables: c.Tables, Rows: c.Rows, Bytes: c.Bytes, Took: Span(c.Took), Why: c.Unverified}
		if c.Verified != nil {
			d.compared(c.Verified.Equal, len(c.Verified.Tables))
			r.say(c.Verified.Compared, c.Verified.NotCompared)
		}
		r.Databases = append(r.Databases, d)
	}
	var shut closed
	var open opened
	shutOK, err := output(journal, quiesceStep, &shut)
	if err != nil {
		return err
	}
	openOK, err := output(journal, switchStep, &open)
	if err != nil {
		return err
	}
	if shutOK && openOK && !shut.Began.IsZero() && !open.At.IsZero() {
		r.Downtime = &Downtime{shut.Began, open.At, Span(open.At.Sub(shut.Began))}
	}
	if shutOK && shut.Report != nil {
		for _, s := range shut.Report.Ended {
			r.Sessions = append(r.Sessions, s.String())
		}
		for _, s := range shut.Report.Still {
			r.Not = append(r.Not, "what these may have written after writers were kept out, whom rights do not: "+s.String())
		}
	}
	for _, name := range []string{verifyStep, compareStep} {
		var v verified
		if ok, err := output(journal, name, &v); err != nil || !ok {
			if err != nil {
				return err
			}
			continue
		}
		for _, d := range v.Databases {
			i := slices.IndexFunc(r.Databases, func(x ReportData) bool { return x.Name == d.Database })
			if i >= 0 && d.Report != nil && len(d.Report.Tables) > 0 {
				r.Databases[i].compared(d.Report.Equal, len(d.Report.Tables))
			}
			if d.Report != nil {
				r.say(d.Report.Compared, d.Report.NotCompared)
			}
		}
		if v.Note != "" {
			r.Not = append(r.Not, v.Note)
		}
		if v.Note != "" && name == compareStep {
			r.Caution = v.Note
		}
		r.say(v.Compared, nil)
		r.Not = slices.DeleteFunc(r.Not, func(not string) bool {
			return slices.ContainsFunc(v.Compared, func(is string) bool { return strings.HasPrefix(not, is) })
		})
	}
	var m made
	if _, err := output(journal, "conform", &m); err != nil {
		return err
	}
	r.Lost = m.Lost
	var passwords given
	if _, err := output(journal, "passwords", &passwords); err != nil {
		return err
	}
	for _, role := range passwords.Missing {
		r.LeftOut = append(r.LeftOut, "the password of "+role+": it cannot be read, and dbops does not know it: give it one on the new instance")
	}
	for _, name := range []string{"roles", "settings"} {
		var g globals
		if _, err := output(journal, name, &g); err != nil {
			return err
		}
		if g.Report != nil {
			for _, x := range g.Report.LeftOut {
				r.LeftOut = append(r.LeftOut, x.What+": "+x.Why)
			}
		}
	}
	return nil
}

func (d *ReportData) compared(equal bool, tables int) {
	d.Equal, d.Sums = equal, tables
	if equal {
		d.Why = ""
	} else {
		d.Why = "something differs"
	}
}

// say notes what was compared, each sentence once.
func (r *Report) say(compared, not []string) {
	for _, s := range compared {
		if !slices.Contains(r.Compared, s) {
			r.Compared = append(r.Compared, s)
		}
	}
	for _, s := range not {
		if !slices.Contains(r.Not, s) {
			r.Not = append(r.Not, s)
		}
	}
}

func (r *Report) judge(kind string, q Request, run state.Run, journal []state.Step) {
	if run.Problem != "" && run.State != state.Gate { // which is nothing that failed
		step := run.Step
		if n := len(journal); step == "" && n > 0 && journal[n-1].State == state.StepFailed { // it was abandoned there
			step = journal[n-1].Name
		}
		r.Failures = append(r.Failures, Failure{step, run.Problem, run.Hint})
	}
	if kind != RehearseKind || run.State != state.Done || len(r.Failures) > 0 {
		return
	}
	var low Span
	declared := !slices.ContainsFunc(r.Phases, func(p Phase) bool { return p.Name == quiesceStep })
	for _, p := range r.Phases {
		if p.Downtime || declared && (strings.HasPrefix(p.Name, "copy ") || p.Name == "settings" || p.Name == "statistics") {
			low += p.Took
		}
	}
	r.Forecast = &Forecast{Low: low, High: Span(float64(low)*margin) + Span(q.Grace), Rule: rule}
}
