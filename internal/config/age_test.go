package config

import (
	"strings"
	"testing"
	"time"
)

const withAge = `version: 1
environments:
  prod:
    credential_max_age: 12w
    instances: {main: {rds: {region: eu-west-1, identifier: main}}}
  dev:
    instances: {main: {rds: {region: eu-west-1, identifier: dev}}}
`

func TestTheAgeOfCredentialsIsTheEnvironmentsOrNinetyDays(t *testing.T) {
	t.Parallel()
	cfg, err := Load(write(t, withAge))
	if err != nil {
		t.Fatal(err)
	}
	const day = 24 * time.Hour
	for env, want := range map[string]time.Duration{"prod": 84 * day, "dev": 90 * day} {
		if got := cfg.Environments[env].CredentialLimit(); got != want {
			t.Errorf("%s: got %s, want %s", env, got, want)
		}
	}
}

func TestWhatIsNoAge(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"0d": "this is no age", "90": "want text, got a number", "3 months": "this is no age", "36h": "this is no age", "-1d": "this is no age",
	} {
		_, err := Load(write(t, strings.Replace(withAge, "12w", text, 1)))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}
