package config

import (
	"reflect"
	"strconv"
	"strings"
)

// maxVisits bounds the decoding of aliases that hold aliases.
const maxVisits = 200_000

// decoder fills the types of this package from nodes, strictly, and reports everything that does not fit.
type decoder struct {
	report *report
	visits int
}

// into decodes the value at s into v.
func (d *decoder) into(v reflect.Value, s spot) {
	if d.visits++; d.visits > maxVisits {
		if d.visits == maxVisits+1 {
			d.report.add(position{}, "", "", "the aliases of the file expand to too much")
		}
		return
	}
	if s.node.kind == isBroken {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.into(v.Elem(), s)
	case reflect.Struct:
		d.fields(v, s)
	case reflect.Map:
		d.names(v, s)
	case reflect.Slice:
		d.list(v, s)
	default:
		d.scalar(v, s)
	}
}

func (d *decoder) fields(v reflect.Value, s spot) {
	if !d.want(s, isMapping) {
		return
	}
	byKey, keys := fieldsOf(v.Type())
	for _, p := range s.node.pairs {
		c, _ := s.child(p.key)
		if i, ok := byKey[p.key]; ok {
			d.into(v.Field(i), c)
			continue
		}
		if secretKey(p.key) {
			d.report.atKey(c, keepElsewhere, "dbops.yaml must hold no secrets")
			continue
		}
		suggestion := didYouMean(p.key, keys)
		if suggestion == "" {
			suggestion = "known here: " + strings.Join(keys, ", ")
		}
		d.report.atKey(s.named(p), suggestion, "unknown key %s", quote(p.key))
	}
}

// named is s, standing at one of its keys.
func (s spot) named(p pair) spot { return spot{p.value, p.pos, s.path} }

// fieldsOf maps the YAML keys of a struct to its fields, and lists them in the order of the source.
func fieldsOf(t reflect.Type) (map[string]int, []string) {
	byKey, keys := map[string]int{}, []string(nil)
	for i := range t.NumField() {
		key, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
		if key != "-" {
			byKey[key] = i
			keys = append(keys, key)
		}
	}
	return byKey, keys
}

func (d *decoder) names(v reflect.Value, s spot) {
	if !d.want(s, isMapping) || len(s.node.pairs) == 0 {
		return
	}
	v.Set(reflect.MakeMapWithSize(v.Type(), len(s.node.pairs)))
	for _, p := range s.node.pairs {
		c, _ := s.child(p.key)
		e := reflect.New(v.Type().Elem()).Elem()
		d.into(e, c)
		v.SetMapIndex(reflect.ValueOf(p.key).Convert(v.Type().Key()), e)
	}
}

func (d *decoder) list(v reflect.Value, s spot) {
	if s.node.kind == isText {
		d.report.atValue(s, "put it in square brackets", "want a list, got text")
		return
	}
	if !d.want(s, isList) {
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(s.node.items), len(s.node.items)))
	for i := range s.node.items {
		d.into(v.Index(i), s.item(i))
	}
}

// want tells whether the node can be read as k, and reports if not. Nothing reads as the empty mapping or list.
func (d *decoder) want(s spot, k kind) bool {
	got := s.node.kind
	if got == k || got == isNull {
		return true
	}
	suggestion := ""
	if k == isMapping && got != isList {
		suggestion = "put its keys below, indented"
	}
	d.report.atValue(s, suggestion, "want %s, got %s", k, got)
	return false
}

func (d *decoder) scalar(v reflect.Value, s spot) {
	n := s.node
	if n.kind == isNull {
		d.report.atKey(s, "write one, or delete the key", "there is no value")
		return
	}
	switch v.Kind() {
	case reflect.String:
		if n.kind == isText {
			v.SetString(n.text)
			return
		}
		suggestion := ""
		if n.kind == isNumber || n.kind == isBool {
			suggestion = "put it in quotes"
		}
		d.report.atValue(s, suggestion, "want text, got %s", n.kind)
	case reflect.Bool:
		if n.kind == isBool {
			v.SetBool(n.text == "true" || n.text == "True" || n.text == "TRUE")
			return
		}
		d.report.atValue(s, "", "want true or false, got %s", n.kind)
	case reflect.Int:
		if i, err := strconv.Atoi(n.text); err == nil && n.kind == isNumber {
			v.SetInt(int64(i))
			return
		}
		if n.kind == isNumber {
			d.report.atValue(s, "", "want a whole number of common size")
			return
		}
		d.report.atValue(s, "", "want a whole number, got %s", n.kind)
	default:
		d.report.atValue(s, "", "dbops cannot read a %s", v.Kind())
	}
}

func whole(s string) bool {
	_, err := strconv.Atoi(s)
	return err == nil
}
