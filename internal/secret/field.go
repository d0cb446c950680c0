package secret

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"unicode/utf8"

	"dbops/internal/fault"
)

// maxText bounds a secret; both clouds keep no more than 64 KiB.
const maxText = 64 << 10

// Field is the secret that r names in text, the whole content of its place: without KEY the text less one trailing newline, which
// editors and shells add; with KEY the string or number of that name in a JSON object. Stores call it with what they read.
//
// A JSON object with a password, asked for as a whole, is refused: it would be sent as the password. No error holds any part of text.
func Field(r Ref, text []byte) (Value, error) {
	op := "read secret " + r.String()
	switch {
	case len(text) > maxText:
		return Value{}, fault.Newf(fault.Invalid, op, "it is larger than 64 KiB")
	case !utf8.Valid(text) || bytes.IndexByte(text, 0) >= 0:
		return Value{}, fault.Newf(fault.Invalid, op, "it is not text")
	}
	if r.Key != "" {
		return field(op, r.Key, text)
	}
	if fields, ok := object(text); ok && fields["password"] != nil {
		r.Key = "password"
		return Value{}, fault.Newf(fault.Config, op, "it is a JSON object, not one password").Hint("name the field: %s", r)
	}
	s := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	if s == "" {
		return Value{}, fault.Newf(fault.NotFound, op, "it is empty")
	}
	return New(s), nil
}

func field(op, key string, text []byte) (Value, error) {
	fields, ok := object(text)
	if !ok {
		return Value{}, fault.Newf(fault.Config, op, "it is not a JSON object, so it has no field %q", key).Hint("leave out #%s", key)
	}
	raw, ok := fields[key]
	if !ok {
		return Value{}, fault.Newf(fault.NotFound, op, "the JSON object has no field %q", key)
	}
	s, err := scalar(raw)
	if err != nil {
		return Value{}, fault.Newf(fault.Invalid, op, "the field %q %w", key, err)
	}
	return New(s), nil
}

// object is text as a JSON object. The errors of the JSON decoder quote what they read: they go no further.
func object(text []byte) (map[string]json.RawMessage, bool) {
	var fields map[string]json.RawMessage
	if !bytes.HasPrefix(bytes.TrimLeft(text, " \t\r\n"), []byte("{")) || json.Unmarshal(text, &fields) != nil {
		return nil, false
	}
	return fields, true
}

func scalar(raw json.RawMessage) (string, error) {
	var s string
	if json.Unmarshal(raw, &s) == nil && !bytes.Equal(raw, []byte("null")) {
		if s == "" {
			return "", errors.New("is empty")
		}
		if strings.ContainsRune(s, 0) {
			return "", errors.New("is not text")
		}
		return s, nil
	}
	var n json.Number
	if json.Unmarshal(raw, &n) == nil && n != "" {
		return n.String(), nil
	}
	return "", errors.New("is neither a string nor a number")
}
