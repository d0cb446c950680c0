package tui

import (
	"fmt"
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/app"
	"dbops/internal/tui/dialog"
	"dbops/internal/tui/overview"
	"dbops/internal/tui/page/instance"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/work"
)

// command is a command of the CLI that has its place on a tab of an instance.
type command struct {
	words, does, tab string
	rest             []string // behind the environment; INSTANCE is its name
}

const tabProxy = "Proxy"

var ofInstance = []string{"INSTANCE"}

// commands are in the order of the tabs. What stands in capitals is asked for on the tab.
var commands = []command{
	{"status", "all that is known of the instance", "Overview", ofInstance},
	{"proxy", "a local port for all databases", tabProxy, nil},
	{"conn-uri", "a connection URI for a database", tabProxy, []string{"DATABASE"}},
	{"sessions list", "who is connected, and what they run", "Sessions", ofInstance},
	{"sessions locks", "who waits for whom", "Sessions", ofInstance},
	{"sessions cancel", "end a query", "Sessions", []string{"INSTANCE", "PID"}},
	{"sessions terminate", "end a session", "Sessions", []string{"INSTANCE", "PID"}},
	{"migrate status", "versions, and what is pending", "Migrations", []string{"DATABASE"}},
	{"migrate up", "apply the pending migrations", "Migrations", []string{"DATABASE"}},
	{"migrate down", "take migrations back", "Migrations", []string{"DATABASE"}},
	{"migrate goto", "go to a version", "Migrations", []string{"DATABASE", "VERSION"}},
	{"migrate plan", "rehearse the pending migrations", "Migrations", []string{"DATABASE"}},
	{"migrate repair", "out of one that ended half-way", "Migrations", []string{"DATABASE"}},
	{"migrate baseline", "take over a schema", "Migrations", []string{"DATABASE", "VERSION"}},
	{"creds list", "containers and their slots", "Credentials", nil},
	{"creds rotate", "new credentials, without a failed query", "Credentials", []string{"CONTAINER"}},
	{"creds issue", "the first credential of a container", "Credentials", []string{"CONTAINER"}},
	{"creds revoke", "take a container's access away", "Credentials", []string{"CONTAINER"}},
	{"creds rollback", "the credential from before", "Credentials", []string{"CONTAINER"}},
	{"creds repair", "put a credential back where it is read", "Credentials", []string{"CONTAINER"}},
	{"creds adopt", "take over a login", "Credentials", []string{"CONTAINER", "--login", "ROLE"}},
	{"creds audit", "who can log in", "Credentials", nil},
	{"certs check", "certificates in live handshakes", "TLS", ofInstance},
	{"certs fetch", "the files that clients need", "TLS", ofInstance},
	{"certs rotate-ca", "a certificate of another CA", "TLS", ofInstance},
	{"certs create-client", "a certificate for a client", "TLS", []string{"INSTANCE", "NAME"}},
	{"certs revoke-client", "make one worthless", "TLS", []string{"INSTANCE", "NAME"}},
	{"availability show", "zones, standby, replicas", "Availability", ofInstance},
	{"availability set", "regional or zonal", "Availability", nil},
	{"failover", "the standby becomes the primary", "Availability", ofInstance},
	{"upgrade plan", "whether it can be upgraded", "Upgrade", []string{"INSTANCE", "--to", "MAJOR"}},
	{"upgrade rehearse", "the whole upgrade of a copy", "Upgrade", []string{"INSTANCE", "--to", "MAJOR"}},
	{"upgrade report", "what one did, measured", "Upgrade", nil},
	{"upgrade run", "upgrade it, as far as the gate", "Upgrade", []string{"INSTANCE", "--to", "MAJOR"}},
	{"upgrade cutover", "switch clients over", "Upgrade", ofInstance},
	{"upgrade rollback", "back to the old instance", "Upgrade", ofInstance},
	{"upgrade cleanup", "give the way back up", "Upgrade", ofInstance},
	{"backup list", "the backups", "Backups", ofInstance},
	{"backup create", "back it up now", "Backups", ofInstance},
	{"backup restore", "to a new instance", "Backups", []string{"INSTANCE", "--to", "NAME"}},
	{"backup drill", "prove that a restore works", "Backups", ofInstance},
	{"backup configure", "automatic backups, point-in-time recovery", "Backups", ofInstance},
	{"protect", "protect it from being deleted", "Backups", ofInstance},
	{"unprotect", "take that protection away", "Backups", ofInstance},
	{"rename", "another name in its cloud", "Backups", []string{"INSTANCE", "--to", "NAME"}},
	{"drift", "what is declared against what is live", "Drift", ofInstance},
}

// Commands are the words of the commands to which the palette leads.
func Commands() (all [][]string) {
	for _, c := range commands {
		if instance.HasTab(c.tab) {
			all = append(all, strings.Fields(c.words))
		}
	}
	return all
}

// cli is its command line for an instance; for the zero value one with ENV and INSTANCE in it.
func (c command) cli(at app.Instance) []string {
	env, name := at.Environment, at.Name
	if name == "" {
		env, name = "ENV", "INSTANCE"
	}
	cli := append([]string{"dbops"}, strings.Fields(c.words)...)
	switch c.words { // those whose instance or run stands elsewhere
	case "availability set":
		return append(cli, "regional", "-e", env, name)
	case "upgrade report":
		return append(cli, "RUN")
	}
	cli = append(cli, "-e", env)
	for _, r := range c.rest {
		if r == "INSTANCE" {
			r = name
		}
		cli = append(cli, r)
	}
	return cli
}

