package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"dbops/internal/app"
	"dbops/internal/cloud"
	"dbops/internal/fault"
)

type statusOptions struct {
	env      string
	instance string
}

func newStatusCmd(c *cli) *cobra.Command {
	o := &statusOptions{}
	cmd := &cobra.Command{
		Use:   "status [INSTANCE]",
		Short: "Show the state of every instance",
		Long: `Show what the providers say about each instance, asked all at once. An instance that cannot be reached is
shown as such and never hides the others. Below the table is what deserves a look: among it runs that wait for somebody,
and upgrades that keep clients out at this moment. Of a single instance, and with -o json, it also says what the provider
measures: CPU, connections, storage, the lag of a replica.

Exit status: 0 every instance answered; 1 at least one did not; 2 usage or configuration; 130 interrupted, what had answered is shown.`,
		Example: `  dbops status
  dbops status -e prod
  dbops status -e prod main -o json | jq .instances[0].live.state`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				o.instance = args[0]
			}
			return runStatus(cmd.Context(), c, o)
		},
	}
	environmentFlag(cmd, &o.env, false)
	return cmd
}

func runStatus(ctx context.Context, c *cli, o *statusOptions) error {
	a, err := c.app()
	if err != nil {
		return err
	}
	defer a.Close()
	loads := func() map[string]app.InstanceLoad { return nil }
	if c.json() || o.instance != "" {
		beside, stop := context.WithTimeout(ctx, loadPatience)
		defer stop()
		loads = loadsBeside(beside, a, o.env, o.instance)
	}
	all, cut, err := c.statuses(ctx, a, o.env, o.instance)
	if err != nil {
		return err
	}
	measured := loads()
	var runs []app.Unfinished
	if cut == nil {
		if runs, err = a.Unfinished(ctx, o.env); err != nil { // what the providers say does not depend on it
			fmt.Fprintf(c.err, "which runs have not ended is not known: %s\n", oneBlock(err.Error()))
		}
	}
	failed := 0
	for _, s := range all {
		if s.Err != nil {
			failed++
		}
	}
	if c.json() {
		err = printStatusJSON(c, all, runs, measured)
	} else {
		var text bytes.Buffer
		printStatus(&text, all, runs, measured, time.Now())
		_, err = text.WriteTo(c.out)
	}
	switch {
	case err != nil:
		return err
	case cut != nil:
		return cut
	case failed > 0:
		return &exitStatus{1} // the table has said why
	}
	return nil
}

// statuses asks for instances, in the order of dbops.yaml. cut is that it was interrupted: those that had not answered say so.
func (c *cli) statuses(ctx context.Context, a *app.App, env, instance string) (all []app.Status, cut, err error) {
	configured, err := a.Instances(env)
	if err != nil {
		return nil, nil, err
	}
	stream, err := a.Status(ctx, env, instance)
	if err != nil {
		return nil, nil, err
	}
	place := map[string]int{}
	for n, i := range configured {
		if instance == "" || i.Name == instance {
			place[i.Environment+"/"+i.Name] = len(all)
			all = append(all, app.Status{Instance: configured[n]})
		}
	}
	for s := range stream {
		if !c.json() && s.Live != nil {
			s.Live.Raw = nil // only JSON shows it, and it is most of a row
		}
		all[place[s.Environment+"/"+s.Name]] = s
	}
	c.looking.wipe()
	if ctx.Err() == nil {
		return all, nil, nil
	}
	for n, s := range all {
		if s.Live == nil && s.Err == nil {
			all[n].Err = fault.New(fault.Interrupted, "read "+s.Environment+"/"+s.Name, ctx.Err())
		}
	}
	return all, cutShort(fault.New(fault.Interrupted, "show status", ctx.Err()), all, func(s app.Status) error { return s.Err }), nil
}

// statusJSON is dbops/status/v1.
type statusJSON struct {
	Schema    string               `json:"schema"`
	Instances []instanceStatusJSON `json:"instances"`
}

type instanceStatusJSON struct {
	app.Status
	RestorableFrom time.Time        `json:"restorable_from,omitzero"`
	Error          *errorJSON       `json:"error,omitempty"`
	Load           *cloud.Load      `json:"load,omitempty"`
	LoadError      *errorJSON       `json:"load_error,omitempty"`
	Runs           []app.Unfinished `json:"runs"`
}

// runsOf are the runs of an instance.
func runsOf(s app.Status, runs []app.Unfinished) []app.Unfinished {
	return slices.DeleteFunc(slices.Clone(runs), func(u app.Unfinished) bool { return u.Run.Environment != s.Environment || u.Run.Instance != s.Name })
}

func printStatusJSON(c *cli, all []app.Status, runs []app.Unfinished, loads map[string]app.InstanceLoad) error {
	out := statusJSON{Schema: "dbops/status/v1", Instances: []instanceStatusJSON{}}
	for _, s := range all {
		row := instanceStatusJSON{Status: s, Runs: append([]app.Unfinished{}, runsOf(s, runs)...)}
		if s.Live != nil {
			row.RestorableFrom = s.Live.RestorableFrom(s.At)
		}
		if s.Err != nil {
			e := errorObject(s.Err, c.verbose)
			row.Error = &e
		}
		l := loads[s.Environment+"/"+s.Name]
		row.Load = l.Load
		if l.Err != nil && !errors.Is(l.Err, cloud.ErrUnsupported) {
			e := errorObject(l.Err, c.verbose)
			row.LoadError = &e
		}
		out.Instances = append(out.Instances, row)
	}
	return printJSON(c.out, out)
}

