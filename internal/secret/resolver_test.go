package secret

import (
	"context"
	"errors"
	"sync"
	"testing"

	"dbops/internal/fault"
)

func TestEnv(t *testing.T) {
	t.Parallel()
	env := Env{Lookup: func(name string) (string, bool) {
		s, ok := map[string]string{"PW": hidden + "\n", "EMPTY": ""}[name]
		return s, ok
	}}
	v, err := env.Get(t.Context(), Ref{Scheme: SchemeEnv, Name: "PW"})
	if err != nil || !v.Equal(hidden+"\n") {
		t.Errorf("a variable is not taken as it is: %v", err)
	}
	for _, name := range []string{"EMPTY", "MISSING"} {
		if _, err := env.Get(t.Context(), Ref{Scheme: SchemeEnv, Name: name}); fault.KindOf(err) != fault.NotFound {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEnvReadsTheProcess(t *testing.T) {
	t.Setenv("DBOPS_TEST_SECRET", hidden)
	if v, err := (Env{}).Get(t.Context(), Ref{Scheme: SchemeEnv, Name: "DBOPS_TEST_SECRET"}); err != nil || !v.Equal(hidden) {
		t.Error(err)
	}
}

type fixed string

func (f fixed) Get(context.Context, Ref) (Value, error) { return New(string(f)), nil }

func TestAResolverOpensASourceWhenItIsNeededAndOnce(t *testing.T) {
	t.Parallel()
	opened := map[string]int{}
	r := NewResolver(map[string]Open{
		SchemeAWS: func(context.Context) (Source, error) { opened[SchemeAWS]++; return fixed("aws"), nil },
		SchemeGCP: func(context.Context) (Source, error) { opened[SchemeGCP]++; return fixed("gcp"), nil },
	})
	if len(opened) != 0 {
		t.Fatal("a source was opened before it was needed")
	}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if v, err := r.Get(t.Context(), Ref{Scheme: SchemeAWS, Name: "a"}); err != nil || !v.Equal("aws") {
				t.Errorf("another source answered: %v", err)
			}
		})
	}
	wg.Wait()
	if opened[SchemeAWS] != 1 || opened[SchemeGCP] != 0 {
		t.Errorf("opened %v", opened)
	}
}

func TestAResolverTriesAgainAfterASourceCouldNotBeOpened(t *testing.T) {
	t.Parallel()
	down := errors.New("not logged in")
	failures := 1
	r := NewResolver(map[string]Open{SchemeAWS: func(context.Context) (Source, error) {
		if failures--; failures >= 0 {
			return nil, down
		}
		return fixed("aws"), nil
	}})
	if _, err := r.Get(t.Context(), Ref{Scheme: SchemeAWS, Name: "a"}); !errors.Is(err, down) {
		t.Errorf("first: %v", err)
	}
	if _, err := r.Get(t.Context(), Ref{Scheme: SchemeAWS, Name: "a"}); err != nil {
		t.Errorf("second: %v", err)
	}
}

func TestAResolverHasFilesAndVariablesOfItsOwn(t *testing.T) {
	t.Setenv("DBOPS_TEST_SECRET", hidden)
	r := NewResolver(nil)
	for _, ref := range []Ref{
		{Scheme: SchemeEnv, Name: "DBOPS_TEST_SECRET"},
		{Scheme: SchemeFile, Name: write(t, t.TempDir(), hidden, 0o600)},
	} {
		if v, err := r.Get(t.Context(), ref); err != nil || !v.Equal(hidden) {
			t.Errorf("%s: %v", ref, err)
		}
	}
	if _, err := r.Get(t.Context(), Ref{Scheme: SchemeAWS, Name: "a"}); fault.KindOf(err) != fault.Config {
		t.Errorf("a scheme nobody serves: %v", err)
	}
}
