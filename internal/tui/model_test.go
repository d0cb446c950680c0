package tui

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"
	"github.com/charmbracelet/x/exp/golden"
	"go.uber.org/goleak"

	"dbops/internal/app"
	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/proxy"
	"dbops/internal/tui/internal/fake"
	"dbops/internal/tui/sessions"
	"dbops/internal/tui/tuitest"
	"dbops/internal/tui/work"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start")) // a cloud SDK starts it on import
}

// night is when every test happens.
var night = time.Date(2026, 11, 21, 3, 12, 4, 0, time.UTC)

// stage is a model with a robot before it and a fake core behind it.
type stage struct {
	*tuitest.Robot
	core   *fake.Core
	keeper *sessions.Keeper
}

// play runs f inside a bubble in which time passes only when f says so. When it ends, every goroutine must have.
func play(t *testing.T, w, h int, o Options, setup func(*fake.Core), f func(*stage)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		o.Now = func() time.Time { return night.Add(time.Since(began)) }
		o.Env, o.Version = []string{"LANG=C.UTF-8"}, "v1.2.3"
		o = o.withDefaults()
		s := &stage{core: fake.New(o.Now), keeper: sessions.NewKeeper()}
		if setup != nil {
			setup(s.core)
		}
		pool := work.New(t.Context())
		s.Robot = tuitest.NewRobot(t, newModel(s.core, pool, s.keeper, o), w, h)
		defer func() { // also when the test has failed
			if t.Failed() {
				s.keeper.Hurry()
			}
			pool.Close()
			if err := s.keeper.CloseAll(t.Context()); err != nil && !s.model().hurried {
				t.Error(err)
			}
			s.keeper.Hurry()
		}()
		f(s)
	})
}

// model is the robot's model.
func (s *stage) model() model { return s.Model().(model) }

// busy gives the proxy of prod clients with traffic.
func (s *stage) busy() *fake.Proxy {
	p := s.core.Proxies()[0]
	for i, name := range []string{"psql", "DBeaver 24.1.2", "metabase"} {
		id := p.Connect(proxy.Connection{
			Client: fmt.Sprintf("127.0.0.1:5100%d", i), Application: name, Database: []string{"orders", "orders", "billing"}[i],
			User: "oncall_ro", State: "idle",
		})
		p.Traffic(id, 1<<10, 1<<20, "idle")
	}
	return p
}

var sizes = []struct{ w, h int }{{60, 15}, {80, 24}, {120, 40}, {200, 60}}

// scenes are screens worth keeping: how to get there.
var scenes = map[string]func(*stage){
	"fleet":        func(*stage) {},
	"fleet_end":    func(s *stage) { s.Press("G") },
	"filter":       func(s *stage) { s.Press("/"); s.Type("orders !staging") },
	"instance":     func(s *stage) { s.Type("jjjjj"); s.Press("enter") },
	"unreadable":   func(s *stage) { s.fail(); s.Press("j", "enter") },
	"raw":          func(s *stage) { s.Press("enter", "o") },
	"proxy_off":    func(s *stage) { s.Press("p") },
	"proxy":        func(s *stage) { s.open(); s.Press("2", "j") },
	"proxy_reason": func(s *stage) { s.Press("p", "c", "w", "t") },
	"proxy_write":  func(s *stage) { s.Press("p", "c", "w", "t", "4", "2", "enter") },
	"kill":         func(s *stage) { s.open(); s.Press("2", "x") },
	"help":         func(s *stage) { s.Press("?") },
	"palette":      func(s *stage) { s.Press(":"); s.Type("staging") },
	"actions":      func(s *stage) { s.Press("p", "a") },
	"messages":     func(s *stage) { s.fail(); s.open(); s.Press("y", "M") },
	"availability": func(s *stage) { s.tab("prod", "orders-main", "Availability") },
	"sessions":     func(s *stage) { s.tab("prod", "orders-main", "Sessions") },
	"locks":        func(s *stage) { s.tab("prod", "orders-main", "Sessions"); s.Press("l", "j") },
	"session":      func(s *stage) { s.tab("prod", "orders-main", "Sessions"); s.Press("j", "enter") },
	"figures":      func(s *stage) { s.tab("prod", "orders-main", "Overview"); s.Pass(50 * time.Second) },
	"backups":      func(s *stage) { s.tab("prod", "orders-main", "Backups"); s.Press("j") },
	"drift":        func(s *stage) { s.tab("prod", "orders-main", "Drift"); s.Press("j") },
	"tls":          func(s *stage) { s.tab("prod", "orders-main", "TLS") },
	"tls_clients":  func(s *stage) { s.tab("prod", "ledger", "TLS"); s.Press("G") },
	"restore":      func(s *stage) { s.tab("prod", "orders-main", "Backups"); s.Press("j", "enter") },
}

