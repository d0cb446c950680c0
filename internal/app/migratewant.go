package app

import (
	"fmt"
	"strconv"
	"strings"

	"dbops/internal/fault"
	"dbops/internal/migrate"
	"dbops/internal/migrate/source"
)

// UpOptions say how folders are brought up.
type UpOptions struct {
	To          *int64 // nil: all that is pending
	Late        bool   // also what comes before the database's version and was never applied
	Manner      migrate.Manner
	Concurrency int // databases at a time. 0: 4
	KeepGoing   bool
	Rehearse    *bool // nil: in protected environments
}

// UpChanges are the changes that bring folders up, one for each instance. Folders of an instance follow each other.
func UpChanges(asks []migrate.Ask, o UpOptions) (wants []Change) {
	var last *migrate.UpRequest
	for _, one := range asks {
		if n := len(wants); n == 0 || wants[n-1].Instance != one.Target.Instance {
			last = &migrate.UpRequest{
				To: o.To, Late: o.Late, Manner: o.Manner, Concurrency: o.Concurrency, KeepGoing: o.KeepGoing, Rehearse: one.Target.Protected,
			}
			if o.Rehearse != nil {
				last.Rehearse = *o.Rehearse
			}
			wants = append(wants, Change{Environment: one.Target.Environment, Instance: one.Target.Instance, Kind: migrate.UpKind, Request: last})
		}
		last.Sets = append(last.Sets, one.Set.String())
	}
	return wants
}

// GotoChange brings a folder's database, which is as now says, to a version of the folder, up or down; nil and -1 are none.
func GotoChange(one migrate.Ask, now migrate.Status, to *int64, m migrate.Manner, rehearse bool) Change {
	want := Change{Environment: one.Target.Environment, Instance: one.Target.Instance, Kind: migrate.UpKind}
	if v := now.Version; v != nil && (to == nil || *to < *v) {
		want.Kind = migrate.DownKind
		want.Request = migrate.DownRequest{Set: one.Set.String(), To: to, Manner: m, Rehearse: rehearse}
		return want
	}
	if to == nil {
		none := int64(-1)
		to = &none
	}
	want.Request = migrate.UpRequest{Sets: []string{one.Set.String()}, To: to, Manner: m, Rehearse: rehearse}
	return want
}

// ParseVersion reads a version; nil for "", -1 for "none".
func ParseVersion(what, s string) (*int64, error) {
	if s == "" {
		return nil, nil //nolint:nilnil // nothing was asked for
	}
	if s == "none" {
		none := int64(-1)
		return &none, nil
	}
	v, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	if err != nil || v < 0 {
		return nil, fault.Newf(fault.Usage, "read "+what, "%q is no version", s).Hint("a version is the number that a file's name begins with")
	}
	return &v, nil
}

// HasVersion refuses a version that a folder does not have.
func HasVersion(one migrate.Ask, v int64, env string) error {
	f, err := source.Read(one.Set.Folder)
	if err != nil {
		return err
	}
	if _, _, ok := f.Find(v); !ok && v >= 0 {
		return fault.Newf(fault.Usage, fmt.Sprintf("go to version %d", v), "%s has no such version", one.Set.Folder).Hint("dbops migrate status -e %s %s", env, one.Set)
	}
	return nil
}
