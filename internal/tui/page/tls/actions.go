package tls

import (
	"strings"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/app"
	"dbops/internal/certs"
	"dbops/internal/cloud"
	"dbops/internal/tui/dialog"
	"dbops/internal/tui/listing"
	"dbops/internal/tui/screen"
)

const (
	actFetch  = "certs.fetch"
	actRotate = "certs.rotate-ca"
	actCreate = "certs.create-client"
	actRevoke = "certs.revoke-client"
)

// client is the client certificate under the cursor; empty if it is another one.
func (p Page) client() string {
	name, _ := strings.CutPrefix(p.list.Selected(), "client ")
	if name == p.list.Selected() {
		return ""
	}
	return name
}

// Actions implements [screen.Page].
func (p Page) Actions(s screen.Scene) []screen.Action {
	if p.list.Captures() {
		return listing.Typing()
	}
	fetch, rotate, create, revoke := s.NoFiles(), "", s.NoFiles(), ""
	if s.ReadOnly != "" {
		fetch = "nothing is written from here: " + s.ReadOnly
	}
	switch p.At.Provider {
	case cloud.CloudSQL:
		if p.client() == "" {
			revoke = "select a client certificate first"
		}
	case cloud.RDS:
		create = "RDS makes no client certificates"
		revoke = create
	default:
		rotate = "no cloud manages the certificates of a plain server: they are in its ssl_cert_file"
		create, revoke = rotate, rotate
	}
	if _, known := p.Value(); !known && rotate == "" {
		rotate = "its certificates have not been read"
	}
	return append([]screen.Action{
		{ID: actFetch, Title: "write the files that clients need to a folder", Short: "files", Key: screen.Keys("f"), Write: true, CLI: p.Sheet.CLI([]string{"certs", "fetch"}), Off: fetch},
		{ID: actRotate, Title: "have the server show a certificate of another CA: plan it", Short: "rotate CA", Key: screen.Keys("t"), CLI: p.cliRotate("", false, ""), Off: rotate},
		{ID: actCreate, Title: "make a certificate for a client: plan it", Short: "new client", Key: screen.Keys("n"), CLI: p.Sheet.CLI([]string{"certs", "create-client"}, "NAME"), Off: create},
		{ID: actRevoke, Title: "make the selected client certificate worthless: plan it", Short: "revoke", Key: screen.Keys("x"), CLI: p.cliRevoke(), Off: revoke},
	}, p.CommonList(s, p.CLI(s), p.list, len(p.above(s)), 0)...)
}

func (p Page) cliRevoke() []string {
	return p.Sheet.CLI([]string{"certs", "revoke-client"}, p.client())
}

func (p Page) cliRotate(to string, back bool, when cloud.CAWhen) []string {
	var rest []string
	if to != "" {
		rest = append(rest, "--to", to)
	}
	if back {
		rest = append(rest, "--back")
	}
	switch when {
	case cloud.CAInWindow:
		rest = append(rest, "--in-window")
	case cloud.CAAtReboot:
		rest = append(rest, "--at-reboot")
	default:
	}
	return p.Sheet.CLI([]string{"certs", "rotate-ca"}, rest...)
}

// Do implements [screen.Page].
func (p Page) Do(id string, s screen.Scene) (screen.Page, screen.Out) {
	switch id {
	case actFetch:
		return p, p.fetch(app.KitRequest{Dir: app.KitDir("", p.At.Environment, p.At.Name)}, "")
	case actRotate:
		return p, p.rotate(s)
	case actCreate:
		return p, p.create()
	case actRevoke:
		name := p.client()
		return p, screen.Say(p.Plan(certs.RevokeClientKind, "revoke the client certificate "+name, certs.RevokeRequest{Client: name}, p.cliRevoke()))
	}
	if next, list, out, ok := p.DoList(id, p.list, s, len(p.above(s)), 0); ok {
		p.Sheet, p.list = next, list
		return p.sync(s.Now), out
	}
	lines := append(p.above(s), strings.Split(p.list.View(s.Theme, s.Area.W, p.list.Lines(), false), "\n")...)
	var out screen.Out
	p.Sheet, out, _ = p.DoCommon(id, s, lines)
	return p, out
}

// ask shows a form about the instance.
func (p Page) ask(title string, fields []dialog.Field, then func(dialog.Answers) (tea.Msg, string)) screen.Out {
	return screen.Say(screen.Show{Dialog: p.form(title, fields, then)})
}

