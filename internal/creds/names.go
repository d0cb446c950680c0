package creds

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"dbops/internal/secret"
)

// The slots of a container.
const (
	SlotA = "a"
	SlotB = "b"
)

// maxRole is how long a role's name may be, in bytes.
const maxRole = 63

// identifier is a container's name as a part of roles' names: lower-case letters, digits and underscores. A long one is cut, and told from
// others by a hash.
func identifier(container string) string {
	id := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '_':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		default:
			return '_'
		}
	}, container)
	if most := maxRole - len("c_"); len(id) > most {
		sum := sha256.Sum256([]byte(container))
		tail := "_" + hex.EncodeToString(sum[:4])
		id = id[:most-len(tail)] + tail
	}
	return id
}

// GroupRole is the role that holds a container's rights: c_shop_api.
func GroupRole(container string) string { return "c_" + identifier(container) }

// SlotRole is a login role of a container: shop_api_a. The slot a of an adopted container has the name it had before.
func SlotRole(container, slot string) string { return identifier(container) + "_" + slot }

const (
	passwordLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	passwordSigns   = "_.~-"
	passwordLength  = 40
)

// newPassword is 40 characters of [A-Za-z0-9_.~-], the first a letter or digit: they need no quotes in connection strings, URLs, shells,
// YAML, nor in what Encore builds of them.
func newPassword() secret.Value {
	return secret.New(pick(passwordLetters, 1) + pick(passwordLetters+passwordSigns, passwordLength-1))
}

// pick is n characters of an alphabet of at most 128, each as likely as the others.
func pick(alphabet string, n int) string {
	out, b := make([]byte, 0, n), make([]byte, 1)
	for len(out) < n {
		_, _ = rand.Read(b) // never fails
		if i := int(b[0] & 0x7f); i < len(alphabet) {
			out = append(out, alphabet[i])
		}
	}
	return string(out)
}
