package lint

import (
	"cmp"
	"strings"

	"dbops/internal/migrate/source"
)

// Loss is the sort of what a statement takes away.
type Loss string

// The losses.
const (
	LosesTable  Loss = "table"
	LosesColumn Loss = "column"
	LosesSchema Loss = "schema"
	LosesRows   Loss = "rows" // TRUNCATE, DELETE
	LosesView   Loss = "materialized view"
)

// Dropped is data that a file would take away.
type Dropped struct {
	Loss   Loss
	Table  Name   // of a schema: only Schema
	Column string // of a column
	// Cascade tells that others may go with it.
	Cascade bool
	// Some tells that a WHERE picks the rows.
	Some bool
	Line int
}

// Drops returns what data a file takes away, as far as its own text tells: what a DO block or a function does is not in it. An error is a
// statement that the grammar does not know.
func Drops(sql string) ([]Dropped, error) {
	f, err := open(Input{SQL: sql, Direction: source.Down})
	if err != nil {
		return nil, err
	}
	var out []Dropped
	for _, s := range f.statements {
		if s.unknown != nil {
			return nil, s.unknown
		}
		for _, d := range dropsOf(s) {
			d.Line = s.Line
			out = append(out, d)
		}
	}
	return out, nil
}

func dropsOf(s *statement) (out []Dropped) {
	switch p := s.parsed.(type) {
	case *drop:
		loss := map[string]Loss{"OBJECT_TABLE": LosesTable, "OBJECT_MATVIEW": LosesView, "OBJECT_SCHEMA": LosesSchema}[p.Type]
		if loss == "" {
			return nil
		}
		for _, parts := range p.names {
			n := nameOf(parts)
			if loss == LosesSchema {
				n = Name{Schema: strings.Join(parts, ".")}
			}
			out = append(out, Dropped{Loss: loss, Table: n, Cascade: p.Behavior == "DROP_CASCADE"})
		}
	case *alterTable:
		for _, c := range p.cmds {
			if c.Subtype == "AT_DropColumn" {
				out = append(out, Dropped{Loss: LosesColumn, Table: p.Relation.name(), Column: c.Name, Cascade: c.Behavior == "DROP_CASCADE"})
			}
		}
	case *truncate:
		for _, n := range relations(p.Relations) {
			out = append(out, Dropped{Loss: LosesRows, Table: n, Cascade: p.Behavior == "DROP_CASCADE"})
		}
	case *onRelation:
		if s.kind == "DeleteStmt" {
			out = append(out, Dropped{Loss: LosesRows, Table: p.name(), Some: p.Where.kind != ""})
		}
	}
	return out
}

// String is it for a person: "column users.email".
func (d Dropped) String() string {
	switch d.Loss {
	case LosesColumn:
		return "column " + d.Table.String() + "." + quote(d.Column)
	case LosesSchema:
		return "schema " + d.Table.Schema
	case LosesRows:
		return cmp.Or(map[bool]string{true: "some rows of "}[d.Some], "all rows of ") + d.Table.String()
	default:
		return string(d.Loss) + " " + d.Table.String()
	}
}
