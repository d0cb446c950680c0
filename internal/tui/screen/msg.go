package screen

import (
	"context"
	"time"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/app"
	"dbops/internal/op"
	"dbops/internal/secret"
	"dbops/internal/tui/overview"
)

// Tick is the program's one clock. Every page and every session gets it once a second.
type Tick struct{ At time.Time }

// Resumed tells a page that it is on top again.
type Resumed struct{}

// Covered tells a page that another one is on top of it.
type Covered struct{}

// Cancel asks a page to give up what it is reading.
type Cancel struct{}

// Reload asks the root to read the configured instances again.
type Reload struct{}

// OpenInstance asks for the page of an instance, of which this much is known already.
type OpenInstance struct{ Known overview.Known }

// OpenProxy asks for the page of an environment's proxy.
type OpenProxy struct{ Environment string }

// OpenTab asks for a tab of an instance by its name, as [OpenInstance] asks for the first.
type OpenTab struct {
	Instance app.Instance
	Tab      string
}

// OpenPlan asks for the plan of a change: it is worked out and shown, and can be run from there.
type OpenPlan struct {
	Change app.Change
	Title  string   // what is planned, until the plan itself says
	CLI    []string // the command line that plans and runs the same
	Made   *op.Plan // it is worked out already: it is shown as it is; nil: it is not
}

// OpenPlans asks for the plans of several changes side by side. Each is looked at, and run, by itself.
type OpenPlans struct {
	Title string // what is planned of all
	Each  []Wanted
}

// Wanted is one of several changes.
type Wanted struct {
	OpenPlan
	// Request finds out what the change asks for, where that depends on what is there. It may block. nil: it is known.
	Request func(context.Context) (any, error)
}

// OpenRun asks for the page of a run.
type OpenRun struct{ ID string }

// OpenApproval asks for the page of an approval.
type OpenApproval struct{ ID string }

// Open asks for a page that its maker knows, above its own: one of what it lists. It takes the place of another such page.
type Open struct{ Page Page }

// OpenSection asks for one of the pages that belong to no environment.
type OpenSection struct{ Section Section }

// Section is a page that belongs to no environment.
type Section uint8

// The sections, in the order of their keys.
const (
	SectionFleet Section = iota
	SectionRuns
	SectionApprovals
	SectionAudit
)

// Notify calls the person who looks elsewhere: the bell, and a notification of the terminal.
type Notify struct{ Text string }

// Asked tells that this person has asked for an approval: who waits for it hears of the answer.
type Asked struct{ Approval string }

// Show asks for a dialog.
type Show struct{ Dialog Dialog }

// StartProxy asks for a proxy. It is not confirmed any more.
type StartProxy struct{ Options app.ProxyOptions }

// StopProxy asks for the end of a proxy. It is not confirmed any more.
type StopProxy struct{ Environment string }

// KillConnection asks for the end of one client. It is not confirmed any more.
type KillConnection struct {
	Environment string
	ID          uint64
}

// Do asks for an action by id, as the palette and the menu do.
type Do struct{ ID string }

// Same is the command line that does what was just chosen, for who cannot see it beside the choice.
type Same struct{ CLI []string }

// Notice is a line for the person. Err makes it a failure, which stays until esc; its hint goes to the history.
type Notice struct {
	Text string
	Err  error
}

// Copy puts text on the clipboard of the terminal; what says what it was. Secret is used in place of Text when it is set.
type Copy struct {
	What   string
	Text   string
	Secret secret.Value
}

// Out is what a page or a dialog wants after it took a message.
type Out struct {
	// Say goes to the root before it takes the next key: a dialog that a key asked for is there for the key after it, however
	// fast they come.
	Say []tea.Msg
	// Cmd runs beside the event loop; its answer comes when it comes.
	Cmd tea.Cmd
}

// Say tells the root something.
func Say(msg tea.Msg) Out { return Out{Say: []tea.Msg{msg}} }

// Run starts a command.
func Run(cmd tea.Cmd) Out { return Out{Cmd: cmd} }

// And tells the root something more.
func (o Out) And(msg tea.Msg) Out {
	o.Say = append(o.Say[:len(o.Say):len(o.Say)], msg)
	return o
}
