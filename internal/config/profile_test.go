package config

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"dbops/internal/cloud"
	"dbops/internal/fault"
)

const fleet = `
version: 1
profiles:
  production: {backups_kept_days: 14, pitr_days: 7}
  small: {backups_kept_days: 3, class: db.t4g.medium}
environments:
  prod:
    protected: true
    instances:
      shop: {cloudsql: {project: shop-prod, region: europe-west1, instance: shop}, declare: {public_access: true, iam_login: false}}
      billing: {rds: {region: eu-west-1, identifier: billing}}
      scratch: {rds: {region: eu-west-1, identifier: scratch}, profile: none, declare: {backup_window: "03:00-04:00"}}
      old: {rds: {region: eu-west-1, identifier: old}, profile: small}
      office: {postgres: {url: "postgres://localhost/?sslmode=disable"}}
  dev:
    instances:
      main: {rds: {region: eu-west-1, identifier: dev}}
  staging:
    profile: small
    instances:
      main: {rds: {region: eu-west-1, identifier: staging}, declare: {backups_kept_days: 0}}
`

func TestAnInstanceDeclaresWhatItSaysBeforeWhatItsProfileSays(t *testing.T) {
	t.Parallel()
	cfg, err := Load(write(t, fleet))
	if err != nil {
		t.Fatal(err)
	}
	for at, want := range map[string]struct{ profile, values string }{
		"prod/shop": {"production", `{"availability":"regional","backups_kept_days":"14","deletion_protection":"true","iam_login":"false",` +
			`"pitr":"true","pitr_days":"7","public_access":"true","tls_required":"true"}`},
		"prod/billing": {"production", `{"availability":"regional","backups_kept_days":"14","deletion_protection":"true","pitr":"true",` +
			`"public_access":"false","tls_required":"true"}`}, // RDS has no pitr_days
		"prod/scratch": {"none", `{"backup_window":"03:00-04:00"}`},
		"prod/old":     {"small", `{"backups_kept_days":"3","class":"db.t4g.medium"}`},
		"prod/office":  {"production", `{}`},
		"dev/main":     {"none", `{}`},
		"staging/main": {"small", `{"backups_kept_days":"0","class":"db.t4g.medium"}`},
	} {
		env, name, _ := strings.Cut(at, "/")
		d, err := cfg.Declared(env, name)
		if err != nil {
			t.Fatal(err)
		}
		values, err := json.Marshal(d.Values)
		if err != nil {
			t.Fatal(err)
		}
		if d.Profile != want.profile || string(values) != want.values {
			t.Errorf("%s: %s %s, want %s %s", at, d.Profile, values, want.profile, want.values)
		}
	}
	for _, at := range [][2]string{{"prdo", "shop"}, {"prod", "shpo"}} {
		if _, err := cfg.Declared(at[0], at[1]); fault.KindOf(err) != fault.Usage || fault.HintOf(err) == "" {
			t.Errorf("%v: %v", at, err)
		}
	}
}

func TestTheBuiltInProductionIsNotChangedByAFile(t *testing.T) {
	t.Parallel()
	if _, err := Load(write(t, fleet)); err != nil {
		t.Fatal(err)
	}
	if got := (&Config{}).profile(ProfileProduction).Values(); got[BackupsKeptDays] != "7" || len(got) != 6 {
		t.Errorf("got %v", got)
	}
}

func TestEverySettingHasAKeyAndAText(t *testing.T) {
	t.Parallel()
	keys := SettingKeys(cloud.CloudSQL)
	if want := []string{
		BackupsKeptDays, BackupWindow, PITR, PITRDays, Availability, PublicAccess, TLSRequired, DeletionProtection, IAMLogin, Class,
	}; !slices.Equal(keys, want) {
		t.Errorf("got %v, want %v", keys, want)
	}
	all := Settings{
		new(1), new("a"), new(false), new(2), new(cloud.Zonal), new(true), new(true), new(true), new(true), new("b"),
	}
	if got := slices.Sorted(maps.Keys(all.Values())); len(got) != len(keys) {
		t.Errorf("got %v", got)
	}
}

