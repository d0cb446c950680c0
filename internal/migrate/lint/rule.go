package lint

import "slices"

// Harm is what is bad about what a rule finds.
type Harm string

// The harms. Of all but fails and style nothing is left where the table is new.
const (
	rewrites Harm = "rewrites" // writes the table anew
	builds   Harm = "builds"   // builds an index
	scans    Harm = "scans"    // reads the whole table
	waits    Harm = "waits"    // a short lock, which has to be waited for, and others behind it
	loses    Harm = "loses"    // data goes
	breaks   Harm = "breaks"   // running code meets what it does not know
	rows     Harm = "rows"     // fails on a table with rows
	fails    Harm = "fails"    // fails, or does what nobody wants, on any table
	style    Harm = "style"
)

// grows tells whether the time that the lock is held grows with the table.
func (h Harm) grows() bool { return h == rewrites || h == builds || h == scans }

// Rule is something to be found.
type Rule struct {
	ID       string
	Severity Severity
	Harm     Harm
	Lock     string // for the table of rules; a finding has the one of its statement
	Title    string
	Why      string
	// Rewrite is the safe form. {table}, {column}, {name}, {type} and {sql} are the statement's.
	Rewrite string
	Since   string // versions in which it differs

	on    []string          // kinds of statements
	cmd   []string          // subtypes of ALTER TABLE's commands
	check func(c *checking) // of each such statement or command
	file  func(c *checking) // of each file, after its statements
}

// Rules are all that there are, by their ids.
func Rules() []Rule {
	all := slices.Concat(columnRules(), constraintRules(), indexRules(), partitionRules(), dropRules(), tableRules(), shortRules(),
		transactionRules(), dataRules(), styleRules(), cloudRules(), fileRules())
	return all
}

// Find returns the rule of an id.
func Find(id string) (Rule, bool) {
	all := Rules()
	i := slices.IndexFunc(all, func(r Rule) bool { return r.ID == id })
	if i < 0 {
		return Rule{}, false
	}
	return all[i], true
}

// The locks of PostgreSQL, weakest first.
const (
	accessShare          = "ACCESS SHARE"
	rowShare             = "ROW SHARE"
	rowExclusive         = "ROW EXCLUSIVE"
	shareUpdateExclusive = "SHARE UPDATE EXCLUSIVE"
	share                = "SHARE"
	shareRowExclusive    = "SHARE ROW EXCLUSIVE"
	exclusive            = "EXCLUSIVE"
	accessExclusive      = "ACCESS EXCLUSIVE"
)

var lockOrder = []string{"", accessShare, rowShare, rowExclusive, shareUpdateExclusive, share, shareRowExclusive, exclusive, accessExclusive}

func stronger(a, b string) bool { return slices.Index(lockOrder, a) > slices.Index(lockOrder, b) }

// blocked is whom a lock keeps out.
func blocked(lock string) string {
	switch lock {
	case accessExclusive:
		return "blocks reads and writes"
	case exclusive, shareRowExclusive, share:
		return "blocks writes"
	case shareUpdateExclusive:
		return "reads and writes go on; blocks other schema changes and VACUUM"
	case rowExclusive:
		return "blocks changes of the same rows"
	}
	return ""
}

// howLong is for how long.
func (h Harm) howLong() string {
	switch h {
	case rewrites:
		return "while it writes the whole table and its indexes anew"
	case builds:
		return "while it builds the index"
	case scans:
		return "while it reads the whole table"
	case waits, loses, breaks:
		return "for a moment, and while it waits behind what runs"
	default:
		return ""
	}
}
