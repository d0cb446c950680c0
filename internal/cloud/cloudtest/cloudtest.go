// Package cloudtest checks that a provider keeps the promises of cloud.Provider.
//
// Every provider runs the same suite: the two clouds against the played ones, a plain server against a real one. What only one of
// them does is tested beside it.
package cloudtest

import (
	"context"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"dbops/internal/cloud"
	"dbops/internal/fault"
)

// prompt is how long an answer may take that nobody waits for any more.
const prompt = 5 * time.Second

// Run checks the provider that open returns, with the name of an instance that is available, as often as the suite needs a new one.
func Run(t *testing.T, open func(t *testing.T) (p cloud.Provider, known string)) {
	t.Helper()
	p, known := open(t)
	t.Run("it describes an instance", func(t *testing.T) {
		live := get(t, p, known)
		if live.Name != known || live.State != cloud.Available {
			t.Errorf("it describes %s, which is %s, and not %s", live.Name, live.State, known)
		}
		if live.Major == 0 || len(live.Endpoints) == 0 {
			t.Errorf("it does not know the version (%q) or the address (%v)", live.EngineVersion, live.Endpoints)
		}
		valid(t, live)
	})
	t.Run("it lists what it describes", func(t *testing.T) {
		all, err := p.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		names := make([]string, len(all))
		for i, live := range all {
			names[i] = live.Name
			valid(t, live)
		}
		if !slices.IsSorted(names) || len(slices.Compact(slices.Clone(names))) != len(names) {
			t.Errorf("the names are not in order, or not unique: %v", names)
		}
		i := slices.Index(names, known)
		if i < 0 {
			t.Fatalf("%s is not among %v", known, names)
		}
		same(t, get(t, p, known), all[i])
	})
	if b, ok := p.(cloud.Batcher); ok {
		t.Run("a batch describes what it describes", func(t *testing.T) { batched(t, b, get(t, p, known)) })
	}
	t.Run("an instance that does not exist is not found", func(t *testing.T) {
		_, err := p.Get(t.Context(), "dbops-no-such-instance")
		failed(t, err, fault.NotFound)
		if !strings.Contains(err.Error(), "dbops-no-such-instance") {
			t.Errorf("the error does not say which: %v", err)
		}
	})
	t.Run("no name is no instance", func(t *testing.T) {
		_, err := p.Get(t.Context(), "")
		failed(t, err, fault.Invalid)
	})
	t.Run("it may be asked by many at once", func(t *testing.T) {
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if _, err := p.Get(t.Context(), known); err != nil {
					t.Error(err)
				}
				if _, err := p.List(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	})
	t.Run("an answer belongs to who asked", func(t *testing.T) {
		first := get(t, p, known)
		want := marshal(t, stable(first))
		if first.Labels == nil {
			first.Labels = map[string]string{}
		}
		first.Labels["dbops"], first.Name, first.Raw = "changed", "changed", nil
		first.Endpoints[0].Host = "changed"
		if got := marshal(t, stable(get(t, p, known))); got != want {
			t.Errorf("what one caller changed, another sees:\n%s\nwant\n%s", got, want)
		}
	})
	t.Run("who does not wait any more gets no answer", func(t *testing.T) {
		for kind, ctx := range map[fault.Kind]context.Context{fault.Interrupted: cancelled(t), fault.Unavailable: expired(t)} {
			start := time.Now()
			_, err := p.Get(ctx, known)
			failed(t, err, kind)
			_, err = p.List(ctx)
			failed(t, err, kind)
			if took := time.Since(start); took > prompt {
				t.Errorf("it took %s to notice", took)
			}
		}
	})
	t.Run("a provider is as good as another", func(t *testing.T) {
		other, name := open(t)
		same(t, get(t, p, known), get(t, other, name))
	})
}

// batched checks a batch against what the provider says of one instance.
func batched(t *testing.T, b cloud.Batcher, want *cloud.Instance) {
	t.Helper()
	batch := b.Batch(t.Context(), want.Name, "dbops-no-such-instance")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			live, err := batch.Get(t.Context(), want.Name)
			if err != nil {
				t.Error(err)
				return
			}
			if live.TLS.Mode != want.TLS.Mode {
				t.Errorf("TLS is %q, not %q", live.TLS.Mode, want.TLS.Mode)
			}
			same(t, want, live)
			if live.Labels != nil { // it is whoever asked for it
				live.Labels["dbops"], live.Endpoints[0].Host = "changed", "changed"
			}
		})
	}
	wg.Wait()
	_, err := batch.Get(t.Context(), "dbops-no-such-instance")
	failed(t, err, fault.NotFound)
	for kind, ctx := range map[fault.Kind]context.Context{fault.Interrupted: cancelled(t), fault.Unavailable: expired(t)} {
		_, err := b.Batch(ctx, want.Name).Get(ctx, want.Name)
		failed(t, err, kind)
		_, err = b.Batch(ctx, want.Name).Certificates(ctx, want.Name)
		failed(t, err, kind)
	}
}

