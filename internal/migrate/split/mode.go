package split

import (
	"slices"
	"strings"
)

// Mode is how a file is run.
type Mode string

// The modes.
const (
	// InTransaction runs the file, and the record that it was run, in one transaction.
	InTransaction Mode = "tx"
	// Stepwise runs it statement by statement, and records after each how far it is: something in it cannot run in a transaction, or it
	// has transactions of its own.
	Stepwise Mode = "stepwise"
)

// File is a migration file, taken apart.
type File struct {
	Statements []Statement
	Problems   []Problem
	Mode       Mode
	Why        string // it is not one transaction; empty otherwise
	// Open is the statement that begins a transaction which the file does not end.
	Open *Statement
	// Undoes is the statement that takes back what the file did before.
	Undoes *Statement
	// Outer tells that the file is one BEGIN ... COMMIT: Statements are those between, and the runner's transaction takes its place.
	Outer bool
}

// Read takes a file apart.
func Read(sql string) File {
	st, problems := Split(sql)
	f := File{Statements: st, Problems: problems, Mode: InTransaction}
	if n := len(st); n >= 2 && st[0].begins() && plain(st[0]) && st[n-1].commits() && plain(st[n-1]) && !slices.ContainsFunc(st[1:n-1], Statement.TransactionControl) {
		f.Outer, f.Statements = true, st[1:n-1]
	}
	f.transactions()
	for _, s := range f.Statements {
		switch {
		case s.TransactionControl():
			f.Mode, f.Why = Stepwise, "it has transactions of its own"
			return f
		case s.Alone() && f.Mode == InTransaction:
			f.Mode, f.Why = Stepwise, s.Name()+" cannot run in a transaction"
		}
	}
	if m := marker(sql); m != "" && f.Mode == InTransaction {
		f.Mode, f.Why = Stepwise, "it says "+m
	}
	if f.Outer && f.Mode == Stepwise { // a server refuses it in its own BEGIN
		f.Outer, f.Statements = false, st
	}
	return f
}

// transactions follows those of the file's own.
func (f *File) transactions() {
	for i := range f.Statements {
		switch s := &f.Statements[i]; {
		case s.begins():
			f.Open = s
		case s.RollsBack():
			f.Open, f.Undoes = nil, s
		case s.commits(), s.is("prepare", "transaction"):
			f.Open = nil
		}
	}
}

// markers are how files say that they want no transaction, here and in other tools.
var markers = []string{
	"-- dbops:no-transaction", "-- +goose no transaction", "-- atlas:txmode none", "-- morph:nontransactional", "---- tern: disable-tx ----",
}

// marker returns the marker among the comments before the first statement.
func marker(sql string) string {
	for line := range strings.Lines(sql) {
		line = strings.ToLower(strings.TrimSpace(line))
		if line != "" && !strings.HasPrefix(line, "--") {
			return ""
		}
		if slices.Contains(markers, line) {
			return line
		}
	}
	return ""
}

// is tells whether the statement's words begin so; a word of "" matches any.
func (s Statement) is(words ...string) bool {
	if len(s.Words) < len(words) {
		return false
	}
	for i, w := range words {
		if w != "" && s.Words[i] != w {
			return false
		}
	}
	return true
}

func (s Statement) has(word string) bool { return slices.Contains(s.Words, word) }

func (s Statement) begins() bool  { return s.is("begin") || s.is("start", "transaction") }
func (s Statement) commits() bool { return s.is("commit") || s.is("end") }

// plain tells that a BEGIN or COMMIT has no options, such as an isolation level, that would be lost with it.
func plain(s Statement) bool {
	rest := s.Words[1:]
	return len(rest) == 0 || (len(rest) == 1 && (rest[0] == "work" || rest[0] == "transaction"))
}

// TransactionControl tells whether it begins or ends a transaction. Savepoints are within one.
func (s Statement) TransactionControl() bool {
	switch {
	case s.begins(), s.commits(), s.RollsBack():
		return true
	}
	return s.is("prepare", "transaction")
}

// RollsBack tells whether it takes a transaction back, not only to a savepoint.
func (s Statement) RollsBack() bool {
	if s.is("rollback", "prepared") {
		return false
	}
	return (s.is("rollback") || s.is("abort")) && !s.has("to")
}

// Commits tells whether it ends a transaction so that what it did stays.
func (s Statement) Commits() bool { return s.commits() }

// ConcurrentIndex tells whether it builds an index concurrently.
func (s Statement) ConcurrentIndex() bool {
	return s.is("create", "index", "concurrently") || s.is("create", "unique", "index", "concurrently")
}

// Alone tells whether PostgreSQL refuses it in a transaction block.
func (s Statement) Alone() bool {
	switch {
	case s.ConcurrentIndex(), s.is("drop", "index", "concurrently"), s.is("vacuum"), s.is("alter", "system"):
		return true
	case s.is("reindex"):
		return s.has("concurrently") || s.is("", "database") || s.is("", "system") || s.is("", "schema")
	case s.is("create", "database"), s.is("drop", "database"), s.is("create", "tablespace"), s.is("drop", "tablespace"):
		return true
	case s.is("create", "subscription"), s.is("drop", "subscription"):
		return true
	case s.is("alter", "database"):
		return s.has("tablespace")
	case s.is("alter", "table"):
		return s.has("detach") && s.has("concurrently")
	case s.is("cluster"):
		return len(s.Words) == 1
	}
	return false
}

// Name is its first words, as a person calls it: "CREATE INDEX CONCURRENTLY".
func (s Statement) Name() string {
	n := 1
	switch {
	case s.is("create", "unique", "index", "concurrently"):
		n = 4
	case s.ConcurrentIndex(), s.is("drop", "index", "concurrently"):
		n = 3
	case s.is("alter", "table") && s.Alone():
		return "DETACH PARTITION CONCURRENTLY"
	case s.is("reindex") && s.has("concurrently"):
		return "REINDEX CONCURRENTLY"
	case len(s.Words) > 1 && (s.is("create") || s.is("drop") || s.is("alter") || s.is("reindex") || s.is("comment")):
		n = 2
	}
	return strings.ToUpper(strings.Join(s.Words[:min(n, len(s.Words))], " "))
}
