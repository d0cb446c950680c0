package config

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// check validates v against the part of JSON Schema that [Schema] uses, and fails on any keyword it does not know.
func check(t *testing.T, root, s map[string]any, v any, path string) []string {
	t.Helper()
	var bad []string
	say := func(format string, args ...any) { bad = append(bad, path+": "+fmt.Sprintf(format, args...)) }
	object, isObject := v.(map[string]any)
	for word, rule := range s {
		switch word {
		case "$schema", "$defs", "title", "description", "properties":
		case "$ref":
			name := strings.TrimPrefix(rule.(string), "#/$defs/")
			bad = append(bad, check(t, root, root["$defs"].(map[string]any)[name].(map[string]any), v, path)...)
		case "type":
			kinds := map[string]bool{"object": isObject}
			switch v := v.(type) {
			case string:
				kinds["string"] = true
			case bool:
				kinds["boolean"] = true
			case []any:
				kinds["array"] = true
			case float64:
				kinds["number"], kinds["integer"] = true, v == float64(int64(v))
			}
			if !kinds[rule.(string)] {
				say("want %s", rule)
			}
		case "const":
			if v != rule {
				say("want %v", rule)
			}
		case "enum":
			if !slices.Contains(rule.([]any), v) {
				say("want one of %v", rule)
			}
		case "pattern":
			if text, ok := v.(string); ok && !regexp.MustCompile(rule.(string)).MatchString(text) {
				say("want %s", rule)
			}
		case "minItems":
			if list, ok := v.([]any); ok && float64(len(list)) < rule.(float64) {
				say("want %v items", rule)
			}
		case "items":
			list, _ := v.([]any)
			for i, e := range list {
				bad = append(bad, check(t, root, rule.(map[string]any), e, fmt.Sprintf("%s[%d]", path, i))...)
			}
		case "required":
			for _, key := range rule.([]any) {
				if _, ok := object[key.(string)]; isObject && !ok {
					say("%s is missing", key)
				}
			}
		case "propertyNames":
			for key := range object {
				bad = append(bad, check(t, root, rule.(map[string]any), key, path+"."+key)...)
			}
		case "oneOf":
			matches := 0
			for _, one := range rule.([]any) {
				if len(check(t, root, one.(map[string]any), v, path)) == 0 {
					matches++
				}
			}
			if matches != 1 {
				say("matches %d of oneOf", matches)
			}
		case "additionalProperties":
			known, _ := s["properties"].(map[string]any)
			for key, e := range object {
				if p, ok := known[key]; ok {
					bad = append(bad, check(t, root, p.(map[string]any), e, path+"."+key)...)
				} else if rule == false {
					say("unknown key %s", key)
				} else {
					bad = append(bad, check(t, root, rule.(map[string]any), e, path+"."+key)...)
				}
			}
		default:
			t.Fatalf("the schema uses %q, which this test does not know", word)
		}
	}
	return bad
}

func schema(t *testing.T) map[string]any {
	t.Helper()
	b, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	var s map[string]any
	if err := json.Unmarshal(b, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// validate checks a YAML text as an editor does.
func validate(t *testing.T, s map[string]any, text string) []string {
	t.Helper()
	b, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	return check(t, s, s, v, "")
}

func TestTheSchemaIsOfDraft2020AndDescribesEveryKey(t *testing.T) {
	t.Parallel()
	s := schema(t)
	if s["$schema"] != "https://json-schema.org/draft/2020-12/schema" {
		t.Errorf("draft %v", s["$schema"])
	}
	types := map[string]any{"Config": s}
	for name, def := range s["$defs"].(map[string]any) {
		types[name] = def
	}
	if len(types) != 24 {
		t.Errorf("%d types", len(types))
	}
	for name, def := range types {
		for key, p := range def.(map[string]any)["properties"].(map[string]any) {
			text, _ := p.(map[string]any)["description"].(string)
			if len(text) < 10 || strings.Contains(text, "\n") {
				t.Errorf("%s.%s: description %q", name, key, text)
			}
		}
	}
	rds := types["RDS"].(map[string]any)["properties"].(map[string]any)
	if text := rds["ca_file"].(map[string]any)["description"].(string); !strings.HasPrefix(text, "ca_file holds") {
		t.Errorf("a description begins with the name in Go: %q", text)
	}
}

func TestTheSchemaAcceptsWhatLoadAccepts(t *testing.T) {
	t.Parallel()
	s := schema(t)
	for name, text := range map[string]string{
		"the starter":             string(Starter(nil)),
		"the example of it":       uncommented(t),
		"a starter of instances":  string(Starter(discoveries())),
		"the example of the docs": example(t),
		"what is declared":        fleet,
	} {
		if bad := validate(t, s, text); bad != nil {
			t.Errorf("%s: %q", name, bad)
		}
	}
}

func TestTheSchemaRefuses(t *testing.T) {
	t.Parallel()
	s := schema(t)
	for name, text := range map[string]string{
		"another version":        "version: 2\nenvironments: {}\n",
		"a missing key":          "version: 1\n",
		"an unknown key":         "version: 1\nenvironments: {}\nx: 1\n",
		"an unknown name":        "version: 1\nenvironments: {a b: {instances: {}}}\n",
		"a wrong type":           "version: 1\nenvironments: {a: {instances: {}, protected: 1}}\n",
		"no provider":            head + "        logins: {}\n",
		"two providers":          head + "        rds: {region: eu-west-1, identifier: a}\n        postgres: {url: \"postgres://db\"}\n",
		"an unknown access":      head + "        rds: {region: eu-west-1, identifier: a}\n        logins: {owner: {}}\n",
		"an unknown address":     head + "        cloudsql: {project: shop-dev, region: europe-west1, instance: a, address: x}\n",
		"a setting nobody knows": head + "        rds: {region: eu-west-1, identifier: a}\n        declare: {backup: 1}\n",
		"a region of no cloud":   head + "        rds: {region: europe, identifier: a}\n",
		"no database":            "version: 1\nenvironments: {a: {instances: {}, containers: {c: {databases: []}}}}\n",
	} {
		if bad := validate(t, s, text); bad == nil {
			t.Errorf("%s: accepted", name)
		}
		if problems(t, text) == nil {
			t.Errorf("%s: accepted by Load", name)
		}
	}
}
