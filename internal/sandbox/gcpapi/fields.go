package gcpapi

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
)

// fields says what of a request's body is honoured, by paths such as settings.userLabels.* and settings.databaseFlags[].name.
type fields struct {
	in  []string // honoured
	out []string // what only the service sets: ignored, as the real service does
}

// decode reads a body into v, a pointer to the API's own type, and refuses every field that is not honoured. It returns the
// body as it was, for what only a JSON merge can tell: which fields are there.
func (f fields) decode(body []byte, v any) (map[string]any, error) {
	if len(body) == 0 {
		body = []byte("{}")
	}
	var raw map[string]any
	if err := json.Unmarshal(body, &raw); err != nil {
		return nil, invalid("Invalid JSON payload received.")
	}
	if err := f.check("", raw, reflect.TypeOf(v).Elem()); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(body, v); err != nil {
		return nil, invalid("Invalid JSON payload received: a field has the wrong type.")
	}
	return raw, nil
}

func (f fields) check(path string, v any, t reflect.Type) error {
	switch v := v.(type) {
	case map[string]any:
		for name, child := range v {
			at := strings.TrimPrefix(path+"."+name, ".")
			ct, known := fieldType(t, name)
			if !known {
				return invalid("Invalid JSON payload received. Unknown name %q at '%s': Cannot find field.", name, path)
			}
			if f.covers(f.out, at) {
				continue
			}
			// An object that is honoured in parts is looked into; anything else must be honoured itself.
			if child != nil && f.within(at) && (isObject(child) || isArray(child)) {
				if err := f.check(at, child, ct); err != nil {
					return err
				}
				continue
			}
			if !f.covers(f.in, at) {
				return notEmulated("field %s", at)
			}
		}
	case []any:
		for _, item := range v {
			if err := f.check(path+"[]", item, elem(t)); err != nil {
				return err
			}
		}
	default:
		if !f.covers(f.in, path) {
			return notEmulated("field %s", path)
		}
	}
	return nil
}

// covers tells whether paths hold at, itself or by a parent that ends in .*
func (fields) covers(paths []string, at string) bool {
	return slices.ContainsFunc(paths, func(p string) bool {
		if prefix, ok := strings.CutSuffix(p, ".*"); ok {
			return at == prefix || strings.HasPrefix(at, prefix+".")
		}
		return p == at
	})
}

// within tells whether something below at is listed.
func (f fields) within(at string) bool {
	below := func(p string) bool { return strings.HasPrefix(p, at+".") || strings.HasPrefix(p, at+"[]") }
	return slices.ContainsFunc(f.in, below) || slices.ContainsFunc(f.out, below)
}

func isObject(v any) bool {
	_, ok := v.(map[string]any)
	return ok
}

func isArray(v any) bool {
	_, ok := v.([]any)
	return ok
}

// fieldType is the type of a field by its name in JSON, in a struct or a map.
func fieldType(t reflect.Type, name string) (reflect.Type, bool) {
	t = deref(t)
	switch {
	case t == nil:
		return nil, false
	case t.Kind() == reflect.Map:
		return t.Elem(), true
	case t.Kind() != reflect.Struct:
		return nil, false
	}
	for f := range t.Fields() {
		if tag, _, _ := strings.Cut(f.Tag.Get("json"), ","); tag == name && tag != "-" {
			return f.Type, true
		}
	}
	return nil, false
}

func deref(t reflect.Type) reflect.Type {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}

func elem(t reflect.Type) reflect.Type {
	if t = deref(t); t != nil && t.Kind() == reflect.Slice {
		return t.Elem()
	}
	return nil
}