func TestDeclarationsAreRefused(t *testing.T) {
	t.Parallel()
	const rds = "        rds: {region: eu-west-1, identifier: shop}\n"
	const sql = "        cloudsql: {project: shop-dev, region: europe-west1, instance: main}\n"
	const pg = "        postgres: {url: \"postgres://127.0.0.1/?sslmode=disable\"}\n"
	const at = "environments.dev.instances.main"
	file := func(profiles, env, inst string) string {
		return "version: 1\nprofiles: " + profiles + "\nenvironments:\n  dev:\n    " + env + "\n    instances:\n      main:\n" + inst
	}
	declare := func(provider, settings string) string {
		return file("{}", "protected: false", provider+"        declare: "+settings+"\n")
	}
	for name, c := range map[string]struct{ text, want string }{
		"an unknown setting":            {declare(rds, "{backup_days: 1}"), "9:19: " + at + `.declare: unknown key "backup_days"; known here: `},
		"a misspelt setting":            {declare(rds, "{tls_requird: true}"), "9:19: " + at + `.declare: unknown key "tls_requird"; did you mean "tls_required"?`},
		"a number as text":              {declare(rds, "{backups_kept_days: \"7\"}"), "9:38: " + at + ".declare.backups_kept_days: want a whole number, got text"},
		"a switch as a number":          {declare(rds, "{public_access: 0}"), "9:34: " + at + ".declare.public_access: want true or false, got a number"},
		"a setting without a value":     {declare(rds, "{class: }"), "9:19: " + at + ".declare.class: there is no value; write one, or delete the key"},
		"an unknown availability":       {declare(rds, "{availability: multi}"), "9:33: " + at + `.declare.availability: unknown availability "multi"; want one of zonal, regional`},
		"negative days":                 {declare(rds, "{backups_kept_days: -1}"), "9:38: " + at + ".declare.backups_kept_days: there are no negative days"},
		"what RDS does not have":        {declare(rds, "{pitr_days: 7}"), "9:19: " + at + ".declare.pitr_days: RDS has no such setting; it reaches as far as backups_kept_days"},
		"what a plain server is":        {declare(pg, "{class: big}"), "9:19: " + at + ".declare.class: a plain server has no such setting; only instances of RDS and Cloud SQL can be declared: delete it"},
		"more days than RDS keeps":      {declare(rds, "{backups_kept_days: 36}"), "9:38: " + at + ".declare.backups_kept_days: RDS keeps backups for 35 days at most"},
		"a window of Cloud SQL on RDS":  {declare(rds, "{backup_window: \"03:00\"}"), "9:34: " + at + ".declare.backup_window: this is no backup window of RDS; write it as in 03:00-04:00"},
		"a window of RDS on Cloud SQL":  {declare(sql, "{backup_window: \"03:00-04:00\"}"), "9:34: " + at + ".declare.backup_window: this is no start of the backups of Cloud SQL; write it as in 03:00"},
		"a class of RDS on Cloud SQL":   {declare(sql, "{class: db.r6g.large}"), "9:26: " + at + ".declare.class: this is no tier of Cloud SQL; write it as in db-custom-2-7680"},
		"logs for no day":               {declare(sql, "{pitr_days: 0}"), "9:30: " + at + ".declare.pitr_days: Cloud SQL keeps the logs for 1 to 7 days, up to 35 in the Enterprise Plus edition"},
		"backups without recovery, RDS": {declare(rds, "{backups_kept_days: 1, pitr: false}"), "9:47: " + at + ".declare.pitr: on RDS point-in-time recovery comes with the backups; make it true, or backups_kept_days 0"},
		"recovery without backups":      {declare(sql, "{backups_kept_days: 0, pitr: true}"), "9:47: " + at + ".declare.pitr: without backups there is no point-in-time recovery; keep backups, or make it false"},
		"a standby without recovery":    {declare(sql, "{availability: regional, pitr: false}"), "9:49: " + at + ".declare.pitr: on Cloud SQL regional availability needs point-in-time recovery; make it true"},
		"a standby without backups":     {declare(sql, "{availability: regional, backups_kept_days: 0}"), "9:62: " + at + ".declare.backups_kept_days: on Cloud SQL regional availability needs backups; keep some"},
		"a mismatch with what is built in": {
			file("{}", "profile: production", rds+"        declare: {backups_kept_days: 0}\n"),
			"7:7: " + at + ": with profile production: without backups there is no point-in-time recovery; keep backups, or make it false",
		},
		"a mismatch with what a profile says": {
			file("{small: {class: db-f1-micro}}", "profile: small", rds),
			"2:27: profiles.small.class: this is no instance class of RDS; write it as in db.r6g.large",
		},
		"an unknown profile":      {file("{small: {}}", "profile: smal", rds), `5:14: environments.dev.profile: there is no profile "smal"; did you mean "small"?`},
		"a profile by no name":    {file("{}", "profile: huge", rds), `5:14: environments.dev.profile: there is no profile "huge"; there are: none, production`},
		"an instance's profile":   {file("{}", "protected: false", rds+"        profile: prodction\n"), "9:18: " + at + `.profile: there is no profile "prodction"; did you mean "production"?`},
		"a profile called none":   {file("{none: {}}", "protected: false", rds), "2:12: profiles.none: the profile none declares nothing, and cannot be defined; give it another name"},
		"a profile of text":       {file("{small: big}", "protected: false", rds), "2:19: profiles.small: want a mapping, got text; put its keys below, indented"},
		"a profile with a secret": {file("{small: {password: x}}", "protected: false", rds), "2:20: profiles.small.password: dbops.yaml must hold no secrets; "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := problems(t, c.text)
			if len(got) != 1 || !strings.HasPrefix(got[0], c.want) || !strings.HasSuffix(c.want, ": ") && !strings.HasSuffix(c.want, "; ") && got[0] != c.want {
				t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), c.want)
			}
		})
	}
}

func TestAProfileMayServeBothClouds(t *testing.T) {
	t.Parallel()
	if got := problems(t, fleet); got != nil {
		t.Errorf("got %v", got)
	}
}