func printStatus(w *bytes.Buffer, all []app.Status, runs []app.Unfinished, loads map[string]app.InstanceLoad, now time.Time) {
	header := []string{"ENVIRONMENT", "INSTANCE", "PROVIDER", "STATE", "VERSION", "AVAILABILITY", "STORAGE", "BACKUPS", "DELETION", "CA"}
	rows := make([][]string, 0, len(all))
	for _, s := range all {
		rows = append(rows, statusRow(s, now))
	}
	_ = printTable(w, header, rows) // into memory
	var failed problems
	for _, s := range all {
		failed.add(s.Environment+"/"+s.Name, s.Err)
	}
	failed.print(w)
	for _, s := range all {
		printNotes(w, s)
		printLoad(w, loads[s.Environment+"/"+s.Name], now)
		printUnfinished(w, s.Environment+"/"+s.Name, runsOf(s, runs))
	}
}

// printUnfinished tells of the runs of an instance that somebody has to know of.
func printUnfinished(w *bytes.Buffer, name string, runs []app.Unfinished) {
	for _, u := range runs {
		if !u.ShutOut.IsZero() {
			fmt.Fprintf(w, "\n! %s  clients are shut out since %s, by run %s: dbops upgrade status -e %s %s\n", name, stamp(u.ShutOut), u.Run.ID, u.Run.Environment, u.Run.Instance)
		}
		if u.Waits {
			fmt.Fprintf(w, "\n! %s  run %s waits for somebody, it is %s: %s\n  next: %s\n", name, u.Run.ID, strings.TrimPrefix(runWord(u.Run), "! "), u.Run.Title, nextOf(u.Run))
		}
	}
}

func statusRow(s app.Status, now time.Time) []string {
	env := s.Environment
	if s.Protected {
		env += " PROTECTED"
	}
	row := []string{env, s.Name, string(s.Provider)}
	if s.Err != nil {
		return append(row, "x "+failureWord(s.Err), "?", "?", "?", "?", "?", "?")
	}
	l := s.Live
	return append(row, stateWord(l), versionWord(l), availabilityWord(l), storageWord(l), backupWord(l), protectionWord(l), expiryWord(l.TLS.Expires, now))
}

// printNotes explains what a row could only hint at.
func printNotes(w *bytes.Buffer, s app.Status) {
	name := s.Environment + "/" + s.Name
	if s.Err != nil {
		return
	}
	for _, p := range s.Live.Pending {
		change := p.To
		if p.From != "" {
			change = p.From + " -> " + p.To
		}
		fmt.Fprintf(w, "\n~ %s  pending: %s %s\n", name, p.Setting, change)
	}
	for _, m := range s.Live.Maintenance.Pending {
		fmt.Fprintf(w, "\n~ %s  maintenance: %s (window %s)\n", name, m, cmp.Or(s.Live.Maintenance.Window, "not set"))
	}
}

func failureWord(err error) string {
	switch fault.KindOf(err) {
	case fault.NotFound:
		return "not found"
	case fault.Denied:
		return "denied"
	case fault.Throttled:
		return "throttled"
	case fault.Unavailable:
		return "unreachable"
	case fault.Interrupted:
		return "not asked"
	default:
		return "failed"
	}
}

func stateWord(l *cloud.Instance) string {
	word := string(l.State)
	if l.RawState != "" && !strings.EqualFold(l.RawState, word) && l.State != cloud.Available {
		word += " (" + strings.ToLower(l.RawState) + ")"
	}
	if l.State != cloud.Available {
		return "! " + word
	}
	return word
}

func versionWord(l *cloud.Instance) string {
	v := strings.ToLower(strings.TrimPrefix(l.EngineVersion, "POSTGRES_"))
	v, _, _ = strings.Cut(v, " ")
	return strings.ReplaceAll(v, "_", ".")
}

func availabilityWord(l *cloud.Instance) string {
	if l.Availability == "" {
		return "-"
	}
	zones := []string{l.Zone}
	if l.SecondaryZone != "" {
		zones = append(zones, l.SecondaryZone)
	}
	for i, z := range zones {
		zones[i] = strings.TrimPrefix(strings.TrimPrefix(z, l.Region), "-")
	}
	return strings.TrimSpace(string(l.Availability) + " " + strings.Join(zones, "+"))
}

func storageWord(l *cloud.Instance) string {
	if l.Storage.GiB == 0 {
		return "-"
	}
	s := fmt.Sprintf("%d GiB", l.Storage.GiB)
	if l.Storage.AutoGrow {
		s += " grows"
	}
	return s
}

func backupWord(l *cloud.Instance) string {
	if l.Provider == cloud.Postgres {
		return "-"
	}
	if !l.Backups.Enabled {
		return "! off"
	}
	var parts []string
	if l.Backups.RetentionDays > 0 {
		parts = append(parts, fmt.Sprintf("%dd", l.Backups.RetentionDays))
	} else if l.Backups.Retained > 0 {
		parts = append(parts, fmt.Sprintf("%d kept", l.Backups.Retained))
	}
	if l.Backups.PITR {
		parts = append(parts, "PITR")
	}
	return cmp.Or(strings.Join(parts, " "), "on")
}

func protectionWord(l *cloud.Instance) string {
	switch {
	case l.Provider == cloud.Postgres:
		return "-"
	case l.DeletionProtection:
		return "protected"
	default:
		return "! open"
	}
}

func expiryWord(at, now time.Time) string {
	if at.IsZero() {
		return "-"
	}
	days := int(at.Sub(now).Hours() / 24)
	switch {
	case at.Before(now):
		return "x expired"
	case days < 30:
		return fmt.Sprintf("! %dd", days)
	case days < 730:
		return fmt.Sprintf("%dd", days)
	default:
		return fmt.Sprintf("%dy", days/365)
	}
}
