package encore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tailscale/hujson"
)

// document is a JSON text, with or without comments, whose values are changed in place.
type document struct {
	root     hujson.Value
	original []byte
	lenient  bool // it has comments or trailing commas
	changed  bool
}

// maxDepth bounds nesting: the parser calls itself.
const maxDepth = 200

func parseDocument(text []byte) (*document, error) {
	switch {
	case len(text) > MaxText:
		return nil, fmt.Errorf("it is larger than %d MiB", MaxText>>20)
	case len(bytes.TrimSpace(text)) == 0:
		return nil, errors.New("it is empty")
	case !utf8.Valid(text):
		return nil, errors.New("it is not text in UTF-8")
	case depth(text) > maxDepth:
		return nil, fmt.Errorf("it is nested more than %d deep", maxDepth)
	}
	root, err := hujson.Parse(bytes.Clone(text))
	if err != nil {
		return nil, unquoted(err)
	}
	return &document{root: root, original: text, lenient: !root.IsStandard()}, nil
}

var place = regexp.MustCompile(`line (\d+), column (\d+)`)

// unquoted is a parser's error without the words that it quotes: they may be a part of a password.
func unquoted(err error) error {
	if m := place.FindStringSubmatch(err.Error()); m != nil {
		return fmt.Errorf("it is not JSON at line %s, column %s", m[1], m[2])
	}
	return errors.New("it is not JSON")
}

// depth is how deep the brackets of a text nest, at most; those in strings and comments do not count.
func depth(text []byte) int {
	deepest, now := 0, 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '[' || c == '{':
			now++
			deepest = max(deepest, now)
		case c == ']' || c == '}':
			now--
		case c == '"':
			for i++; i < len(text) && text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
		case bytes.HasPrefix(text[i:], []byte("//")):
			i = after(text, i, "\n")
		case bytes.HasPrefix(text[i:], []byte("/*")):
			i = after(text, i+2, "*/")
		}
	}
	return deepest
}

// after is the place of the last byte of the next end in text, or of text itself.
func after(text []byte, from int, end string) int {
	if from >= len(text) {
		return len(text)
	}
	if i := bytes.Index(text[from:], []byte(end)); i >= 0 {
		return from + i + len(end) - 1
	}
	return len(text)
}

// text is the document in strict JSON: the very bytes it was read from, if they are strict and nothing changed.
func (d *document) text() []byte {
	if !d.changed && !d.lenient {
		return d.original
	}
	if d.lenient {
		strict(&d.root)
	}
	return d.root.Pack()
}

// strict removes comments and trailing commas. Lines that held nothing but a comment go, all others stay as they are.
func strict(v *hujson.Value) {
	v.BeforeExtra = uncommented(v.BeforeExtra)
	v.AfterExtra = uncommented(v.AfterExtra)
	switch c := v.Value.(type) {
	case *hujson.Object:
		for i := range c.Members {
			strict(&c.Members[i].Name)
			strict(&c.Members[i].Value)
		}
		if n := len(c.Members); n > 0 {
			c.AfterExtra = append(c.Members[n-1].Value.AfterExtra, c.AfterExtra...)
			c.Members[n-1].Value.AfterExtra = nil
		}
		c.AfterExtra = uncommented(c.AfterExtra)
	case *hujson.Array:
		for i := range c.Elements {
			strict(&c.Elements[i])
		}
		if n := len(c.Elements); n > 0 {
			c.AfterExtra = append(c.Elements[n-1].AfterExtra, c.AfterExtra...)
			c.Elements[n-1].AfterExtra = nil
		}
		c.AfterExtra = uncommented(c.AfterExtra)
	}
}

// uncommented is the white space of e.
func uncommented(e hujson.Extra) hujson.Extra {
	if e.IsStandard() {
		return e
	}
	const mark = "\x00" // where a comment was
	var b strings.Builder
	for i := 0; i < len(e); i++ {
		switch {
		case bytes.HasPrefix(e[i:], []byte("//")):
			end := after(e, i, "\n")
			if b.WriteString(mark); e[end-1] == '\r' {
				b.WriteByte('\r')
			}
			i = end - 1
		case bytes.HasPrefix(e[i:], []byte("/*")):
			i = after(e, i+2, "*/")
			b.WriteString(mark)
		default:
			b.WriteByte(e[i])
		}
	}
	lines := strings.Split(b.String(), "\n")
	out := lines[:0]
	for i, line := range lines {
		ending := ""
		if strings.HasSuffix(line, "\r") {
			line, ending = strings.TrimSuffix(line, "\r"), "\r"
		}
		kept, rest, had := strings.Cut(line, mark)
		switch {
		case !had:
		case len(lines) == 1 && kept == "":
			kept = rest[strings.LastIndex(rest, mark)+1:]
		case i > 0 && i < len(lines)-1: // a line of its own
			continue
		case i == 0 && len(lines) > 1: // behind a value: the spaces before the comment go with it
			kept = strings.TrimRight(kept, " \t")
		}
		out = append(out, kept+ending)
	}
	return hujson.Extra(strings.Join(out, "\n"))
}

