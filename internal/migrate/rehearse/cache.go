package rehearse

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"dbops/internal/migrate/driver"
	"dbops/internal/migrate/source"
)

// recipe changes whenever a report would be another one.
const recipe = "1"

// cacheKey names a report by everything that it depends on.
func cacheKey(q Request, t *target) string {
	h := sha256.New()
	fmt.Fprintf(h, "%q %q %q %d %q %q %q %t\n", recipe, q.Version, q.ScratchURL, t.major, t.database, t.role, q.Table, q.Verify)
	for _, k := range slices.Sorted(maps.Keys(t.settings)) {
		fmt.Fprintf(h, "%q %q\n", k, t.settings[k])
	}
	fmt.Fprintf(h, "%q\n%q\n%q\n", t.roles, t.without, t.catalog.Sum())
	applied := func(table driver.Table, all []*source.Migration) {
		fmt.Fprintf(h, "folder %q\n", table)
		for _, m := range all {
			fmt.Fprintf(h, "applied %d", m.Version)
			if m.Up != nil {
				fmt.Fprintf(h, " %s", m.Up.Sum)
			}
			fmt.Fprintln(h)
		}
	}
	for _, o := range q.Beside {
		applied(o.Table, o.applied(nil))
	}
	applied(q.Table, q.applied())
	for _, j := range q.Jobs {
		fmt.Fprintf(h, "job %s %d %d", j, j.Migration.Version, j.Target)
		if f := j.Migration.File(j.Direction); f != nil {
			fmt.Fprintf(h, " %s", f.Sum)
		}
		if q.Verify && j.Migration.Down != nil {
			fmt.Fprintf(h, " %s", j.Migration.Down.Sum)
		}
		fmt.Fprintln(h)
	}
	return hex.EncodeToString(h.Sum(nil))
}

const mostKept = 64 // reports

// load returns a report that was kept, nil without one.
func load(dir, key string) *Report {
	if dir == "" {
		return nil
	}
	b, err := os.ReadFile(filepath.Join(dir, key+".json"))
	if err != nil {
		return nil
	}
	r := &Report{}
	if json.Unmarshal(b, r) != nil {
		return nil
	}
	r.Cached = true
	return r
}

// save keeps a report, if the same would be found on another day: what a machine lacks today it may have then.
func save(dir, key string, r *Report) error {
	if dir == "" || len(r.Facts.Partial) > 0 || r.Facts.Base == Approximate {
		return nil
	}
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".new-")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, key+".json"))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return prune(dir)
}

// prune removes the oldest reports when there are many.
func prune(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	type kept struct {
		path string
		at   time.Time
	}
	var all []kept
	for _, e := range entries {
		if info, err := e.Info(); err == nil && strings.HasSuffix(e.Name(), ".json") {
			all = append(all, kept{filepath.Join(dir, e.Name()), info.ModTime()})
		}
	}
	slices.SortFunc(all, func(a, b kept) int { return cmp.Compare(b.at.UnixNano(), a.at.UnixNano()) })
	for _, k := range all[min(len(all), mostKept):] {
		if err := os.Remove(k.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
