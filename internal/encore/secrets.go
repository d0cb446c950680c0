package encore

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"dbops/internal/fault"
	"dbops/internal/secret"
)

// Secrets are the application secrets in ENCORE_APP_SECRETS.
type Secrets struct {
	original string
	refs     []string // the variables of envref:, in order
	sizes    []int    // of their contents
	envelope envelope
	pairs    []pair
	changed  bool
}

// pair is NAME=base64(value), kept as it was written.
type pair struct {
	name, encoded string
}

const (
	secretsWhat = "the app secrets"
	// SecretsVariable is the name of the variable that holds them.
	SecretsVariable = "ENCORE_APP_SECRETS"

	envrefPrefix = "envref:"
)

// ParseSecrets reads the value of ENCORE_APP_SECRETS: NAME=base64(value) joined by commas, or gzip: and base64 of that, or envref: and the
// names of variables whose contents are to be read one after the other as either. lookup finds those; nil finds none.
//
// Whatever cannot be read, a name that is there twice too, is a fault.Config; no error holds any part of a value.
func ParseSecrets(text string, lookup func(name string) (string, bool)) (*Secrets, error) {
	s := &Secrets{original: text}
	refs, isRef := strings.CutPrefix(strings.TrimSpace(text), envrefPrefix)
	if isRef {
		var err error
		if text, err = s.follow(refs, lookup); err != nil {
			return nil, malformed(secretsWhat, err).Hint("%s is in the variables that it names: set them as the container has them", SecretsVariable)
		}
	}
	if len(text) > MaxText {
		return nil, malformed(secretsWhat, fmt.Errorf("they are larger than %d MiB", MaxText>>20))
	}
	if err := s.read(text); err != nil {
		return nil, malformed(secretsWhat, err).Hint("want NAME=VALUE,NAME=VALUE with each value in base64 of URLs without padding; or gzip: and base64 of that")
	}
	return s, nil
}

func (s *Secrets) follow(refs string, lookup func(string) (string, bool)) (string, error) {
	var b strings.Builder
	for name := range strings.SplitSeq(refs, ",") {
		name = strings.TrimSpace(name)
		if name == "" {
			return "", fmt.Errorf("envref: names a variable with no name")
		}
		value, ok := "", false
		if lookup != nil {
			value, ok = lookup(name)
		}
		if !ok {
			return "", fmt.Errorf("the variable %s, which envref: names, is not known here", show(name))
		}
		s.refs, s.sizes = append(s.refs, name), append(s.sizes, len(value))
		b.WriteString(value)
	}
	return b.String(), nil
}

func (s *Secrets) read(text string) error {
	body := strings.TrimRight(text, " \t\r\n")
	s.envelope.end = text[len(body):]
	if strings.HasPrefix(body, gzipPrefix) {
		plain, e, err := unpack(text)
		if err != nil {
			return err
		}
		s.envelope, body = e, string(plain)
	}
	if body == "" {
		return nil
	}
	for part := range strings.SplitSeq(body, ",") {
		at := fmt.Sprintf("the secret %d", len(s.pairs)+1)
		name, encoded, ok := strings.Cut(part, "=")
		switch {
		case !ok:
			return fmt.Errorf("%s has no =", at)
		case name == "":
			return fmt.Errorf("%s has no name", at)
		case strings.ContainsFunc(name, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }):
			return fmt.Errorf("the name of %s holds white space", at)
		case s.index(name) >= 0:
			return fmt.Errorf("%s is there twice", show(name))
		}
		if _, err := base64.RawURLEncoding.DecodeString(encoded); err != nil {
			return fmt.Errorf("the value of %s is not base64 of URLs without padding", show(name))
		}
		s.pairs = append(s.pairs, pair{name, encoded})
	}
	return nil
}

// show is a name for a message: one that is long may be a value that lost its name.
func show(name string) string {
	if len(name) > 64 {
		return "a name of more than 64 bytes"
	}
	return fmt.Sprintf("%q", name)
}

func (s *Secrets) index(name string) int {
	return slices.IndexFunc(s.pairs, func(p pair) bool { return p.name == name })
}

// Names lists the secrets in the order they are written.
func (s *Secrets) Names() []string {
	out := make([]string, 0, len(s.pairs))
	for _, p := range s.pairs {
		out = append(out, p.name)
	}
	return out
}

// Get returns one secret.
func (s *Secrets) Get(name string) (secret.Value, bool) {
	i := s.index(name)
	if i < 0 {
		return secret.Value{}, false
	}
	b, _ := base64.RawURLEncoding.DecodeString(s.pairs[i].encoded) // read checked it
	return secret.New(string(b)), true
}

// Set gives a secret a value, and tells whether that changed anything. A new name goes to its place in the order of names.
func (s *Secrets) Set(name string, v secret.Value) (bool, error) {
	if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r == ',' || r == '=' || unicode.IsControl(r) || unicode.IsSpace(r) }) {
		return false, fault.Newf(fault.Usage, "change "+secretsWhat, "the name of a secret has no comma, = or white space")
	}
	if old, ok := s.Get(name); ok && old.Equal(v.Reveal()) {
		return false, nil
	}
	s.changed = true
	p := pair{name, base64.RawURLEncoding.EncodeToString([]byte(v.Reveal()))}
	if i := s.index(name); i >= 0 {
		s.pairs[i] = p
		return true, nil
	}
	at := slices.IndexFunc(s.pairs, func(o pair) bool { return o.name > name })
	if at < 0 {
		at = len(s.pairs)
	}
	s.pairs = slices.Insert(s.pairs, at, p)
	return true, nil
}

// Values are the variables to set, with their contents: ENCORE_APP_SECRETS alone, or those that its envref: names, which keep their sizes
// but for the last one. Where nothing changed they are the very same texts.
func (s *Secrets) Values() ([]EnvValue, error) {
	text := s.original
	if s.changed {
		parts := make([]string, 0, len(s.pairs))
		for _, p := range s.pairs {
			parts = append(parts, p.name+"="+p.encoded)
		}
		var err error
		if text, err = s.envelope.pack([]byte(strings.Join(parts, ","))); err != nil {
			return nil, fault.New(fault.Internal, "write "+secretsWhat, err)
		}
	}
	if len(s.refs) == 0 || !s.changed {
		return []EnvValue{{SecretsVariable, secret.New(text)}}, nil
	}
	var out []EnvValue
	for i, name := range s.refs {
		size := min(s.sizes[i], len(text))
		if i == len(s.refs)-1 {
			size = len(text)
		}
		out = append(out, EnvValue{name, secret.New(text[:size])})
		text = text[size:]
	}
	return out, nil
}

// EnvValue is a variable of a container's environment with its content.
type EnvValue struct {
	Name  string
	Value secret.Value
}
