package proxy

import (
	"maps"
	"strings"
	"testing"
)

func TestRuntimeParams(t *testing.T) {
	for name, try := range map[string]struct {
		sent   []param
		pinned map[string]string
		want   map[string]string
	}{
		"a client that says nothing gets a name": {
			nil, nil, map[string]string{"application_name": "dbops:me@here"},
		},
		"its own name stays": {
			[]param{{"Application_name", "psql"}}, nil, map[string]string{"application_name": "psql"},
		},
		"so does an empty one: somebody wanted it": {
			[]param{{"application_name", "psql"}, {"application_name", ""}}, nil, map[string]string{"application_name": ""},
		},
		"who, where and passwords are not passed on": {
			[]param{{"user", "u"}, {"database", "d"}, {"password", "p"}, {"passfile", "f"}, {"sslpassword", "s"}, {"USER", "x"}},
			nil,
			map[string]string{"application_name": "dbops:me@here"},
		},
		"the last of a name wins, whatever its case": {
			[]param{{"DateStyle", "ISO"}, {"datestyle", "SQL"}}, nil, map[string]string{"application_name": "dbops:me@here", "datestyle": "SQL"},
		},
		"pinned parameters win": {
			[]param{{"Statement_Timeout", "0"}, {"search_path", "x"}, {"application_name", "psql"}},
			map[string]string{"Statement_timeout": "5s", "application_name": "pinned"},
			map[string]string{"Statement_timeout": "5s", "application_name": "pinned", "search_path": "x"},
		},
		"pinned options come behind the client's": {
			[]param{{"options", "-c a=1"}},
			map[string]string{"options": " -c b=2 "},
			map[string]string{"application_name": "dbops:me@here", "options": "-c a=1 -c b=2"},
		},
		"a backslash at the end does not swallow them": {
			[]param{{"options", `-c a=1\\\`}},
			map[string]string{"options": "--b=2"},
			map[string]string{"application_name": "dbops:me@here", "options": `-c a=1\\ --b=2`},
		},
		"what pinned options set is no parameter of the client's": {
			[]param{{"b", "9"}, {"c_d", "9"}, {"e", "9"}, {"f", "ok"}},
			map[string]string{"options": "-c B=2 --c-d=3 -ce=4 -S 64"},
			map[string]string{"application_name": "dbops:me@here", "options": "-c B=2 --c-d=3 -ce=4 -S 64", "f": "ok"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := runtimeParams(try.sent, try.pinned, "dbops:me@here"); !maps.Equal(got, try.want) {
				t.Errorf("got  %q\nwant %q", got, try.want)
			}
		})
	}
}

func TestDefaultApplicationFitsIntoAName(t *testing.T) {
	if got := DefaultApplication(); !strings.HasPrefix(got, "dbops:") || !strings.Contains(got, "@") || len(got) > nameMax {
		t.Errorf("%q", got)
	}
}
