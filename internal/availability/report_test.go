package availability

import (
	"strings"
	"testing"
	"time"
)

func TestWhatAReportSays(t *testing.T) {
	at := func(s float64) time.Time {
		return time.Date(2026, 11, 21, 3, 0, 0, 0, time.UTC).Add(time.Duration(s * float64(time.Second)))
	}
	stretch := func(from, to float64, change ...func(*Watched)) *Watched {
		w := &Watched{Since: at(from), Until: at(to), Attempts: 100, SlowestMS: 20}
		for _, c := range change {
			c(w)
		}
		return w
	}
	down := func(ms int64) func(*Watched) {
		return func(w *Watched) {
			w.Failures, w.Outages, w.DowntimeMS, w.LongestMS, w.Cause = 5, 1, ms, ms, "57P03 starting"
		}
	}
	dead := func(w *Watched) { down(3000)(w); w.Failures, w.Down = w.Attempts, true }
	for name, c := range map[string]struct {
		asked   Asked
		watched []*Watched
		want    string
	}{
		"nothing happened": {Asked{}, []*Watched{stretch(-1, 0), stretch(0.1, 60)}, "no downtime measured (200 attempts)"},
		"an outage":        {Asked{}, []*Watched{stretch(-1, 0), stretch(0.1, 60, down(1500))}, "1.5s of downtime measured (5 of 200 attempts failed)"},
		"two outages": {
			Asked{},
			[]*Watched{stretch(-1, 0, down(500)), stretch(0.1, 60, down(1500))},
			"2s of downtime measured in 2 outages, the longest 1.5s (10 of 200 attempts failed)",
		},
		"a process that was killed leaves a gap": {
			Asked{},
			[]*Watched{stretch(-1, 0), stretch(42, 60)},
			"no downtime measured (200 attempts); nobody looked for 42s of it: no process worked on the run, or it was slow from one step to the next",
		},
		"it ended before anybody looked again": {
			Asked{}, []*Watched{stretch(-1, 0)}, "no downtime measured (100 attempts); nobody looked for 1m0s of it: no process worked on the run, or it was slow from one step to the next",
		},
		"no login":           {Asked{}, nil, "downtime not measured; no login to probe with is configured"},
		"a login that fails": {Asked{Before: "28P01 no"}, []*Watched{stretch(0, 60, dead)}, "downtime not measured; the probe was never served: 57P03 starting; at the end the database did not answer yet: 57P03 starting"},
		"it was down before": {
			Asked{Before: "57P03 starting"},
			[]*Watched{stretch(0, 60, down(1000))},
			"1s of downtime measured (5 of 100 attempts failed); the database did not answer before the change either: 57P03 starting",
		},
		"it was found": {
			Asked{Found: foundUnderWay},
			[]*Watched{stretch(10, 60)},
			"no downtime measured (100 attempts); the change was found under way, so what was before that is not known",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := Report{Ended: at(60)}
			if c.asked.Found == "" {
				r.Asked = at(0)
			}
			r.add(c.watched...)
			r.annotate(c.asked)
			if got := r.text(); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if strings.Contains(r.text(), "\n") {
				t.Error("it is more than a line")
			}
		})
	}
}
