package play

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestThePaceScalesTheRealDuration(t *testing.T) {
	t.Parallel()
	for pace, want := range map[Pace]time.Duration{0: 0, 0.02: 6 * time.Second, 1: 5 * time.Minute, 2: 10 * time.Minute} {
		if got := pace.Of(5 * time.Minute); got != want {
			t.Errorf("%v: %v, not %v", pace, got, want)
		}
		synctest.Test(t, func(t *testing.T) {
			begun := time.Now()
			if err := pace.Sleep(t.Context(), 5*time.Minute); err != nil || time.Since(begun) != want {
				t.Errorf("%v: slept %v, %v", pace, time.Since(begun), err)
			}
		})
	}
}

func TestASleepEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		begun := time.Now()
		if err := Pace(1).Sleep(ctx, time.Hour); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != 3*time.Second {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
		for range 100 {
			if err := Pace(0).Sleep(ctx, time.Hour); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("a sleep of nothing, after the end: %v", err)
			}
		}
	})
}

func TestAFaultMatchesWhatItNames(t *testing.T) {
	t.Parallel()
	type call struct{ service, action, target string }
	there := call{"rds", "ModifyDBInstance", "shop-prod"}
	tests := map[string]struct {
		fault Fault
		call  call
		want  []Effect
		takes Effect
	}{
		"everything":           {Fault{Effect: Throttle}, there, Effects, Throttle},
		"its service":          {Fault{Service: "rds", Effect: Deny}, there, Effects, Deny},
		"another service":      {Fault{Service: "sts", Effect: Deny}, there, Effects, ""},
		"its action":           {Fault{Action: "ModifyDBInstance", Effect: Fail}, there, Effects, Fail},
		"another action":       {Fault{Action: "ModifyDB", Effect: Fail}, there, Effects, ""},
		"its target":           {Fault{Target: "shop-prod", Effect: Hang}, there, Effects, Hang},
		"another target":       {Fault{Target: "shop", Effect: Hang}, there, Effects, ""},
		"a call of no target":  {Fault{Target: "shop-prod", Effect: Hang}, call{"rds", "DescribeDBInstances", ""}, Effects, ""},
		"letters of any size":  {Fault{Service: "RDS", Action: "modifydbinstance", Target: "SHOP-prod", Effect: Drop}, there, Effects, Drop},
		"an effect in no turn": {Fault{Effect: Hang}, there, []Effect{Throttle, Drop}, ""},
		"an effect in turn":    {Fault{Effect: Drop}, there, []Effect{Throttle, Drop}, Drop},
		"no effect wanted":     {Fault{Effect: Drop}, there, nil, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var faults Faults
			faults.Add(test.fault)
			for range 3 { // without a count it stays
				if got := faults.Take(test.call.service, test.call.action, test.call.target, test.want...); got != test.takes {
					t.Errorf("%q, not %q", got, test.takes)
				}
			}
			if got := faults.List(); !slices.Equal(got, []Fault{test.fault}) {
				t.Errorf("%+v is left", got)
			}
		})
	}
}

func TestFaultsAreUsedUpInTheirOrder(t *testing.T) {
	t.Parallel()
	var faults Faults
	if got := faults.Take("rds", "", "", Effects...); got != "" || len(faults.List()) != 0 {
		t.Errorf("without any: %q", got)
	}
	faults.Add(Fault{Target: "other", Effect: Hang, Count: 1})
	faults.Add(Fault{Effect: Throttle, Count: 2})
	faults.Add(Fault{Effect: Drop})
	var took []Effect
	for range 4 {
		took = append(took, faults.Take("rds", "DescribeDBInstances", "shop", Effects...))
	}
	if want := []Effect{Throttle, Throttle, Drop, Drop}; !slices.Equal(took, want) {
		t.Errorf("%v, not %v", took, want)
	}
	left := faults.List()
	if len(left) != 2 || left[0].Effect != Hang || left[0].Count != 1 || left[1].Effect != Drop {
		t.Errorf("%+v is left", left)
	}
	left[0].Target = ""
	if got := faults.Take("rds", "", "shop", Hang); got != "" {
		t.Error("a change of the list changes the faults")
	}
	faults.Clear()
	if got := faults.Take("rds", "", "other", Effects...); got != "" || len(faults.List()) != 0 {
		t.Errorf("after they were taken back: %q", got)
	}
}

func TestACountIsUsedOnceEachByManyCallers(t *testing.T) {
	t.Parallel()
	var faults Faults
	faults.Add(Fault{Effect: Throttle, Count: 10})
	var took atomic.Int32
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			for range 5 {
				if faults.Take("rds", "a", "t", Throttle) == Throttle {
					took.Add(1)
				}
				faults.List()
			}
		})
	}
	callers.Wait()
	if took.Load() != 10 {
		t.Errorf("10 faults happened %d times", took.Load())
	}
}

type state struct {
	Name  string
	Count int
}

func TestWhatIsSavedIsLoaded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var got state
	if ok, err := Load(dir, "state.json", &got); ok || err != nil {
		t.Errorf("before there is anything: %v, %v", ok, err)
	}
	for _, want := range []state{{"a", 1}, {"a longer one", 22}, {"b", 3}} {
		if err := Save(dir, "state.json", want); err != nil {
			t.Fatal(err)
		}
		if ok, err := Load(dir, "state.json", &got); !ok || err != nil || got != want {
			t.Errorf("%+v, %v, %v", got, ok, err)
		}
	}
	info, err := os.Stat(filepath.Join(dir, "state.json"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if all, err := os.ReadDir(dir); err != nil || len(all) != 1 {
		t.Errorf("%v beside it, %v", all, err)
	}
}

func TestWithoutAFolderNothingIsKept(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := Save("", "state.json", state{"a", 1}); err != nil {
		t.Error(err)
	}
	got := state{"b", 2}
	if ok, err := Load("", "state.json", &got); ok || err != nil || got.Name != "b" {
		t.Errorf("%+v, %v, %v", got, ok, err)
	}
	if all, err := os.ReadDir("."); err != nil || len(all) != 0 {
		t.Errorf("%v is here, %v", all, err)
	}
}

func TestWhatCannotBeSavedLeavesWhatWasThere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	want := state{"kept", 1}
	if err := Save(dir, "state.json", want); err != nil {
		t.Fatal(err)
	}
	if err := Save(dir, "state.json", func() {}); err == nil || !strings.Contains(err.Error(), "state.json") {
		t.Errorf("what is no JSON: %v", err)
	}
	if err := Save(filepath.Join(dir, "not there"), "state.json", want); err == nil {
		t.Error("a folder that is not there was written to")
	}
	var got state
	if ok, err := Load(dir, "state.json", &got); !ok || err != nil || got != want {
		t.Errorf("%+v, %v, %v", got, ok, err)
	}
}

func TestATornFileIsAnErrorThatNamesIt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "state.json")
	for name, content := range map[string]string{
		"empty": "", "cut off": `{"Name": "a", "Cou`, "of another kind": `["a"]`, "zeros": "\x00\x00\x00\x00", "two": `{}{}`,
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		var got state
		if ok, err := Load(dir, "state.json", &got); ok || err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, %v", name, ok, err)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if ok, err := Load(dir, "state.json", &state{}); ok || err == nil {
		t.Errorf("a folder: %v, %v", ok, err)
	}
}
