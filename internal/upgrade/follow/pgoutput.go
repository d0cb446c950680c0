package follow

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// change is one change of a row as a statement.
type change struct {
	what string // for messages
	sql  string
}

// relation is a table as pgoutput describes it before its first change.
type relation struct {
	name    string
	columns []string
	key     []bool
}

// reading takes pgoutput's messages of version 1 apart and makes statements of them.
type reading struct {
	relations map[uint32]relation
	end       uint64 // of the transaction that was read last
}

var errShort = errors.New("a message of the replication ends too early")

// message is the rest of one that is not read yet.
type message struct {
	b   []byte
	err error
}

func (m *message) take(n int) []byte {
	if m.err != nil || n < 0 || n > len(m.b) {
		m.err = errShort
		return make([]byte, max(0, min(n, 8)))
	}
	out := m.b[:n]
	m.b = m.b[n:]
	return out
}

func (m *message) byte() byte  { return m.take(1)[0] }
func (m *message) int16() int  { return int(binary.BigEndian.Uint16(m.take(2))) }
func (m *message) int32() int  { return int(binary.BigEndian.Uint32(m.take(4))) }
func (m *message) oid() uint32 { return binary.BigEndian.Uint32(m.take(4)) }

func (m *message) text() string {
	for i, c := range m.b {
		if c == 0 {
			return string(m.take(i + 1)[:i])
		}
	}
	m.err = errShort
	return ""
}

// value is a column of a row: unchanged ones were not sent.
type value struct {
	sql       string
	unchanged bool
}

func (m *message) tuple() (out []value) {
	for n := m.int16(); n > 0 && m.err == nil; n-- {
		switch kind := m.byte(); kind {
		case 'n':
			out = append(out, value{sql: "null"})
		case 'u':
			out = append(out, value{unchanged: true})
		case 't':
			out = append(out, value{sql: literal(string(m.take(m.int32())))})
		default:
			m.err = fmt.Errorf("a column of an unknown kind %q", kind)
		}
	}
	return out
}

// read returns what a message changes, and whether it ends a transaction.
func (r *reading) read(b []byte) (c []change, ends bool, err error) {
	m := &message{b: b}
	switch m.byte() {
	case 'C':
		m.take(1 + 8)
		r.end = binary.BigEndian.Uint64(m.take(8))
		ends = true
	case 'R':
		id := m.oid()
		schema, name := m.text(), m.text()
		m.take(1)
		rel := relation{name: ident(schema, name)}
		for n := m.int16(); n > 0 && m.err == nil; n-- {
			rel.key = append(rel.key, m.byte()&1 != 0)
			rel.columns = append(rel.columns, ident(m.text()))
			m.take(8)
		}
		r.relations[id] = rel
	case 'I':
		rel := r.relations[m.oid()]
		m.take(1)
		c = []change{{"insert into " + rel.name, rel.insert(m.tuple())}}
	case 'U':
		rel := r.relations[m.oid()]
		var old []value
		kind := m.byte()
		if kind == 'K' || kind == 'O' {
			old = m.tuple()
			m.take(1)
		}
		row := m.tuple()
		if old == nil {
			old = row
		}
		c = []change{{"update " + rel.name, rel.update(old, row)}}
	case 'D':
		rel := r.relations[m.oid()]
		m.take(1)
		c = []change{{"delete from " + rel.name, "delete from only " + rel.name + rel.where(m.tuple())}}
	case 'T':
		n := m.int32()
		options := m.byte()
		var names []string
		for ; n > 0 && m.err == nil; n-- {
			names = append(names, "only "+r.relations[m.oid()].name)
		}
		sql := "truncate " + strings.Join(names, ", ")
		if options&2 != 0 {
			sql += " restart identity"
		}
		c = []change{{"truncate " + strings.Join(names, ", "), sql}}
	}
	return c, ends, m.err
}

func (r relation) insert(row []value) string {
	var names, values []string
	for i, v := range row {
		if i < len(r.columns) && !v.unchanged {
			names = append(names, r.columns[i])
			values = append(values, v.sql)
		}
	}
	if len(names) == 0 {
		return "insert into " + r.name + " default values"
	}
	return "insert into " + r.name + " (" + strings.Join(names, ", ") + ") overriding system value values (" + strings.Join(values, ", ") + ")"
}

func (r relation) update(old, row []value) string {
	var sets []string
	for i, v := range row {
		if i < len(r.columns) && !v.unchanged {
			sets = append(sets, r.columns[i]+" = "+v.sql)
		}
	}
	if len(sets) == 0 {
		return "select"
	}
	return "update only " + r.name + " set " + strings.Join(sets, ", ") + r.where(old)
}

// where finds the row by its identity.
func (r relation) where(row []value) string {
	var all []string
	for i, v := range row {
		switch {
		case i >= len(r.columns) || !r.key[i] || v.unchanged:
		case v.sql == "null":
			all = append(all, r.columns[i]+" is null")
		default:
			all = append(all, r.columns[i]+" = "+v.sql)
		}
	}
	if len(all) == 0 {
		return ""
	}
	return " where " + strings.Join(all, " and ")
}
