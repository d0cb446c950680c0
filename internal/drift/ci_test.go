package drift

import (
	"errors"
	"strings"
	"testing"

	"dbops/internal/fault"
)

func report() *Report {
	row := func(setting string, s Status, declared, live, last string, c Cause, detail, remedy string) Row {
		return Row{"prod", "main", setting, s, declared, live, last, c, detail, "", remedy}
	}
	return &Report{Schema: Schema, Instances: []Looked{
		{Environment: "prod", Instance: "main"},
		{Environment: "prod", Instance: "away", Problem: "nobody answers\n::error::50%", Hint: "look, then ask", Err: errors.New("x")},
	}, Rows: []Row{
		row("pitr", InSync, "true", "true", "true", "", "", ""),
		row("availability", Drifted, "regional", "zonal", "regional", Console, "somebody changed it | elsewhere", "dbops drift --fix"),
		row("class", Unmanaged, "", "db.r6g_large", "", "", "", ""),
		row("backups_kept_days", Pending, "7", "3", "", "", "accepted", ""),
		row("tls_required", Unknown, "true", "", "", NotTold, "<script> @everybody [x](y) `z`", "allow it"),
		{"prod", "away", "pitr", Unknown, "true", "", "", Unreachable, "nobody answers", "", ""},
	}}
}

func TestAnnotationsAreOneLineEach(t *testing.T) {
	t.Parallel()
	same(t, "annotations", report().Annotations(), `::error title=Drift%3A prod/main availability::availability is zonal, declared regional: somebody changed it | elsewhere. dbops drift --fix
::notice title=Drift%3A prod/main backups_kept_days::backups_kept_days is 3, declared 7: accepted
::warning title=Drift%3A prod/main tls_required::tls_required is not known: <script> @everybody [x](y) `+"`z`"+`. allow it
::warning title=Drift%3A prod/away::nobody answers%0A::error::50%25. look, then ask
`)
	same(t, "of nothing", (&Report{}).Annotations(), "")
}

func TestTheSummaryIsATable(t *testing.T) {
	t.Parallel()
	same(t, "summary", report().Summary(), `## Drift

2 instances looked at: 1 setting in sync, 1 drifted, 1 pending, 2 unknown.

| instance | setting | status | declared | live | last applied | why | what to do |
| --- | --- | --- | --- | --- | --- | --- | --- |
| prod/main | availability | drifted | regional | zonal | regional | somebody changed it \| elsewhere | dbops drift --fix |
| prod/main | class | unmanaged |  | db.r6g\_large |  |  |  |
| prod/main | backups\_kept\_days | pending | 7 | 3 |  | accepted |  |
| prod/main | tls\_required | unknown | true |  |  | &lt;script&gt; &#64;everybody \[x\]\(y\) \`+"`z\\`"+` | allow it |
| prod/away | pitr | unknown | true |  |  | nobody answers |  |
`)
	if got := (&Report{}).Summary(); strings.Contains(got, "|") {
		t.Errorf("a table of nothing: %s", got)
	}
}

func TestTheErrorOfAReport(t *testing.T) {
	t.Parallel()
	r := report()
	if err := r.Err(); fault.KindOf(err) != fault.Findings || fault.ExitStatus(err) != 5 || !strings.Contains(err.Error(), "1 setting drifted") {
		t.Errorf("drift: %v", err)
	}
	r.Rows = r.Rows[4:]
	if err := r.Err(); fault.ExitStatus(err) != 1 || fault.HintOf(err) != "look, then ask" {
		t.Errorf("an instance that did not answer: %v", err)
	}
	r.Instances = r.Instances[:1]
	if err := r.Err(); fault.ExitStatus(err) != 1 || fault.HintOf(err) != "allow it" {
		t.Errorf("a setting that is not told: %v", err)
	}
	r.Rows = report().Rows[2:4]
	if err := r.Err(); err != nil {
		t.Errorf("pending and unmanaged: %v", err)
	}
}
