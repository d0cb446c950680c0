package op

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// What of a difference fits into a line or two.
const (
	maxValue      = 40
	maxDifference = 160
)

// difference says which facts differ, with their values, in the words of the plan's settings, in a line or two.
func difference(before, after json.RawMessage, words map[string]string) string {
	x, y := map[string]string{}, map[string]string{}
	flatten("", before, x)
	flatten("", after, y)
	both := maps.Clone(x)
	maps.Copy(both, y)
	var out []string
	size, more := 0, 0
	for _, k := range slices.Sorted(maps.Keys(both)) {
		if x[k] == y[k] {
			continue
		}
		was, is := apart(orNothing(x[k]), orNothing(y[k]))
		one := fmt.Sprintf("%s was %s, is %s", clip(wordOf(k, words), 2*maxValue), was, is)
		if size += len([]rune(one)); len(out) > 0 && size > maxDifference {
			more++
			continue
		}
		out = append(out, one)
	}
	if more > 0 {
		out = append(out, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(out, "; ")
}

// apart cuts two values that differ to what shows that they do.
func apart(x, y string) (a, b string) {
	r, q := []rune(x), []rune(y)
	if len(r) <= maxValue && len(q) <= maxValue {
		return x, y
	}
	same := 0
	for same < min(len(r), len(q)) && r[same] == q[same] {
		same++
	}
	from := max(same-maxValue/4, 0)
	cut := func(r []rune) string {
		if from == 0 {
			return clip(string(r), maxValue)
		}
		return "..." + clip(string(r[from:]), maxValue)
	}
	return cut(r), cut(q)
}

func clip(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "..."
	}
	return s
}

func orNothing(v string) string {
	if v == "" {
		return "nothing"
	}
	return v
}

// wordOf is a path with the longest beginning of it that has a word replaced by that.
func wordOf(path string, words map[string]string) string {
	for head := path; head != ""; head = head[:max(strings.LastIndexByte(head, '.'), 0)] {
		if word, ok := words[head]; ok {
			return strings.TrimSpace(word + " " + strings.TrimPrefix(path[len(head):], "."))
		}
	}
	return path
}

// flatten makes paths of objects, and of lists whose elements have names. Null, and what is empty, is nothing.
func flatten(path string, raw json.RawMessage, into map[string]string) {
	var object map[string]json.RawMessage
	if json.Unmarshal(raw, &object) == nil {
		for k, v := range object {
			flatten(under(path, k), v, into)
		}
		return
	}
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) == nil {
		flattenList(path, list, into)
		return
	}
	into[path] = text(raw)
}

func flattenList(path string, list []json.RawMessage, into map[string]string) {
	var plain []string
	for _, one := range list {
		var object map[string]json.RawMessage
		name := ""
		if json.Unmarshal(one, &object) == nil {
			name = nameOf(object)
		}
		switch to, ok := object["to"]; {
		case name == "":
			plain = append(plain, text(one))
		case ok: // a change of a setting
			into[under(path, name)] = text(to)
		default:
			flatten(under(path, name), one, into)
		}
	}
	if len(plain) > 0 {
		into[path] = strings.Join(plain, ", ")
	}
}

// nameOf is what tells an element of a list from the others.
func nameOf(object map[string]json.RawMessage) string {
	for _, k := range []string{"setting", "name", "id", "place", "slot"} {
		if v := text(object[k]); v != "" {
			return v
		}
	}
	return ""
}

func under(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}
