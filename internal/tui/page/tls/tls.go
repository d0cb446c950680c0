// Package tls is the tab that shows what an instance's server proves itself by, whether that works from here, and the certificates of its clients; from
// it files for clients are fetched, CAs rotated, and client certificates made and revoked.
package tls

import (
	"context"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/app"
	"dbops/internal/certs"
	"dbops/internal/fault"
	"dbops/internal/tui/component"
	"dbops/internal/tui/core"
	"dbops/internal/tui/listing"
	"dbops/internal/tui/page/internal/sheet"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/work"
)

// pace is how often the server is looked at: each time is a handshake in its log.
const pace = 5 * time.Minute

// Page is the certificates of one instance. It is a value.
type Page struct {
	sheet.Sheet[app.Certs]
	core core.Core
	pool *work.Pool
	list listing.List
	kit  *app.Kit // that was written from here; nil: none
}

// New returns the tab of an instance.
func New(c core.Core, pool *work.Pool, at app.Instance) screen.Page {
	p := Page{core: c, pool: pool, list: listing.New("certificate", []component.Column{
		{Title: "CERTIFICATE", Min: 13},
		{Title: "NAME", Min: 24, Max: 60},
		{Title: "LEFT", Right: true, Min: 10},
		{Title: "UNTIL", Min: 10, Leave: 1},
		{Title: "ID", Min: 16, Leave: 2, Max: 40},
	}, "kind", "time left", "name")}
	p.Sheet = sheet.New(pool, at, "the certificates", pace, func(ctx context.Context) (app.Certs, error) {
		all, err := c.Certificates(ctx, app.CertsRequest{Environment: at.Environment, Instance: at.Name, Below: app.KitsDir})
		if err != nil {
			return app.Certs{}, err
		}
		return all[0], all[0].Err
	})
	return p
}

// Captures implements [screen.Page].
func (p Page) Captures() bool { return p.list.Captures() }

// Init implements [screen.Page].
func (p Page) Init(s screen.Scene) (screen.Page, screen.Out) {
	var out screen.Out
	p.Sheet, out = p.Read(s)
	return p, out
}

// fetchMsg is the yes to writing files.
type fetchMsg struct {
	to   work.ID
	want app.KitRequest
}

// Addressee implements [work.Addressed].
func (m fetchMsg) Addressee() work.ID { return m.to }

type fetchedMsg struct {
	to   work.ID
	want app.KitRequest
	kit  *app.Kit
	err  error
}

// Addressee implements [work.Addressed].
func (m fetchedMsg) Addressee() work.ID { return m.to }

// clientMsg is what is wanted of a new client certificate.
type clientMsg struct {
	to        work.ID
	name, dir string
}

// Addressee implements [work.Addressed].
func (m clientMsg) Addressee() work.ID { return m.to }

type requestMsg struct {
	to      work.ID
	request certs.CreateRequest
	cli     []string
	err     error
}

// Addressee implements [work.Addressed].
func (m requestMsg) Addressee() work.ID { return m.to }

// Update implements [screen.Page].
func (p Page) Update(msg tea.Msg, s screen.Scene) (screen.Page, screen.Out) {
	c, at := p.core, p.At
	switch m := msg.(type) {
	case tea.KeyPressMsg, tea.PasteMsg:
		var out screen.Out
		p.list, out = p.list.Type(msg)
		return p, out
	case fetchMsg:
		return p, screen.Run(p.pool.Do(func(ctx context.Context) tea.Msg { // it was said yes to
			ctx, cancel := context.WithTimeout(ctx, time.Minute)
			defer cancel()
			k, err := c.FetchKit(ctx, m.want)
			return fetchedMsg{m.to, m.want, k, err}
		})).And(screen.Notice{Text: "fetching the files for clients to " + m.want.Dir})
	case fetchedMsg:
		if m.err != nil {
			return p, p.fetch(m.want, fault.Reason(m.err)).And(screen.Notice{Text: "no files were written", Err: m.err})
		}
		p.kit = m.kit
		return p, screen.Say(screen.Notice{Text: "written: " + strings.Join(m.kit.Files, " ")})
	case clientMsg:
		return p, screen.Run(p.pool.Do(func(ctx context.Context) tea.Msg {
			ctx, cancel := context.WithTimeout(ctx, time.Minute)
			defer cancel()
			r, err := c.ClientRequest(ctx, at.Environment, at.Name, m.name, m.dir, "", "")
			return requestMsg{m.to, r, p.Sheet.CLI([]string{"certs", "create-client"}, m.name, "--dir", m.dir), err}
		}))
	case requestMsg:
		if m.err != nil {
			return p, screen.Say(screen.Notice{Text: "there is no plan: " + fault.Reason(m.err), Err: m.err})
		}
		return p, screen.Say(p.Plan(certs.CreateClientKind, "make the client certificate "+m.request.Name, m.request, m.cli))
	}
	var out screen.Out
	var read bool
	if p.Sheet, out, read = p.Sheet.Update(msg, s); read {
		p = p.sync(s.Now)
	}
	return p, out
}

// Header implements [screen.Page].
func (p Page) Header(screen.Scene) screen.Header { return p.HeaderList(p.list) }

// CLI implements [screen.Page].
func (p Page) CLI(screen.Scene) []string {
	return p.Sheet.CLI([]string{"certs", "check"}, "--within", "30d")
}