// fail lets prod/auth fail after a good answer, and the reader notice.
func (s *stage) fail() {
	s.core.Fail("prod/auth", fault.New(fault.Denied, "describe instance prod/auth", errors.New("ExpiredToken: the token has expired")).
		Hint("aws sso login --profile prod-readonly"))
	s.Press("r")
}

// open goes to the proxy of prod, opens it and gives it clients for some seconds.
func (s *stage) open() {
	s.Press("p", "t")
	p := s.busy()
	for range 5 {
		p.Traffic(1, 900, 120_000, "active")
		p.Traffic(3, 100, 80_000, "in transaction")
		s.Pass(time.Second)
	}
	p.Emit(proxy.Event{At: night, Kind: "refused", Failure: true, Text: `127.0.0.1:51009 asked for database "ordres"`})
	s.Pass(time.Second)
}

func mend(c *fake.Core) { c.Fail("prod/auth", nil) }

func TestFrames(t *testing.T) {
	for name, go1 := range scenes {
		for _, size := range sizes {
			t.Run(fmt.Sprintf("%s_%dx%d", name, size.w, size.h), func(t *testing.T) {
				play(t, size.w, size.h, Options{}, mend, func(s *stage) {
					go1(s)
					golden.RequireEqual(t, s.Frame())
				})
			})
		}
	}
}

func TestFramesOfOtherTerminals(t *testing.T) {
	for name, c := range map[string]struct {
		opts    Options
		profile colorprofile.Profile
	}{
		"no_color": {Options{NoColor: true}, colorprofile.TrueColor},
		"light":    {Options{Background: BackgroundLight}, colorprofile.TrueColor},
		"16":       {Options{}, colorprofile.ANSI},
		"16_light": {Options{Background: BackgroundLight}, colorprofile.ANSI},
		"ascii":    {Options{ASCII: true}, colorprofile.TrueColor},
	} {
		for _, page := range []string{"fleet", "proxy"} {
			t.Run(page+"_"+name, func(t *testing.T) {
				play(t, 80, 24, c.opts, mend, func(s *stage) {
					s.Send(tea.ColorProfileMsg{Profile: c.profile})
					scenes[page](s)
					frame := s.Frame()
					golden.RequireEqual(t, frame)
					switch name {
					case "no_color":
						for _, code := range []string{"[3", "[4", ";3", ";4", "[9"} {
							if strings.Contains(frame, "\x1b"+code) {
								t.Errorf("a colour without colours: %q", code)
							}
						}
					case "ascii":
						for _, r := range s.Screen() {
							if r > 0x7e {
								t.Fatalf("%q is not ASCII:\n%s", r, s.Screen())
							}
						}
					}
				})
			})
		}
	}
}

func TestEverySizeFits(t *testing.T) {
	for name, go1 := range scenes {
		t.Run(name, func(t *testing.T) {
			play(t, 80, 24, Options{}, mend, func(s *stage) {
				go1(s)
				for w := 60; w <= 210; w += 15 {
					for _, h := range []int{15, 16, 19, 23, 30, 47} {
						s.Resize(w, h)
						s.Frame()
					}
				}
			})
		})
	}
}

