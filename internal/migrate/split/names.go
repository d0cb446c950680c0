package split

import "strings"

// IndexNames are the names in CREATE INDEX CONCURRENTLY, as the file writes them: the index's, "" if the server is to choose one, and the
// table's, with its schema if the file says it.
func (s Statement) IndexNames() (index, table string) {
	if !s.ConcurrentIndex() {
		return "", ""
	}
	p := pieces{text: s.Text}
	for w := p.next(); w != "" && !strings.EqualFold(w, "concurrently"); w = p.next() {
	}
	w := p.next()
	if strings.EqualFold(w, "if") {
		p.next() // not
		p.next() // exists
		w = p.next()
	}
	if !strings.EqualFold(w, "on") {
		index = w
		w = p.next()
	}
	if !strings.EqualFold(w, "on") {
		return index, ""
	}
	table = p.next()
	if strings.EqualFold(table, "only") {
		table = p.next()
	}
	return index, table
}

// DroppedIndexes are the names in DROP INDEX CONCURRENTLY, as the file writes them.
func (s Statement) DroppedIndexes() (names []string) {
	if !s.is("drop", "index", "concurrently") {
		return nil
	}
	p := pieces{text: s.Text}
	for range 3 {
		p.next()
	}
	for w := p.next(); w != ""; w = p.next() {
		switch strings.ToLower(w) {
		case "if":
			p.next()
		case "cascade", "restrict", ",":
		default:
			names = append(names, w)
		}
	}
	return names
}

// pieces reads a statement's names (with their schema), words and signs, one after the other.
type pieces struct {
	text string
	i    int
}

func (p *pieces) next() string {
	p.space()
	from := p.i
	for p.i < len(p.text) {
		switch c := p.text[p.i]; {
		case c == '"':
			p.quoted()
		case isIdentStart(c), c == '.', p.i > from && isIdentPart(c):
			p.i++
		default:
			if p.i == from {
				p.i++
			}
			return p.text[from:p.i]
		}
	}
	return p.text[from:p.i]
}

func (p *pieces) quoted() {
	s := scanner{sql: p.text, i: p.i}
	s.quoted(p.i, '"', false)
	p.i = s.i
}

// space passes white space and comments.
func (p *pieces) space() {
	s := scanner{sql: p.text, i: p.i}
	for s.i < len(s.sql) {
		switch {
		case isSpace(s.sql[s.i]):
			s.i++
		case s.has("--"):
			s.skipLine()
		case s.has("/*"):
			s.comment()
		default:
			p.i = s.i
			return
		}
	}
	p.i = s.i
}
