package upgrade

import (
	"slices"
	"strings"

	"dbops/internal/app"
	"dbops/internal/op"
	"dbops/internal/state"
	"dbops/internal/tui/theme"
	"dbops/internal/upgrade"
)

// stage is a part of the way.
type stage uint8

const (
	choose stage = iota
	rehearse
	report
	run
	cutover
	observe
	end
	stages
)

var stageNames = [stages]string{"choose", "rehearse", "report", "run", "cut over", "observe", "end"}

// mark is how a stage stands.
type mark uint8

const (
	ahead mark = iota
	done
	going
	waits // for somebody
	failed
)

func (m mark) draw(g theme.Glyphs) (string, theme.Role) {
	switch m {
	case done:
		return g.Done, theme.OK
	case going:
		return "~", theme.Pending
	case waits:
		return "!", theme.Warn
	case failed:
		return "x", theme.Danger
	case ahead:
	}
	return ".", theme.Muted
}

// markOf is how a run that a stage is about stands.
func markOf(r state.Run) mark {
	switch {
	case r.State == state.Done:
		return done
	case r.State.Ended():
		return failed
	case r.State == state.Gate, r.State == state.Parked, op.Idle(r), r.Interrupted():
		return waits
	}
	return going
}

// stands is where an upgrade stands.
type stands struct {
	here  stage
	marks [stages]mark
	// rehearsal and last belong to the way that is gone now; nil where it has not come to them.
	rehearsal, last *app.Upgraded
	back            *app.RunView
	over            string        // how the last way ended, where the next has not begun
	left            *app.Upgraded // whose new instance a rollback left, and nobody removed
}

// standing works out where an upgrade stands, from the journal alone.
func standing(u app.Upgrading) (s stands) {
	s.left = u.Left
	if u.Last != nil && !over(u) {
		s.last, s.back = u.Last, u.Back
	} else if u.Last != nil {
		s.over = ended(u)
	}
	if r := u.Rehearsal; r != nil && (s.last != nil || u.Last == nil || r.Run.Created.After(u.Last.Run.Created)) {
		s.rehearsal = r
	}
	if s.rehearsal != nil {
		r := s.rehearsal.Run
		s.marks[choose], s.marks[rehearse], s.here = done, markOf(r), rehearse
		if r.State == state.Done {
			s.marks[report], s.here = done, report
			if s.rehearsal.Report != nil && len(s.rehearsal.Report.Failures) > 0 {
				s.marks[report] = failed
			}
		}
	}
	if s.last == nil {
		return s
	}
	s.marks[choose], s.here = done, position(s.last)
	for i := run; i < s.here; i++ {
		s.marks[i] = done
	}
	s.marks[s.here] = markOf(s.last.Run)
	if s.last.Run.State == state.Undoing {
		s.here, s.marks[end] = end, going
	}
	if s.back != nil && !s.back.Run.State.Ended() {
		s.here, s.marks[end] = end, markOf(s.back.Run)
	}
	return s
}

// over tells whether nothing can be done any more about the last upgrade: its way back was used or given up, or it was undone.
func over(u app.Upgrading) bool {
	r := u.Last.Run
	return u.Last.Report != nil && u.Last.Report.After != "" || r.State == state.Undone || r.State == state.Cancelled
}

func ended(u app.Upgrading) string {
	if u.Back != nil && u.Last.Report != nil && u.Back.Run.Kind == upgrade.CleanupKind && strings.HasPrefix(u.Last.Report.After, upgrade.RollbackKind) {
		word := map[bool]string{true: "was removed by run ", false: "is to be removed by run "}[u.Back.Run.State == state.Done]
		return "the last upgrade, run " + u.Last.Run.ID + ", was rolled back, and the new instance " + word + u.Back.Run.ID
	}
	if u.Back != nil && u.Back.Run.State == state.Done {
		if u.Back.Run.Kind == upgrade.CleanupKind {
			return "the last upgrade, run " + u.Last.Run.ID + ", was cleaned up by run " + u.Back.Run.ID
		}
		return "the last upgrade, run " + u.Last.Run.ID + ", was rolled back by run " + u.Back.Run.ID
	}
	return "the last upgrade, run " + u.Last.Run.ID + ", is " + string(u.Last.Run.State)
}

// position is the stage that a run of an upgrade is at.
func position(u *app.Upgraded) stage {
	if u.Run.State == state.Done || u.Report != nil && u.Report.Switched(false) {
		return observe
	}
	if u.Run.State == state.Gate {
		return cutover
	}
	if u.Plan == nil {
		return run
	}
	gate := slices.IndexFunc(u.Plan.Steps, func(s op.StepInfo) bool { return s.Gate })
	past := func(name string) bool {
		return gate >= 0 && slices.IndexFunc(u.Plan.Steps, func(s op.StepInfo) bool { return s.Name == name }) > gate
	}
	if past(u.Run.Step) || u.Report != nil && !u.Report.ShutOut.IsZero() {
		return cutover
	}
	return run
}
