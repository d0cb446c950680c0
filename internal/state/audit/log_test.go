package audit

import "testing"

func TestWhatIsAppendedVerifies(t *testing.T) {
	t.Parallel()
	for name, store := range stores() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := open(t, store(t), keysIn(t.TempDir()))
			for range 20 {
				add(t, l, step("run-1", "modify")...)
			}
			intent := step("run-2", "reboot")[0]
			written := add(t, l, intent)
			r := verify(t, l)
			if !r.OK() || r.Size != 42 || len(r.Signers) != 1 || r.Signers[0] != "alice@laptop" {
				t.Errorf("%+v", r)
			}
			if r.Open != 1 || r.OpenIntents[0].Seq != written[0].Seq || r.OpenIntents[0].Run != "run-2" {
				t.Errorf("open intents %+v, want %+v", r.OpenIntents, written)
			}
			if r, err := l.Verify(t.Context(), 17); err != nil || !r.OK() {
				t.Errorf("since 17: %+v, %v", r, err)
			}
		})
	}
}
