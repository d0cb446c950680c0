package backup

import (
	"encoding/json"
	"strconv"

	"github.com/google/uuid"

	"dbops/internal/state"
)

func itoa(n int) string { return strconv.Itoa(n) }

func outputOf(journal []state.Step, step string, into any) bool {
	for _, s := range journal {
		if s.Phase == state.Do && s.Name == step && s.State == state.StepDone {
			return json.Unmarshal(s.Output, into) == nil
		}
	}
	return false
}

// newNameOf is a name that nothing has.
func newNameOf(prefix string) string { return prefix + "-" + uuid.NewString()[:8] }
