package secret

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"
	"unicode/utf8"

	"dbops/internal/fault"
)

// Version is one version of a secret. Its zero value is no version.
type Version struct {
	ID      string    `json:"id"`
	Created time.Time `json:"created,omitzero"` // zero if the place does not tell
}

// Holding is what a place holds: names of versions, no secrets. Pending is never the current one.
type Holding struct {
	Current, Pending, Previous Version
	// Amiss says why who reads the place does not find the current version, such as a file that somebody deleted; "" if they find it. To
	// promote the current version once more puts it back.
	Amiss string
}

// Store keeps secrets in versions, of which one is current. Every call may be repeated: what has happened already is no error. Refs have
// no KEY. No error holds any part of a secret.
type Store interface {
	Source
	// Inspect tells which versions a place holds. A place that does not exist is a fault.NotFound.
	Inspect(ctx context.Context, r Ref) (Holding, error)
	// Read returns one version, the whole text of it. One that is not there, or not readable any more, is a fault.NotFound.
	Read(ctx context.Context, r Ref, version string) (Value, error)
	// Create makes the place, without a version. One that exists stays as it is.
	Create(ctx context.Context, r Ref) error
	// Stage keeps v as the pending version, durable when it returns; the current one stays current. The same token again returns the
	// version that the token made first, and keeps its text, also when that is current or previous by now. A pending version of another
	// token is pending no more; that other token, and one whose version was retired, is used up: a fault.Stale. Where nothing is current
	// AWS makes the first version current at once, and it is never pending.
	Stage(ctx context.Context, r Ref, token string, v Value) (Version, error)
	// Promote makes the version to current and the version from previous, if from is current ("": none is). Where to is current already
	// nothing happens, but that what is amiss is put right; any other current version, or a current text that was changed by hand, is a fault.Stale.
	Promote(ctx context.Context, r Ref, from, to string) error
	// Retire takes a version out of use: it is neither pending nor previous any more, and where the place can, not readable. The current
	// version is a fault.Blocked.
	Retire(ctx context.Context, r Ref, version string) error
}

// Keeper is a [Store] that knows its versions from those of others.
type Keeper interface {
	// Delivered are versions that dbops has put there, that can be read still, and that are neither current nor pending: the newest first. They
	// are what to go back to when somebody else has made another text current.
	Delivered(ctx context.Context, r Ref) ([]string, error)
}

// Prober is a [Store] that can tell beforehand whether it takes a new version.
type Prober interface {
	// Probe is the error that writing to a place would end with now, also where the place does not exist yet. It leaves nothing behind.
	Probe(ctx context.Context, r Ref) error
}

// TokenID is a token of [Store.Stage] in a form that every place can keep: itself if it is 32 to 64 letters, digits and hyphens, else
// its hash.
func TokenID(token string) string {
	legal := len(token) >= 32 && len(token) <= 64 && strings.IndexFunc(token, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-'
	}) < 0
	if legal {
		return token
	}
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// Whole is the text of a version, all of it, for stores: what is empty, no text, or larger than a place can keep, is a fault.Invalid.
func Whole(op string, text []byte) (Value, error) {
	switch {
	case len(text) == 0:
		return Value{}, fault.Newf(fault.Invalid, op, "it is empty")
	case len(text) > maxText:
		return Value{}, fault.Newf(fault.Invalid, op, "it is larger than 64 KiB")
	case !utf8.Valid(text) || bytes.IndexByte(text, 0) >= 0:
		return Value{}, fault.Newf(fault.Invalid, op, "it is not text")
	}
	return New(string(text)), nil
}

// Store returns the store of a place. One that can only be read, such as a variable, is a fault.Config.
func (r *Resolver) Store(ctx context.Context, ref Ref) (Store, error) {
	source, err := r.source(ctx, ref)
	if err != nil {
		return nil, err
	}
	if s, ok := source.(Store); ok && ref.Key == "" {
		return s, nil
	}
	return nil, fault.Newf(fault.Config, "write secret "+ref.String(), "a credential cannot be put there").
		Hint("aws-sm:NAME, gcp-sm:projects/P/secrets/S or file:PATH, without a field")
}
