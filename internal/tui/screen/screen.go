// Package screen is the contract between the root model and its pages.
//
// A [Page] draws a rectangle and lists its [Action]s; from that one list come the keys, the help, the action menu and the
// palette, so they cannot disagree. Pages never touch each other: what they want of the program they say with the messages of
// this package, and what they may look at comes in as a [Scene].
package screen

import (
	"time"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/app"
	"dbops/internal/config"
	"dbops/internal/state"
	"dbops/internal/tui/sessions"
	"dbops/internal/tui/theme"
	"dbops/internal/tui/work"
)

// Protected is the word that a protected environment always wears.
const Protected = "PROTECTED"

// Area is a rectangle of cells.
type Area struct {
	W, H  int
	Aloud bool // what is drawn in it is read out: all of it, nothing beside anything else
}

// The breakpoints. Below the smallest nothing is drawn but a line that says so.
const (
	MinWidth    = 60
	MinHeight   = 15
	NormalWidth = 100
	WideWidth   = 160
	TallHeight  = 30

	// Chrome is the rows of the frame around a page.
	Chrome = 4
)

// Compact tells that columns must leave and panes stand one at a time.
func (a Area) Compact() bool { return a.W < NormalWidth }

// Wide tells that a second column of panes fits.
func (a Area) Wide() bool { return !a.Aloud && a.W >= WideWidth }

// Tall tells that blank rows may separate groups.
func (a Area) Tall() bool { return a.H+Chrome >= TallHeight }

// Scene is what every page may look at. It must not be changed.
type Scene struct {
	Now       time.Time // of the last tick
	Theme     theme.Theme
	Area      Area           // of the page
	Instances []app.Instance // configured; nil until they are known
	LoadErr   error          // why they are not
	Proxies   map[string]sessions.State
	Approvals []state.Approval // as they were seen last, newest first
	ReadOnly  string           // why nothing may be changed from here; empty if it may
	NoVotes   string           // why nobody may vote from here; empty if they may
	Elsewhere string           // why nothing is written to files of this machine, nor listened to on it, from here; empty if it may be
	Refresh   time.Duration    // how often data is read anew
}

// Protected tells whether an environment is protected. One that nobody knows counts as protected.
func (s Scene) Protected(env string) bool {
	for _, i := range s.Instances {
		if i.Environment == env {
			return i.Protected
		}
	}
	return true
}

// NoFiles is why no file can be written from here; empty if it can.
func (s Scene) NoFiles() string { return because("no file is written from here", s.Elsewhere) }

// NoProxy is why no proxy can be opened from here; empty if it can.
func (s Scene) NoProxy() string { return because("no proxy is opened from here", s.Elsewhere) }

// NoChange is why nothing can be changed from here; empty if it can.
func (s Scene) NoChange() string { return because("nothing is changed from here", s.ReadOnly) }

func because(what, why string) string {
	if why == "" {
		return ""
	}
	return what + ": " + why
}

// Stale tells whether data read at t should have been replaced by now.
func (s Scene) Stale(t time.Time) bool {
	return !t.IsZero() && s.Now.Sub(t) > 2*s.Refresh
}

// Header is what the frame says about a page.
type Header struct {
	Environment string // empty: the page belongs to none
	Title       []string
	Facts       string // beside the clock: engine and region, counts
	Mode        Mode   // what can be done to data from here
	Tabs        []Tab
	Active      int    // index of the active tab
	Note        string // in place of tabs: filter and order
	Cursor      int    // cell in Note where typing goes; -1 for none
	Fresh       Fresh
}

// Tab is the name of a part of a page, or of a section.
type Tab struct {
	Key   string // that opens it: "1"
	Name  string
	Short string // where the screen is narrow. Defaults to the name
	Badge string // after it: how much waits there
}

// Mode is the access that the band shows.
type Mode struct {
	Word  string // READ-ONLY, WRITE, ADMIN; empty for none
	Risky bool   // data can be changed
}

// Fresh is how old the data of a page is.
type Fresh struct {
	At      time.Time // of the oldest part; zero while there is none
	Loading bool
	Still   bool   // it is read seldom, or when it is asked for: its age makes it no worse
	Err     string // why it could not be read anew; empty when it could
}

// Page is one screen. It is a value: Update and Do return the next one. Only the root model knows tea.View.
type Page interface {
	// ID is the scope that its messages are addressed to.
	ID() work.ID
	// Init returns the first command.
	Init(s Scene) (Page, Out)
	// Update takes a message that is no key of an action: its own answers, [Tick], [Resumed], [Covered], [Cancel], and, while it
	// [Page.Captures], keys.
	Update(msg tea.Msg, s Scene) (Page, Out)
	// Do runs one of its actions, which is not disabled.
	Do(id string, s Scene) (Page, Out)
	// Actions lists what can be done, most used first.
	Actions(s Scene) []Action
	// Captures tells that keys go to an input of the page.
	Captures() bool
	// View draws exactly s.Area.
	View(s Scene) string
	// Header is what the frame shows.
	Header(s Scene) Header
	// CLI is the command line that shows the same.
	CLI(s Scene) []string
	// Close cancels what the page still does.
	Close()
}

// Holder is a page that passes messages on to pages within it.
type Holder interface {
	// Holds tells whether a scope is that of a page within.
	Holds(id work.ID) bool
}

// Teller is a page on which things happen, which somebody who listens is told one by one.
type Teller interface {
	// Tell says what has happened since next was returned; the zero Told asks for what matters now. wants tells that a person has to decide
	// among its actions; it is said once for each such moment.
	Tell(since Told, s Scene) (said []string, next Told, wants bool)
}

// Told is how far a [Teller] has told.
type Told struct {
	Any      bool // something was told
	Seq      int64
	Progress time.Time // when progress was told last
	Wants    string    // the moment that a person was wanted at last
}

// Clicker is a page with rows that the mouse selects.
type Clicker interface {
	// Click selects what is at a cell of the page's area. hit tells that something is, so that a second click there means enter.
	Click(x, y int, s Scene) (next Page, hit bool)
}

// Pointer is a page with parts that move on their own.
type Pointer interface {
	// Point has the moves go to the part at a cell.
	Point(x, y int, s Scene) Page
}

// Dialog is a box above the page. It gets all keys.
type Dialog interface {
	// Update returns the dialog's next state, nil when it is done.
	Update(msg tea.Msg, s Scene) (Dialog, Out)
	// View returns the box, at most a, and the cursor within it.
	View(s Scene, a Area) (string, *tea.Cursor)
	// Keys are shown in the row of keys.
	Keys() []Action
}

// ModeOf is the mode of an access.
func ModeOf(a config.Access) Mode {
	switch a {
	case config.Write:
		return Mode{Word: "WRITE", Risky: true}
	case config.Admin:
		return Mode{Word: "ADMIN", Risky: true}
	default:
		return Mode{Word: "READ-ONLY"}
	}
}