// goCommand asks for the place of a command, and for the command where that is an action there.
type goCommand struct {
	command command
	at      app.Instance
}

// inFront is the instance that the person is at; ok is false without one.
func (m model) inFront() (app.Instance, bool) {
	for _, e := range slices.Backward(m.stack) {
		if e.kind != kindInstance {
			continue
		}
		i := slices.IndexFunc(m.instances, func(i app.Instance) bool { return i.Environment == e.env && i.Name == e.name })
		if i >= 0 {
			return m.instances[i], true
		}
	}
	return app.Instance{}, false
}

// commandItems are the commands for the instance in front, or for one that is chosen next.
func (m model) commandItems() (out []dialog.Item) {
	at, known := m.inFront()
	for _, c := range commands {
		if !instance.HasTab(c.tab) {
			continue
		}
		it := dialog.Item{Title: c.words, Note: c.does, CLI: c.cli(at)}
		if known {
			it.Title += " " + overview.Key(at.Environment, at.Name)
			it.Then = goCommand{c, at}
		} else {
			it.Then = whichInstance{c}
		}
		out = append(out, it)
	}
	return out
}

// whichInstance asks of which instance a command is to be. The choices are made then: for all commands at once they are tens of thousands.
type whichInstance struct{ command command }

func (m model) choices(c command) (out []dialog.Item) {
	for _, i := range m.instances {
		out = append(out, dialog.Item{
			Title: overview.Key(i.Environment, i.Name), Note: protectedNote(i.Protected), CLI: c.cli(i), Then: goCommand{c, i},
		})
	}
	return out
}

// begin opens the tab of a command. Where it is an action that can be run now it is: each asks, or plans, before it changes anything.
func (m model) begin(msg goCommand) (model, tea.Cmd) {
	m, open := m.openTab(screen.OpenTab{Instance: msg.at, Tab: msg.command.tab})
	m, cmd := m.run(msg.command)
	return m, tea.Batch(open, cmd)
}

// meant is a command whose page is being read.
type meant struct {
	command command
	page    work.ID
}

// caught runs what was meant, once the page knows of what.
func (m model) caught() (model, tea.Cmd) {
	if m.meant == nil {
		return m, nil
	}
	c := *m.meant
	if m.top().ID() != c.page || len(m.dialogs) > 0 {
		m.meant = nil
		return m, nil
	}
	if m.top().Header(m.scene()).Fresh.Loading {
		return m, nil
	}
	m.meant = nil
	return m.run(c.command)
}

// run runs a command on the page that is open, or tells why not; what is not known yet is waited for.
func (m model) run(c command) (model, tea.Cmd) {
	words := append([]string{"dbops"}, strings.Fields(c.words)...)
	for _, a := range m.top().Actions(m.scene()) {
		if c.tab == tabProxy { // its actions do at once what they say
			break
		}
		if a.Group == screen.GroupMove || len(a.CLI) < len(words) || !slices.Equal(a.CLI[:len(words)], words) {
			continue
		}
		if a.Off == "" {
			return m.do(a.ID)
		}
		if m.top().Header(m.scene()).Fresh.Loading {
			m.meant = &meant{c, m.top().ID()}
			return m, nil
		}
		m.notes = m.notes.add(m.now, fmt.Sprintf("%s (%s): not now: %s", c.words, a.Key.Help().Key, a.Off), nil)
		return m, nil
	}
	m.notes = m.notes.add(m.now, c.words+" is here: a shows what can be done", nil)
	return m, nil
}

// sectionItems lead to the sections.
func sectionItems() (out []dialog.Item) {
	for i, s := range sections {
		out = append(out, dialog.Item{
			Title: "go to the " + strings.ToLower(s.name), Note: strings.Join(s.cli[1:], " "), CLI: s.cli, Then: screen.OpenSection{Section: screen.Section(i)},
		})
	}
	return append(out, dialog.Item{
		Title: "audit verify", Note: "whether the log is what was signed", CLI: []string{"dbops", "audit", "verify"}, Then: screen.OpenSection{Section: screen.SectionAudit},
	})
}

// waitingItems are the runs and the approvals that are known, by their names.
func (m model) waitingItems() (out []dialog.Item) {
	for _, r := range m.attention.seen.Runs {
		out = append(out, dialog.Item{
			Title: "run " + r.ID + "  " + cutTitle(r.Title), Note: string(r.State) + " " + overview.Key(r.Environment, r.Instance),
			CLI: []string{"dbops", "runs", "show", r.ID}, Then: screen.OpenRun{ID: r.ID},
		})
	}
	for _, a := range m.attention.seen.Approvals {
		out = append(out, dialog.Item{
			Title: "approval " + a.ID + "  " + a.Kind + " of " + overview.Key(a.Environment, a.Instance), Note: string(a.State),
			CLI: []string{"dbops", "approvals", "show", a.ID}, Then: screen.OpenApproval{ID: a.ID},
		})
	}
	return out
}
