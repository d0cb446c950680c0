package lint

import (
	"encoding/json"
	"maps"
	"strings"
)

// world is what is known of the database at a point of the files: what they made, and beneath it what the catalog knows.
type world struct {
	facts *Facts
	made  map[Name]*thing // nil: gone
	under *world          // what was before; it is not changed
	enums map[string]bool // types that the file at hand made
}

// thing is a table or index as the files made or changed it.
type thing struct {
	kind        string // as pg_class.relkind; empty: not made by them
	table       Name
	columns     map[string]Column
	constraints map[string]Constraint
}

func newWorld(facts *Facts) *world {
	return &world{facts: facts, made: map[Name]*thing{}, enums: map[string]bool{}}
}

// over is a world in which things happen that leave w as it is.
func (w *world) over() *world {
	c := newWorld(w.facts)
	c.under = w
	return c
}

// get is a thing that the files made or changed; nil if they did not, or dropped it.
func (w *world) get(n Name) *thing {
	if t, ok := w.made[n.key()]; ok || w.under == nil {
		return t
	}
	return w.under.get(n)
}

// thing is one to be changed.
func (w *world) thing(n Name) *thing {
	if t := w.made[n.key()]; t != nil {
		return t
	}
	t := &thing{columns: map[string]Column{}, constraints: map[string]Constraint{}}
	if was := w.get(n); was != nil {
		*t = *was
		t.columns, t.constraints = maps.Clone(was.columns), maps.Clone(was.constraints)
	}
	w.made[n.key()] = t
	return t
}

func (w *world) relation(n Name) (Relation, bool) {
	r, ok := w.facts.Relations[n.key()]
	return r, ok
}

func (w *world) kind(n Name) string {
	if t := w.get(n); t != nil && t.kind != "" {
		return t.kind
	}
	r := w.facts.Relations[n.key()]
	return r.Kind
}

// tableOf is the table of an index.
func (w *world) tableOf(index Name) (Name, bool) {
	if t := w.get(index); t != nil && t.kind == "i" {
		return t.table, true
	}
	if r, ok := w.relation(index); ok && r.Table.Rel != "" {
		return r.Table, true
	}
	return Name{}, false
}

// column is a table's; its type is empty where only a change of it is known.
func (w *world) column(t Name, name string) (Column, bool) {
	if m := w.get(t); m != nil {
		if c, ok := m.columns[name]; ok {
			return c, true
		}
	}
	r, ok := w.relation(t)
	if !ok {
		return Column{}, false
	}
	c, ok := r.Columns[name]
	return c, ok
}

func (w *world) constraint(t Name, name string) (Constraint, bool) {
	k, ok := w.constraints(t)[name]
	return k, ok && k.Kind != ""
}

// proven tells whether a valid CHECK (column IS NOT NULL), or NOT NULL itself, exists.
func (w *world) proven(t Name, column string) bool {
	if c, ok := w.column(t, column); ok && c.NotNull {
		return true
	}
	for _, k := range w.constraints(t) {
		if k.Valid && k.Proves == column {
			return true
		}
	}
	return false
}

// constraints are a table's, by name: what files made or dropped goes before what the catalog has.
func (w *world) constraints(t Name) map[string]Constraint {
	all := map[string]Constraint{}
	r, _ := w.relation(t)
	maps.Copy(all, r.Constraints)
	if m := w.get(t); m != nil {
		maps.Copy(all, m.constraints)
	}
	return all
}

// referenced are the tables that a table's foreign keys point to.
func (w *world) referenced(t Name) []Name {
	var out []Name
	for _, k := range w.constraints(t) {
		if k.Kind == "f" && k.Other.key() != t.key() {
			out = append(out, k.Other)
		}
	}
	return out
}

// follow takes note of what a statement makes.
func (w *world) follow(s any) {
	switch s := s.(type) {
	case *createTable:
		w.followCreate(s)
	case *createTableAs:
		if s.Into != nil {
			w.thing(s.Into.Rel.name()).kind = "r"
		}
	case *createIndex:
		if s.Name != "" {
			i := w.thing(Name{s.Relation.Schema, s.Name})
			i.kind, i.table = "i", s.Relation.name()
		}
	case *alterTable:
		for _, c := range s.cmds {
			w.followAlter(s.Relation.name(), c)
		}
	case *createEnum:
		w.enums[strings.Join(texts(s.Type), ".")] = true
	case *rename:
		w.followRename(s)
	case *drop:
		for _, parts := range s.names {
			if s.Type == "OBJECT_TABLE" || s.Type == "OBJECT_INDEX" {
				w.made[nameOf(parts).key()] = nil
			}
		}
	}
}

func (w *world) followCreate(s *createTable) {
	n := s.Relation.name()
	t := w.thing(n)
	t.kind = "r"
	if len(s.Partition) > 0 {
		t.kind = "p"
	}
	for _, d := range s.columns() {
		w.addColumn(n, d)
	}
	for _, e := range s.Elements {
		if k := as[constraint](e, "Constraint"); k != nil {
			w.addConstraint(n, "", k)
		}
	}
}

