//go:build linux

package tui

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"
	uv "github.com/charmbracelet/ultraviolet"
	"golang.org/x/sys/unix"

	"dbops/internal/app"
	"dbops/internal/cloud"
	"dbops/internal/migrate"
	"dbops/internal/migrate/source"
	"dbops/internal/op"
	"dbops/internal/state"
	"dbops/internal/tui/internal/fake"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/sessions"
	"dbops/internal/tui/tuitest"
	"dbops/internal/tui/work"
)

// desk is somebody who presses keys, one after another, at a program that is measured from a key to the bytes that paint it.
type desk struct {
	b    *testing.B
	m    tea.Model
	core *fake.Core
	msgs chan tea.Msg
	ctx  context.Context

	cells uv.ScreenBuffer
	out   bytes.Buffer
	scr   *uv.TerminalRenderer
	bytes int
}

// manyInstances are 500 in 12 environments.
func manyInstances() []app.Instance {
	var out []app.Instance
	kinds := []cloud.Kind{cloud.RDS, cloud.CloudSQL, cloud.Postgres}
	for i := range 500 {
		env := i * 12 / 500
		out = append(out, app.Instance{
			Environment: fmt.Sprintf("env-%02d", env), Protected: env < 3, Name: fmt.Sprintf("orders-%03d", i), Provider: kinds[i%3],
			Coordinates: fmt.Sprintf("eu-west-1/orders-%03d", i), Databases: []string{"orders", "carts"},
		})
	}
	out[7].Name = "orders-main" // which the fake gives migrations
	return out
}

func newDesk(b *testing.B, w, h int) *desk {
	b.Helper()
	d := &desk{b: b, core: fake.New(time.Now), msgs: make(chan tea.Msg, 1<<16), ctx: b.Context()}
	d.core.Configure(manyInstances())
	for i := range 20 {
		r := state.Run{
			ID: fmt.Sprintf("r%010d", i), Kind: "creds.rotate", Environment: "env-03", Instance: "orders-200", Title: fmt.Sprintf("rotate the credential of api-%d", i),
			Requester: "li@example.com", State: state.Done, Step: "verify", Created: time.Now().Add(-time.Duration(i) * time.Hour),
		}
		d.core.Put(app.RunView{Run: r, Plan: d.core.PlanFor(app.Change{Environment: r.Environment, Instance: r.Instance, Kind: r.Kind}, false)})
	}
	d.core.EditMigrations(func(set *app.MigrationSet) {
		set.Files = nil
		for i := range 250 { // in each of two sets
			m := &source.Migration{Version: int64(i + 1), Digits: fmt.Sprintf("%06d", i+1), Name: "add_orders_note"}
			m.Up = &source.File{Path: fmt.Sprintf("/src/%06d_add_orders_note.up.sql", i+1), Direction: source.Up, SQL: "ALTER TABLE orders ADD COLUMN note text;\n"}
			set.Files = append(set.Files, app.MigrationFile{Migration: m, State: app.FileApplied, Applied: &migrate.Applied{At: time.Now(), Who: "ci@example.com", Seconds: 0.3}})
		}
	})
	pool := work.New(b.Context())
	b.Cleanup(pool.Close)
	o := Options{Env: []string{"LANG=C.UTF-8"}, Version: "v1.2.3"}.withDefaults()
	d.m = newModel(d.core, pool, sessions.NewKeeper(), o)
	d.resize(w, h)
	d.run(d.m.Init())
	d.update(tea.ColorProfileMsg{Profile: colorprofile.TrueColor})
	d.update(tea.WindowSizeMsg{Width: w, Height: h})
	d.until("live")
	return d
}

func (d *desk) resize(w, h int) {
	d.cells = uv.NewScreenBuffer(w, h)
	d.scr = uv.NewTerminalRenderer(&d.out, []string{"TERM=xterm-256color", "COLORTERM=truecolor"})
	d.scr.SetColorProfile(colorprofile.TrueColor)
	d.scr.SetFullscreen(true)
	d.scr.SetRelativeCursor(false)
	d.scr.Erase()
	d.scr.Resize(w, h)
}

// run starts a command as a program does.
func (d *desk) run(cmd tea.Cmd) {
	if cmd == nil {
		return
	}
	go func() {
		msg := cmd()
		if batch, ok := msg.(tea.BatchMsg); ok {
			for _, c := range batch {
				d.run(c)
			}
			return
		}
		select {
		case d.msgs <- msg:
		case <-d.ctx.Done():
		}
	}()
}

func (d *desk) update(msg tea.Msg) {
	var cmd tea.Cmd
	d.m, cmd = d.m.Update(msg)
	d.run(cmd)
}

// answers takes what commands have answered.
func (d *desk) answers() {
	for {
		select {
		case msg := <-d.msgs:
			if msg != nil {
				d.update(msg)
			}
		default:
			return
		}
	}
}

// until takes answers until the screen holds words.
func (d *desk) until(words string) {
	d.b.Helper()
	late := time.After(10 * time.Second)
	for !strings.Contains(d.m.View().Content, words) {
		select {
		case msg := <-d.msgs:
			if msg != nil {
				d.update(msg)
			}
		case <-late:
			d.b.Fatalf("no %q:\n%s", words, d.m.View().Content)
		}
	}
}

// paint is what Bubble Tea's renderer does with a frame.
func (d *desk) paint(v tea.View) {
	d.cells.Clear()
	uv.NewStyledString(v.Content).Draw(d.cells, d.cells.Bounds())
	d.scr.Render(d.cells.RenderBuffer)
	_ = d.scr.Flush()
	d.bytes += d.out.Len()
	d.out.Reset()
}

// took is how long a key took by the clock, and by the processor, which a busy machine disturbs less.
type took struct{ wall, cpu time.Duration }

