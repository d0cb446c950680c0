package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"dbops/internal/runbook"
	"dbops/internal/sandbox/play"
)

// cmdFault asks the shared sandbox for a failure: fault EFFECT SERVICE [ACTION [TARGET [COUNT]]], or takes all back: fault clear.
func cmdFault(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) == 1 && args[0] == "clear" {
		shared.sandbox.Faults().Clear()
		return
	}
	f := play.Fault{}
	for i, to := range []*string{(*string)(&f.Effect), &f.Service, &f.Action, &f.Target} {
		if i < len(args) {
			*to = args[i]
		}
	}
	if len(args) > 4 {
		n, err := strconv.Atoi(args[4])
		ts.Check(err)
		f.Count = n
	}
	ts.Defer(shared.sandbox.Faults().Clear)
	shared.sandbox.Faults().Add(f)
}

// cmdExitStatus runs a program and demands its exit status: status N PROGRAM ARGUMENT... Its output is then what stdout and
// stderr match.
func cmdExitStatus(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: status N PROGRAM ARGUMENT...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
	ts.Check(os.WriteFile(filepath.Join(ts.Getenv("WORK"), "out"), []byte(ts.ReadFile("stdout")), 0o600))
	ts.Check(os.WriteFile(filepath.Join(ts.Getenv("WORK"), "err"), []byte(ts.ReadFile("stderr")), 0o600))
}

// cmdUntil runs a program until what it prints matches, as others may just restart what it tells of: until REGEXP PROGRAM ARGUMENT...
func cmdUntil(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: until REGEXP PROGRAM ARGUMENT...")
	}
	want, err := regexp.Compile(args[0])
	ts.Check(err)
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		ts.Check(ts.Exec(args[1], args[2:]...))
		if want.MatchString(ts.ReadFile("stdout")) {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("waited in vain for %s", want)
		}
	}
}

// cmdField demands a value in a JSON file: field FILE PATH VALUE, with a path such as instances.0.live.state.
func cmdField(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: field FILE PATH VALUE")
	}
	var v any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &v))
	for part := range strings.SplitSeq(args[1], ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[part]
		case []any:
			n, err := strconv.Atoi(part)
			ts.Check(err)
			if n >= len(x) {
				ts.Fatalf("%s: the list has %d entries", args[1], len(x))
			}
			v = x[n]
		default:
			ts.Fatalf("%s: nothing below %q", args[1], part)
		}
	}
	got, err := json.Marshal(v)
	ts.Check(err)
	text := strings.Trim(string(got), `"`)
	if (text == args[2]) == neg {
		ts.Fatalf("%s is %s", args[1], got)
	}
}

// cmdEdit copies a file with one word in place of another: edit FILE TO OLD NEW.
func cmdEdit(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 4 {
		ts.Fatalf("usage: edit FILE TO OLD NEW")
	}
	text := ts.ReadFile(args[0])
	if !strings.Contains(text, args[2]) {
		ts.Fatalf("%s has no %q", args[0], args[2])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(strings.ReplaceAll(text, args[2], args[3])), 0o600))
}

// cmdTamper runs a statement on the script's state, past dbops, and demands that it changed a row.
func cmdTamper(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: tamper STATEMENT")
	}
	db, err := sql.Open("sqlite", filepath.Join(ts.Getenv("DBOPS_STATE_DIR"), "state.db"))
	ts.Check(err)
	defer db.Close()
	r, err := db.ExecContext(context.Background(), args[0])
	ts.Check(err)
	if n, err := r.RowsAffected(); err != nil || n != 1 {
		ts.Fatalf("it changed %d rows, %v", n, err)
	}
}

// cmdRunbookID sets a variable to the newest run of a runbook: runbook_id NAME.
func cmdRunbookID(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(ts.Exec("dbops", "runs", "list", "-o", "json"))
	var list struct {
		Runs []struct{ ID, Kind string } `json:"runs"`
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &list))
	for _, r := range list.Runs {
		if r.Kind == runbook.Kind {
			ts.Setenv(args[0], r.ID)
			return
		}
	}
	ts.Fatalf("there is no run of a runbook")
}

// cmdRunID sets a variable to the newest run: run_id NAME.
func cmdRunID(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: run_id NAME")
	}
	ts.Check(ts.Exec("dbops", "runs", "list", "-o", "json"))
	var list struct {
		Runs []struct{ ID string } `json:"runs"`
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &list))
	if len(list.Runs) == 0 {
		ts.Fatalf("there are no runs")
	}
	ts.Setenv(args[0], list.Runs[0].ID)
}
