package op

import (
	"encoding/json"
	"testing"
)

func TestFactsThatDifferMayMeanTheSamePlan(t *testing.T) {
	type facts struct {
		Name string
		Rows int
	}
	k := Operation[struct{}, facts]{Same: func(planned, now facts) bool {
		return planned.Name == now.Name && (planned.Rows == 0) == (now.Rows == 0)
	}}.AsKind()
	raw := func(f facts) json.RawMessage {
		b, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	planned := raw(facts{"a", 5})
	for _, c := range []struct {
		now  facts
		want bool
	}{{facts{"a", 5}, true}, {facts{"a", 6}, true}, {facts{"a", 0}, false}, {facts{"b", 5}, false}} {
		if got := sameFacts(k, planned, raw(c.now)); got != c.want {
			t.Errorf("%+v: %v", c.now, got)
		}
	}
	if strict := (Operation[struct{}, facts]{}).AsKind(); sameFacts(strict, planned, raw(facts{"a", 6})) {
		t.Error("facts differ, and the operation says nothing of them")
	}
}