// processor is the processor time of this thread.
func processor(b *testing.B) time.Duration {
	b.Helper()
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		b.Fatal(err)
	}
	return time.Duration(t.Nano())
}

// key takes a message to its painted frame.
func (d *desk) key(msg tea.Msg) took {
	began, cpu := time.Now(), processor(d.b)
	if size, ok := msg.(tea.WindowSizeMsg); ok {
		d.cells.Resize(size.Width, size.Height)
		d.scr.Erase()
		d.scr.Resize(size.Width, size.Height)
	}
	var cmd tea.Cmd
	d.m, cmd = d.m.Update(msg)
	d.paint(d.m.View())
	t := took{time.Since(began), processor(d.b) - cpu}
	d.run(cmd)
	d.answers()
	return t
}

func typed(words string) (out []string) {
	for _, c := range words {
		if c == ' ' {
			out = append(out, "space")
			continue
		}
		out = append(out, string(c))
	}
	return out
}

// BenchmarkKeys measures from a key to its painted frame, with 500 instances: make bench-tui.
func BenchmarkKeys(b *testing.B) {
	moves := []string{"j", "j", "j", "k", "ctrl+d", "ctrl+u", "G", "k", "g", "j"}
	list := slices.Concat(moves, []string{"/"}, typed("4 2"), []string{"backspace", "enter", "j", "k", "esc", "s"})
	open := func(msg tea.Msg, words string) func(*desk) {
		return func(d *desk) {
			d.update(msg)
			d.until(words)
		}
	}
	main := manyInstances()[7]
	for _, page := range []struct {
		name   string
		begin  func(*desk)
		keys   []string
		beside func(d *desk, n int) // before each key
	}{
		{name: "fleet", keys: list},
		{name: "palette", keys: slices.Concat([]string{":"}, typed("orders 42"), []string{"down", "down", "up", "esc"})},
		{name: "tabs", keys: []string{"2", "3", "4", "1", "tab", "tab", "tab", "tab"}},
		{name: "runs", begin: func(d *desk) { d.update(tuitest.Key("2")); d.until("rotate the credential of api-9") }, keys: list},
		{name: "plan", begin: open(screen.OpenPlan{Change: app.Change{Environment: "env-04", Instance: main.Name, Kind: "availability.set"}, Title: "set it"}, "WAY BACK"), keys: moves},
		{
			name: "run", begin: func(d *desk) {
				r := state.Run{
					ID: "r5be0d21c44", Kind: "upgrade.run", Environment: main.Environment, Instance: main.Name, Title: "upgrade it", State: state.Running, Alive: true, Step: "modify",
					Started: time.Now(), Requester: "li@example.com",
				}
				d.core.Put(app.RunView{Run: r, Plan: d.core.PlanFor(app.Change{Environment: r.Environment, Instance: r.Instance, Kind: r.Kind}, false)})
				for i := range 5000 {
					d.core.Play(r.ID, state.Event{Kind: op.EventDone, Step: "modify", Text: fmt.Sprintf("line %d of what the step has to say for itself", i)}, nil)
				}
				d.update(screen.OpenRun{ID: r.ID})
				d.until("line 4999 of")
			},
			keys: append(slices.Clone(moves), "o", "f"),
			beside: func(d *desk, n int) {
				d.core.Play("r5be0d21c44", state.Event{Kind: op.EventDone, Step: "modify", Text: fmt.Sprintf("and line %d", n)}, nil)
			},
		},
		{name: "migrations", begin: func(d *desk) {
			open(screen.OpenTab{Instance: main, Tab: "Migrations"}, "older files")(d)
			d.update(tuitest.Key("v"))
			d.until("000249")
		}, keys: slices.Concat(moves, []string{"/"}, typed("note 4"), []string{"backspace", "enter", "j", "k", "esc"})},
	} {
		for _, size := range []struct{ w, h int }{{120, 40}, {200, 60}} {
			b.Run(fmt.Sprintf("%s/%dx%d", page.name, size.w, size.h), func(b *testing.B) {
				d := newDesk(b, size.w, size.h)
				if page.begin != nil {
					page.begin(d)
				}
				d.measure(page.keys, page.beside)
			})
		}
	}
	b.Run("resize", func(b *testing.B) {
		d := newDesk(b, 120, 40)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		var all []took
		for n := range b.N {
			all = append(all, d.key(tea.WindowSizeMsg{Width: 80 + n*7%120, Height: 24 + n*5%40}))
		}
		d.report(all)
	})
}

func (d *desk) measure(keys []string, beside func(*desk, int)) {
	d.bytes = 0
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	d.b.ResetTimer()
	var all []took
	for n := range d.b.N {
		if beside != nil {
			beside(d, n)
			d.answers()
		}
		all = append(all, d.key(tuitest.Key(keys[n%len(keys)])))
	}
	d.report(all)
}

// report tells the quantiles, and how much a key writes.
func (d *desk) report(all []took) {
	d.b.StopTimer()
	tell := func(unit string, of func(took) time.Duration) {
		ds := make([]time.Duration, len(all))
		for i, t := range all {
			ds[i] = of(t)
		}
		slices.Sort(ds)
		at := func(q float64) float64 { return float64(ds[int(q*float64(len(ds)-1))]) / float64(time.Millisecond) }
		d.b.ReportMetric(at(0.50), "p50-"+unit)
		d.b.ReportMetric(at(0.99), "p99-"+unit)
		d.b.ReportMetric(at(1), "max-"+unit)
	}
	d.b.ReportMetric(0, "ns/op")
	tell("ms", func(t took) time.Duration { return t.wall })
	tell("cpu-ms", func(t took) time.Duration { return t.cpu })
	d.b.ReportMetric(float64(d.bytes)/float64(len(all)), "bytes/key")
}
