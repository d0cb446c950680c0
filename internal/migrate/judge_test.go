package migrate

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dbops/internal/migrate/driver"
	"dbops/internal/migrate/source"
)

// folderOf makes a folder with up and down files of versions.
func folderOf(t *testing.T, versions ...int) *source.Folder {
	t.Helper()
	dir := t.TempDir()
	for _, v := range versions {
		for _, d := range []string{"up", "down"} {
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d_v.%s.sql", v, d)), fmt.Appendf(nil, "select '%s %d'", d, v), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	f, err := source.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// entries are those of a history: "up 1", "baseline 2 5" (its target), "up 3 x" (another checksum).
func entries(f *source.Folder, all ...string) (out []driver.Entry) {
	for i, text := range all {
		words := strings.Fields(text)
		e := driver.Entry{ID: int64(i), Direction: words[0], Outcome: driver.OK}
		_, _ = fmt.Sscan(words[1], &e.Version)
		e.Target = e.Version
		if words[0] == "down" {
			e.Target = e.Version - 1
		}
		if m, _, ok := f.Find(e.Version); ok {
			e.Sum = m.Up.Sum
		}
		if len(words) > 2 {
			if _, err := fmt.Sscan(words[2], &e.Target); err != nil {
				e.Sum = words[2]
			}
		}
		out = append(out, e)
	}
	return out
}

func TestJudge(t *testing.T) {
	for name, c := range map[string]struct {
		folder  []int
		version int64 // -1 for none
		rows    []int64
		history []string
		want    string
	}{
		"a new database":                       {[]int{1, 2}, -1, nil, nil, "pending 1 2"},
		"golang-migrate's":                     {[]int{1, 2, 3}, 2, nil, nil, "pending 3; assumed"},
		"ours":                                 {[]int{1, 2, 3}, 2, nil, []string{"up 1", "up 2"}, "pending 3"},
		"late from a branch":                   {[]int{1, 2, 3, 4}, 3, nil, []string{"up 1", "up 3"}, "pending 4; late 2"},
		"late, of a baseline":                  {[]int{1, 2, 3}, 3, nil, []string{"baseline 1 3", "baseline 3 3"}, "late 2"},
		"late, and applied out of order":       {[]int{1, 2, 3}, 3, nil, []string{"up 1", "up 3", "up 2 3"}, ""},
		"taken back":                           {[]int{1, 2, 3}, 2, nil, []string{"up 1", "up 2", "up 3", "down 3"}, "pending 3"},
		"taken back, and golang-migrate again": {[]int{1, 2, 3}, 3, nil, []string{"up 1", "up 2", "up 3", "down 3"}, ""},
		"golang-migrate went on":               {[]int{1, 2, 3, 4}, 3, nil, []string{"up 1"}, "pending 4; assumed"},
		"golang-migrate went on, and late":     {[]int{1, 2, 3, 4}, 4, nil, []string{"up 1", "up 3"}, "late 2; assumed"},
		"an edited file":                       {[]int{1, 2}, 2, nil, []string{"up 1 x", "up 2"}, "changed 1"},
		"an edited file of what is taken back": {[]int{1, 2}, 1, nil, []string{"up 1", "up 2 x", "down 2"}, "pending 2"},
		"a newer database":                     {[]int{1, 2}, 3, nil, []string{"up 1", "up 2", "up 3"}, "unknown 3"},
		"a newer database of golang-migrate":   {[]int{1, 2}, 3, nil, nil, "unknown 3; assumed"},
		"a removed file":                       {[]int{1, 3}, 3, nil, []string{"up 1", "up 2", "up 3"}, "unknown 2"},
		"repaired":                             {[]int{1, 2, 3}, 2, nil, []string{"up 1", "repair 2 2"}, "pending 3"},
		"Encore's, a row for each":             {[]int{1, 2, 3, 4}, 3, []int64{1, 3}, nil, "pending 4; late 2; assumed"},
	} {
		t.Run(name, func(t *testing.T) {
			f := folderOf(t, c.folder...)
			s := driver.State{Any: c.version >= 0, Version: c.version, Entries: entries(f, c.history...), Many: len(c.rows) > 1}
			for _, v := range c.rows {
				s.Rows = append(s.Rows, driver.Row{Version: v})
			}
			if len(c.rows) == 0 && s.Any {
				s.Rows = []driver.Row{{Version: c.version}}
			}
			j := judge(f, s)
			var got []string
			for word, all := range map[string][]*source.Migration{"pending": j.Pending, "late": j.Late, "changed": j.Changed} {
				if len(all) > 0 {
					got = append(got, word+" "+strings.ReplaceAll(strings.Join(names(all), " "), "_v", ""))
				}
			}
			if len(j.Unknown) > 0 {
				got = append(got, fmt.Sprint("unknown ", strings.Trim(fmt.Sprint(j.Unknown), "[]")))
			}
			if j.Assumed {
				got = append(got, "assumed")
			}
			want := strings.Split(c.want, "; ")
			if c.want == "" {
				want = nil
			}
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("%q, want %q", got, want)
			}
		})
	}
}

func TestJobsGoUpAndDownInOrder(t *testing.T) {
	f := folderOf(t, 1, 2, 3, 4, 5)
	s := driver.State{Any: true, Version: 4, Rows: []driver.Row{{Version: 4}}, Entries: entries(f, "up 1", "up 3", "up 4")}
	j := judge(f, s)
	show := func(jobs []driver.Job) string {
		var out []string
		for _, j := range jobs {
			out = append(out, fmt.Sprintf("%d>%d", j.Migration.Version, j.Target))
		}
		return strings.Join(out, " ")
	}
	five := int64(5)
	for want, got := range map[string]string{
		"5>5":          show(upward(s, j, false, nil)),
		"2>4 5>5":      show(upward(s, j, true, &five)),
		"4>3 3>1":      show(downward(f, s, j, 1)),
		"4>3 3>1 1>-1": show(downward(f, s, j, -1)),
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestWhatAnotherToolAppliedIsRecordedBeforeGoingOn(t *testing.T) {
	f := folderOf(t, 1, 2, 3, 4, 5)
	s := driver.State{Any: true, Version: 4, Rows: []driver.Row{{Version: 4}}, Entries: entries(f, "up 1", "up 2", "down 2", "up 2", "up 3", "down 3")}
	if got := names(unrecorded(f, s)); !slices.Equal(got, []string{"3_v", "4_v"}) { // golang-migrate went up again
		t.Errorf("%v", got)
	}
	s.Entries = append(s.Entries, entries(f, "baseline 3 4", "baseline 4 4", "up 5")...)
	s.Version = 5
	if j := judge(f, s); len(j.Late)+len(j.Pending)+len(unrecorded(f, s)) > 0 {
		t.Errorf("late %v, pending %v", names(j.Late), names(j.Pending))
	}
}
