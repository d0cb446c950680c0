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
			j := job(from, streamed)
			j.SplitBytes = 64 << 10
			res, err := Copy(t.Context(), j)
			if err != nil {
				t.Fatal(err)
			}
			if res.Rows < 3000 || res.Objects != 103 || res.Resumed {
				t.Errorf("result: %+v", res)
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
