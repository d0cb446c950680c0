package fleet

import (
	"context"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/app"
	"dbops/internal/backup"
	"dbops/internal/creds"
	"dbops/internal/drift"
	"dbops/internal/fault"
	"dbops/internal/tui/core"
	"dbops/internal/tui/dialog"
	"dbops/internal/tui/overview"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/work"
)

// What is changed of the marked instances is one plan each: nothing is run from here.

type backUpMsg struct {
	to    work.ID
	label string
}

// Addressee implements [work.Addressed].
func (m backUpMsg) Addressee() work.ID { return m.to }

type rotateMsg struct {
	to   work.ID
	text string        // as it was typed
	age  time.Duration // 0: whatever their age
}

// Addressee implements [work.Addressed].
func (m rotateMsg) Addressee() work.ID { return m.to }

// names are the marked instances in words.
func names(all []app.Instance) string {
	out := make([]string, len(all))
	for i, one := range all {
		out[i] = overview.Key(one.Environment, one.Name)
	}
	return strings.Join(out, ", ")
}

// guarded is the protected environment that a form about instances must wear; of several the first.
func guarded(all []app.Instance) (env string, protected bool) {
	for _, i := range all {
		if i.Protected {
			return i.Environment, true
		}
	}
	return "", false
}

func (p Page) askBackUp(s screen.Scene) screen.Out {
	to, all := p.scope.ID, p.chosen(s)
	env, protected := guarded(all)
	return screen.Say(screen.Show{Dialog: dialog.NewForm("Back up "+p.markedText(), env, protected, []dialog.Field{
		{Name: "label", Label: "label", Help: "What they are for: letters, digits and hyphens. It may stay empty. Of " + names(all) + ". Each is planned; nothing is made before you run a plan."},
	}, func(a dialog.Answers) (tea.Msg, string) { return backUpMsg{to, a["label"]}, "" })})
}

func (p Page) backUp(m backUpMsg, s screen.Scene) (screen.Page, screen.Out) {
	want := screen.OpenPlans{Title: "back up " + p.markedText()}
	for _, i := range p.chosen(s) {
		cli := []string{"dbops", "backup", "create", "-e", i.Environment, i.Name}
		if m.label != "" {
			cli = append(cli, "--label", m.label)
		}
		want.Each = append(want.Each, wanted(i, backup.CreateKind, backup.CreateRequest{Label: m.label}, "back up "+i.Name, cli))
	}
	return p, screen.Say(want)
}

func wanted(i app.Instance, kind string, request any, title string, cli []string) screen.Wanted {
	return screen.Wanted{OpenPlan: screen.OpenPlan{
		Change: app.Change{Environment: i.Environment, Instance: i.Name, Kind: kind, Request: request}, Title: title, CLI: cli,
	}}
}

func (p Page) askRotate(s screen.Scene) screen.Out {
	to, all := p.scope.ID, p.chosen(s)
	env, protected := guarded(all)
	return screen.Say(screen.Show{Dialog: dialog.NewForm("Rotate the credentials of "+p.markedText(), env, protected, []dialog.Field{
		{Name: "age", Label: "older than", Help: "as in 90d, 12w or 36h. Empty: whatever their age. Of the containers of " + names(all) + ", without those that were revoked. Each instance is planned; nothing is changed before you run a plan."},
	}, func(a dialog.Answers) (tea.Msg, string) {
		if a["age"] == "" {
			return rotateMsg{to: to}, ""
		}
		age, err := app.ParseAge(a["age"])
		if err != nil {
			return nil, fault.Reason(err) + ": " + fault.HintOf(err)
		}
		return rotateMsg{to, a["age"], age}, ""
	})})
}

func (p Page) rotate(m rotateMsg, s screen.Scene) (screen.Page, screen.Out) {
	want := screen.OpenPlans{Title: "rotate the credentials of " + p.markedText()}
	for _, i := range p.chosen(s) {
		cli := []string{"dbops", "creds", "rotate", "-e", i.Environment, "-i", i.Name}
		if m.age > 0 {
			cli = append(cli, "--older-than", m.text)
		} else {
			cli = append(cli, "--all")
		}
		one := wanted(i, creds.RotateKind, nil, "rotate the credentials of "+i.Name, cli)
		one.Request = rotation(p.core, i, m.age, s.Now)
		want.Each = append(want.Each, one)
	}
	return p, screen.Say(want)
}

// rotation finds out which containers of an instance are meant.
func rotation(c core.Credentials, i app.Instance, age time.Duration, now time.Time) func(context.Context) (any, error) {
	return func(ctx context.Context) (any, error) {
		all, err := c.Credentials(ctx, i.Environment, i.Name, creds.Look{})
		if err != nil {
			return nil, err
		}
		chosen, _ := app.ChooseCredentials(all, age, now)
		if len(chosen) == 0 {
			return nil, fault.Newf(fault.NotFound, "rotate the credentials of "+overview.Key(i.Environment, i.Name), "no container is meant: it has none, or none that old")
		}
		return creds.RotateRequest{
			Containers: chosen, Grace: creds.Span(creds.DefaultGrace), Soak: creds.Span(creds.DefaultSoak), Polls: creds.DefaultPolls,
		}, nil
	}
}

func (p Page) setBack(s screen.Scene) screen.Out {
	want := screen.OpenPlans{Title: "set back what drifted of " + p.markedText()}
	for _, i := range p.chosen(s) {
		want.Each = append(want.Each, wanted(i, drift.FixKind, drift.FixRequest{}, "set "+i.Name+" back to what is declared",
			[]string{"dbops", "drift", "-e", i.Environment, i.Name, "--fix"}))
	}
	return screen.Say(want)
}
