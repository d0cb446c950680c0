package fleet

import (
	"context"
	"fmt"
	"slices"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/app"
	"dbops/internal/drift"
	"dbops/internal/tui/core"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
)

// someDrift is how the marked instances drifted.
type someDrift struct{ *drift.Report }

// compare compares the marked instances with what is declared, now.
func (p Page) compare(s screen.Scene) (screen.Page, screen.Out) {
	c, chosen := p.core, p.chosen(s)
	p.watch.some = p.watch.some.Of(func(ctx context.Context) (someDrift, error) {
		r, err := compareSome(ctx, c, chosen)
		return someDrift{r}, err
	})
	var cmd tea.Cmd
	p.watch.some, cmd = p.watch.some.Start(s.Now)
	return p, screen.Run(cmd)
}

// compareSome asks for one instance alone, and for several of an environment at once, which the core asks side by side.
func compareSome(ctx context.Context, c core.Drift, chosen []app.Instance) (*drift.Report, error) {
	of := map[string][]string{}
	var environments []string
	for _, i := range chosen {
		if of[i.Environment] == nil {
			environments = append(environments, i.Environment)
		}
		of[i.Environment] = append(of[i.Environment], i.Name)
	}
	out := &drift.Report{Schema: drift.Schema}
	for _, env := range environments {
		one := ""
		if len(of[env]) == 1 {
			one = of[env][0]
		}
		r, err := c.Drift(ctx, env, one, false)
		if err != nil {
			return nil, err
		}
		for _, l := range r.Instances {
			if slices.Contains(of[env], l.Instance) {
				out.Instances = append(out.Instances, l)
			}
		}
		for _, row := range r.Rows {
			if slices.Contains(of[env], row.Instance) {
				out.Rows = append(out.Rows, row)
			}
		}
	}
	return out, nil
}

// text says what came of it.
func (d someDrift) text() string {
	drifted, failed := map[string]bool{}, 0
	for _, r := range d.Rows {
		if r.Status == drift.Drifted {
			drifted[r.Environment+"/"+r.Instance] = true
		}
	}
	for _, l := range d.Instances {
		if l.Err != nil {
			failed++
		}
	}
	out := fmt.Sprintf("%s compared: %d drifted", text.Count(len(d.Instances), "instance"), len(drifted))
	if failed > 0 {
		out += fmt.Sprintf(", %d could not be seen", failed)
	}
	return out
}
