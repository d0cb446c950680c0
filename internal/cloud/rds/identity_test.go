package rds

import (
	"net/http"
	"testing"

	"dbops/internal/fault"
)

func TestSTSIsWhereTheConfigurationSays(t *testing.T) {
	who := func(o Options) string {
		t.Helper()
		host := ""
		o.Region = "eu-west-1"
		o.HTTPClient = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			host = r.URL.Host
			return nil, http.ErrAbortHandler
		})}
		p, err := New(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Identity(t.Context()); err == nil {
			t.Error("nobody answered")
		}
		return host
	}
	t.Setenv("AWS_MAX_ATTEMPTS", "1")
	if got := who(Options{}); got != "sts.eu-west-1.amazonaws.com" {
		t.Errorf("by default it is at %s", got)
	}
	if got := who(Options{Endpoint: "http://emulator.test"}); got != "emulator.test" {
		t.Errorf("with an emulator it is at %s", got)
	}
	t.Setenv("AWS_ENDPOINT_URL_STS", "http://sts.test")
	if got := who(Options{Endpoint: "http://emulator.test"}); got != "sts.test" {
		t.Errorf("where the environment names it, it is at %s", got)
	}
}

func TestWithoutARegionNobodyIsAsked(t *testing.T) {
	t.Parallel()
	p, _ := provider(t, nil)
	p.aws.Config.Region = ""
	if _, err := p.Identity(t.Context()); fault.KindOf(err) != fault.Config {
		t.Errorf("got %v", err)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