// object is v as an object; at names it in errors.
func object(v *hujson.Value, at string) (*hujson.Object, error) {
	o, ok := v.Value.(*hujson.Object)
	if !ok {
		return nil, fmt.Errorf("%s is not an object", at)
	}
	return o, nil
}

// member is the value of a key, nil if it is missing or null. One that is there twice, or in another case, is an error: the runtimes
// do not agree on which they take.
func member(o *hujson.Object, at, key string) (*hujson.Value, error) {
	var found *hujson.Value
	for i := range o.Members {
		name := literal(o.Members[i].Name)
		switch {
		case name == key && found != nil:
			return nil, fmt.Errorf("%s is there twice", below(at, key))
		case name == key:
			found = &o.Members[i].Value
		case strings.EqualFold(name, key):
			return nil, fmt.Errorf("%s is written %q, which only one of Encore's runtimes reads", below(at, key), name)
		}
	}
	if found != nil && found.Value.Kind() == 'n' {
		return nil, nil
	}
	return found, nil
}

// textOf is the string under a key; absent is "".
func textOf(o *hujson.Object, at, key string) (string, error) {
	v, err := member(o, at, key)
	if v == nil {
		return "", err
	}
	if v.Value.Kind() != '"' {
		return "", fmt.Errorf("%s is not a string", below(at, key))
	}
	return literal(*v), nil
}

// truth is the boolean under a key; absent is false.
func truth(o *hujson.Object, at, key string) (bool, error) {
	v, err := member(o, at, key)
	if v == nil {
		return false, err
	}
	if k := v.Value.Kind(); k != 't' && k != 'f' {
		return false, fmt.Errorf("%s is neither true nor false", below(at, key))
	}
	return v.Value.Kind() == 't', nil
}

// list is the array under a key of the whole; absent is empty.
func list(root *hujson.Object, key string) ([]hujson.Value, error) {
	v, err := member(root, "", key)
	if v == nil {
		return nil, err
	}
	a, ok := v.Value.(*hujson.Array)
	if !ok {
		return nil, fmt.Errorf("%s is not a list", key)
	}
	return a.Elements, nil
}

// literal is a string's text.
func literal(v hujson.Value) string {
	if l, ok := v.Value.(hujson.Literal); ok {
		return l.String()
	}
	return ""
}

// setText makes the member key the string s, and tells whether that changed anything.
func (d *document) setText(o *hujson.Object, key, s string) bool {
	for i := range o.Members {
		if literal(o.Members[i].Name) != key {
			continue
		}
		v := &o.Members[i].Value
		if v.Value.Kind() == '"' && literal(*v) == s {
			return false
		}
		v.Value = hujson.String(s)
		d.changed = true
		return true
	}
	d.add(o, key, hujson.String(s))
	return true
}

// add appends a member that is laid out like the one before it.
func (d *document) add(o *hujson.Object, key string, value hujson.ValueTrimmed) {
	m := hujson.ObjectMember{Name: hujson.Value{Value: hujson.String(key)}, Value: hujson.Value{Value: value, BeforeExtra: hujson.Extra(" ")}}
	if n := len(o.Members); n > 0 {
		last := &o.Members[n-1]
		m.Name.BeforeExtra = uncommented(bytes.Clone(last.Name.BeforeExtra))
		m.Value.BeforeExtra = uncommented(bytes.Clone(last.Value.BeforeExtra))
		m.Value.AfterExtra, last.Value.AfterExtra = last.Value.AfterExtra, nil // a trailing comma stays the last one
	}
	o.Members = append(o.Members, m)
	d.changed = true
}

// below is the path of a key for errors.
func below(at, key string) string {
	if !plainKey.MatchString(key) {
		return at + "[" + strconv.Quote(key) + "]"
	}
	if at == "" {
		return key
	}
	return at + "." + key
}

var plainKey = regexp.MustCompile(`^[A-Za-z_$][A-Za-z0-9_$-]*$`)

func item(list string, i int) string { return list + "[" + strconv.Itoa(i) + "]" }

// whole is the number under a key; absent is 0.
func whole(o *hujson.Object, at, key string) (int, error) {
	v, err := member(o, at, key)
	if v == nil {
		return 0, err
	}
	var n int
	if l, ok := v.Value.(hujson.Literal); !ok || json.Unmarshal(l, &n) != nil {
		return 0, fmt.Errorf("%s is not a whole number", below(at, key))
	}
	return n, nil
}
