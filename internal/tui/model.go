package tui

import (
	"context"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"

	"dbops/internal/app"
	"dbops/internal/tui/core"
	"dbops/internal/tui/dialog"
	"dbops/internal/tui/lines"
	"dbops/internal/tui/page/approvals"
	"dbops/internal/tui/page/fleet"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/sessions"
	"dbops/internal/tui/theme"
	"dbops/internal/tui/work"
)

// tickEvery is the period of the program's one clock.
const tickEvery = time.Second

// model is the root: everything that is not a page's own. It is a value; Update returns the next one.
type model struct {
	core   core.Core
	pool   *work.Pool
	keeper *sessions.Keeper
	opts   Options
	out    *output // nil in a test, and where it is read out

	now           time.Time
	width, height int
	theme         theme.Theme
	light         bool // the background of the terminal is

	instances []app.Instance
	loadErr   error

	stack   []entry
	dialogs []screen.Dialog // the last is on top
	proxies sessions.Set
	notes   notes
	trail   trail
	meant   *meant // a command of the palette that waits for its page

	click       click
	attention   attention
	plans       approvals.Looked // that the person looked at
	interrupted time.Time        // when ctrl+c was pressed and not yet followed by another
	leaving     bool             // quits as soon as every proxy has closed
	hurried     bool             // the person would not wait for that
}

// loadedMsg are the configured instances.
type loadedMsg struct {
	instances []app.Instance
	err       error
}

// leaveMsg is the person's yes to leaving.
type leaveMsg struct{}

func newModel(c core.Core, pool *work.Pool, k *sessions.Keeper, o Options) model {
	m := model{
		core: c, pool: pool, keeper: k, opts: o, now: o.Now(),
		proxies: sessions.NewSet(c, pool, k, o.Now),
	}
	m.light = o.Background == BackgroundLight
	m.theme = theme.New(m.look(colorprofile.Unknown, m.light))
	m.stack = []entry{{kind: kindFleet, page: fleet.New(c, pool)}}
	return m
}

// Init asks for the instances and the background and starts the clock. The pages start when there is something to read.
func (m model) Init() tea.Cmd {
	cmds := []tea.Cmd{m.load(), m.tick()}
	if m.opts.Background == BackgroundAuto {
		cmds = append(cmds, tea.RequestBackgroundColor)
	}
	return tea.Batch(cmds...)
}

func (m model) tick() tea.Cmd {
	now := m.opts.Now
	return m.pool.After(tickEvery, func(time.Time) tea.Msg { return screen.Tick{At: now()} })
}

func (m model) load() tea.Cmd {
	c := m.core
	return m.pool.Do(func(context.Context) tea.Msg {
		all, err := c.Instances("")
		return loadedMsg{all, err}
	})
}

// scene is what pages and dialogs may look at.
func (m model) scene() screen.Scene {
	return screen.Scene{
		Now: m.now, Theme: m.theme, Area: screen.Area{W: max(1, m.width), H: max(1, m.height-screen.Chrome), Aloud: m.opts.Lines != nil},
		Instances: m.instances, LoadErr: m.loadErr, Proxies: m.proxies.States(), Approvals: m.attention.seen.Approvals, ReadOnly: m.core.ReadOnly(), NoVotes: m.core.NoVotes(), Elsewhere: m.core.Elsewhere(),
		Refresh: m.opts.RefreshEvery,
	}
}

// Update implements [tea.Model]. A panic ends the program in order: the terminal is given back before anybody reads the stack.
func (m model) Update(msg tea.Msg) (next tea.Model, cmd tea.Cmd) {
	m.trail = m.trail.add(msg)
	defer func() {
		if v := recover(); v != nil {
			m.pool.Caught(v)
			next, cmd = m, tea.Quit
		}
	}()
	if m.pool.Crashed() != nil { // in View
		return m, tea.Quit
	}
	now, cmd := m.update(msg)
	now, run := now.caught()
	return now, tea.Batch(cmd, run)
}

func (m model) update(msg tea.Msg) (model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
		return m, nil
	case tea.BackgroundColorMsg:
		if m.opts.Background == BackgroundAuto {
			m.light = !msg.IsDark()
			m.theme = theme.New(m.look(m.theme.Options().Profile, m.light))
		}
		return m, nil
	case tea.ColorProfileMsg:
		m.theme = theme.New(m.look(msg.Profile, m.light))
		return m, nil
	case screen.Tick:
		return m.ticked(msg)
	case loadedMsg:
		return m.loaded(msg)
	case work.Addressed:
		return m.deliver(msg)
	case tea.KeyPressMsg:
		return m.pressed(msg)
	case tea.MouseClickMsg:
		return m.clicked(msg)
	case tea.MouseWheelMsg:
		return m.wheeled(msg)
	case tea.PasteMsg:
		return m.pasted(msg)
	case leaveMsg:
		return m.leave()
	case suspendedMsg:
		return m.suspended(msg)
	case freeMsg: // the frame that follows was skipped
		return m, nil
	case work.Crash: // Run tells about it
		return m, tea.Quit
	case dialog.Answer, lines.Write, lines.Quit, lines.Leave, screen.Same, screen.Cancel:
		return m.heard(msg)
	default:
		return m.asked(msg)
	}
}

