package app

import (
	"time"

	"dbops/internal/config"
	"dbops/internal/creds"
	"dbops/internal/fault"
)

// ChooseCredentials are the containers that somebody means who names none: those with a credential older than an age, if there is one, and of an
// age that nobody knows. Revoked ones are left out.
func ChooseCredentials(all []creds.Listed, age time.Duration, now time.Time) (chosen, revoked []string) {
	for _, l := range all {
		switch {
		case l.Revoked():
			revoked = append(revoked, l.Name)
		case age == 0 || l.Created.IsZero() || l.Age(now) > age:
			chosen = append(chosen, l.Name)
		}
	}
	return chosen, revoked
}

// ParseAge reads 90d, 12w, or what time.ParseDuration reads.
func ParseAge(s string) (time.Duration, error) {
	if d := config.Age(s).Duration(); d > 0 {
		return d, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, fault.Newf(fault.Usage, "read the arguments", "%q is no age", s).Hint("as in 90d, 12w or 36h")
	}
	return d, nil
}