func (w *world) addColumn(n Name, d *columnDef) {
	t := w.thing(n)
	t.columns[d.Name] = Column{Type: typeOf(d.Type).String(), NotNull: d.has("CONSTR_NOTNULL") != nil || d.has("CONSTR_PRIMARY") != nil}
	for _, c := range d.Constraints {
		if k := as[constraint](c, "Constraint"); k != nil {
			w.addConstraint(n, d.Name, k)
		}
	}
}

var constraintKinds = map[string]string{
	"CONSTR_CHECK": "c", "CONSTR_FOREIGN": "f", "CONSTR_PRIMARY": "p", "CONSTR_UNIQUE": "u", "CONSTR_EXCLUSION": "x", "CONSTR_NOTNULL": "n",
}

// addConstraint notes a constraint, with the name that PostgreSQL gives one without.
func (w *world) addConstraint(n Name, column string, k *constraint) {
	kind, ok := constraintKinds[k.Type]
	if !ok {
		return
	}
	t := w.thing(n)
	c := Constraint{Kind: kind, Valid: !k.Skip}
	if k.Table != nil {
		c.Other = k.Table.name()
	}
	columns := append(texts(k.FK), texts(k.Keys)...)
	if column != "" {
		columns = []string{column}
	}
	c.Proves, _ = notNullOf(k)
	t.constraints[constraintName(n, columns, k)] = c
}

func constraintName(n Name, columns []string, k *constraint) string {
	if k.Name != "" {
		return k.Name
	}
	switch k.Type {
	case "CONSTR_PRIMARY":
		return n.Rel + "_pkey"
	case "CONSTR_FOREIGN":
		return strings.Join(append([]string{n.Rel}, columns...), "_") + "_fkey"
	case "CONSTR_UNIQUE":
		return strings.Join(append([]string{n.Rel}, columns...), "_") + "_key"
	case "CONSTR_EXCLUSION":
		return strings.Join(append([]string{n.Rel}, columns...), "_") + "_excl"
	}
	if c, ok := notNullOf(k); ok && len(columns) == 0 {
		columns = []string{c}
	}
	return strings.Join(append([]string{n.Rel}, columns...), "_") + "_check"
}

// notNullOf is the column of a CHECK (column IS NOT NULL).
func notNullOf(k *constraint) (string, bool) {
	t := as[struct {
		Arg  node   `json:"arg"`
		Type string `json:"nulltesttype"`
	}](k.Expr, "NullTest")
	if k.Type != "CONSTR_CHECK" || t == nil || t.Type != "IS_NOT_NULL" {
		return "", false
	}
	return columnOf(t.Arg)
}

func columnOf(n node) (string, bool) {
	r := as[struct {
		Fields []node `json:"fields"`
	}](n, "ColumnRef")
	if r == nil || len(r.Fields) == 0 {
		return "", false
	}
	return r.Fields[len(r.Fields)-1].text(), true
}

func (w *world) followAlter(n Name, c *alterCmd) {
	t := w.thing(n)
	switch c.Subtype {
	case "AT_AddColumn":
		if d := as[columnDef](c.Def, "ColumnDef"); d != nil {
			w.addColumn(n, d)
		}
	case "AT_AlterColumnType":
		if d := as[columnDef](c.Def, "ColumnDef"); d != nil {
			col, _ := w.column(n, c.Name)
			col.Type = typeOf(d.Type).String()
			t.columns[c.Name] = col
		}
	case "AT_SetNotNull", "AT_DropNotNull":
		col, _ := w.column(n, c.Name)
		col.NotNull = c.Subtype == "AT_SetNotNull"
		t.columns[c.Name] = col
	case "AT_AddConstraint":
		if k := as[constraint](c.Def, "Constraint"); k != nil {
			w.addConstraint(n, "", k)
		}
	case "AT_ValidateConstraint":
		k, ok := w.constraint(n, c.Name)
		if !ok {
			return
		}
		k.Valid = true
		t.constraints[c.Name] = k
	case "AT_DropConstraint":
		t.constraints[c.Name] = Constraint{} // also one that the catalog has
	}
}

func (w *world) followRename(s *rename) {
	n := s.Relation.name()
	if w.get(n) == nil {
		return
	}
	t := w.thing(n)
	switch s.Type {
	case "OBJECT_TABLE", "OBJECT_INDEX":
		w.made[n.key()] = nil
		w.made[Name{n.Schema, s.New}.key()] = t
	case "OBJECT_COLUMN":
		if c, ok := t.columns[s.Sub]; ok {
			delete(t.columns, s.Sub)
			t.columns[s.New] = c
		}
	}
}

// strings that a tree holds, of any node.
func literals(raw json.RawMessage, found func(string)) {
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return
	}
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if s, ok := v["sval"].(string); ok {
				found(s)
			}
			for _, x := range v {
				walk(x)
			}
		case []any:
			for _, x := range v {
				walk(x)
			}
		}
	}
	walk(v)
}
