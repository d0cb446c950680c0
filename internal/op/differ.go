package op

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// difference says which fields of two JSON objects differ, with their values, for a person.
func difference(before, after json.RawMessage) string {
	x, y := map[string]string{}, map[string]string{}
	flatten("", before, x)
	flatten("", after, y)
	var out []string
	for _, k := range slices.Sorted(maps.Keys(x)) {
		if v, ok := y[k]; !ok || v != x[k] {
			out = append(out, fmt.Sprintf("%s was %s, is %s", k, x[k], orNothing(v)))
		}
	}
	for _, k := range slices.Sorted(maps.Keys(y)) {
		if _, ok := x[k]; !ok {
			out = append(out, fmt.Sprintf("%s was nothing, is %s", k, y[k]))
		}
	}
	if len(out) > 5 {
		out = append(out[:5], fmt.Sprintf("and %d more", len(out)-5))
	}
	return strings.Join(out, "; ")
}

func orNothing(v string) string {
	if v == "" {
		return "nothing"
	}
	return v
}

func flatten(path string, raw json.RawMessage, into map[string]string) {
	var object map[string]json.RawMessage
	if json.Unmarshal(raw, &object) != nil || object == nil {
		into[path] = strings.Trim(string(raw), `"`)
		return
	}
	for k, v := range object {
		p := k
		if path != "" {
			p = path + "." + k
		}
		flatten(p, v, into)
	}
}
