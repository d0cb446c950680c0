package overview

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"dbops/internal/app"
	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/tui/theme"
)

var now = time.Date(2026, 11, 21, 3, 12, 0, 0, time.UTC)

func healthy() *cloud.Instance {
	return &cloud.Instance{
		Provider: cloud.RDS, Region: "eu-west-1", EngineVersion: "16.4", State: cloud.Available, DeletionProtection: true,
		Backups: cloud.Backups{Enabled: true, PITR: true, RetentionDays: 7}, TLS: cloud.TLS{Expires: now.Add(400 * 24 * time.Hour)},
	}
}

func TestFindings(t *testing.T) {
	day := 24 * time.Hour
	for name, c := range map[string]struct {
		change func(*Known)
		want   string // marks and texts, joined
	}{
		"a healthy instance has none":         {func(*Known) {}, ""},
		"a certificate that ends in a month":  {func(k *Known) { k.Live.TLS.Expires = now.Add(30 * day) }, ""},
		"one that ends sooner":                {func(k *Known) { k.Live.TLS.Expires = now.Add(29*day + 23*time.Hour) }, "! certificate expires in 29 days (2026-12-21)"},
		"one that ends in days":               {func(k *Known) { k.Live.TLS.Expires = now.Add(26 * time.Hour) }, "x certificate expires in 1 day (2026-11-22)"},
		"one that has ended":                  {func(k *Known) { k.Live.TLS.Expires = now.Add(-time.Hour) }, "x certificate expired 1 day ago (2026-11-21)"},
		"no backups":                          {func(k *Known) { k.Live.Backups.Enabled = false }, "! automatic backups are off"},
		"no backups where it does not matter": {func(k *Known) { k.Live.Backups.Enabled, k.Protected = false, false }, ""},
		"no deletion protection":              {func(k *Known) { k.Live.DeletionProtection = false }, "! deletion protection is off"},
		"a plain server tells nothing of backups": {func(k *Known) {
			k.Live.Provider, k.Live.Backups, k.Live.DeletionProtection = cloud.Postgres, cloud.Backups{}, false
		}, ""},
		"pending changes": {func(k *Known) {
			k.Live.Pending = []cloud.Change{{Setting: "class", From: "a", To: "b"}, {Setting: "port", To: "1"}}
		}, "~ 2 changes pending: class a -> b, port -> 1"},
		"a failed instance":    {func(k *Known) { k.Live.State, k.Live.RawState = cloud.Failed, "storage-full" }, "x failed (storage-full)"},
		"a stopped one":        {func(k *Known) { k.Live.State = cloud.Stopped }, "! stopped"},
		"one that is not read": {func(k *Known) { k.Live, k.Err = nil, errors.New("no route") }, "x no route"},
		"what was known before a failure still counts": {func(k *Known) {
			k.Err = errors.New("no route")
			k.Live.Backups.Enabled = false
		}, "x no route; ! automatic backups are off"},
	} {
		t.Run(name, func(t *testing.T) {
			k := Known{Instance: app.Instance{Environment: "prod", Protected: true, Name: "main"}, Live: healthy(), At: now}
			c.change(&k)
			var got []string
			for _, f := range Findings([]Known{k}, now) {
				got = append(got, theme.Mark(f.Role)+" "+f.Text)
			}
			if s := strings.Join(got, "; "); s != c.want {
				t.Errorf("got %q, want %q", s, c.want)
			}
		})
	}
}

func TestTheWorstComesFirstAndProtectedEnvironmentsBeforeOthers(t *testing.T) {
	mk := func(env string, protected bool, days int) Known {
		l := healthy()
		l.TLS.Expires = now.Add(time.Duration(days)*24*time.Hour + time.Hour)
		return Known{Instance: app.Instance{Environment: env, Protected: protected, Name: "main"}, Live: l}
	}
	var got []string
	for _, f := range Findings([]Known{mk("dev", false, 3), mk("prod", true, 20), mk("staging", false, 20), mk("prod", true, 2)}, now) {
		got = append(got, fmt.Sprint(theme.Mark(f.Role), f.Environment))
	}
	if s := strings.Join(got, " "); s != "xprod xdev !prod !staging" {
		t.Error(s)
	}
}

