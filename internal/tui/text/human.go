package text

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

// Age is how long ago something was, short: 8s, 3m, 1h32, 2d. Less than a second, and the future, is 0s.
func Age(d time.Duration) string {
	switch {
	case d < time.Second:
		return "0s"
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%02d", int(d.Hours()), int(d.Minutes())%60)
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}

// Days is the whole days until t, negative after it.
func Days(t, now time.Time) int {
	d := t.Sub(now)
	days := int(d / (24 * time.Hour))
	if d < 0 && d%(24*time.Hour) != 0 {
		days--
	}
	return days
}

// Bytes is a size: 14 KiB, 1.2 MiB.
func Bytes(n int64) string { return humanize.IBytes(uint64(max(0, n))) }

// Rate is bytes in a second: 14 KiB/s.
func Rate(n int64) string { return Bytes(n) + "/s" }

// Count is a number with its noun: 1 connection, 3 connections.
func Count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	if stem, ok := strings.CutSuffix(noun, "ry"); ok {
		return fmt.Sprintf("%d %sries", n, stem)
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// Date is a day in UTC: 2026-11-21.
func Date(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// Clock is a time of the day in UTC: 03:12:04.
func Clock(t time.Time) string { return t.UTC().Format(time.TimeOnly) }

// Stamp is a moment in UTC to the minute: 2026-11-21 03:12 UTC.
func Stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") + " UTC" }

// MaskURI is a connection URI with **** in place of its password. What is no URI is shown as nothing but ****, because its
// password cannot be told apart.
func MaskURI(uri string) string {
	const mask = "****"
	u, err := url.Parse(uri)
	if err != nil || u.Scheme == "" || u.Opaque != "" {
		return mask
	}
	q := u.Query()
	for _, k := range []string{"password", "sslpassword"} {
		if q.Has(k) {
			q.Set(k, "xxxxx")
			u.RawQuery = q.Encode()
		}
	}
	s := strings.Replace(u.Redacted(), ":xxxxx@", ":"+mask+"@", 1)
	return strings.ReplaceAll(s, "password=xxxxx", "password="+mask)
}

// Shell is a command line that a shell reads as args.
func Shell(args []string) string {
	out := make([]string, len(args))
	for i, a := range args {
		out[i] = quote(a)
	}
	return strings.Join(out, " ")
}

// quote leaves an argument of harmless characters alone and puts any other in single quotes.
func quote(a string) string {
	harmless := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:=@,+%", r)
	}
	if a != "" && strings.IndexFunc(a, func(r rune) bool { return !harmless(r) }) < 0 {
		return a
	}
	return "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
}
