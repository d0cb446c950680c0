package config

import (
	"strings"
	"testing"
	"time"
)

const withTargets = `version: 1
environments:
  prod:
    targets: {rpo: 5m, rto: 1h}
    instances:
      main:
        rds: {region: eu-west-1, identifier: main}
        targets: {rto: 1h30m}
      other:
        rds: {region: eu-west-1, identifier: other}
`

func TestTheTargetsOfAnInstanceGoBeforeThoseOfItsEnvironment(t *testing.T) {
	t.Parallel()
	cfg, err := Load(write(t, withTargets))
	if err != nil {
		t.Fatal(err)
	}
	env := cfg.Environments["prod"]
	for instance, want := range map[string]Targets{
		"main": {RPO: "5m", RTO: "1h30m"}, "other": {RPO: "5m", RTO: "1h"}, "none": {RPO: "5m", RTO: "1h"},
	} {
		if got := env.TargetsOf(instance); got != want {
			t.Errorf("%s: got %+v, want %+v", instance, got, want)
		}
	}
	if d := env.TargetsOf("main").RTO.Duration(); d != 90*time.Minute || (Targets{}).RPO.Duration() != 0 {
		t.Errorf("90 minutes are %s", d)
	}
	if got := (*Environment)(nil).TargetsOf("main"); got != (Targets{}) {
		t.Errorf("of no environment: %+v", got)
	}
}

func TestTargetsThatAreNoLengthOfTime(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"{rpo: 5 minutes}": "targets.rpo: this is no length of time", "{rpo: 0s}": "this is no length of time", "{rpo: 2d}": "this is no length of time",
		"{rto: 60}": "targets.rto: want text, got a number", "{rt0: 1h}": `unknown key "rt0"; did you mean "rto"?`, "5m": "want a mapping, got text",
		"{rpo: -5m}": "this is no length of time",
	} {
		_, err := Load(write(t, strings.Replace(withTargets, "{rto: 1h30m}", text, 1)))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}
