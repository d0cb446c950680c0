package instance

import (
	"dbops/internal/app"
	"dbops/internal/tui/core"
	"dbops/internal/tui/page/audit"
	"dbops/internal/tui/page/availability"
	"dbops/internal/tui/page/backups"
	"dbops/internal/tui/page/creds"
	"dbops/internal/tui/page/drift"
	"dbops/internal/tui/page/migrations"
	"dbops/internal/tui/page/proxy"
	"dbops/internal/tui/page/sessions"
	"dbops/internal/tui/page/tls"
	"dbops/internal/tui/page/upgrade"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/work"
)

// tab is one part of the page, which is a page of its own: begun when it is first looked at, and asleep while another one is.
type tab struct {
	screen.Tab
	open func(c core.Core, pool *work.Pool, at app.Instance) screen.Page
}

// tabs are all but the first, which shows what is known of the instance at once.
var tabs = []tab{
	{screen.Tab{Key: "2", Name: "Proxy"}, func(_ core.Core, pool *work.Pool, at app.Instance) screen.Page {
		return proxy.New(pool, at.Environment)
	}},
	{screen.Tab{Key: "3", Name: "Migrations", Short: "Migrate"}, migrations.New},
	{screen.Tab{Key: "4", Name: "Credentials", Short: "Creds"}, creds.New},
	{screen.Tab{Key: "5", Name: "TLS"}, tls.New},
	{screen.Tab{Key: "6", Name: "Availability", Short: "Avail"}, availability.New},
	{screen.Tab{Key: "7", Name: "Upgrade"}, upgrade.New},
	{screen.Tab{Key: "8", Name: "Backups"}, backups.New},
	{screen.Tab{Key: "9", Name: "Sessions"}, sessions.New},
	{screen.Tab{Key: "0", Name: "Drift"}, drift.New},
	{screen.Tab{Key: "-", Name: "Audit"}, func(c core.Core, pool *work.Pool, at app.Instance) screen.Page { return audit.New(c, pool, at) }},
}
