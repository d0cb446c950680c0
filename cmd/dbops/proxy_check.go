package main

import (
	"context"
	"fmt"
	"sync"

	"dbops/internal/app"
)

// proxyCheckJSON is dbops/proxy-check/v1.
type proxyCheckJSON struct {
	Schema    string              `json:"schema"`
	Databases []databaseCheckJSON `json:"databases"`
}

type databaseCheckJSON struct {
	Database string     `json:"database"`
	Instance string     `json:"instance"`
	Error    *errorJSON `json:"error,omitempty"`
}

// checkProxy logs in to every database at once, and ends the proxy.
func checkProxy(ctx context.Context, c *cli, p *app.Proxy) error {
	uris := p.URIs()
	errs := make([]error, len(uris))
	var wg sync.WaitGroup
	for i, u := range uris {
		wg.Go(func() { errs[i] = p.Check(ctx, u.Database) })
	}
	wg.Wait()
	if err := p.Close(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	out := proxyCheckJSON{Schema: "dbops/proxy-check/v1"}
	failed := 0
	for i, u := range uris {
		row := databaseCheckJSON{Database: u.Database, Instance: u.Instance}
		if errs[i] != nil {
			failed++
			e := errorObject(errs[i], c.verbose)
			row.Error = &e
		}
		out.Databases = append(out.Databases, row)
	}
	if c.json() {
		if err := printJSON(c.out, out); err != nil {
			return err
		}
	} else if err := printProxyCheck(c, out); err != nil {
		return err
	}
	if failed > 0 {
		return &exitStatus{5} // each has been explained
	}
	return nil
}

func printProxyCheck(c *cli, out proxyCheckJSON) error {
	rows := make([][]string, 0, len(out.Databases))
	for _, d := range out.Databases {
		verdict := "works"
		if d.Error != nil {
			verdict = "x " + oneBlock(d.Error.Message)
		}
		rows = append(rows, []string{d.Database, d.Instance, verdict})
	}
	err := printTable(c.out, []string{"DATABASE", "INSTANCE", "LOGIN"}, rows)
	for _, d := range out.Databases {
		if d.Error != nil && d.Error.Hint != "" {
			fmt.Fprintf(c.err, "next, for %s: %s\n", d.Database, oneBlock(d.Error.Hint))
		}
	}
	return err
}
