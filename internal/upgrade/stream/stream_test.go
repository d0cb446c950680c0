package stream

import (
	"fmt"
	"path/filepath"
	"testing"
)

func TestBothEnginesMakeTheSameDatabase(t *testing.T) {
	for _, majors := range [][2]int{{14, 17}, {16, 18}} {
		t.Run(fmt.Sprintf("%d to %d", majors[0], majors[1]), func(t *testing.T) {
			from := newSide(t, majors[0], zooSQL)
			streamed, restored := newSide(t, majors[1]), newSide(t, majors[1])
			j := inRanges(from, streamed)
			res, err := Copy(t.Context(), j)
			if err != nil {
				t.Fatal(err)
			}
			if res.Rows < 3000 || res.Objects != 103 || res.Resumed {
				t.Errorf("result: %+v", res)
			}
			if n := streamed.text("select count(*)::text from dbops_upgrade.done where kind = 'range'"); n == "0" || n == "1" {
				t.Errorf("%s ranges", n)
			}
			if res, err = Copy(t.Context(), j); err != nil || !res.Resumed || res.Rows < 3000 {
				t.Errorf("a second time: %+v, %v", res, err)
			}
			if _, err = Folder(filepath.Join(t.TempDir(), "dump"))(t.Context(), job(from, restored)); err != nil {
				t.Fatal(err)
			}
			for _, s := range []*side{streamed, restored} {
				for range 2 {
					if err := Finish(t.Context(), s.connect); err != nil {
						t.Fatal(err)
					}
				}
			}
			same(t, "streamed and restored", streamed.dumped(), restored.dumped())
		})
	}
}

func TestATableIsSplitOnlyIfItWouldOutlastTheOthers(t *testing.T) {
	const gb = 1 << 30
	for _, c := range []struct {
		name        string
		size, total int64
		jobs        int
		ranges      int
	}{
		{"a small one", gb, gb, 2, 1},
		{"the only one", 8 * gb, 8 * gb, 2, 8},
		{"the only one, and nobody to help", 8 * gb, 8 * gb, 1, 1},
		{"one with another that is half as large", 8 * gb, 12 * gb, 2, 1},
		{"one with others that are a third as large", 9 * gb, 12 * gb, 2, 9},
		{"one with another that is half as large, and many jobs", 8 * gb, 12 * gb, 4, 8},
		{"one of many that are large", 65 * gb, 1000 * gb, 2, 65},
		{"one of many", 64 * gb, 1000 * gb, 2, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			tb := &table{size: c.size, pages: c.size / 8192, heap: true, cols: "i"}
			if n := len(tb.units(tb.step(gb, c.total, c.jobs))); n != c.ranges {
				t.Errorf("%d ranges, not %d", n, c.ranges)
			}
			tb.heap = false
			if n := len(tb.units(tb.step(gb, c.total, c.jobs))); n != 1 {
				t.Errorf("%d ranges of what is no heap", n)
			}
		})
	}
}
