package tui

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/exp/golden"

	"dbops/internal/app"
	"dbops/internal/op"
	"dbops/internal/state"
	"dbops/internal/tui/internal/fake"
	"dbops/internal/tui/screen"
	"dbops/internal/upgrade"
)

// copies opens the page of an upgrade that copies with clients shut out.
func (s *stage) copies() {
	const id, step = "r5be0d21c44", "copy orders"
	s.core.Put(s.core.UpgradeAt(id, upgrade.RunKind, step))
	tell := func(kind, step, text string, detail []byte) {
		s.core.Play(id, state.Event{Kind: kind, Step: step, Text: text, Detail: detail}, nil)
	}
	tell(op.EventRunner, "", "laptop works on it", nil)
	tell(op.EventDone, "quiesce", "12 sessions were ended", nil)
	tell(op.EventStep, "copy carts", "copy database carts", nil)
	tell(op.EventDone, "copy carts", "9 tables, 120,400 rows, 30 MiB in 9s", nil)
	tell(op.EventStep, step, "copy database orders", nil)
	s.Send(screen.OpenRun{ID: id})
	const mib = 1 << 20
	word := func(table string, done int, bytes, moved, size int64, in bool) {
		tell(op.EventProgress, step, fmt.Sprintf("orders: data, %d of 208, %s", done, table), fake.CopyProgress("orders", table, done, bytes, moved, size, in))
		s.Settle()
	}
	word("public.customers", 11, 90*mib, 12*mib, 12*mib, true)
	word("public.orders", 12, 300*mib, 150*mib, 410*mib, false)
	word("public.order_items", 12, 330*mib, 60*mib, 380*mib, false)
	s.Pass(3 * time.Second)
	word("public.orders", 12, 480*mib, 250*mib, 410*mib, false)
	word("public.order_items", 12, 551*mib, 140*mib, 380*mib, false)
}

var runScenes = map[string]func(*stage){
	"copies": (*stage).copies,
	"gate": func(s *stage) {
		s.core.Put(s.core.UpgradeAt("r5be0d21c44", upgrade.RunKind, "cutover"))
		s.Send(screen.OpenRun{ID: "r5be0d21c44"})
	},
	"failed": func(s *stage) {
		s.copies()
		s.core.Play("r5be0d21c44", state.Event{Kind: op.EventParked, Step: "copy orders", Text: "SSL SYSCALL error: EOF detected"}, func(v *app.RunView) {
			v.Run.State, v.Run.Alive, v.Run.Verbs = state.Parked, false, []string{"retry", "undo", "abandon"}
			v.Run.Problem, v.Run.Hint = "copy public.orders: SSL SYSCALL error: EOF detected", "see that orders-staging-pg18 can be reached, then dbops runs retry r5be0d21c44"
			last := &v.Steps[len(v.Steps)-1]
			last.State, last.Ended, last.Problem = state.StepFailed, s.model().now, v.Run.Problem
		})
		s.Settle()
	},
}

func TestFramesOfARun(t *testing.T) {
	for name, begin := range runScenes {
		for _, size := range sizes[1:] {
			t.Run(fmt.Sprintf("%s_%dx%d", name, size.w, size.h), func(t *testing.T) {
				play(t, size.w, size.h, Options{}, mend, func(s *stage) {
					begin(s)
					golden.RequireEqual(t, s.Frame())
				})
			})
		}
		t.Run(name+"_no_color_80x24", func(t *testing.T) {
			play(t, 80, 24, Options{NoColor: true}, mend, func(s *stage) {
				begin(s)
				golden.RequireEqual(t, s.Frame())
			})
		})
		t.Run(name+"_every_size", func(t *testing.T) {
			play(t, 80, 24, Options{ASCII: true}, mend, func(s *stage) {
				begin(s)
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

func TestTheSecondsInWhichClientsAreShutOutAreCounted(t *testing.T) {
	play(t, 80, 24, Options{}, mend, func(s *stage) {
		s.copies()
		s.Want("CLIENTS SHUT OUT", "! CLIENTS ARE SHUT OUT of orders-main for 56s", "since 03:11:11 UTC", "the plan said: 1m24s to 2m11s", "dbops upgrade rollback -e staging")
		s.Pass(2 * time.Second)
		s.Want("for 58s")
		s.core.Play("r5be0d21c44", state.Event{Kind: op.EventDone, Step: "switch", Text: "all clients are on it"}, func(v *app.RunView) {
			*v = s.core.UpgradeAt("r5be0d21c44", upgrade.RunKind, "observe")
		})
		s.Settle()
		s.WantNot("SHUT OUT", "CLIENTS")
	})
}

func TestACopyShowsItsDatabaseAndItsTables(t *testing.T) {
	play(t, 120, 40, Options{}, mend, func(s *stage) {
		s.copies()
		s.Want("551 MiB of about 1.2 GiB", " 45%", "12 of 208 tables", "26 MiB/s", "about 26s left", "250 MiB of 410 MiB", "33 MiB/s", "4s left", "public.customers", "100%")
		s.Pass(10 * time.Second)
		s.Want("nothing heard for 10s")
		s.WantNot("26 MiB/s", "about 26s left")
		s.core.Play("r5be0d21c44", state.Event{Kind: op.EventStep, Step: "copy orders", Text: "copy database orders"}, nil)
		s.Settle()
		s.WantNot("public.orders", "551 MiB")
	})
}

func TestStepsAndLogScrollApart(t *testing.T) {
	play(t, 80, 24, Options{}, mend, func(s *stage) {
		s.copies()
		first := s.Line("steps")
		s.Want("log  [j k]", "copy database orders")
		s.Press("k")
		s.Want("log  1 later")
		s.Press("o", "g")
		s.Want("[j k]", "1  compare with what the plan was made from")
		if got := s.Line("steps"); !strings.Contains(got, "[j k]") || got == first {
			t.Errorf("the steps did not move: %q", got)
		}
		s.Press("G")
		s.Want("19  take back what the upgrade was allowed")
		s.Press("f")
		s.Want("copy database orders")
		s.WantNot("later")
	})
}
