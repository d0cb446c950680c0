package sshsig

import (
	"bufio"
	"bytes"
	"crypto/rsa"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"dbops/internal/fault"
)

// Allowed are the keys whose signatures count, of a file in OpenSSH's format for allowed signers (ssh-keygen(1)), which git and
// ssh-keygen -Y verify read as well. Lines for other namespaces than [Namespace] have no meaning here.
type Allowed struct {
	signers []signer
}

// signer is one line.
type signer struct {
	principal     string
	key           ssh.PublicKey
	after, before time.Time // zero: no bound
}

// Bounds of an allowed signers file.
const (
	maxLine = 64 << 10
	maxFile = 4 << 20
	minRSA  = 2048
)

// ParseAllowedSigners reads an allowed signers file. A line that it does not understand is a fault.Config, as it may be one that forbids
// something. So is what leaves open who signed: a pattern instead of a name, a certificate authority, one key of two persons.
func ParseAllowedSigners(file []byte) (*Allowed, error) {
	const op = "read the allowed signers"
	a := &Allowed{}
	if len(file) > maxFile {
		return nil, fault.Newf(fault.Config, op, "it is larger than 4 MiB")
	}
	lines := bufio.NewScanner(bytes.NewReader(file))
	lines.Buffer(nil, maxLine)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		s, applies, err := parseSigner(line)
		if err == nil && applies {
			err = a.add(s)
		}
		if err != nil {
			return nil, fault.Newf(fault.Config, op, "line %d: %w", n, err).
				Hint(`a line is: alice@example.com namespaces="dbops" ssh-ed25519 AAAA...; see ALLOWED SIGNERS in man ssh-keygen`)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fault.New(fault.Config, op, err)
	}
	return a, nil
}

func (a *Allowed) add(s signer) error {
	for _, o := range a.signers {
		if bytes.Equal(o.key.Marshal(), s.key.Marshal()) && o.principal != s.principal {
			return fmt.Errorf("the key of %s is also that of %s", s.principal, o.principal)
		}
	}
	a.signers = append(a.signers, s)
	return nil
}

func parseSigner(line string) (s signer, applies bool, err error) {
	names, rest, err := principals(line)
	if err != nil {
		return s, false, err
	}
	key, _, options, more, err := ssh.ParseAuthorizedKey([]byte(rest))
	if err != nil || len(bytes.TrimSpace(more)) > 0 {
		return s, false, errors.New("no public key is found in it")
	}
	s.key = key
	authority := false
	applies = true
	for _, o := range options {
		name, value, _ := strings.Cut(o, "=")
		value = strings.TrimSuffix(strings.TrimPrefix(value, `"`), `"`)
		switch strings.ToLower(name) {
		case "cert-authority":
			authority = true
		case "namespaces":
			applies = matches(value, Namespace)
		case "valid-after":
			s.after, err = timestamp(value)
		case "valid-before":
			s.before, err = timestamp(value)
		default:
			err = fmt.Errorf("the option %q is not known", short(name))
		}
		if err != nil {
			return s, false, err
		}
	}
	if !applies {
		return s, false, nil
	}
	if authority {
		return s, false, errors.New("cert-authority is not supported: list the keys of the persons")
	}
	if err := strong(key); err != nil {
		return s, false, err
	}
	for _, p := range names {
		if p == "" || strings.ContainsAny(p, "*?!") {
			return s, false, fmt.Errorf("%q is a pattern, and an approval needs a name", short(p))
		}
	}
	s.principal = names[0]
	return s, true, nil
}

// principals cuts off the first field, which may be quoted.
func principals(line string) (names []string, rest string, err error) {
	var list string
	if quoted, ok := strings.CutPrefix(line, `"`); ok {
		list, rest, ok = strings.Cut(quoted, `"`)
		if !ok {
			return nil, "", errors.New("a quote is not closed")
		}
	} else if i := strings.IndexAny(line, " \t"); i >= 0 {
		list, rest = line[:i], line[i:]
	} else {
		return nil, "", errors.New("it has no key")
	}
	return strings.Split(list, ","), strings.TrimSpace(rest), nil
}

// matches is OpenSSH's match of a list of patterns: one has to match, none with a ! may.
func matches(list, name string) bool {
	found := false
	for p := range strings.SplitSeq(list, ",") {
		p, not := strings.CutPrefix(strings.TrimSpace(p), "!")
		if ok, err := path.Match(p, name); err != nil || !ok {
			continue
		}
		if not {
			return false
		}
		found = true
	}
	return found
}

// timestamp reads OpenSSH's times: YYYYMMDD[Z] or YYYYMMDDHHMM[SS][Z], of the local zone without a Z.
func timestamp(s string) (time.Time, error) {
	zone := time.Local
	digits, utc := strings.CutSuffix(s, "Z")
	if utc {
		zone = time.UTC
	}
	for _, layout := range []string{"20060102", "200601021504", "20060102150405"} {
		if len(digits) != len(layout) {
			continue
		}
		if t, err := time.ParseInLocation(layout, digits, zone); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is not a time such as 20261231 or 202612312359Z", short(s))
}

// strong refuses keys that can be forged.
func strong(key ssh.PublicKey) error {
	switch key.Type() {
	case ssh.KeyAlgoED25519, ssh.KeyAlgoSKED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoSKECDSA256:
		return nil
	case ssh.KeyAlgoRSA:
		if bits(key) >= minRSA {
			return nil
		}
		return fmt.Errorf("an RSA key needs %d bits", minRSA)
	}
	return fmt.Errorf("keys of type %q are not accepted", short(key.Type()))
}

// bits are those of an RSA key, also of one that an agent names, which is not a key of its own type.
func bits(key ssh.PublicKey) int {
	key, err := ssh.ParsePublicKey(key.Marshal())
	if err != nil {
		return 0
	}
	if c, ok := key.(ssh.CryptoPublicKey); ok {
		if k, ok := c.CryptoPublicKey().(*rsa.PublicKey); ok {
			return k.N.BitLen()
		}
	}
	return 0
}

func short(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}
