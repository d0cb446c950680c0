package roles

import (
	"slices"
	"testing"
)

func TestAListOfNamesIsTakenApart(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		value string
		names []string
		sql   string
	}{
		{`"$user", public`, []string{"$user", "public"}, `E'$user', E'public'`},
		{`""`, []string{""}, `E''`},
		{``, nil, `''`},
		{`"a ""b"", c",d ,  "e"`, []string{`a "b", c`, "d", "e"}, `E'a "b", c', E'd', E'e'`},
		{`"it's \ "`, []string{`it's \ `}, `E'it''s \\ '`},
	} {
		if got := splitList(c.value); !slices.Equal(got, c.names) {
			t.Errorf("%s: %q", c.value, got)
		}
		if got := valueSQL("search_path", c.value); got != c.sql {
			t.Errorf("%s: %s", c.value, got)
		}
	}
	if got := valueSQL("work_mem", "a, b"); got != "E'a, b'" {
		t.Errorf("a plain value is one: %s", got)
	}
}

func TestLocalesOfOneMeaningAreAlike(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b string
		same bool
	}{{"en_US.UTF-8", "en_US.utf8", true}, {"C", "C", true}, {"C", "POSIX", false}, {"en_US.UTF-8", "en_GB.UTF-8", false}, {"C", "C.UTF-8", false}} {
		if sameLocale(c.a, c.b) != c.same {
			t.Errorf("%s, %s: want %t", c.a, c.b, c.same)
		}
	}
	if !sameTag("de_AT", "de-AT") || sameTag("de", "de-AT") {
		t.Error("tags")
	}
}