func (p Page) form(title string, fields []dialog.Field, then func(dialog.Answers) (tea.Msg, string)) dialog.Form {
	return dialog.NewForm(title, p.At.Environment, p.At.Protected, fields, then)
}

// fetch asks for the files; again, with what was wrong, after a try that failed.
func (p Page) fetch(last app.KitRequest, wrong string) screen.Out {
	to := p.ID()
	form := p.form("Files for clients of "+p.At.Name, []dialog.Field{
		{
			Name: "dir", Label: "folder", Value: last.Dir, Need: true,
			Help: "On the machine that runs dbops. Enter on the last field writes the CAs as PEM and as a Java trust store, and pg_service.conf. Files of others stay.",
		},
		{Name: "database", Label: "database", Value: last.Database, Help: "For the settings. Empty: that of the folder, else one is chosen and told."},
		{Name: "user", Label: "user", Value: last.User, Help: "For the settings. Empty: that of the folder, else the read login's."},
	}, func(a dialog.Answers) (tea.Msg, string) {
		return fetchMsg{to, app.KitRequest{Environment: p.At.Environment, Instance: p.At.Name, Dir: a["dir"], Database: a["database"], User: a["user"]}}, ""
	})
	return screen.Say(screen.Show{Dialog: form.Complaining(wrong)})
}

func (p Page) create() screen.Out {
	to := p.ID()
	return p.ask("A client certificate for "+p.At.Name, []dialog.Field{
		{Name: "name", Label: "name", Need: true, Help: "Of the client: laptop-ann, metabase. Unique for the instance."},
		{Name: "dir", Label: "folder", Help: "For its files, on the machine that runs dbops. Empty: " + app.KitDir("", p.At.Environment, p.At.Name) + "-NAME. The key is told once."},
	}, func(a dialog.Answers) (tea.Msg, string) {
		dir := a["dir"]
		if dir == "" {
			dir = app.KitDir("", p.At.Environment, p.At.Name) + "-" + a["name"]
		}
		return clientMsg{to, a["name"], dir}, ""
	})
}

const (
	atOnce, inWindow, atReboot = "now", "in the window", "at a restart"
	toNew, toPrevious          = "a new CA", "the previous CA"
)

// rotate asks to which CA, and on RDS when.
func (p Page) rotate(s screen.Scene) screen.Out {
	v, _ := p.Value()
	asked := s.Now
	title := "rotate the CA of " + p.At.Name
	if p.At.Provider == cloud.CloudSQL {
		return p.ask("Rotate the CA of "+p.At.Name, []dialog.Field{{
			Name: "to", Label: "to", Value: toNew, Options: []string{toNew, toPrevious},
			Help: "A new one is added, then the run waits until you say that every client has it, and only then the server changes to it.",
		}}, func(a dialog.Answers) (tea.Msg, string) {
			r := certs.RotateRequest{Back: a["to"] == toPrevious, Now: asked.UTC().Truncate(1e9)}
			return p.Plan(certs.RotateKind, title, r, p.cliRotate("", r.Back, "")), ""
		})
	}
	const newest = "that of new instances"
	offered := []string{newest}
	if v.Survey != nil && v.Survey.Told != nil {
		for _, c := range v.Survey.Told.CAs {
			if c.Role == cloud.CAOffered {
				offered = append(offered, c.ID)
			}
		}
	}
	return p.ask("Rotate the CA of "+p.At.Name, []dialog.Field{
		{Name: "to", Label: "to", Value: newest, Options: offered, Help: "The CAs that the region offers. Clients must have it before: the plan tells."},
		{Name: "when", Label: "when", Value: atOnce, Options: []string{atOnce, inWindow, atReboot}, Help: "The plan says whether the engine restarts for it."},
	}, func(a dialog.Answers) (tea.Msg, string) {
		r := certs.RotateRequest{Now: asked.UTC().Truncate(1e9), When: map[string]cloud.CAWhen{inWindow: cloud.CAInWindow, atReboot: cloud.CAAtReboot}[a["when"]]}
		if a["to"] != newest {
			r.To = a["to"]
		}
		return p.Plan(certs.RotateKind, title, r, p.cliRotate(r.To, false, r.When)), ""
	})
}
