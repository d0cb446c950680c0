package op

import (
	"strings"
	"testing"
)

func TestADifferenceIsToldInTheWordsOfThePlan(t *testing.T) {
	t.Parallel()
	words := map[string]string{"live": "", "last": "last applied", "pitr": "backups.pitr", "a.b": "the b of a"}
	for _, c := range []struct{ name, before, after, want string }{
		{"a value", `{"zone":"a"}`, `{"zone":"b"}`, "zone was a, is b"},
		{"one that is gone, and one that came", `{"x":"1","y":null}`, `{"y":2}`, "x was 1, is nothing; y was nothing, is 2"},
		{"an empty list and none", `{"x":[]}`, `{}`, ""},
		{"a beginning that is left out", `{"live":{"deletion_protection":false}}`, `{"live":{"deletion_protection":true}}`, "deletion_protection was false, is true"},
		{"a beginning that has a word", `{"last":{"pitr":"true"}}`, `{"last":{"pitr":"false"}}`, "last applied pitr was true, is false"},
		{"a setting that has one", `{"pitr":true}`, `{"pitr":false}`, "backups.pitr was true, is false"},
		{"the longest beginning", `{"a":{"b":{"c":1},"d":1}}`, `{"a":{"b":{"c":2},"d":2}}`, "the b of a c was 1, is 2; a.d was 1, is 2"},
		{"a list of words", `{"zones":["a","b"]}`, `{"zones":["a"]}`, "zones was a, b, is a"},
		{
			"pending changes", `{"pending":[{"setting":"class","to":"small"}]}`, `{"pending":[{"setting":"class","from":"x","to":"big"},{"setting":"availability","to":"zonal"}]}`,
			"pending.availability was nothing, is zonal; pending.class was small, is big",
		},
		{
			"a list of things with names", `{"containers":[{"name":"api","slots":[{"slot":"a","in_use":true}]}]}`, `{"containers":[{"name":"api","slots":[{"slot":"a"}]}]}`,
			"containers.api.slots.a.in_use was true, is nothing",
		},
		{"a list of things without", `{"x":[{"v":1}]}`, `{"x":[{"v":2}]}`, `x was {"v":1}, is {"v":2}`},
		{
			"too many", `{}`, `{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1}`,
			"a was nothing, is 1; b was nothing, is 1; c was nothing, is 1; d was nothing, is 1; e was nothing, is 1; f was nothing, is 1; g was nothing, is 1",
		},
		{
			"more than fit into two lines", `{}`, `{"a":"0123456789012345678901234567890123456789","b":"0123456789012345678901234567890123456789","c":"0123456789012345678901234567890123456789","d":1}`,
			"a was nothing, is 0123456789012345678901234567890123456789; b was nothing, is 0123456789012345678901234567890123456789; and 2 more",
		},
		{
			"long values that differ at their ends", `{"rule":"` + strings.Repeat("x", 300) + `old"}`, `{"rule":"` + strings.Repeat("x", 300) + `new` + strings.Repeat("y", 300) + `"}`,
			"rule was ...xxxxxxxxxxold, is ...xxxxxxxxxxnewyyyyyyyyyyyyyyyyyyyyyyyyyyy...",
		},
	} {
		if got := difference([]byte(c.before), []byte(c.after), words); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
