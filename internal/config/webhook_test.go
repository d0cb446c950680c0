package config

import (
	"slices"
	"testing"
)

func TestWebhooks(t *testing.T) {
	t.Parallel()
	const one = head + "        postgres: {url: \"postgres://127.0.0.1/?sslmode=disable\"}\nnotifications:\n  on-call:\n"
	cfg, err := Load(write(t, one+"    url_secret: env:SLACK_URL\n    format: slack\n    on: [gate, failure]\n"))
	if err != nil {
		t.Fatal(err)
	}
	w := cfg.Notifications["on-call"]
	if !w.Wants("anything", OnGate) || w.Wants("anything", OnFinished) {
		t.Errorf("it wants %+v", w.On)
	}
	w.Environments = []string{"prod"}
	if !w.Wants("prod", OnGate) || w.Wants("staging", OnGate) {
		t.Errorf("it wants that of %+v", w.Environments)
	}
	const at = "notifications.on-call"
	for text, want := range map[string]string{
		"    url: https://hooks.example.com/dbops\n":               "",
		"    url: http://127.0.0.1:9/dbops\n":                      "",
		"    {format: pagerduty, key_secret: env:PAGERDUTY_KEY}\n": "",
		"    on: [gate]\n":                                                   "8:3: " + at + ": it does not say where to post; write url_secret: PLACE, or url: https://...",
		"    url: hooks.example.com\n":                                       "9:10: " + at + ".url: this is not the URL of a webhook; write it as in https://hooks.example.com/dbops",
		"    url: http://hooks.example.com/x\n":                              "9:10: " + at + ".url: http would send what happens to production in the clear; write https://",
		"    {url: https://hooks.slack.com/services/T/B/x, format: slack}\n": "9:11: " + at + ".url: this URL holds a token; dbops.yaml must hold no secrets; keep it in a secret store, and name the place: url_secret: env:NAME",
		"    url: https://hooks.example.com/x?token=y\n":                     "9:10: " + at + ".url: this URL holds a token; dbops.yaml must hold no secrets; keep it in a secret store, and name the place: url_secret: env:NAME",
		"    url_secret: https://hooks.example.com/x\n":                      "9:17: " + at + ".url_secret: this does not name the place of a secret; write aws-sm:NAME, gcp-sm:projects/PROJECT/secrets/NAME, file:PATH or env:NAME; if this was the secret itself, change it",
		"    {url: https://a.example, url_secret: env:X}\n":                  "8:3: " + at + ": url and url_secret do not go together; keep url_secret, if it holds a token",
		"    {format: pagerduty}\n":                                          "8:3: " + at + ": key_secret is missing",
		"    {format: slck, url_secret: env:X}\n":                            "9:14: " + at + `.format: unknown format "slck"; did you mean "slack"?`,
		"    {format: slack, url_secret: env:X, key_secret: env:Y}\n":        "9:40: " + at + ".key_secret: slack has no key but its URL; delete it",
		"    {url_secret: env:X, on: [gates]}\n":                             "9:30: " + at + `.on: unknown occasion "gates"; did you mean "gate"?`,
		"    {url_secret: env:X, environments: [nowhere]}\n":                 "9:40: " + at + `.environments: there is no environment "nowhere"`,
		"    {url_secret: env:X, onn: [gate]}\n":                             "9:25: " + at + `: unknown key "onn"; did you mean "on"?`,
	} {
		wants := []string{want}
		if want == "" {
			wants = nil
		}
		if got := problems(t, one+text); !slices.Equal(got, wants) {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}
