package config

import (
	"cmp"
	"regexp"
	"strconv"
	"time"
)

// Age is how old something may get, in days or weeks: 90d, 12w.
type Age string

var ageSyntax = regexp.MustCompile(`^[1-9][0-9]{0,3}[dw]$`)

// defaultCredentialAge holds where an environment does not say otherwise.
const defaultCredentialAge Age = "90d"

// Duration is its length; zero if it is no age.
func (a Age) Duration() time.Duration {
	if !ageSyntax.MatchString(string(a)) {
		return 0
	}
	n, _ := strconv.Atoi(string(a[:len(a)-1])) // the pattern saw to it
	day := 24 * time.Hour
	if a[len(a)-1] == 'w' {
		return time.Duration(n) * 7 * day
	}
	return time.Duration(n) * day
}

// CredentialLimit is how old a credential of a container may get.
func (e *Environment) CredentialLimit() time.Duration {
	return cmp.Or(e.CredentialMaxAge, defaultCredentialAge).Duration()
}

func (c *checker) age(a Age, s spot, key string) {
	if c.has(s, key, isText, false) && a.Duration() == 0 {
		c.report.atValue(s.down(key), "write it as in 90d or 12w", "this is no age")
	}
}
