package tls

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"dbops/internal/app"
	"dbops/internal/certs"
	"dbops/internal/cloud"
	"dbops/internal/op"
	"dbops/internal/tui/component"
	"dbops/internal/tui/overview"
	"dbops/internal/tui/page/internal/sheet"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

// soon is how long before its end a certificate is a finding.
const soon = 30 * 24 * time.Hour

// View implements [screen.Page].
func (p Page) View(s screen.Scene) string {
	above := p.above(s)
	if _, ok := p.Value(); !ok {
		return p.Sheet.View(s, above)
	}
	p = p.sync(s.Now)
	return p.List(s, above, p.list.Table, nil)
}

// Click implements [screen.Clicker].
func (p Page) Click(_, y int, s screen.Scene) (next screen.Page, hit bool) {
	p = p.sync(s.Now)
	p.list.Table, hit = sheet.Pick(p.list.Table, y, s, len(p.above(s)), 0)
	return p, hit
}

// sync puts what is known into the list.
func (p Page) sync(now time.Time) Page {
	p.list = p.list.Rows(p.rows(now), "no certificate is known")
	return p
}

// above is all but the list.
func (p Page) above(s screen.Scene) []string {
	return p.Lines(s, func(v app.Certs) []string {
		bad, notes := component.NewDoc(s.Theme, s.Area.W), component.NewDoc(s.Theme, s.Area.W)
		if findings(bad, v, s.Now, true); len(bad.Lines()) > 0 {
			bad.Raw("")
		}
		notes.Raw("")
		if findings(notes, v, s.Now, false); len(notes.Lines()) > 1 {
			notes.Raw("")
		}
		blocks := sheet.Blocks(s, []component.Block{server(v.Survey, s.Now), demands(v.Survey), p.files(v)})
		return slices.Concat(bad.Lines(), blocks, notes.Lines())
	})
}

// server is what it shows in a handshake, seen from here.
func server(v *certs.Survey, now time.Time) component.Block {
	b := component.Block{Title: "SERVER, SEEN FROM HERE", Wrap: true}
	add := func(label, value string, r theme.Role) {
		if value != "" {
			b.Facts = append(b.Facts, component.Fact{Label: label, Value: value, Role: r})
		}
	}
	switch {
	case v.Socket:
		add("is", "on a socket of this machine, without TLS", theme.Muted)
	case v.Seen == nil:
		add("is", "x not reached, so not checked", theme.Danger)
	default:
		leaf := v.Seen.Chain[0]
		left, role := remaining(leaf.NotAfter, now)
		if certs.Bad(v.Check(now, 0)) {
			add("is", "x wrong: see above", theme.Danger)
		} else {
			add("is", "right: a handshake works", theme.OK)
		}
		add("until", text.Date(leaf.NotAfter)+", "+left, role)
		add("issued by", cmp.Or(leaf.Issuer.CommonName, leaf.Issuer.String()), theme.Text)
		add("by", tls.VersionName(v.Seen.Version)+" at "+v.Seen.HostPort, theme.Text)
		add("trusted by", v.RootsFrom, theme.Muted)
	}
	return b
}

// demands is what the server wants of clients.
func demands(v *certs.Survey) component.Block {
	b := component.Block{Title: "WANTED OF CLIENTS", Wrap: true}
	if v.Told == nil {
		b.Facts = append(b.Facts, component.Fact{Label: "TLS", Value: certs.Unvouched, Role: theme.Muted})
		return b
	}
	t := v.Told.Instance.TLS
	fact := component.Fact{Label: "TLS", Value: "required (" + t.Mode + ")", Role: theme.OK}
	switch {
	case t.Mode == "":
		fact = component.Fact{Label: "TLS", Value: "the provider did not say", Role: theme.Muted}
	case !t.Required:
		fact = component.Fact{Label: "TLS", Value: "! plain text is taken, too (" + t.Mode + ")", Role: theme.Warn}
	}
	b.Facts = append(b.Facts, fact)
	cert := "none"
	if strings.Contains(t.Mode, "CLIENT_CERTIFICATE") {
		cert = "required: each has its own"
	}
	if v.Provider == cloud.CloudSQL {
		b.Facts = append(b.Facts, component.Fact{Label: "certificate", Value: cert})
	}
	return b
}

