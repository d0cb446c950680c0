package lint

import (
	"slices"
	"strconv"
	"strings"
)

// Name is a relation as a file writes it. Schema is empty if the file names none.
type Name struct{ Schema, Rel string }

// key is alike for t and public.t.
func (n Name) key() Name {
	if n.Schema == "public" {
		n.Schema = ""
	}
	return n
}

func (n Name) String() string {
	if n.Schema == "" {
		return quote(n.Rel)
	}
	return quote(n.Schema) + "." + quote(n.Rel)
}

func nameOf(parts []string) Name {
	switch len(parts) {
	case 0:
		return Name{}
	case 1:
		return Name{"", parts[0]}
	}
	return Name{parts[len(parts)-2], parts[len(parts)-1]}
}

var reserved = strings.Fields(`all analyse analyze and any array as asc asymmetric both case cast check collate column constraint create
current_date current_role current_time current_timestamp current_user default deferrable desc distinct do else end except false fetch for
foreign from grant group having in initially intersect into lateral leading limit localtime localtimestamp not null offset on only or order
placing primary references returning select session_user some symmetric system_user table then to trailing true union unique user using
variadic when where window with`)

// quote writes an identifier so that it can be pasted.
func quote(s string) string {
	plain := s != "" && !slices.Contains(reserved, s) && (s[0] < '0' || s[0] > '9')
	for _, r := range s {
		plain = plain && (r == '_' || (r >= 'a' && r <= 'z') || (r >= '0' && r <= '9'))
	}
	if plain {
		return s
	}
	return `"` + strings.ReplaceAll(s, `"`, `""`) + `"`
}

// columnType is a type without its synonyms: "varchar" with 20, "int4".
type columnType struct {
	base  string
	mods  []int
	array bool
}

func typeOf(t *typeName) columnType {
	if t == nil {
		return columnType{}
	}
	names := texts(t.Names)
	if len(names) == 0 {
		return columnType{}
	}
	c := columnType{base: names[len(names)-1], array: len(t.Bounds) > 0}
	for _, m := range t.Mods {
		if k := as[constant](m, "A_Const"); k != nil && k.Ival != nil {
			c.mods = append(c.mods, k.Ival.Ival)
		}
	}
	return c
}

var typeWords = map[string]string{
	"character varying": "varchar", "integer": "int4", "bigint": "int8", "smallint": "int2", "boolean": "bool", "real": "float4",
	"double precision": "float8", "character": "bpchar", "timestamp without time zone": "timestamp", "timestamp with time zone": "timestamptz",
	"time without time zone": "time", "time with time zone": "timetz", "bit varying": "varbit",
}

// parseType reads what format_type writes: "character varying(20)", "timestamp(3) with time zone", "integer[]".
func parseType(s string) columnType {
	var c columnType
	s, c.array = strings.CutSuffix(s, "[]")
	if before, rest, ok := strings.Cut(s, "("); ok {
		mods, after, _ := strings.Cut(rest, ")")
		for m := range strings.SplitSeq(mods, ",") {
			if n, err := strconv.Atoi(m); err == nil {
				c.mods = append(c.mods, n)
			}
		}
		s = before + after
	}
	c.base = s
	if w, ok := typeWords[s]; ok {
		c.base = w
	} else if i := strings.LastIndexByte(s, '.'); i >= 0 {
		c.base = s[i+1:]
	}
	return c
}

// String is the type as people write it.
func (c columnType) String() string {
	s := c.base
	for word, base := range typeWords {
		if base == s && !strings.Contains(word, " ") {
			s = word
		}
	}
	if s == "float8" {
		s = "double precision"
	}
	if s == "bpchar" {
		s = "char"
	}
	if len(c.mods) > 0 {
		var m []string
		for _, n := range c.mods {
			m = append(m, strconv.Itoa(n))
		}
		s += "(" + strings.Join(m, ",") + ")"
	}
	if c.array {
		s += "[]"
	}
	return s
}

func (c columnType) mod(i int) (int, bool) {
	if i < len(c.mods) {
		return c.mods[i], true
	}
	return 0, false
}

// typeChange is what changing a column's type costs.
type typeChange int

const (
	changeRewrites typeChange = iota
	changeFree
	changeTimezone
)

// changeOf tells what ALTER TYPE does.
func changeOf(from, to columnType) typeChange {
	if from.array != to.array {
		return changeRewrites
	}
	pair := func(a, b string) bool { return from.base == a && to.base == b }
	grows := func() bool { // a limit that is gone or not smaller
		f, limited := from.mod(0)
		t, stays := to.mod(0)
		return !stays || (limited && t >= f)
	}
	switch {
	case from.base == to.base && slices.Equal(from.mods, to.mods):
		return changeFree
	case pair("varchar", "text"), pair("citext", "text"), pair("text", "citext"), pair("cidr", "inet"):
		return changeFree
	case pair("text", "varchar") && len(to.mods) == 0:
		return changeFree
	case pair("varchar", "varchar"), pair("varbit", "varbit"), pair("timestamp", "timestamp"), pair("timestamptz", "timestamptz"):
		if grows() {
			return changeFree
		}
	case pair("numeric", "numeric"):
		fs, _ := from.mod(1)
		ts, _ := to.mod(1)
		if len(to.mods) == 0 || (len(from.mods) > 0 && grows() && fs == ts) {
			return changeFree
		}
	case (pair("timestamp", "timestamptz") || pair("timestamptz", "timestamp")) && slices.Equal(from.mods, to.mods):
		return changeTimezone
	}
	return changeRewrites
}
