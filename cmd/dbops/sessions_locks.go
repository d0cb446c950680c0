package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"dbops/internal/live"
)

// locksJSON is dbops/sessions-locks/v1.
type locksJSON struct {
	Schema      string         `json:"schema"`
	Environment string         `json:"environment"`
	Instance    string         `json:"instance"`
	At          time.Time      `json:"at"`
	Blocking    []live.Tree    `json:"blocking"`
	Missing     []live.Missing `json:"missing,omitempty"`
}

func runSessionsLocks(ctx context.Context, c *cli, o *sessionsOptions) error {
	a, err := c.app()
	if err != nil {
		return err
	}
	defer a.Close()
	all, err := a.LiveSessions(ctx, o.env, o.instance)
	if err != nil {
		return err
	}
	forest := all.Forest()
	if c.json() {
		if forest == nil {
			forest = []live.Tree{}
		}
		return printJSON(c.out, locksJSON{"dbops/sessions-locks/v1", o.env, o.instance, all.At, forest, all.Missing})
	}
	if len(forest) == 0 {
		fmt.Fprintln(c.out, "nobody waits for a lock")
		printMissing(c.out, all.Missing)
		return nil
	}
	var rows [][]string
	for _, t := range forest {
		rows = treeRows(rows, t, 0)
	}
	if err := printTable(c.out, []string{"SESSION", "USER", "APPLICATION", "STATE", "WAITS FOR", "FOR", "TX", "STATEMENT"}, rows); err != nil {
		return err
	}
	printMissing(c.out, all.Missing)
	if top := forest[0].Session; top.PID != live.Prepared {
		verb := "terminate"
		if top.Active() {
			verb = "cancel"
		}
		fmt.Fprintf(c.err, "next: dbops sessions %s -e %s %s %d --plan\n", verb, o.env, o.instance, top.PID)
	}
	return nil
}

func treeRows(rows [][]string, t live.Tree, depth int) [][]string {
	s := t.Session
	name := strconv.Itoa(s.PID)
	if depth > 0 {
		name = strings.Repeat("  ", depth-1) + "+ " + name
	}
	waits, waited := "-", "-"
	if s.Waits != nil {
		waits, waited = s.Waits.Object+" ("+s.Waits.Mode+")"+others(s), spanWord(s.Waits.For)
	}
	rows = append(rows, []string{name, orText(s.User, "-"), orText(s.Application, "-"), sessionState(s), waits, waited, spanWord(s.InTransaction), oneLine(s.Query)})
	for _, w := range t.Waiting {
		rows = treeRows(rows, w, depth+1)
	}
	return rows
}

// others tells that a session waits for more than the one above it.
func others(s live.Session) string {
	if n := len(s.BlockedBy) - 1; n > 0 {
		return fmt.Sprintf(" +%d", n)
	}
	return ""
}