func TestHintOfAMissingPermission(t *testing.T) {
	if h := Hint(fault.Newf(fault.Denied, "read", "no").Missing("rds:Describe")); h != "the permission rds:Describe is missing" {
		t.Error(h)
	}
	if h := Hint(fault.Newf(fault.Denied, "read", "no").Missing("rds:Describe").Hint("log in")); h != "log in" {
		t.Error(h)
	}
}

func TestKnownKeepsTheLastGoodAnswer(t *testing.T) {
	good := app.Status{Instance: app.Instance{Environment: "prod", Name: "main"}, Live: healthy(), At: now}
	k := Known{}.With(good)
	bad := app.Status{Instance: good.Instance, Err: errors.New("no"), At: now.Add(time.Minute)}
	k = k.With(bad)
	if k.Live == nil || !k.At.Equal(now) || !k.Old() || k.StateCell().Text != "x error" {
		t.Errorf("%+v", k)
	}
	if k = k.With(good); k.Err != nil || k.Old() {
		t.Error("a good answer does not end the failure")
	}
	began := now.Add(time.Hour)
	if k = k.Unheard(began, began, errors.New("silent")); k.Err == nil {
		t.Error("silence is no failure")
	}
	if k = k.With(app.Status{Instance: good.Instance, Live: healthy(), At: began}).Unheard(began, began, errors.New("silent")); k.Err != nil {
		t.Error("an answer counts as silence")
	}
}

func TestWords(t *testing.T) {
	for in, want := range map[string]string{
		"14.23": "14.23", "POSTGRES_15": "15", "POSTGRES_9_6": "9.6", "16.4 (Debian 16.4-1.pgdg120+1)": "16.4", "": "",
	} {
		if got := version(in); got != want {
			t.Errorf("version %q: %q", in, got)
		}
	}
	for want, i := range map[string]*cloud.Instance{
		"regional b+c": {Availability: cloud.Regional, Region: "europe-west1", Zone: "europe-west1-b", SecondaryZone: "europe-west1-c"},
		"zonal a":      {Availability: cloud.Zonal, Region: "eu-west-1", Zone: "eu-west-1a"},
		"":             {},
	} {
		if got := Availability(i); got != want {
			t.Errorf("availability %q, want %q", got, want)
		}
	}
	for err, want := range map[error]string{
		fault.Newf(fault.Denied, "", "x"):      "x denied",
		fault.Newf(fault.NotFound, "", "x"):    "x not found",
		fault.Newf(fault.Throttled, "", "x"):   "x throttled",
		fault.Newf(fault.Unavailable, "", "x"): "x unreachable",
		fault.Newf(fault.Invalid, "", "x"):     "x error",
	} {
		if got := (Known{Err: err}).StateCell().Text; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestBlocksTellWhatIsKnownAndMuteWhatIsOld(t *testing.T) {
	k := Known{Instance: app.Instance{Environment: "prod", Name: "main"}, Live: healthy(), At: now.Add(-time.Minute)}
	k.Live.Endpoints = []cloud.Endpoint{{Kind: cloud.EndpointPrivate, Host: "::1", Port: 5432}}
	if k.Endpoint() != "[::1]:5432" {
		t.Errorf("endpoint %q", k.Endpoint())
	}
	if b := Failure(k, now); len(b.Facts) != 0 {
		t.Error("a failure without one")
	}
	k.Err = fault.Newf(fault.Denied, "describe prod/main", "expired").Hint("log in")
	b := Failure(k, now)
	if len(b.Facts) != 3 || b.Facts[1].Value != "log in" || b.Facts[2].Value != "as it was 1m ago" {
		t.Errorf("%+v", b.Facts)
	}
	for _, b := range Blocks(k, now) {
		for _, f := range b.Facts {
			if b.Title != titleConfigured && f.Role != theme.Muted {
				t.Errorf("%s %s is old and not muted", b.Title, f.Label)
			}
		}
	}
}
