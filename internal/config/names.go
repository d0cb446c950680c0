package config

import (
	"fmt"
	"iter"
	"maps"
	"net"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The addresses of a Cloud SQL instance.
const (
	addressPublic  = "public"
	addressPrivate = "private"
	addressPSC     = "psc"
	addressData    = "sql_data"
)

// The names that clouds and dbops accept.
var (
	nameSyntax       = regexp.MustCompile(`^[A-Za-z0-9._-]{1,63}$`)
	hostnameSyntax   = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?$`)
	rdsRegion        = regexp.MustCompile(`^[a-z]{2,5}(-[a-z]+)+-[0-9]{1,2}$`)
	rdsIdentifier    = regexp.MustCompile(`^[a-z](-?[a-z0-9])*$`)
	googleRegion     = regexp.MustCompile(`^[a-z]+-[a-z]+[0-9]+$`)
	googleProject    = regexp.MustCompile(`^([a-z0-9.-]+:)?[a-z]([a-z0-9-]{4,28})[a-z0-9]$`)
	cloudsqlInstance = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,96}[a-z0-9])?$`)
)

func accesses() []string  { return []string{string(Read), string(Write), string(Admin)} }
func addresses() []string { return []string{addressPublic, addressPrivate, addressPSC, addressData} }

// keys returns the names of m in order.
func keys[K ~string, V any](m map[K]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, string(k))
	}
	slices.Sort(out)
	return out
}

// sorted ranges over m in the order of its names.
func sorted[V any](m map[string]V) iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			if !yield(k, m[k]) {
				return
			}
		}
	}
}

// name checks the name of a thing that dbops knows by it.
func (c *checker) name(at spot, noun, name string) {
	if !nameSyntax.MatchString(name) {
		c.report.atKey(at, "", "%s: a name is 1 to 63 letters, digits, dots, dashes and underscores", noun)
	}
}

// identifier checks the name of a thing that PostgreSQL knows by it.
func (c *checker) identifier(at spot, isKey bool, noun, name string) {
	if problem := identifierProblem(name); problem != "" {
		if isKey {
			c.report.atKey(at, "", "%s: %s", noun, problem)
			return
		}
		c.report.atValue(at, "", "%s: %s", noun, problem)
	}
}

func identifierProblem(name string) string {
	switch {
	case name == "":
		return "the name is empty"
	case len(name) > 63:
		return fmt.Sprintf("the name has %d bytes; PostgreSQL keeps 63", len(name))
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
		return "the name holds a control character"
	}
	return ""
}

// dangling reports a name that nothing has.
func (c *checker) dangling(at spot, noun, name string, known []string) {
	suggestion := didYouMean(name, known)
	switch {
	case suggestion != "":
	case len(known) == 0:
		suggestion = "there are none in this environment"
	default:
		suggestion = "there are: " + list(known)
	}
	c.report.atValue(at, suggestion, "there is no %s %s in this environment", noun, quote(name))
}

// list is names for a message.
func list(names []string) string {
	const most = 12
	shown := make([]string, 0, most+1)
	for _, n := range names[:min(len(names), most)] {
		shown = append(shown, show(n))
	}
	if len(names) > most {
		shown = append(shown, fmt.Sprintf("and %d more", len(names)-most))
	}
	return strings.Join(shown, ", ")
}

// oneOf reports a value that is not one of those allowed.
func (c *checker) oneOf(at spot, noun, value string, allowed []string) {
	if slices.Contains(allowed, value) {
		return
	}
	suggestion := didYouMean(value, allowed)
	if suggestion == "" {
		suggestion = "want one of " + strings.Join(allowed, ", ")
	}
	c.report.atValue(at, suggestion, "unknown %s %s", noun, quote(value))
}

func hostname(s string) bool { return len(s) <= 253 && hostnameSyntax.MatchString(s) }

// loopback tells whether host is this machine, whatever the network says.
func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
