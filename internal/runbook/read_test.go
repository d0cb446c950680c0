package runbook

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dbops/internal/fault"
)

func write(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "book.yaml")
	must(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

func TestReadNamesStepsAndKeepsWordsAsTheyAreWritten(t *testing.T) {
	t.Parallel()
	b, err := Read(write(t, `schema: dbops/runbook/v1
title: all sorts
steps:
  - operation: dbops  migrate   up
    instance: billing
    args: [shop, 0017]
    with:
      to: 20260102150405
      lock-timeout: 1.50s
      rehearse: true
      database: [a, "b c"]
  - gate: |
      look
      twice
  - name: again
    operation: migrate up
  - operation: migrate up
  - operation: migrate up
`), Overrides{Environment: "staging"})
	must(t, err)
	wants(t, "names", b.StepNames(), "migrate-up", "gate", "again", "migrate-up-2", "migrate-up-3")
	o := b.Steps[0].Operation
	if got := o.String(); got != "migrate up shop 0017 --database a --database b c --lock-timeout 1.50s --rehearse --to 20260102150405" {
		t.Errorf("the operation is %s", got)
	}
	if b.Environment != "staging" || b.Instance != "billing" || b.Steps[1].Gate != "look\ntwice" {
		t.Errorf("got %+v", b)
	}
	var lines []string
	for _, s := range b.Steps {
		lines = append(lines, fmt.Sprint(s.Line))
	}
	wants(t, "lines", lines, "4", "12", "15", "17", "18")
	if rest, ok := b.From("again"); !ok || rest.Title != "all sorts (from again)" || len(rest.Steps) != 3 {
		t.Errorf("the rest is %+v", rest)
	}
}

func TestAFileThatIsNoRunbookSaysWhere(t *testing.T) {
	t.Parallel()
	head := "schema: dbops/runbook/v1\n"
	for name, c := range map[string]struct{ text, want string }{
		"empty":               {" \n", "it is empty"},
		"another schema":      {"schema: dbops/runbook/v9\nsteps: []\n", `its schema is "dbops/runbook/v9"`},
		"an unknown key":      {head + "steps:\n  - operation: protect\n    wth: {a: b}\n", "line 4"},
		"not YAML":            {head + "steps: [\n", "line"},
		"a list, not a file":  {"- a\n- b\n", "line 1"},
		"a list for a text":   {head + "title: [a]\nsteps: [{operation: protect}]\n", "line 2: another kind of value is wanted for title"},
		"only a comment":      {"# nothing\n", "it is empty"},
		"an escape":           {head + "title: \"\\e[2J\"\nsteps: [{operation: protect}]\n", "holds a control character"},
		"a raw escape":        {head + "title: \x1b[2J\nsteps: [{operation: protect}]\n", "line 2 holds a control character"},
		"a value too deep":    {head + "steps:\n  - operation: protect\n    with: {a: {b: c}}\n", "line 4: want text"},
		"another environment": {head + "environment: prod\n", "it is for prod, and --env says staging"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Read(write(t, c.text), Overrides{Environment: "staging"})
			if fault.KindOf(err) != fault.Usage || err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v (%s), want %s", err, fault.KindOf(err), c.want)
			}
		})
	}
	for _, path := range []string{"/nowhere.yaml", t.TempDir()} {
		if _, err := Read(path, Overrides{}); fault.KindOf(err) != fault.Usage {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestLintFindsWhatCannotWork(t *testing.T) {
	t.Parallel()
	head := "schema: dbops/runbook/v1\nenvironment: staging\ninstance: main\nsteps:\n"
	for name, c := range map[string]struct{ text, want string }{
		"nothing to say":             {head + "- {operation: protect}\n- {gate: look}\n", ""},
		"no steps":                   {"schema: dbops/runbook/v1\nenvironment: staging\ninstance: main\n", "1 block it has no steps"},
		"no environment":             {"schema: dbops/runbook/v1\ninstance: main\nsteps: [{gate: a}]\n", "1 block it names no environment"},
		"no instance":                {"schema: dbops/runbook/v1\nenvironment: staging\nsteps: [{gate: a}]\n", "1 block it names no instance"},
		"an unknown instance":        {"schema: dbops/runbook/v1\nenvironment: staging\ninstance: mian\nsteps: [{operation: protect}]\n", "1 block there is no instance mian"},
		"only gates":                 {head + "- {gate: a}\n", "1 block it has no operation"},
		"of a step":                  {head + "- {operation: protect, instance: mian}\n", "5 block there is no instance mian"},
		"an empty step":              {head + "- {name: a}\n- {operation: protect}\n", "5 block it says neither what to do nor what to wait for"},
		"how, and not what":          {head + "- {with: {a: b}}\n- {operation: protect}\n", "5 block it says neither what to do nor what to wait for"},
		"a gate with flags":          {head + "- {gate: x, with: {a: b}}\n- {operation: protect}\n", "5 block it says how, and not what"},
		"a flag without a value":     {head + "- {operation: protect, with: {a: }}\n", "5 block the flag a has no value"},
		"a bad name":                 {head + "- {name: A b, operation: protect}\n", "5 block the name \"A b\" will not do"},
		"the engine's name":          {head + "- {name: check, operation: protect}\n", "5 block the name \"check\" will not do"},
		"one name twice":             {head + "- {name: a, gate: x}\n- {name: a, operation: protect}\n", "6 block a step before it is called a, too"},
		"an operation that is wrong": {head + "- {operation: wrong}\n", "5 block no such flag"},
		"a gate that nobody passes":  {head + "- {operation: upgrade run}\n", "5 block its run waits at the gate"},
		"one that passes itself":     {head + "- {operation: upgrade run, with: {unattended: true}}\n", ""},
		"one that is passed":         {head + "- {operation: upgrade run}\n- {operation: upgrade cutover}\n", ""},
		"of another instance":        {head + "- {operation: upgrade run}\n- {operation: upgrade cutover, instance: billing}\n", "5 block its run waits at the gate; 6 warn no step before it begins"},
		"several under protection":   {strings.Replace(head, "staging", "prod", 1) + "- {operation: protect}\n- {operation: protect, instance: billing}\n", "1 block prod is protected"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, err := Read(write(t, c.text), Overrides{})
			must(t, err)
			var got []string
			for _, f := range Lint(b, House{
				Guard: func(env, instance string) (Guard, error) {
					if instance == "mian" {
						return Guard{}, errors.New("there is no instance mian")
					}
					return Guard{Protected: env == "prod"}, nil
				},
				Check: func(_ string, o Operation) error {
					if o.Command == "wrong" {
						return fault.Newf(fault.Usage, "read the operation", "no such flag").Hint("leave it out")
					}
					return nil
				},
			}) {
				got = append(got, fmt.Sprintf("%d %s %s", f.Line, f.Severity, f.Text))
			}
			all := strings.Join(got, "; ")
			for _, want := range strings.Split(c.want, "; ") {
				if !strings.Contains(all, want) || c.want == "" && all != "" {
					t.Errorf("got %q, want %q", all, c.want)
				}
			}
			if n := len(strings.Split(c.want, "; ")); c.want != "" && len(got) != n {
				t.Errorf("got %d findings, want %d: %s", len(got), n, all)
			}
		})
	}
}
