package config

import (
	"net/url"
	"slices"
)

// The formats of a webhook.
const (
	FormatDbops     = "dbops"
	FormatSlack     = "slack"
	FormatPagerDuty = "pagerduty"
)

// What a webhook is told of.
const (
	OnGate     = "gate"     // a run waits for a person at a gate
	OnApproval = "approval" // somebody asks for an approval
	OnFailure  = "failure"  // a step failed, and a person decides; or a run ended without what it was for
	OnFinished = "finished" // a run did what it was for
)

func formats() []string { return []string{FormatDbops, FormatSlack, FormatPagerDuty} }

func occasions() []string { return []string{OnGate, OnApproval, OnFailure, OnFinished} }

// Wants tells whether it is told of something in an environment.
func (w *Webhook) Wants(environment, occasion string) bool {
	return (len(w.Environments) == 0 || slices.Contains(w.Environments, environment)) && (len(w.On) == 0 || slices.Contains(w.On, occasion))
}

func (c *checker) notifications(cfg *Config, s spot) {
	if !c.has(s, "notifications", isMapping, false) {
		return
	}
	all := s.down("notifications")
	for _, p := range all.node.pairs {
		at := all.down(p.key)
		c.name(at, "notification", p.key)
		if w := cfg.Notifications[p.key]; w != nil && at.node.kind == isMapping {
			c.webhook(cfg, w, at)
		}
	}
}

func (c *checker) webhook(cfg *Config, w *Webhook, s spot) {
	if c.has(s, "format", isText, false) {
		c.oneOf(s.down("format"), "format", w.Format, formats())
	}
	open, secret := c.has(s, "url", isText, false), c.has(s, "url_secret", isText, false)
	switch {
	case open && secret:
		c.report.atKey(s, "keep url_secret, if it holds a token", "url and url_secret do not go together")
	case !open && !secret && w.Format != FormatPagerDuty:
		c.report.atKey(s, "write url_secret: PLACE, or url: https://...", "it does not say where to post")
	}
	if open {
		c.webhookURL(w, s.down("url"))
	}
	if secret {
		c.place(s.down("url_secret"), w.URLSecret)
	}
	if c.has(s, "key_secret", isText, w.Format == FormatPagerDuty) {
		c.place(s.down("key_secret"), w.KeySecret)
		if w.Format == FormatSlack {
			c.report.atKey(s.down("key_secret"), "delete it", "slack has no key but its URL")
		}
	}
	if c.has(s, "environments", isList, false) {
		for i, name := range w.Environments {
			if cfg.Environments[name] == nil {
				c.report.atValue(s.down("environments").item(i), didYouMean(name, keys(cfg.Environments)), "there is no environment %s", quote(name))
			}
		}
	}
	if c.has(s, "on", isList, false) {
		for i, what := range w.On {
			c.oneOf(s.down("on").item(i), "occasion", what, occasions())
		}
	}
}

// webhookURL checks a URL that everybody may know. What was a token is not repeated.
func (c *checker) webhookURL(w *Webhook, at spot) {
	const elsewhere = "keep it in a secret store, and name the place: url_secret: env:NAME"
	u, err := url.Parse(w.URL)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https"):
		c.report.atValue(at, "write it as in https://hooks.example.com/dbops", "this is not the URL of a webhook")
	case u.User != nil || u.RawQuery != "" || w.Format == FormatSlack:
		c.report.atValue(at, elsewhere, "this URL holds a token; dbops.yaml must hold no secrets")
	case u.Scheme == "http" && !loopback(u.Hostname()):
		c.report.atValue(at, "write https://", "http would send what happens to production in the clear")
	}
}
