// Package secret says where secrets live and hands them out as values that cannot be printed.
//
// A [Ref] names a place (a cloud's secret manager, a file, an environment variable); a [Value] is what was found there. A Value
// formats, logs and marshals as [Redacted]; only [Value.Reveal] gives the text, so a search for Reveal finds every use.
package secret

import (
	"crypto/subtle"
	"fmt"
	"log/slog"
)

// Redacted stands in for a secret wherever one would be printed.
const Redacted = "[secret]"

// Value is a secret. Its zero value is the empty secret. Compare with [Value.Equal], not with ==.
type Value struct {
	// A pointer, because fmt calls no methods on unexported fields: it would print a string there, and prints an address now.
	s *string
}

// New wraps s.
func New(s string) Value { return Value{&s} }

// Reveal returns the secret itself, for the one call that needs it.
func (v Value) Reveal() string {
	if v.s == nil {
		return ""
	}
	return *v.s
}

// IsZero tells whether there is no secret.
func (v Value) IsZero() bool { return v.s == nil || *v.s == "" }

// Equal compares in constant time.
func (v Value) Equal(s string) bool {
	return subtle.ConstantTimeCompare([]byte(v.Reveal()), []byte(s)) == 1
}

// Format writes [Redacted] for every verb, %#v and %x included.
func (Value) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(Redacted)) }

// String returns [Redacted].
func (Value) String() string { return Redacted }

// LogValue keeps secrets out of slog.
func (Value) LogValue() slog.Value { return slog.StringValue(Redacted) }

// MarshalText keeps secrets out of JSON, YAML and XML.
func (Value) MarshalText() ([]byte, error) { return []byte(Redacted), nil }
