package migrate

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"dbops/internal/fault"
	"dbops/internal/migrate/driver"
	"dbops/internal/migrate/source"
	"dbops/internal/op"
)

// Status is what is known of one set.
type Status struct {
	Environment string           `json:"environment"`
	Instance    string           `json:"instance"`
	Name        string           `json:"name"` // shop, shop/reports
	Folder      string           `json:"folder"`
	Table       string           `json:"table,omitempty"`
	Version     *int64           `json:"version"`
	VersionName string           `json:"version_name,omitempty"` // "000012_add_users"
	Latest      *int64           `json:"latest"`                 // of the folder
	Dirty       bool             `json:"dirty"`
	Pending     []string         `json:"pending"`
	Late        []string         `json:"late"`    // before the version, and not applied
	Changed     []string         `json:"changed"` // since they were applied
	Unknown     []int64          `json:"unknown"` // that the database has, and the folder does not
	Problems    []source.Problem `json:"problems"`
	Cut         *CutFile         `json:"cut,omitempty"`
	Last        *Applied         `json:"last,omitempty"`
	History     []Applied        `json:"history,omitempty"`
	// Assumed tells that versions are there of which the history knows nothing: another tool applied them.
	Assumed bool   `json:"assumed,omitempty"`
	Foreign bool   `json:"foreign,omitempty"` // another tool changed the version since
	Held    string `json:"held,omitempty"`    // who migrates it at the moment
	Error   string `json:"error,omitempty"`   // it could not be looked at
	Hint    string `json:"hint,omitempty"`
	err     error
}

// Applied is an entry of the history.
type Applied struct {
	Version   int64     `json:"version"`
	Name      string    `json:"name"`
	Direction string    `json:"direction"`
	Outcome   string    `json:"outcome"`
	Who       string    `json:"who"`
	At        time.Time `json:"at"`
	Seconds   float64   `json:"seconds"`
	Tool      string    `json:"tool,omitempty"`
	Commit    string    `json:"commit,omitempty"`
	Run       string    `json:"run,omitempty"`
	Reason    string    `json:"reason,omitempty"`
	Error     string    `json:"error,omitempty"`
}

// Ask names a set to look at.
type Ask struct {
	Target op.Target
	Set    Set
}

// Err is why a set could not be looked at.
func (s Status) Err() error { return s.err }

// Clean tells whether nothing is to be done or looked into.
func (s Status) Clean() bool {
	return s.err == nil && !s.Dirty && len(s.Pending)+len(s.Late)+len(s.Changed)+len(s.Unknown) == 0 && !slices.ContainsFunc(s.Problems, func(p source.Problem) bool { return p.Fatal })
}

// Word is the state in a word or two, the worst first.
func (s Status) Word() string {
	switch {
	case s.err != nil && fault.KindOf(s.err) == fault.Config:
		return "no folder"
	case s.err != nil:
		return "unreachable"
	case s.Dirty && s.Held != "":
		return "running"
	case s.Dirty:
		return "dirty"
	case slices.ContainsFunc(s.Problems, func(p source.Problem) bool { return p.Fatal }):
		return "broken folder"
	case len(s.Unknown) > 0:
		return "ahead"
	case len(s.Late) > 0:
		return fmt.Sprintf("%d late", len(s.Late))
	case len(s.Changed) > 0:
		return fmt.Sprintf("%d changed", len(s.Changed))
	case len(s.Pending) > 0:
		return fmt.Sprintf("%d pending", len(s.Pending))
	default:
		return "up to date"
	}
}

// atOnce is how many databases are looked at at a time.
const atOnce = 16

