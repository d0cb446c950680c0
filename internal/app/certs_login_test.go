package app

import (
	"strings"
	"testing"

	"dbops/internal/config"
	"dbops/internal/fault"
)

func TestADatabaseIsChosenWithAReason(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		databases map[string]*config.Database
		key, why  string
	}{
		"none":              {nil, "postgres", "names no database"},
		"the only one":      {map[string]*config.Database{"shop": {Instance: "main"}, "other": {Instance: "billing"}}, "shop", ""},
		"one that is owned": {map[string]*config.Database{"a": {Instance: "main"}, "b": {Instance: "main", Owner: "o"}}, "b", "the only one with an owner or migrations of a, b"},
		"one of its name":   {map[string]*config.Database{"a": {Instance: "main", Owner: "o"}, "main": {Instance: "main", Owner: "o"}}, "main", "called like the instance"},
		"just one of them":  {map[string]*config.Database{"b": {Instance: "main"}, "a": {Instance: "main"}}, "a", "the first by name of a, b; --database"},
	} {
		key, why := chooseDatabase(&config.Environment{Name: "prod", Databases: c.databases}, "main")
		if key != c.key || !strings.Contains(why, c.why) || (why == "") != (c.why == "") {
			t.Errorf("%s: %s, %q", name, key, why)
		}
	}
}

func TestAnUnknownDatabaseIsAMistakeOfUsage(t *testing.T) {
	t.Parallel()
	e := &config.Environment{Name: "prod", Databases: map[string]*config.Database{
		"shop": {Instance: "main", Name: "shop_v2"}, "orders": {Instance: "billing"},
	}}
	for word, want := range map[string]string{"shop": "shop", "shop_v2": "shop", "postgres": "postgres", "": ""} {
		if key, err := databaseKey(e, "main", word); key != want || err != nil {
			t.Errorf("%q is %q, %v", word, key, err)
		}
	}
	for word, hint := range map[string]string{"nope": "there are: shop, postgres", "shpo": `did you mean "shop"? There are: shop`, "orders": "it is on billing"} {
		_, err := databaseKey(e, "main", word)
		if fault.KindOf(err) != fault.Usage || !strings.Contains(fault.HintOf(err), hint) {
			t.Errorf("%q: %v (%s)", word, err, fault.HintOf(err))
		}
	}
}