// files are those for clients on this machine.
func (p Page) files(v app.Certs) component.Block {
	b := component.Block{Title: "FILES FOR CLIENTS, HERE", Wrap: true}
	for _, f := range v.Folders {
		b.Facts = append(b.Facts, component.Fact{Label: "folder", Value: f.Dir})
	}
	if p.kit != nil {
		b.Facts = append(b.Facts, component.Fact{Label: "written", Value: strings.Join(p.kit.Files, " "), Role: theme.OK})
		if p.kit.Seen == nil {
			why := "not looked at"
			if p.kit.Unseen != nil {
				why = p.kit.Unseen.Error()
			}
			b.Facts = append(b.Facts, component.Fact{Label: "not verified", Value: "! " + why, Role: theme.Warn})
		}
		for _, n := range p.kit.Notes {
			b.Facts = append(b.Facts, component.Fact{Label: "note", Value: n})
		}
	}
	if len(b.Facts) == 0 {
		b.Facts = append(b.Facts, component.Fact{Label: "folder", Value: "none below " + app.KitsDir + ": f fetches them", Role: theme.Muted})
	}
	return b
}

// findings are what certs check would say: what is bad, or what is only to be known.
func findings(d *component.Doc, v app.Certs, now time.Time, bad bool) {
	all := v.Survey.Check(now, soon)
	for _, f := range v.Folders {
		all = append(all, v.Survey.CheckFolder(f, now)...)
	}
	if err := v.Survey.Unseen; err != nil && !certs.Bad(all) {
		all = append(all, op.Finding{Severity: op.Warn, Check: "reach", Text: err.Error(), Remedy: overview.Hint(err)})
	}
	for _, f := range all {
		switch {
		case bad == (f.Severity == op.Info):
		case !bad:
			d.Mark(theme.Text, f.Check+": "+f.Text)
		default:
			d.Mark(theme.Warn, f.Check+": "+f.Text)
			if f.Remedy != "" {
				d.Add(theme.Text, 2, "next: "+f.Remedy)
			}
		}
	}
}

// remaining is how long a certificate has, and how bad that is.
func remaining(until, now time.Time) (string, theme.Role) {
	switch days := text.Days(until, now); {
	case until.IsZero():
		return "-", theme.Muted
	case days < 0:
		return "x ended " + text.Count(-days, "day") + " ago", theme.Danger
	case days < 7:
		return "x " + text.Count(days, "day") + " left", theme.Danger
	case days < 30:
		return "! " + text.Count(days, "day") + " left", theme.Warn
	default:
		return text.Count(days, "day") + " left", theme.Text
	}
}

// rows are the certificates of the server, its CAs and its clients.
func (p Page) rows(now time.Time) (out []component.Row) {
	v, ok := p.Value()
	if !ok || v.Survey == nil {
		return nil
	}
	all := v.Survey.Rows()
	keys := map[*certs.Row]string{}
	sorted := make([]*certs.Row, len(all))
	for n := range all {
		sorted[n] = &all[n]
		keys[sorted[n]] = key(n, all[n])
	}
	switch p.list.Order() {
	case 1:
		slices.SortStableFunc(sorted, func(a, b *certs.Row) int { return a.Until.Compare(b.Until) })
	case 2:
		slices.SortStableFunc(sorted, func(a, b *certs.Row) int { return strings.Compare(a.Name, b.Name) })
	}
	for _, r := range sorted {
		sort := strings.TrimSpace(r.Role + " " + r.Sort)
		left, role := remaining(r.Until, now)
		left = strings.TrimSuffix(left, " left")
		until := "-"
		if !r.Until.IsZero() {
			until = text.Date(r.Until)
		}
		out = append(out, component.Row{Key: keys[r], Cells: []component.Cell{
			{Text: sort}, {Text: r.Name, Role: theme.Strong}, {Text: left, Role: role}, {Text: until, Role: theme.Muted}, {Text: cmp.Or(r.ID, "-"), Role: theme.Muted},
		}})
	}
	return out
}

// key tells rows apart.
func key(n int, r certs.Row) string {
	if r.Sort == certs.RowClient {
		return "client " + r.Name
	}
	return strconv.Itoa(n) + fmt.Sprintf(" %s %s", r.Sort, r.ID)
}