// Status looks at sets, in their order. It takes no lock, makes no table, and needs a login that may read. One that cannot be looked at says
// why in its Error.
// With history, each has the last entries of its history.
func (d Deps) Status(ctx context.Context, asks []Ask, history bool) []Status {
	out := make([]Status, len(asks))
	folders := folderCache{}
	for _, a := range asks { // a folder is read once, also for a hundred databases
		folders.read(a.Set.Folder)
	}
	var g errgroup.Group
	g.SetLimit(atOnce)
	for i, a := range asks {
		g.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, lookTimeout)
			defer cancel()
			out[i] = d.status(ctx, a, folders[a.Set.Folder], history)
			return nil
		})
	}
	_ = g.Wait() // each says its own error
	return out
}

type folderCache map[string]readFolder

type readFolder struct {
	folder *source.Folder
	err    error
}

func (c folderCache) read(path string) {
	if _, ok := c[path]; !ok {
		f, err := source.Read(path)
		c[path] = readFolder{f, err}
	}
}

func (d Deps) status(ctx context.Context, a Ask, f readFolder, history bool) Status {
	s := Status{
		Environment: a.Target.Environment, Instance: a.Target.Instance, Name: a.Set.String(), Folder: a.Set.Folder,
		Pending: []string{}, Late: []string{}, Changed: []string{}, Unknown: []int64{}, Problems: []source.Problem{},
	}
	if f.err != nil {
		return s.Failed(f.err)
	}
	s.Problems = append(s.Problems, f.folder.Problems...)
	if last, ok := f.folder.Last(); ok {
		s.Latest = &last.Version
	}
	conn, err := d.View(ctx, a.Target, a.Set)
	if err != nil {
		return s.Failed(err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	st, err := driver.ReadState(ctx, conn, a.Set.Table)
	if err != nil {
		if fault.KindOf(err) == fault.Internal {
			err = fault.New(fault.Unavailable, "read the versions of "+a.Target.String()+"/"+s.Name, err)
		}
		return s.Failed(err)
	}
	if st.Dirty {
		if s.Held, err = driver.Holder(ctx, conn, a.Set.Table); err != nil {
			return s.Failed(fault.New(fault.Unavailable, "see who migrates "+a.Target.String()+"/"+s.Name, err))
		}
	}
	s.fill(looked{set: a.Set, folder: f.folder, state: st, judged: judge(f.folder, st)})
	if history {
		all, err := driver.ReadHistory(ctx, conn, st, mostHistory)
		if err != nil {
			return s.Failed(fault.New(fault.Unavailable, "read the history of "+a.Target.String()+"/"+s.Name, err))
		}
		for _, e := range all {
			s.History = append(s.History, applied(e))
		}
	}
	return s
}

const mostHistory = 1000

func applied(e driver.Entry) Applied {
	return Applied{
		Version: e.Version, Name: e.Name, Direction: e.Direction, Outcome: e.Outcome, Who: who(e), At: e.Started, Seconds: e.Took.Seconds(),
		Tool: e.Tool, Commit: e.Commit, Run: e.Run, Reason: e.Reason, Error: e.ErrorText,
	}
}

// Failed is the status of a set that could not be looked at.
func (s Status) Failed(err error) Status {
	s.err, s.Error, s.Hint = err, err.Error(), fault.HintOf(err)
	return s
}

func (s *Status) fill(l looked) {
	s.Table, s.Version, s.Dirty, s.Assumed = l.state.Table.String(), versionOf(l.state), l.state.Dirty, l.judged.Assumed
	s.Foreign = l.judged.Foreign
	if s.Version != nil {
		if m, _, ok := l.folder.Find(*s.Version); ok {
			s.VersionName = m.String()
		}
	}
	s.Pending = append(s.Pending, names(l.judged.Pending)...)
	s.Late = append(s.Late, names(l.judged.Late)...)
	s.Changed = append(s.Changed, names(l.judged.Changed)...)
	s.Unknown = append(s.Unknown, l.judged.Unknown...)
	var f RepairFacts
	f.cut(l)
	s.Cut = f.Cut
	if n := len(l.state.Entries); n > 0 {
		last := applied(l.state.Entries[n-1])
		s.Last = &last
	}
}