func TestLongNamesFitEverywhere(t *testing.T) {
	long := strings.Repeat("a-very-long-name-", 8)
	play(t, 80, 24, Options{}, func(c *fake.Core) {
		var all []app.Instance
		for i := range 40 {
			env := fmt.Sprintf("%d-%s", i/10, long)
			all = append(all, app.Instance{
				Environment: env, Protected: i < 20, Name: fmt.Sprintf("%s%d", long, i), Provider: cloud.RDS, Coordinates: long + long,
				Databases: []string{long},
			})
		}
		c.Configure(all)
	}, func(s *stage) {
		fits := func() {
			t.Helper()
			for _, size := range sizes {
				s.Resize(size.w, size.h)
				s.Frame()
			}
		}
		fits()
		for range 3 { // three environments are open for changes
			s.Press("p", "c", "w", "t", "x", "enter", "y") // a reason is asked for in the protected ones only
			s.Want("WRITE")
			fits()
			s.Press("M")
			fits()
			s.Press("esc", "c", "?")
			fits()
			s.Press("esc", "esc", "esc")
			s.Type("jjjjjjjjjj")
			fits()
		}
		s.Want("3 WRITE proxies")
		s.Press("enter")
		fits()
		s.Press("q", "q")
		fits()
		s.Press("esc", ":")
		fits()
	})
}

func TestASmallTerminalIsToldSo(t *testing.T) {
	play(t, 40, 10, Options{}, nil, func(s *stage) {
		if got := s.View().Content; got != "dbops needs 60x15 cells, this terminal\nhas 40x10: keys do nothing, ctrl+c twice\nquits" {
			t.Errorf("got %q", got)
		}
	})
}

func TestWhereNothingCanBeSeenNothingIsDone(t *testing.T) {
	play(t, 120, 40, Options{}, mend, func(s *stage) {
		s.tab("prod", "orders-main", "Migrations")
		s.Press("u")
		s.Want("Apply what is pending")
		s.Resize(30, 8)
		s.Press("ctrl+s", "enter", "y", "q", "esc")
		s.Send(tea.PasteMsg{Content: "orders-main"})
		s.Send(tea.MouseClickMsg{X: 2, Y: 3, Button: tea.MouseLeft})
		s.Resize(120, 40)
		s.Want("Apply what is pending")
		if n := len(s.core.Planned()); n != 0 {
			t.Errorf("%d plans were made unseen", n)
		}
		s.Resize(30, 8)
		s.Press("ctrl+c", "ctrl+c")
		if !s.Quit {
			t.Error("ctrl+c twice does not leave")
		}
	})
}

func TestWhatProvidersTellCannotDraw(t *testing.T) {
	evil := "\x1b[2J\x1b]0;owned\x07\x9b31m\u202e⚠️🔥\r\n\ttail"
	play(t, 120, 40, Options{}, func(c *fake.Core) {
		c.Fail("prod/auth", nil)
		c.Change("prod/orders-main", func(i *cloud.Instance) {
			i.Class, i.Region, i.RawState, i.Labels = evil, evil, evil, map[string]string{evil: evil}
			i.Pending = []cloud.Change{{Setting: evil, From: evil, To: evil}}
			i.Raw = []byte(`{"x": "` + "\\u001b[2J" + evil + `"`)
		})
		c.Fail("prod/events", fault.New(fault.Denied, evil, errors.New(evil)).Hint("%s", evil))
	}, func(s *stage) {
		s.Frame()
		s.Type("jjjjj")
		s.Press("enter")
		s.Frame() // [tuitest.AssertFits] looks for control characters
		s.Press("o")
		s.Frame()
		s.Press("esc", "p", "t")
		s.core.Proxies()[0].Connect(proxy.Connection{Application: evil, Client: evil, Database: evil, User: evil, State: evil})
		s.core.Proxies()[0].Emit(proxy.Event{Kind: evil, Text: evil, Failure: true})
		s.Pass(2 * time.Second)
		s.Press("2", "x")
		s.Want("Cut connection 1")
	})
}