func get(t *testing.T, p cloud.Provider, name string) *cloud.Instance {
	t.Helper()
	live, err := p.Get(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return live
}

// valid checks what holds for every instance of every provider.
func valid(t *testing.T, live *cloud.Instance) {
	t.Helper()
	complain := func(what string, v any) { t.Helper(); t.Errorf("%s: %s %v", live.Name, what, v) }
	if !slices.Contains([]cloud.Kind{cloud.RDS, cloud.CloudSQL, cloud.Postgres}, live.Provider) {
		complain("unknown provider", live.Provider)
	}
	if !slices.Contains([]cloud.State{
		cloud.Available, cloud.Creating, cloud.Modifying, cloud.Restarting, cloud.Stopped, cloud.Deleting, cloud.Failed, cloud.Unknown,
	}, live.State) {
		complain("unknown state", live.State)
	}
	if !slices.Contains([]cloud.Availability{"", cloud.Zonal, cloud.Regional}, live.Availability) {
		complain("unknown availability", live.Availability)
	}
	if live.EngineVersion == "" || live.Major != cloud.Major(live.EngineVersion) || live.RawState == "" {
		complain("a version or a state that is not said:", []any{live.EngineVersion, live.Major, live.RawState})
	}
	for _, e := range live.Endpoints {
		if e.Host == "" || e.Port < 1 || e.Port > 65535 || strings.HasSuffix(e.Host, ".") {
			complain("an endpoint nobody can connect to:", e)
		}
	}
	for _, at := range []time.Time{live.Created, live.TLS.Expires, live.Backups.EarliestRestorable, live.Backups.LatestRestorable} {
		if at.Location() != time.UTC {
			complain("a time that is not in UTC:", at)
		}
	}
	var raw map[string]any
	if err := json.Unmarshal(live.Raw, &raw); err != nil || len(raw) == 0 {
		complain("the provider's own description is no JSON object:", err)
	}
	var again cloud.Instance
	if err := json.Unmarshal([]byte(marshal(t, live)), &again); err != nil {
		complain("its JSON cannot be read:", err)
	}
	want := *live
	want.TLS.CACert, want.Raw, again.Raw = "", nil, nil
	if !reflect.DeepEqual(again, want) {
		complain("its JSON says something else:", again)
	}
}

// stable is what does not change by itself from one moment to the next.
func stable(live *cloud.Instance) cloud.Instance {
	s := *live
	s.Raw, s.Backups.EarliestRestorable, s.Backups.LatestRestorable = nil, time.Time{}, time.Time{}
	s.Connections = 0 // one that was closed may be counted for a while
	return s
}

// same checks that two descriptions of one instance agree, where a list may know less than the answer about one.
func same(t *testing.T, one, listed *cloud.Instance) {
	t.Helper()
	a, b := stable(one), stable(listed)
	if b.TLS.Mode == "" {
		a.TLS.Mode, a.TLS.Required = "", false
	}
	if x, y := marshal(t, a), marshal(t, b); x != y {
		t.Errorf("two descriptions differ:\n%s\n%s", x, y)
	}
}

func marshal(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// failed checks that err is a fault of that kind on one line.
func failed(t *testing.T, err error, kind fault.Kind) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %s", kind)
	}
	if got := fault.KindOf(err); got != kind {
		t.Errorf("it is %s, want %s: %v", got, kind, err)
	}
	if strings.ContainsAny(err.Error(), "\n\r\t") {
		t.Errorf("the error is not one line: %q", err)
	}
}

func cancelled(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

func expired(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	t.Cleanup(cancel)
	return ctx
}