// asked takes what pages and dialogs want of the program.
func (m model) asked(msg tea.Msg) (model, tea.Cmd) {
	var cmd tea.Cmd
	switch msg := msg.(type) {
	case screen.OpenInstance:
		return m.openInstance(msg)
	case screen.OpenProxy:
		return m.openProxy(msg)
	case screen.OpenTab:
		return m.openTab(msg)
	case screen.OpenPlan:
		return m.openPlan(msg)
	case screen.OpenPlans:
		return m.openPlans(msg)
	case screen.OpenRun:
		return m.openRun(msg)
	case screen.OpenApproval:
		return m.openApproval(msg)
	case screen.OpenSection:
		return m.openSection(msg.Section)
	case screen.Open:
		return m.openDetail(msg)
	case screen.Notify:
		return m.notify(msg)
	case approvals.Seen:
		m.plans = m.plans.With(msg.Plan)
	case screen.Asked:
		m.attention = m.attention.with(msg.Approval)
	case lookedMsg:
		return m.looked(msg)
	case screen.Show:
		m.dialogs = append(m.dialogs[:len(m.dialogs):len(m.dialogs)], msg.Dialog)
	case screen.StartProxy:
		m.proxies, cmd = m.proxies.Start(msg.Options, m.now)
	case screen.StopProxy:
		m.proxies, cmd = m.proxies.Stop(msg.Environment, m.now)
	case screen.KillConnection:
		cmd = m.proxies.Kill(msg.Environment, msg.ID)
	case screen.Notice:
		m.notes = m.notes.add(m.now, msg.Text, msg.Err)
	case screen.Copy:
		return m.copy(msg)
	case screen.Do:
		return m.do(msg.ID)
	case screen.Reload:
		cmd = m.load()
	case setTheme:
		return m.dressed(msg.theme), nil
	case whichInstance:
		return m.show(dialog.NewPalette(msg.command.words+": of which instance?", m.choices(msg.command)))
	case goCommand:
		return m.begin(msg)
	}
	return m, cmd
}

// ticked moves the clock, and with it everything that waits for a time.
func (m model) ticked(t screen.Tick) (model, tea.Cmd) {
	m.now = t.At
	cmds := []tea.Cmd{m.tick()}
	var cmd tea.Cmd
	m.proxies, cmd = m.proxies.Tick()
	cmds = append(cmds, cmd)
	m, cmd = m.watch()
	cmds = append(cmds, cmd)
	for i := 0; i < len(m.stack); i++ {
		m, cmd = m.updatePage(i, t)
		cmds = append(cmds, cmd)
	}
	return m, tea.Batch(cmds...)
}

// loaded takes the configured instances. The fleet begins to read with the first ones.
func (m model) loaded(msg loadedMsg) (model, tea.Cmd) {
	first := m.instances == nil
	m.loadErr = msg.err
	if msg.err != nil {
		m.notes = m.notes.add(m.now, "the configuration cannot be read", msg.err)
		return m, nil
	}
	m.instances = msg.instances
	if m.instances == nil {
		m.instances = []app.Instance{}
	}
	if !first {
		return m, nil
	}
	m, look := m.watch()
	m, cmd := m.initPage(0)
	return m, tea.Batch(look, cmd)
}

// deliver hands an answer to whoever asked; nobody may be left.
func (m model) deliver(msg work.Addressed) (model, tea.Cmd) {
	next, cmd, notes, ok := m.proxies.Update(msg)
	if ok {
		m.proxies = next
		for _, n := range notes {
			m.notes = m.notes.add(m.now, n.Text, n.Err)
		}
		if open, _ := m.proxies.Open(); m.leaving && open == 0 {
			return m, tea.Quit
		}
		return m, cmd
	}
	for i, e := range m.stack {
		if e.holds(msg.Addressee()) {
			return m.updatePage(i, msg)
		}
	}
	return m, nil
}

// leave closes the proxies, then quits.
func (m model) leave() (model, tea.Cmd) {
	open, clients := m.proxies.Open()
	if open == 0 {
		return m, tea.Quit
	}
	m.leaving = true
	m.dialogs = nil
	m.notes = m.notes.add(m.now, "closing "+openText(open, clients), nil)
	var cmd tea.Cmd
	m.proxies, cmd = m.proxies.StopAll(m.now)
	return m, cmd
}
